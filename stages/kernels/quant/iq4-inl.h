// The search of IQ4_NL and IQ4_XS for a group in each lane.
#if defined(SLUICE_STAGES_KERNELS_QUANT_IQ4_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_IQ4_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_IQ4_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_IQ4_INL_H_
#endif

#include <array>
#include <limits>

#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

using Iq4Table = std::array<float, 16>;

// The value of each code; the next one; and from where on the next one is nearer: halfway between
// them, where the next one wins.
inline constexpr Iq4Table kIq4Values{-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
inline constexpr Iq4Table kIq4NextValues = [] {
  Iq4Table next{};
  for (std::size_t i = 0; i + 1 < next.size(); ++i) next[i] = kIq4Values[i + 1];
  return next;
}();
inline constexpr Iq4Table kIq4Borders = [] {
  Iq4Table borders{};
  for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
    borders[i] = (kIq4Values[i] + kIq4Values[i + 1]) / 2;
  }
  return borders;
}();

// Looks a table up in every lane, by the lowest four bits of an integer.
class Table16 {
 public:
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  explicit HWY_INLINE Table16(const Iq4Table& values) : all_(hn::LoadU(F32(), values.data())) {}
  HWY_INLINE Vec Lookup(VecI index) const {
    return hn::TableLookupLanes(all_, hn::Indices512<float>{index.raw});  // ignores other bits
  }

 private:
  Vec all_;
#elif HWY_ARCH_X86 && HWY_TARGET == HWY_AVX2
  explicit HWY_INLINE Table16(const Iq4Table& values)
      : low_(hn::LoadU(F32(), values.data())), high_(hn::LoadU(F32(), values.data() + kLanes)) {}
  HWY_INLINE Vec Lookup(VecI index) const {
    const hn::Indices256<float> in_half{index.raw};  // ignores other bits
    const Vec is_high = hn::BitCast(F32(), hn::ShiftLeft<28>(index));
    return hn::IfNegativeThenElse(is_high, hn::TableLookupLanes(high_, in_half),
                                  hn::TableLookupLanes(low_, in_half));
  }

 private:
  Vec low_;
  Vec high_;
#else
  explicit HWY_INLINE Table16(const Iq4Table& values) : values_(values.data()) {}
  HWY_INLINE Vec Lookup(VecI index) const {
    return hn::GatherIndex(F32(), values_, hn::And(index, hn::Set(I32(), 15)));
  }

 private:
  const float* values_;
#endif
};

// quant::NearestInTable of the IQ4 values, for |v| <= 134.
class NearestIq4 {
 public:
  static constexpr float kBend = 0.00029F;  // of the curve below

  HWY_INLINE NearestIq4()
      : borders_(kIq4Borders), values_(kIq4Values), next_values_(kIq4NextValues) {}

  HWY_INLINE VecI Code(Vec v) const {
    const Vec bend = hn::Mul(SetAll(kBend), hn::Abs(v));
    return hn::And(LowCode(v, bend), hn::Set(I32(), 15));
  }
  // The value of the code. `bend` is about kBend * |v|.
  HWY_INLINE Vec Value(Vec v, Vec bend) const {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
    const VecI part = Part(v, bend);
    const Mask above = hn::Ge(v, borders_.Lookup(part));
    return hn::IfThenElse(above, next_values_.Lookup(part), values_.Lookup(part));
#else
    return values_.Lookup(LowCode(v, bend));
#endif
  }

 private:
  // The code in the lowest four bits.
  HWY_INLINE VecI LowCode(Vec v, Vec bend) const {
    const VecI part = Part(v, bend);
    const Mask above = hn::Ge(v, borders_.Lookup(part));
    return hn::Sub(part, hn::VecFromMask(I32(), hn::RebindMask(I32(), above)));
  }

  // A curve like that of the values cuts the range into 15 parts with one border each: part i holds
  // the border between codes i and i + 1, far enough from its own ends for rounding not to matter.
  // In the lowest four bits.
  static HWY_INLINE VecI Part(Vec v, Vec bend) {
    const Vec part = hn::Mul(v, hn::Sub(SetAll(0.0945F), bend));  // -7.46 .. 7.46
    return hn::BitCast(I32(), hn::Add(part, SetAll(kRoundShift + 7)));
  }

  Table16 borders_;
  Table16 values_;
  Table16 next_values_;
};

// Scales of groups of kSize values a lane, for codes whose values are kIq4Values. Tries several
// candidates at once.
template <std::size_t kSize>
class Iq4Lanes {
 public:
  // Adds to `bad` the lanes with sums that are not finite.
  HWY_INLINE Vec Search(const float* x, const float* w, Mask& bad) {
    x_ = x;
    w_ = w;
    const Vec zero = hn::Zero(F32());
    const Vec largest = LargestMagnitude(x, kSize);
    const Mask active = hn::Not(hn::Lt(hn::Abs(largest), SetAll(1e-15F)));
    largest_ = hn::IfThenElse(active, largest, SetAll(1));
    const Vec start = hn::Div(hn::Neg(largest_), SetAll(kIq4Values[0]));
    Fit<1> first;
    first.inverse[0] = hn::Div(SetAll(1), start);
    Sums(first);
    const Mask finite = hn::Lt(hn::Abs(first.a[0]), SetAll(std::numeric_limits<float>::infinity()));
    bad = hn::Or(bad, hn::AndNot(finite, active));
    scale_ = hn::IfThenElseZero(hn::Gt(first.b[0], zero), hn::Div(first.a[0], first.b[0]));
    best_ = hn::Mul(scale_, first.a[0]);
    for (int t = -7; t <= 7; t += kTogether) Try(t);
    return hn::IfThenElseZero(active, scale_);
  }

 private:
  static constexpr int kTogether = 3;

  template <int kCandidates>
  struct Fit {
    Vec inverse[kCandidates];
    Vec a[kCandidates];  // sum w q x
    Vec b[kCandidates];  // sum w q q
  };

  template <int kCandidates>
  HWY_INLINE void Sums(Fit<kCandidates>& fit) const {
    const NearestIq4 nearest;
    Vec inverse[kCandidates], bend[kCandidates], a[kCandidates], b[kCandidates];
    for (int c = 0; c < kCandidates; ++c) {
      inverse[c] = fit.inverse[c];
      bend[c] = hn::Mul(SetAll(NearestIq4::kBend), hn::Abs(inverse[c]));
      a[c] = b[c] = hn::Zero(F32());
    }
    for (std::size_t i = 0; i < kSize; ++i) {
      const Vec x = hn::Load(F32(), x_ + i * kLanes);
      const Vec w = hn::Load(F32(), w_ + i * kLanes);
      for (int c = 0; c < kCandidates; ++c) {
        const Vec q = nearest.Value(hn::Mul(inverse[c], x), hn::Mul(bend[c], hn::Abs(x)));
        const Vec wq = hn::Mul(w, q);
        a[c] = hn::Add(a[c], hn::Mul(wq, x));
        b[c] = hn::Add(b[c], hn::Mul(wq, q));
      }
    }
    for (int c = 0; c < kCandidates; ++c) {
      fit.a[c] = a[c];
      fit.b[c] = b[c];
    }
  }

  // Candidates t, t + 1, ..
  HWY_INLINE void Try(int t) {
    Fit<kTogether> fit;
    for (int c = 0; c < kTogether; ++c) {
      const float numerator = static_cast<float>(t + c) + kIq4Values[0];
      fit.inverse[c] = hn::Div(SetAll(numerator), largest_);
    }
    Sums(fit);
    for (int c = 0; c < kTogether; ++c) {
      const Mask better = hn::And(hn::Gt(fit.b[c], hn::Zero(F32())),
                                  hn::Gt(hn::Mul(fit.a[c], fit.a[c]), hn::Mul(best_, fit.b[c])));
      scale_ = hn::IfThenElse(better, hn::Div(fit.a[c], fit.b[c]), scale_);
      best_ = hn::IfThenElse(better, hn::Mul(scale_, fit.a[c]), best_);
    }
  }

  const float* x_;
  const float* w_;
  Vec largest_;
  Vec scale_, best_;
};

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
