// quant::SearchSymmetric3 for a group in each lane: the codes of a plain scale, improved one by
// one.
#if defined(SLUICE_STAGES_KERNELS_QUANT_REFINING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_REFINING_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_REFINING_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_REFINING_INL_H_
#endif

#include <limits>

#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// A group of kSize values in each lane of kWide vectors, whose steps are interleaved: each step of
// a group waits for the one before. Element i of vector k is x[(k * kSize + i) * kLanes ..].
template <int kHalf, std::size_t kSize, std::size_t kWide>
class RefiningLanes {
 public:
  // Starts with the codes of the plain scale.
  explicit RefiningLanes(const float* x) : x_(x) {
    for (std::size_t k = 0; k < kWide; ++k) Start(k);
  }

  // Where one of the codes of the first vector may have to move. Errs on that side.
  HWY_INLINE Mask MayMove() const {
    Mask may_move = NoLanes();
    for (std::size_t i = 0; i < kSize; ++i) {
      const Vec code = codes_.Get(i);
      const Vec rest_a = hn::Sub(a_[0], hn::Mul(wx_.Get(i), code));
      const Vec rest_b = hn::Sub(b_[0], hn::Mul(hn::Mul(hn::Mul(X(i), X(i)), code), code));
      const Vec next = hn::Div(hn::Mul(X(i), rest_b), rest_a);
      const Vec clamped = hn::Min(hn::Max(next, SetAll(-kHalf)), SetAll(kHalf - 1));
      const Mask stays = hn::Lt(hn::Abs(hn::Sub(clamped, code)), SetAll(0.499F));
      may_move = hn::Or(may_move, hn::AndNot(stays, hn::Gt(rest_a, hn::Zero(F32()))));
    }
    return hn::And(may_move, active_[0]);
  }

  HWY_INLINE void Refine() {
    constexpr int kMaxSweeps = 5;
    for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
      if (!Improve()) break;
    }
  }

  // The lanes of vector k with sums that are not finite.
  HWY_INLINE Mask Bad(std::size_t k) const { return bad_[k]; }

  // 0 for a negligible group.
  HWY_INLINE Vec Scale(std::size_t k) const {
    const Mask has_scale = hn::And(active_[k], hn::Gt(b_[k], hn::Zero(F32())));
    return hn::IfThenElseZero(has_scale, hn::Div(a_[k], b_[k]));
  }

 private:
  HWY_INLINE Vec X(std::size_t at) const { return hn::Load(F32(), x_ + at * kLanes); }

  static HWY_INLINE Vec CodeOf(Vec v) {
    return hn::ConvertTo(F32(), ClampInt(NearestIntOf(v), -kHalf, kHalf - 1));
  }

  HWY_INLINE void Start(std::size_t k) {
    const Vec largest = LargestMagnitude(x_ + k * kSize * kLanes, kSize);
    active_[k] = hn::Not(hn::Lt(hn::Abs(largest), SetAll(1e-15F)));
    const Vec inverse = hn::Div(SetAll(-kHalf), hn::IfThenElse(active_[k], largest, SetAll(1)));
    Vec a = hn::Zero(F32());
    Vec b = a;
    for (std::size_t i = k * kSize; i < (k + 1) * kSize; ++i) {
      const Vec x = X(i);
      const Vec w = hn::Mul(x, x);
      const Vec wx = hn::Mul(w, x);
      const Vec l = RoundSmall(hn::Min(hn::Mul(inverse, x), SetAll(kHalf - 1)));
      wx_.Set(i, wx);
      codes_.Set(i, l);
      a = hn::Add(a, hn::Mul(wx, l));
      b = hn::Add(b, hn::Mul(hn::Mul(w, l), l));
    }
    a_[k] = a;
    b_[k] = b;
    const Mask finite = hn::Lt(hn::Abs(a), SetAll(std::numeric_limits<float>::infinity()));
    bad_[k] = hn::AndNot(finite, active_[k]);
  }

  // Moves each code to where it fits best with the others; whether any moved. Further sweeps do not
  // change a lane in which none did.
  HWY_INLINE bool Improve() {
    const Vec zero = hn::Zero(F32());
    Mask changed = NoLanes();
    Vec a[kWide], b[kWide];
    for (std::size_t k = 0; k < kWide; ++k) {
      a[k] = a_[k];
      b[k] = b_[k];
    }
    for (std::size_t i = 0; i < kSize; ++i) {
      for (std::size_t k = 0; k < kWide; ++k) {
        const std::size_t at = k * kSize + i;
        const Vec x = X(at);
        const Vec w = hn::Mul(x, x);
        const Vec wx = wx_.Get(at);
        const Vec code = codes_.Get(at);
        const Vec rest_a = hn::Sub(a[k], hn::Mul(wx, code));
        const Vec rest_b = hn::Sub(b[k], hn::Mul(hn::Mul(w, code), code));
        const Vec next = CodeOf(hn::Div(hn::Mul(x, rest_b), rest_a));
        const Vec next_a = hn::Add(rest_a, hn::Mul(wx, next));
        const Vec next_b = hn::Add(rest_b, hn::Mul(hn::Mul(w, next), next));
        const Mask valid = hn::And(hn::Gt(rest_a, zero), hn::Gt(next_b, zero));
        const Mask improves =
            hn::Gt(hn::Mul(hn::Mul(next_a, next_a), b[k]), hn::Mul(hn::Mul(a[k], a[k]), next_b));
        const Mask moves = hn::And(hn::And(valid, improves), NotEqual(next, code));
        codes_.Set(at, hn::IfThenElse(moves, next, code));
        a[k] = hn::IfThenElse(moves, next_a, a[k]);
        b[k] = hn::IfThenElse(moves, next_b, b[k]);
        changed = hn::Or(changed, moves);
      }
    }
    for (std::size_t k = 0; k < kWide; ++k) {
      a_[k] = a[k];
      b_[k] = b[k];
    }
    return !hn::AllFalse(F32(), changed);
  }

  const float* x_;
  Lanes<kWide * kSize> codes_;  // -kHalf .. kHalf - 1, as floats
  Lanes<kWide * kSize> wx_;
  Vec a_[kWide];  // sum w x l
  Vec b_[kWide];  // sum w l l
  Mask active_[kWide], bad_[kWide];
};

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
