// quant::SearchAffine for a group in each lane.
#if defined(SLUICE_STAGES_KERNELS_QUANT_AFFINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_AFFINE_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_AFFINE_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_AFFINE_INL_H_
#endif

#include "formats/quant/search.h"
#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// What the search finds for each group; the codes are NearestInt(inverse * (x - low)), clamped.
template <std::size_t kGroups>
struct AffineFits {
  Lanes<kGroups> scale;
  Lanes<kGroups> neg_min;
  Lanes<kGroups> inverse;
  Lanes<kGroups> low;
};

// Searches kWide groups at once, which hides the latency of the sums. Element i of group k is
// x[(k * kSize + i) * kLanes ..], and so are the weights.
template <std::size_t kWide, std::size_t kSize, quant::ErrorMeasure kMeasure>
class AffineLanes {
 public:
  AffineLanes(const float* x, const float* w) : x_(x), w_(w) {}

  template <std::size_t kGroups>
  void Search(const quant::AffineSearch& search, std::size_t first, AffineFits<kGroups>& fits) {
    levels_ = SetAll(static_cast<float>(search.levels));
    Start();
    for (int t = 0; t <= search.tries; ++t) {
      const float offset = search.start + search.step * static_cast<float>(t);
      const Vec numerator = SetAll(offset + static_cast<float>(search.levels));
      if (offset < 0.49F) {
        Try<false>(numerator);
      } else {
        Try<true>(numerator);
      }
    }
    for (std::size_t k = 0; k < kWide; ++k) {
      fits.scale.Set(first + k, hn::IfThenElseZero(active_[k], scale_[k]));
      fits.neg_min.Set(first + k, hn::Neg(low_[k]));
      fits.inverse.Set(first + k, hn::IfThenElseZero(active_[k], best_inverse_[k]));
      fits.low.Set(first + k, best_low_[k]);
    }
  }

  // The lanes of vector k whose candidates left the range of exact rounding.
  HWY_INLINE Mask Bad(std::size_t k) const { return bad_[k]; }

 private:
  HWY_INLINE Vec X(std::size_t k, std::size_t i) const {
    return hn::Load(F32(), x_ + (k * kSize + i) * kLanes);
  }
  HWY_INLINE Vec W(std::size_t k, std::size_t i) const {
    return hn::Load(F32(), w_ + (k * kSize + i) * kLanes);
  }

  // Range and sums; the first candidate, which covers the range.
  HWY_INLINE void Start() {
    const Vec zero = hn::Zero(F32());
    for (std::size_t k = 0; k < kWide; ++k) {
      Vec low = X(k, 0);
      Vec high = low;
      Vec sum_w = W(k, 0);
      Vec sum_x = hn::Mul(sum_w, low);
      for (std::size_t i = 1; i < kSize; ++i) {
        const Vec x = X(k, i);
        low = hn::IfThenElse(hn::Lt(x, low), x, low);
        high = hn::IfThenElse(hn::Gt(x, high), x, high);
        sum_w = hn::Add(sum_w, W(k, i));
        sum_x = hn::Add(sum_x, hn::Mul(W(k, i), x));
      }
      smallest_[k] = low;
      low = hn::IfThenElse(hn::Gt(low, zero), zero, low);
      high_[k] = high;
      low_[k] = low;
      sum_w_[k] = sum_w;
      sum_x_[k] = sum_x;
      active_[k] = hn::Not(hn::Le(high, low));
      bad_[k] = NoLanes();
    }
    for (std::size_t k = 0; k < kWide; ++k) {
      inverse_[k] = hn::Div(levels_, Range(k));
      CheckRange(k);
      best_inverse_[k] = inverse_[k];
      best_low_[k] = low_[k];
      scale_[k] = hn::Div(SetAll(1), inverse_[k]);
    }
    Vec sum_l[kWide], sum_l2[kWide], sum_xl[kWide];
    Assign<false>(sum_l, sum_l2, sum_xl);
    Errors(scale_, low_, best_);
  }

  HWY_INLINE Vec Range(std::size_t k) const {
    return hn::IfThenElse(active_[k], hn::Sub(high_[k], low_[k]), SetAll(1));
  }
  HWY_INLINE void CheckRange(std::size_t k) {
    const Vec limit = SetAll(kRoundLimit);
    const auto fits = [&](Vec x) {
      return hn::Lt(hn::Abs(hn::Mul(inverse_[k], hn::Sub(x, low_[k]))), limit);
    };
    const Mask ok =
        hn::And(hn::Gt(inverse_[k], hn::Zero(F32())), hn::And(fits(smallest_[k]), fits(high_[k])));
    bad_[k] = hn::Or(bad_[k], hn::AndNot(ok, active_[k]));
  }

  // Codes of the candidate, and their sums. kExceeds: some may exceed the levels by rounding.
  template <bool kExceeds>
  HWY_INLINE void Assign(Vec* sum_l, Vec* sum_l2, Vec* sum_xl) {
    const Vec zero = hn::Zero(F32());
    const Vec levels = levels_;
    const float* HWY_RESTRICT x_at = x_;
    const float* HWY_RESTRICT w_at = w_;
    Vec low[kWide], inverse[kWide], sl[kWide], sl2[kWide], sxl[kWide];
    for (std::size_t k = 0; k < kWide; ++k) {
      low[k] = low_[k];
      inverse[k] = inverse_[k];
      sl[k] = sl2[k] = sxl[k] = zero;
    }
    for (std::size_t i = 0; i < kSize; ++i) {
      for (std::size_t k = 0; k < kWide; ++k) {
        const Vec x = hn::Load(F32(), x_at + (k * kSize + i) * kLanes);
        const Vec w = hn::Load(F32(), w_at + (k * kSize + i) * kLanes);
        Vec v = hn::Max(hn::Mul(inverse[k], hn::Sub(x, low[k])), zero);
        if constexpr (kExceeds) v = hn::Min(v, levels);
        const Vec l = RoundSmall(v);
        codes_.Set(k * kSize + i, l);
        const Vec wl = hn::Mul(w, l);
        sl[k] = hn::Add(sl[k], wl);
        sl2[k] = hn::Add(sl2[k], hn::Mul(wl, l));
        sxl[k] = hn::Add(sxl[k], hn::Mul(wl, x));
      }
    }
    for (std::size_t k = 0; k < kWide; ++k) {
      sum_l[k] = sl[k];
      sum_l2[k] = sl2[k];
      sum_xl[k] = sxl[k];
    }
  }

  // Weighted errors of the assigned codes with the given scales and minima.
  HWY_INLINE void Errors(const Vec* scale, const Vec* min, Vec* error) {
    Vec sum[kWide], s[kWide], m[kWide];
    for (std::size_t k = 0; k < kWide; ++k) {
      sum[k] = hn::Zero(F32());
      s[k] = scale[k];
      m[k] = min[k];
    }
    for (std::size_t i = 0; i < kSize; ++i) {
      for (std::size_t k = 0; k < kWide; ++k) {
        const Vec l = codes_.Get(k * kSize + i);
        const Vec e = hn::Sub(hn::Add(hn::Mul(s[k], l), m[k]), X(k, i));
        const Vec cost = kMeasure == quant::ErrorMeasure::kAbsolute ? hn::Abs(e) : hn::Mul(e, e);
        sum[k] = hn::Add(sum[k], hn::Mul(W(k, i), cost));
      }
    }
    for (std::size_t k = 0; k < kWide; ++k) error[k] = sum[k];
  }

  template <bool kExceeds>
  HWY_INLINE void Try(Vec numerator) {
    const Vec zero = hn::Zero(F32());
    Vec sum_l[kWide], sum_l2[kWide], sum_xl[kWide], scale[kWide], min[kWide], error[kWide];
    Mask valid[kWide];
    for (std::size_t k = 0; k < kWide; ++k) {
      inverse_[k] = hn::Div(numerator, Range(k));
      CheckRange(k);
    }
    Assign<kExceeds>(sum_l, sum_l2, sum_xl);
    for (std::size_t k = 0; k < kWide; ++k) {
      const Vec determinant = hn::Sub(hn::Mul(sum_w_[k], sum_l2[k]), hn::Mul(sum_l[k], sum_l[k]));
      valid[k] = hn::And(active_[k], hn::Gt(determinant, zero));
      scale[k] = hn::Div(hn::Sub(hn::Mul(sum_w_[k], sum_xl[k]), hn::Mul(sum_x_[k], sum_l[k])),
                         determinant);
      min[k] = hn::Div(hn::Sub(hn::Mul(sum_l2[k], sum_x_[k]), hn::Mul(sum_l[k], sum_xl[k])),
                       determinant);
      const Mask positive = hn::Gt(min[k], zero);
      if (!hn::AllFalse(F32(), positive)) {
        min[k] = hn::IfThenElse(positive, zero, min[k]);
        scale[k] = hn::IfThenElse(positive, hn::Div(sum_xl[k], sum_l2[k]), scale[k]);
      }
    }
    Errors(scale, min, error);
    for (std::size_t k = 0; k < kWide; ++k) {
      const Mask better = hn::And(valid[k], hn::Lt(error[k], best_[k]));
      best_[k] = hn::IfThenElse(better, error[k], best_[k]);
      scale_[k] = hn::IfThenElse(better, scale[k], scale_[k]);
      best_inverse_[k] = hn::IfThenElse(better, inverse_[k], best_inverse_[k]);
      best_low_[k] = hn::IfThenElse(better, low_[k], best_low_[k]);
      low_[k] = hn::IfThenElse(better, min[k], low_[k]);
    }
  }

  const float* x_;
  const float* w_;
  Vec levels_;
  Vec smallest_[kWide], high_[kWide], low_[kWide];
  Vec sum_w_[kWide], sum_x_[kWide];
  Vec inverse_[kWide], scale_[kWide], best_[kWide];
  Vec best_inverse_[kWide], best_low_[kWide];
  Mask active_[kWide], bad_[kWide];
  Lanes<kWide * kSize> codes_;
};

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
