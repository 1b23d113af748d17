// quant::SearchSymmetric for a group in each lane.
#if defined(SLUICE_STAGES_KERNELS_QUANT_SYMMETRIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_SYMMETRIC_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_SYMMETRIC_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_SYMMETRIC_INL_H_
#endif

#include <limits>

#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// What the search finds for each group; the codes are NearestInt(inverse * x), clamped. An inverse
// of 0 marks a negligible group, whose scale is 0 and whose codes are 0 too (not the code of 0).
template <std::size_t kGroups>
struct SymmetricFits {
  Lanes<kGroups> scale;
  Lanes<kGroups> inverse;
};

// A group of kSize values a lane, codes of -kHalf .. kHalf - 1. Tries several candidates at once:
// the sums do not depend on each other, only the choice does.
template <int kHalf, std::size_t kSize>
class SymmetricLanes {
 public:
  // `weights` may be nullptr for x^2.
  SymmetricLanes(const float* x, const float* weights) : x_(x) {
    for (std::size_t i = 0; i < kSize; ++i) {
      const Vec v = hn::Load(F32(), x + i * kLanes);
      const Vec w = weights ? hn::Load(F32(), weights + i * kLanes) : hn::Mul(v, v);
      w_.Set(i, w);
      wx_.Set(i, hn::Mul(w, v));
    }
  }

  // Adds to `bad` the lanes with sums that are not finite.
  template <std::size_t kGroups>
  HWY_INLINE void Search(std::size_t group, SymmetricFits<kGroups>& fits, Mask& bad) {
    const Vec zero = hn::Zero(F32());
    const Vec largest = LargestMagnitude(x_, kSize);
    const Mask active = hn::Not(hn::Lt(hn::Abs(largest), SetAll(1e-15F)));
    largest_ = hn::IfThenElse(active, largest, SetAll(1));
    Fit<1> first;
    first.inverse[0] = hn::Div(SetAll(-kHalf), largest_);
    Sums<false>(first);
    const Mask finite = hn::Lt(hn::Abs(first.a[0]), SetAll(std::numeric_limits<float>::infinity()));
    bad = hn::Or(bad, hn::AndNot(finite, active));
    inverse_ = first.inverse[0];
    scale_ = hn::IfThenElseZero(NotEqual(first.b[0], zero), hn::Div(first.a[0], first.b[0]));
    best_ = hn::Mul(scale_, first.a[0]);
    Try<-9>();
    Try<-6>();
    Try<-3>();
    Try<1>();
    Try<4>();
    Try<7>();
    fits.scale.Set(group, hn::IfThenElseZero(active, scale_));
    fits.inverse.Set(group, hn::IfThenElseZero(active, inverse_));
  }

 private:
  static constexpr int kTogether = 3;

  template <int kCandidates>
  struct Fit {
    Vec inverse[kCandidates];
    Vec a[kCandidates];  // sum w x l
    Vec b[kCandidates];  // sum w l l
  };

  // kExceeds: products below -kHalf - 1/2 occur, so that codes must be clamped on that side too.
  template <bool kExceeds, int kCandidates>
  HWY_INLINE void Sums(Fit<kCandidates>& fit) const {
    const Vec lowest = SetAll(-kHalf);
    const Vec highest = SetAll(kHalf - 1);
    Vec inverse[kCandidates], a[kCandidates], b[kCandidates];
    for (int c = 0; c < kCandidates; ++c) {
      inverse[c] = fit.inverse[c];
      a[c] = b[c] = hn::Zero(F32());
    }
    HWY_UNROLL(1)  // candidates are enough to interleave
    for (std::size_t i = 0; i < kSize; ++i) {
      const Vec x = hn::Load(F32(), x_ + i * kLanes);
      const Vec w = w_.Get(i);
      const Vec wx = wx_.Get(i);
      for (int c = 0; c < kCandidates; ++c) {
        Vec v = hn::Mul(inverse[c], x);
        if constexpr (kExceeds) v = hn::Max(v, lowest);
        const Vec l = RoundSmall(hn::Min(v, highest));
        a[c] = hn::Add(a[c], hn::Mul(wx, l));
        b[c] = hn::Add(b[c], hn::Mul(hn::Mul(w, l), l));
      }
    }
    for (int c = 0; c < kCandidates; ++c) {
      fit.a[c] = a[c];
      fit.b[c] = b[c];
    }
  }

  // Candidates kFirst, kFirst + 1, ..
  template <int kFirst>
  HWY_INLINE void Try() {
    Fit<kTogether> fit;
    for (int c = 0; c < kTogether; ++c) {
      const float numerator = -(static_cast<float>(kHalf) + 0.1F * static_cast<float>(kFirst + c));
      fit.inverse[c] = hn::Div(SetAll(numerator), largest_);
    }
    Sums<(kFirst + kTogether > 5)>(fit);
    for (int c = 0; c < kTogether; ++c) {
      const Mask better = hn::And(hn::Gt(fit.b[c], hn::Zero(F32())),
                                  hn::Gt(hn::Mul(fit.a[c], fit.a[c]), hn::Mul(best_, fit.b[c])));
      scale_ = hn::IfThenElse(better, hn::Div(fit.a[c], fit.b[c]), scale_);
      best_ = hn::IfThenElse(better, hn::Mul(scale_, fit.a[c]), best_);
      inverse_ = hn::IfThenElse(better, fit.inverse[c], inverse_);
    }
  }

  const float* x_;
  Lanes<kSize> w_;
  Lanes<kSize> wx_;
  Vec largest_;
  Vec inverse_, scale_, best_;
};

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
