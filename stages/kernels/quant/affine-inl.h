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

// Searches kWide vectors of groups at once, which hides the latency of the sums. Element i of
// vector k is x[(k * kSize + i) * kLanes ..], and so are the weights.
template <std::size_t kWide, std::size_t kSize, quant::ErrorMeasure kMeasure>
class AffineLanes {
 public:
  AffineLanes(const float* x, const float* w) : x_(x), w_(w) {}

  // Sets the fits from `first` on.
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
      const Group& group = groups_[k];
      fits.scale.Set(first + k, hn::IfThenElseZero(group.active, group.scale));
      fits.neg_min.Set(first + k, hn::Neg(group.low));
      fits.inverse.Set(first + k, hn::IfThenElseZero(group.active, group.best_inverse));
      fits.low.Set(first + k, group.best_low);
    }
  }

  // The lanes of vector k whose candidates left the range of exact rounding.
  HWY_INLINE Mask Bad(std::size_t k) const { return groups_[k].bad; }

 private:
  struct Group {
    Vec smallest, high;  // values
    Vec sum_w, sum_x;    // of w, of w x
    Vec low;             // end of the range that candidates cover: 0, the smallest or a minimum
    Vec inverse;         // scale of the candidate
    Vec scale, error;    // of the best candidate
    Vec best_inverse, best_low;
    Mask active;  // not all values are alike
    Mask bad;

    HWY_INLINE void SetCandidate(Vec numerator) {
      inverse = hn::Div(numerator, hn::IfThenElse(active, hn::Sub(high, low), SetAll(1)));
      const Vec limit = SetAll(kRoundLimit);
      const auto fits = [&](Vec x) {
        return hn::Lt(hn::Abs(hn::Mul(inverse, hn::Sub(x, low))), limit);
      };
      const Mask ok =
          hn::And(hn::Gt(inverse, hn::Zero(F32())), hn::And(fits(smallest), fits(high)));
      bad = hn::Or(bad, hn::AndNot(ok, active));
    }
  };

  // Sums of w l, w l^2 and w l x for the codes l of a candidate.
  struct Sums {
    Vec l, l2, xl;
  };
  // A candidate's scale and minimum, which are the best ones for its codes.
  struct Fit {
    Vec scale, min;
    Mask valid;
  };

  HWY_INLINE Vec X(std::size_t k, std::size_t i) const {
    return hn::Load(F32(), x_ + (k * kSize + i) * kLanes);
  }
  HWY_INLINE Vec W(std::size_t k, std::size_t i) const {
    return hn::Load(F32(), w_ + (k * kSize + i) * kLanes);
  }

  HWY_INLINE void Start() {
    for (std::size_t k = 0; k < kWide; ++k) SetRange(k, groups_[k]);
    Sums sums[kWide];
    Fit fits[kWide];
    Vec errors[kWide];
    for (std::size_t k = 0; k < kWide; ++k) {
      groups_[k].SetCandidate(levels_);
      fits[k].scale = hn::Div(SetAll(1), groups_[k].inverse);
      fits[k].min = groups_[k].low;
    }
    Assign<false>(sums);
    SumErrors(fits, errors);
    for (std::size_t k = 0; k < kWide; ++k) {
      Group& group = groups_[k];
      group.scale = fits[k].scale;
      group.error = errors[k];
      group.best_inverse = group.inverse;
      group.best_low = group.low;
    }
  }

  HWY_INLINE void SetRange(std::size_t k, Group& group) const {
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
    group.smallest = low;
    group.high = high;
    group.sum_w = sum_w;
    group.sum_x = sum_x;
    group.low = hn::IfThenElse(hn::Gt(low, hn::Zero(F32())), hn::Zero(F32()), low);
    group.active = hn::Not(hn::Le(high, group.low));
    group.bad = NoLanes();
  }

  // Codes of the candidates and their sums. kExceeds: some may be rounded beyond the levels.
  template <bool kExceeds>
  HWY_INLINE void Assign(Sums* result) {
    const Vec zero = hn::Zero(F32());
    const Vec levels = levels_;
    const float* HWY_RESTRICT x_at = x_;
    const float* HWY_RESTRICT w_at = w_;
    Vec low[kWide], inverse[kWide];
    Sums sums[kWide];
    for (std::size_t k = 0; k < kWide; ++k) {
      low[k] = groups_[k].low;
      inverse[k] = groups_[k].inverse;
      sums[k] = {zero, zero, zero};
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
        sums[k].l = hn::Add(sums[k].l, wl);
        sums[k].l2 = hn::Add(sums[k].l2, hn::Mul(wl, l));
        sums[k].xl = hn::Add(sums[k].xl, hn::Mul(wl, x));
      }
    }
    for (std::size_t k = 0; k < kWide; ++k) result[k] = sums[k];
  }

  // Weighted errors of the codes with the given scales and minima.
  HWY_INLINE void SumErrors(const Fit* fits, Vec* errors) const {
    Vec sum[kWide];
    for (std::size_t k = 0; k < kWide; ++k) sum[k] = hn::Zero(F32());
    for (std::size_t i = 0; i < kSize; ++i) {
      for (std::size_t k = 0; k < kWide; ++k) {
        const Vec l = codes_.Get(k * kSize + i);
        const Vec e = hn::Sub(hn::Add(hn::Mul(fits[k].scale, l), fits[k].min), X(k, i));
        const Vec cost = kMeasure == quant::ErrorMeasure::kAbsolute ? hn::Abs(e) : hn::Mul(e, e);
        sum[k] = hn::Add(sum[k], hn::Mul(W(k, i), cost));
      }
    }
    for (std::size_t k = 0; k < kWide; ++k) errors[k] = sum[k];
  }

  static HWY_INLINE Fit FitSums(const Group& group, const Sums& sums) {
    const Vec zero = hn::Zero(F32());
    const auto difference = [](Vec a, Vec b, Vec c, Vec d) {
      return hn::Sub(hn::Mul(a, b), hn::Mul(c, d));
    };
    const Vec determinant = difference(group.sum_w, sums.l2, sums.l, sums.l);
    Vec scale = hn::Div(difference(group.sum_w, sums.xl, group.sum_x, sums.l), determinant);
    Vec min = hn::Div(difference(sums.l2, group.sum_x, sums.l, sums.xl), determinant);
    const Mask positive = hn::Gt(min, zero);
    if (!hn::AllFalse(F32(), positive)) {
      min = hn::IfThenElse(positive, zero, min);
      scale = hn::IfThenElse(positive, hn::Div(sums.xl, sums.l2), scale);
    }
    return {scale, min, hn::And(group.active, hn::Gt(determinant, zero))};
  }

  template <bool kExceeds>
  HWY_INLINE void Try(Vec numerator) {
    Sums sums[kWide];
    Fit fits[kWide];
    Vec errors[kWide];
    for (std::size_t k = 0; k < kWide; ++k) groups_[k].SetCandidate(numerator);
    Assign<kExceeds>(sums);
    for (std::size_t k = 0; k < kWide; ++k) fits[k] = FitSums(groups_[k], sums[k]);
    SumErrors(fits, errors);
    for (std::size_t k = 0; k < kWide; ++k) {
      Group& group = groups_[k];
      const Mask better = hn::And(fits[k].valid, hn::Lt(errors[k], group.error));
      group.error = hn::IfThenElse(better, errors[k], group.error);
      group.scale = hn::IfThenElse(better, fits[k].scale, group.scale);
      group.best_inverse = hn::IfThenElse(better, group.inverse, group.best_inverse);
      group.best_low = hn::IfThenElse(better, group.low, group.best_low);
      group.low = hn::IfThenElse(better, fits[k].min, group.low);
    }
  }

  const float* x_;
  const float* w_;
  Vec levels_;
  Group groups_[kWide];
  Lanes<kWide * kSize> codes_;  // of the candidates, as floats
};

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
