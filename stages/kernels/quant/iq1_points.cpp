#include "stages/kernels/quant/iq1_points.h"

#include <array>
#include <limits>

#include "formats/quant/codebook.h"
#include "stages/kernels/quant/neighbours.h"

namespace sluice::kernels {
namespace {

constexpr std::size_t kGroup = quant::kIq1Group;
constexpr std::size_t kLevels = 4;  // of which one does not occur

std::uint32_t LevelOf(std::uint32_t code, std::size_t i) { return code >> (2 * i) & (kLevels - 1); }

std::uint32_t NearestCode(std::span<const std::uint16_t> list, std::span<const float> x,
                          std::span<const float> weights, const quant::LevelValues& values,
                          float scale) {
  std::array<std::array<float, kLevels>, kGroup> errors;
  for (std::size_t i = 0; i < kGroup; ++i) {
    for (std::size_t level = 0; level < values.size(); ++level) {
      const float e = scale * values[level] - x[i];
      errors[i][level] = weights[i] * e * e;
    }
  }
  std::uint32_t nearest = list[0];
  float least = std::numeric_limits<float>::max();
  for (const std::uint32_t code : list) {
    float error = 0;
    for (std::size_t i = 0; i < kGroup; ++i) error += errors[i][LevelOf(code, i)];
    if (error < least) {
      least = error;
      nearest = code;
    }
  }
  return nearest;
}

// Replaces the levels of groups that are no point of the book; whether there were any.
bool SnapToBook(std::span<const float> x, std::span<const float> weights,
                quant::Iq1Choice& choice) {
  static const NeighbourCodes kNeighbours(quant::Iq1Book());
  bool changed = false;
  for (std::size_t g = 0; g < x.size() / kGroup; ++g) {
    const auto levels = std::span(choice.levels).subspan(g * kGroup, kGroup);
    std::uint32_t code = kNeighbours.book().CodeOf(levels);
    if (const auto list = kNeighbours.Of(code); !list.empty()) {
      code = NearestCode(list, x.subspan(g * kGroup, kGroup), weights.subspan(g * kGroup, kGroup),
                         choice.ValuesOf(g), choice.scale);
      for (std::size_t i = 0; i < kGroup; ++i) {
        levels[i] = static_cast<std::uint8_t>(LevelOf(code, i));
      }
      changed = true;
    }
    choice.points[g] = static_cast<std::uint32_t>(kNeighbours.book().IndexOf(code));
  }
  return changed;
}

}  // namespace

quant::Iq1Choice ChooseIq1Points(const quant::Iq1Split& split, std::span<const std::size_t> order,
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
    const float v = choice.ValuesOf(i / kGroup)[choice.levels[i]];
    fit.a += weights[i] * v * x[i];
    fit.b += weights[i] * v * v;
  }
  if (fit.a > 0 && fit.b > 0) choice.scale = fit.a / fit.b;
  return choice;
}

}  // namespace sluice::kernels
