#include "formats/quant/iq1_search.h"

#include <algorithm>

#include "formats/quant/codebook.h"

namespace sluice::quant {
namespace {

// The point of the neighbours of `code` with the smallest error.
std::size_t NearestPoint(std::uint32_t code, std::span<const float> x,
                         std::span<const float> weights, const LevelValues& values, float scale) {
  const auto neighbours = Iq1Book().Neighbours(code);
  std::size_t best = neighbours[0];
  float least = std::numeric_limits<float>::max();
  for (const std::uint16_t point : neighbours) {
    const auto levels = Iq1Book().LevelsAt(point);
    float error = 0;
    for (std::size_t i = 0; i < kIq1Group; ++i) {
      const float e = scale * values[levels[i]] - x[i];
      error += weights[i] * e * e;
    }
    if (error < least) {
      least = error;
      best = point;
    }
  }
  return best;
}

// Finds the point of every group, replaces levels that are none, and then fits the scale again.
void SnapToBook(std::span<const float> x, std::span<const float> weights, Iq1Choice& choice) {
  bool changed = false;
  for (std::size_t g = 0; g < x.size() / kIq1Group; ++g) {
    const auto levels = std::span(choice.levels).subspan(g * kIq1Group, kIq1Group);
    const std::uint32_t code = Iq1Book().CodeOf(levels);
    if (const int point = Iq1Book().IndexOf(code); point >= 0) {
      choice.points[g] = static_cast<std::uint32_t>(point);
      continue;
    }
    const std::size_t point =
        NearestPoint(code, x.subspan(g * kIq1Group, kIq1Group),
                     weights.subspan(g * kIq1Group, kIq1Group), choice.ValuesOf(g), choice.scale);
    const auto nearest = Iq1Book().LevelsAt(point);
    std::copy(nearest.begin(), nearest.end(), levels.begin());
    choice.points[g] = static_cast<std::uint32_t>(point);
    changed = true;
  }
  if (!changed) return;
  Iq1Fit fit;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float v = choice.ValuesOf(i / kIq1Group)[choice.levels[i]];
    fit.a += weights[i] * v * x[i];
    fit.b += weights[i] * v * v;
  }
  if (fit.a > 0 && fit.b > 0) choice.scale = fit.a / fit.b;
}

}  // namespace

Iq1Choice ChoosePoints(const Iq1Split& split, std::span<const std::size_t> order,
                       std::span<const float> x, std::span<const float> weights) {
  Iq1Choice choice;
  const bool negative = split.scale < 0;
  choice.scale = negative ? -split.scale : split.scale;
  for (std::size_t j = 0; j < order.size(); ++j) {
    const int level = j < split.low ? 0 : j < split.high ? 1 : 2;
    choice.levels[order[j]] = static_cast<std::uint8_t>(negative ? 2 - level : level);
  }
  choice.down = negative ? ~split.down : split.down;
  SnapToBook(x, weights, choice);
  return choice;
}

void DecodeIq1Point(std::uint32_t point, float scale, bool down, float* out) {
  const auto levels = Iq1Book().LevelsAt(point);
  for (std::size_t i = 0; i < kIq1Group; ++i) {
    out[i] = scale * (static_cast<float>(levels[i] - 1) + (down ? -kIq1Delta : kIq1Delta));
  }
}

}  // namespace sluice::quant
