// What the searches of IQ1_S and IQ1_M share, for a sub-block in each lane.
#if defined(SLUICE_STAGES_KERNELS_QUANT_IQ1_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_IQ1_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_IQ1_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_IQ1_INL_H_
#endif

#include <array>
#include <limits>

#include "formats/quant/iq1_search.h"
#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// Sub-blocks of kSize elements, one in each lane, in ascending order of their values.
template <std::size_t kSize>
struct SortedLanes {
  Lanes<kSize> x;
  Lanes<kSize> w;
  // By lane: the element at each place; equal values stay in order.
  std::array<std::array<std::size_t, kSize>, kLanes> order;

  SortedLanes(const Lanes<kSize>& values, const Lanes<kSize>& weights) {
    const Lanes<kSize> places = PlacesOf(values);
    for (std::size_t i = 0; i < kSize; ++i) {
      for (std::size_t j = 0; j < kLanes; ++j) {
        const auto place = static_cast<std::size_t>(places.at[i * kLanes + j]);
        order[j][place] = i;
        x.at[place * kLanes + j] = values.at[i * kLanes + j];
        w.at[place * kLanes + j] = weights.at[i * kLanes + j];
      }
    }
  }

 private:
  // Compares all pairs.
  static Lanes<kSize> PlacesOf(const Lanes<kSize>& values) {
    Lanes<kSize> places;
    for (std::size_t i = 0; i < kSize; ++i) {
      const Vec x = values.Get(i);
      Vec place = SetAll(static_cast<float>(i));
      for (std::size_t j = 0; j < i; ++j) {
        const Vec before = hn::IfThenElseZero(hn::Lt(x, values.Get(j)), SetAll(1));
        place = hn::Sub(place, before);
        places.Set(j, hn::Add(places.Get(j), before));
      }
      places.Set(i, place);
    }
    return places;
  }
};

// Keeps for each lane the candidate whose fit a^2 / b is the best, the first of equals.
class BestCandidate {
 public:
  HWY_INLINE BestCandidate()
      : best_(SetAll(std::numeric_limits<float>::lowest())),
        scale_(hn::Zero(F32())),
        number_(SetAll(-1)) {}

  HWY_INLINE void Try(Vec a, Vec b, std::size_t number) {
    const Mask better = hn::And(hn::Gt(b, hn::Zero(F32())), hn::Gt(hn::Mul(a, a), hn::Mul(best_, b)));
    if (HWY_LIKELY(hn::AllFalse(F32(), better))) return;
    scale_ = hn::IfThenElse(better, hn::Div(a, b), scale_);
    best_ = hn::IfThenElse(better, hn::Mul(scale_, a), best_);
    number_ = hn::IfThenElse(better, SetAll(static_cast<float>(number)), number_);
  }

  [[nodiscard]] HWY_INLINE Vec scale() const { return scale_; }
  // -1 where there was none with a fit.
  [[nodiscard]] HWY_INLINE Vec number() const { return number_; }

 private:
  Vec best_;
  Vec scale_;
  Vec number_;
};

// Numbers candidates: borders between the levels, and which groups are shifted down.
template <std::size_t kSize, std::size_t kShifts>
struct SplitNumber {
  static constexpr std::size_t Of(std::size_t low, std::size_t high, std::size_t shift) {
    return (low * (kSize + 1) + high) * kShifts + shift;
  }
  static quant::Iq1Split Split(std::size_t number, float scale,
                               const std::array<std::uint32_t, kShifts>& shifts) {
    const std::size_t borders = number / kShifts;
    return {scale, borders / (kSize + 1), borders % (kSize + 1), shifts[number % kShifts]};
  }
};

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
