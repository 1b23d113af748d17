// What IQ1_S and IQ1_M share: groups of 8 elements that are points of a codebook of three levels.
//
//   x = scale * (level - 1 +- 1/8)
//
// For a given scale the best levels are monotonic in x: the sorted elements fall into three runs,
// and the search tries every pair of borders.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "formats/quant/packing.h"

namespace sluice::quant {

inline constexpr std::size_t kIq1Group = 8;
inline constexpr std::size_t kIq1Groups = kSuperBlock / kIq1Group;
inline constexpr float kIq1Delta = 0.125F;
inline constexpr int kIq1LargestScaleCode = 7;

// The values of the three levels, shifted up or down.
using LevelValues = std::array<float, 3>;
inline constexpr LevelValues kLevelsUp{-1 + kIq1Delta, kIq1Delta, 1 + kIq1Delta};
inline constexpr LevelValues kLevelsDown{-1 - kIq1Delta, -kIq1Delta, 1 - kIq1Delta};

// What a sub-block of up to four groups becomes; all zero (point 0 is level 0 everywhere) where
// nothing was found. Bit g of `down` is set where the values of group g are shifted down.
struct Iq1Choice {
  float scale = 0;
  std::array<std::uint8_t, 32> levels{};
  std::array<std::uint32_t, 4> points{};  // by group
  std::uint32_t down = 0;

  [[nodiscard]] bool IsDown(std::size_t group) const { return (down >> group & 1) != 0; }
  [[nodiscard]] const LevelValues& ValuesOf(std::size_t group) const {
    return IsDown(group) ? kLevelsDown : kLevelsUp;
  }
};

// A candidate: sorted elements before `low` have level 0, those before `high` level 1, the
// others 2.
struct Iq1Split {
  float scale = 0;  // may be negative
  std::size_t low = 0;
  std::size_t high = 0;
  std::uint32_t down = 0;
};

struct Iq1Fit {
  float a = 0;  // sum w v x
  float b = 0;  // sum w v v
};

// Keeps the split whose fit a^2 / b is the best, the first of equals.
class Iq1BestSplit {
 public:
  void Try(const Iq1Fit& fit, std::size_t low, std::size_t high, std::uint32_t down) {
    if (!(fit.b > 0 && fit.a * fit.a > best_ * fit.b)) return;
    split_ = {fit.a / fit.b, low, high, down};
    best_ = split_.scale * fit.a;
    found_ = true;
  }
  // False if no candidate had a fit: all weights are 0.
  [[nodiscard]] bool found() const { return found_; }
  [[nodiscard]] const Iq1Split& split() const { return split_; }

 private:
  Iq1Split split_;
  float best_ = std::numeric_limits<float>::lowest();
  bool found_ = false;
};

// Indices by ascending value; equal values stay in order.
template <std::size_t kSize>
std::array<std::size_t, kSize> SortedOrder(std::span<const float> x) {
  std::array<std::size_t, kSize> order;
  for (std::size_t i = 0; i < kSize; ++i) {
    std::size_t at = i;
    for (; at > 0 && x[order[at - 1]] > x[i]; --at) order[at] = order[at - 1];
    order[at] = i;
  }
  return order;
}

// Sums of w x and of w over the first elements in sorted order.
template <std::size_t kSize>
struct PrefixSums {
  std::array<float, kSize + 1> x{};
  std::array<float, kSize + 1> w{};
};

// Counts only those elements whose index is begin .. end - 1.
template <std::size_t kSize>
PrefixSums<kSize> SumInOrder(const std::array<std::size_t, kSize>& order, std::span<const float> x,
                             std::span<const float> weights, std::size_t begin, std::size_t end) {
  PrefixSums<kSize> sums;
  for (std::size_t j = 0; j < kSize; ++j) {
    const std::size_t i = order[j];
    const bool counts = i >= begin && i < end;
    sums.x[j + 1] = counts ? sums.x[j] + weights[i] * x[i] : sums.x[j];
    sums.w[j + 1] = counts ? sums.w[j] + weights[i] : sums.w[j];
  }
  return sums;
}

// The choice that a split makes: scale made positive, levels that are no point replaced by the
// nearest point's, and then the scale fitted again.
Iq1Choice ChoosePoints(const Iq1Split& split, std::span<const std::size_t> order,
                       std::span<const float> x, std::span<const float> weights);

// One group of 8.
void DecodeIq1Point(std::uint32_t point, float scale, bool down, float* out);

}  // namespace sluice::quant
