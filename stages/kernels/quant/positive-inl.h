// quant::SearchPositive for several sets of values at once.
#if defined(SLUICE_STAGES_KERNELS_QUANT_POSITIVE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_POSITIVE_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_POSITIVE_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_POSITIVE_INL_H_
#endif

#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// One search a lane. Codes are 0 .. 255, as floats.
template <std::size_t kCount>
class PositiveLanes {
 public:
  // Returns the scales.
  Vec Search(int levels, const Lanes<kCount>& x, const Lanes<kCount>& weights,
             Lanes<kCount>& codes) {
    const Vec zero = hn::Zero(F32());
    Vec largest = zero;
    for (std::size_t i = 0; i < kCount; ++i) {
      largest = hn::IfThenElse(hn::Gt(largest, x.Get(i)), largest, x.Get(i));
    }
    const Mask negligible = hn::Lt(largest, SetAll(1e-15F));
    levels_ = levels;
    Assign(BestInverse(largest, x, weights), x, weights, codes);
    constexpr int kMaxSweeps = 5;
    for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
      if (!Improve(x, weights, codes)) break;
    }
    for (std::size_t i = 0; i < kCount; ++i) {
      codes.Set(i, hn::IfThenElse(negligible, zero, codes.Get(i)));
    }
    const Mask has_scale = hn::AndNot(negligible, hn::Gt(b_, zero));
    return hn::IfThenElseZero(has_scale, hn::Div(a_, b_));
  }

 private:
  static HWY_INLINE Vec ToFloat(VecI v) { return hn::ConvertTo(F32(), v); }
  static HWY_INLINE Vec Low8(VecI v) { return ToFloat(hn::And(v, hn::Set(I32(), 255))); }
  HWY_INLINE VecI CodeOf(Vec v) const { return hn::Min(NearestIntOf(v), hn::Set(I32(), levels_)); }
  static HWY_INLINE Vec Error(Vec x, Vec w, Vec scale, Vec code) {
    const Vec e = hn::Sub(x, hn::Mul(scale, code));
    return hn::Mul(hn::Mul(w, e), e);
  }

  // Of the inverse scales around levels / largest the one with the smallest error.
  HWY_INLINE Vec BestInverse(Vec largest, const Lanes<kCount>& x, const Lanes<kCount>& w) const {
    const float levels = static_cast<float>(levels_);
    Vec inverse = hn::Div(SetAll(levels), largest);
    Vec best = hn::Zero(F32());
    const Vec scale = hn::Div(SetAll(1), inverse);
    for (std::size_t i = 0; i < kCount; ++i) {
      const Vec code = Low8(NearestIntOf(hn::Mul(inverse, x.Get(i))));  // not clamped: it wraps
      best = hn::Add(best, Error(x.Get(i), w.Get(i), scale, code));
    }
    for (int t = -4; t <= 4; ++t) {
      if (t == 0) continue;
      const Vec trial = hn::Div(SetAll(0.1F * static_cast<float>(t) + levels), largest);
      const Vec trial_scale = hn::Div(SetAll(1), trial);
      Vec sum = hn::Zero(F32());
      for (std::size_t i = 0; i < kCount; ++i) {
        const Vec code = ToFloat(CodeOf(hn::Mul(trial, x.Get(i))));
        sum = hn::Add(sum, Error(x.Get(i), w.Get(i), trial_scale, code));
      }
      const Mask better = hn::Lt(sum, best);
      best = hn::IfThenElse(better, sum, best);
      inverse = hn::IfThenElse(better, trial, inverse);
    }
    return inverse;
  }

  HWY_INLINE void Assign(Vec inverse, const Lanes<kCount>& x, const Lanes<kCount>& weights,
                         Lanes<kCount>& codes) {
    a_ = b_ = hn::Zero(F32());
    for (std::size_t i = 0; i < kCount; ++i) {
      const VecI code = CodeOf(hn::Mul(inverse, x.Get(i)));
      const Vec l = ToFloat(code);
      const Vec w = weights.Get(i);
      codes.Set(i, Low8(code));
      a_ = hn::Add(a_, hn::Mul(hn::Mul(w, x.Get(i)), l));
      b_ = hn::Add(b_, hn::Mul(hn::Mul(w, l), l));
    }
  }

  // Moves each code to where it fits best with the others; whether any moved. Further sweeps do not
  // change a lane in which none did.
  HWY_INLINE bool Improve(const Lanes<kCount>& x, const Lanes<kCount>& weights,
                          Lanes<kCount>& codes) {
    const Vec zero = hn::Zero(F32());
    Mask changed = NoLanes();
    for (std::size_t i = 0; i < kCount; ++i) {
      const Vec w = weights.Get(i);
      const Vec code = codes.Get(i);
      const Vec wx = hn::Mul(w, x.Get(i));
      const Vec rest_a = hn::Sub(a_, hn::Mul(wx, code));
      const Vec rest_b = hn::Sub(b_, hn::Mul(hn::Mul(w, code), code));
      const VecI next = CodeOf(hn::Div(hn::Mul(x.Get(i), rest_b), rest_a));
      const Vec l = ToFloat(next);
      const Vec a = hn::Add(rest_a, hn::Mul(wx, l));
      const Vec b = hn::Add(rest_b, hn::Mul(hn::Mul(w, l), l));
      const Mask valid = hn::And(hn::Gt(rest_a, zero), hn::Gt(rest_b, zero));
      const Mask improves = hn::Gt(hn::Mul(hn::Mul(a, a), b_), hn::Mul(hn::Mul(a_, a_), b));
      const Mask moves = hn::And(hn::And(valid, NotEqual(l, code)), improves);
      codes.Set(i, hn::IfThenElse(moves, Low8(next), code));
      a_ = hn::IfThenElse(moves, a, a_);
      b_ = hn::IfThenElse(moves, b, b_);
      changed = hn::Or(changed, moves);
    }
    return !hn::AllFalse(F32(), changed);
  }

  int levels_;
  Vec a_;
  Vec b_;
};

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
