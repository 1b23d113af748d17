// What the searches of IQ1_S and IQ1_M share, for a sub-block in each lane.
#if defined(SLUICE_STAGES_KERNELS_QUANT_IQ1_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_IQ1_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_IQ1_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_IQ1_INL_H_
#endif

#include <array>
#include <limits>
#include <span>

#include "formats/quant/codebook.h"
#include "formats/quant/iq1_search.h"
#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/neighbours.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// Sub-blocks of kSize elements, one in each lane, in ascending order of their values.
template <std::size_t kSize>
struct SortedLanes {
  Lanes<kSize> x;
  Lanes<kSize> w;
  // By lane: the element at each place; equal values stay in order.
  std::array<std::array<std::size_t, kSize>, kLanes> order{};

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
    const Mask better =
        hn::And(hn::Gt(b, hn::Zero(F32())), hn::Gt(hn::Mul(a, a), hn::Mul(best_, b)));
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

inline constexpr std::size_t kIq1Levels = 4;  // that a code has bits for; the last does not occur

inline std::uint32_t Iq1Level(std::uint32_t code, std::size_t i) {
  return code >> (2 * i) & (kIq1Levels - 1);
}

// Errors of the levels of a group's elements.
using Iq1Errors = std::array<float, quant::kIq1Group * kIq1Levels>;

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
// Of the points listed the code of the one with the smallest error, the first of equals. Each lane
// has a point of its own.
HWY_INLINE std::uint32_t NearestIq1Code(std::span<const std::uint16_t> list,
                                        const Iq1Errors& errors) {
  const hn::CappedTag<float, 8> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<std::uint16_t, decltype(d)> d16;
  const auto infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  auto least = hn::Set(d, std::numeric_limits<float>::max());
  auto nearest = hn::Zero(d);
  for (std::size_t n = 0; n < list.size(); n += hn::Lanes(d)) {
    auto levels = hn::PromoteTo(di, hn::LoadU(d16, &list[n]));
    auto error = hn::Zero(d);
    for (std::size_t i = 0; i < quant::kIq1Group; ++i) {
      const auto table = hn::LoadDup128(d, &errors[i * kIq1Levels]);
      // The lookup heeds the lowest three bits, in a table that repeats after four entries.
      error = hn::Add(error, hn::TableLookupLanes(table, hn::Indices256<float>{levels.raw}));
      levels = hn::ShiftRight<2>(levels);
    }
    const auto index = hn::Iota(d, static_cast<float>(n));
    const auto listed = hn::Lt(index, hn::Set(d, static_cast<float>(list.size())));
    const auto better = hn::And(listed, hn::Lt(error, least));
    least = hn::IfThenElse(better, error, least);
    nearest = hn::IfThenElse(better, index, nearest);
  }
  const auto is_least = hn::Eq(least, hn::MinOfLanes(d, least));
  const auto first = hn::MinOfLanes(d, hn::IfThenElse(is_least, nearest, infinity));
  return list[static_cast<std::size_t>(hn::GetLane(first))];
}
#else
// Of the points listed the code of the one with the smallest error, the first of equals.
HWY_INLINE std::uint32_t NearestIq1Code(std::span<const std::uint16_t> list,
                                        const Iq1Errors& errors) {
  std::uint32_t nearest = list[0];
  float least = std::numeric_limits<float>::max();
  for (const std::uint32_t code : list) {
    float error = 0;
    for (std::size_t i = 0; i < quant::kIq1Group; ++i) {
      error += errors[i * kIq1Levels + Iq1Level(code, i)];
    }
    if (error < least) {
      least = error;
      nearest = code;
    }
  }
  return nearest;
}
#endif

// Replaces the levels of groups that are no point of the book; whether there were any.
inline bool SnapToBook(std::span<const float> x, std::span<const float> weights,
                       quant::Iq1Choice& choice) {
  constexpr std::size_t kGroup = quant::kIq1Group;
  static const NeighbourCodes kNeighbours(quant::Iq1Book());
  bool changed = false;
  for (std::size_t g = 0; g < x.size() / kGroup; ++g) {
    const auto levels = std::span(choice.levels).subspan(g * kGroup, kGroup);
    std::uint32_t code = kNeighbours.book().CodeOf(levels);
    if (const auto list = kNeighbours.Of(code); !list.empty()) {
      alignas(32) Iq1Errors errors{};
      for (std::size_t i = 0; i < kGroup; ++i) {
        const std::size_t at = g * kGroup + i;
        for (std::size_t level = 0; level < choice.ValuesOf(g).size(); ++level) {
          const float e = choice.scale * choice.ValuesOf(g)[level] - x[at];
          errors[i * kIq1Levels + level] = weights[at] * e * e;
        }
      }
      code = NearestIq1Code(list, errors);
      for (std::size_t i = 0; i < kGroup; ++i) {
        levels[i] = static_cast<std::uint8_t>(Iq1Level(code, i));
      }
      changed = true;
    }
    choice.points[g] = static_cast<std::uint32_t>(kNeighbours.book().IndexOf(code));
  }
  return changed;
}

// quant::ChoosePoints, with the errors of a group's levels computed once for all its neighbours.
inline quant::Iq1Choice ChooseIq1Points(const quant::Iq1Split& split,
                                        std::span<const std::size_t> order,
                                        std::span<const float> x, std::span<const float> weights) {
  quant::Iq1Choice choice;
  const bool negative = split.scale < 0;
  choice.scale = negative ? -split.scale : split.scale;
  for (std::size_t j = 0; j < order.size(); ++j) {
    const int level = j < split.low ? 0 : j < split.high ? 1 : 2;
    choice.levels[order[j]] = static_cast<std::uint8_t>(negative ? 2 - level : level);
  }
  choice.down = negative ? ~split.down : split.down;
  if (!SnapToBook(x, weights, choice)) return choice;
  quant::Iq1Fit fit;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float v = choice.ValuesOf(i / quant::kIq1Group)[choice.levels[i]];
    fit.a += weights[i] * v * x[i];
    fit.b += weights[i] * v * v;
  }
  if (fit.a > 0 && fit.b > 0) choice.scale = fit.a / fit.b;
  return choice;
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
