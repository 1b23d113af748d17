#include "formats/quant/grid_search.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "formats/quant/arithmetic.h"

namespace sluice::quant {
namespace {

float PointValue(int level) { return static_cast<float>(2 * level + 1); }

// The best scale for given levels is a / b.
struct Fit {
  float a = 0;  // sum w m p
  float b = 0;  // sum w p p
};

Fit FitLevels(const SubBlock& sub, std::span<const std::uint8_t> levels) {
  Fit fit;
  for (std::size_t i = 0; i < sub.size; ++i) {
    const float p = PointValue(levels[i]);
    fit.a += sub.weights[i] * sub.magnitudes[i] * p;
    fit.b += sub.weights[i] * p * p;
  }
  return fit;
}

std::size_t NearestPoint(const Codebook& book, std::span<const std::uint16_t> neighbours,
                         std::span<const float> magnitudes, std::span<const float> roots,
                         float scale) {
  std::size_t best = 0;
  float least = 0;
  for (std::size_t n = 0; n < neighbours.size(); ++n) {
    const auto levels = book.LevelsAt(neighbours[n]);
    float error = 0;
    for (std::size_t i = 0; i < magnitudes.size(); ++i) {
      const float e = scale * PointValue(levels[i]) - magnitudes[i];
      error += roots[i] * e * e;
    }
    if (n == 0 || error < least) {
      least = error;
      best = neighbours[n];
    }
  }
  return best;
}

// Levels of a group at `inverse`; if they are no point of the book, those of the neighbour with the
// smallest error at `scale`. Returns whether they were a point.
bool AssignGroup(const Codebook& book, std::size_t group, float inverse, float scale,
                 SubBlock& sub) {
  const auto size = static_cast<std::size_t>(book.dimensions());
  const int top = size == 8 ? 2 : 7;
  const auto magnitudes = std::span(sub.magnitudes).subspan(group * size, size);
  const auto levels = std::span(sub.levels).subspan(group * size, size);
  for (std::size_t i = 0; i < size; ++i) {
    const int level = NearestInt(0.5F * (inverse * magnitudes[i] - 1.0F));
    levels[i] = static_cast<std::uint8_t>(std::clamp(level, 0, top));
  }
  const std::uint32_t code = book.CodeOf(levels);
  if (book.IndexOf(code) >= 0) return true;
  const std::size_t point = NearestPoint(book, book.Neighbours(code), magnitudes,
                                         std::span(sub.roots).subspan(group * size, size), scale);
  const auto nearest = book.LevelsAt(point);
  std::copy(nearest.begin(), nearest.end(), levels.begin());
  return false;
}

// The best scale for the levels as they are, if there is one.
void Refit(SubBlock& sub) {
  const Fit fit = FitLevels(sub, sub.levels);
  if (fit.b > 0) sub.scale = fit.a / fit.b;
}

}  // namespace

void SplitSigns(std::span<const float> x, SignRule rule, SubBlock& sub) {
  sub.size = x.size();
  sub.levels.fill(0);
  sub.scale = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sub.roots[i] = std::sqrt(sub.weights[i]);
  for (std::size_t first = 0; first < x.size(); first += kSignGroup) {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < kSignGroup; ++i) {
      const float value = x[first + i];
      sub.magnitudes[first + i] = value >= 0 ? value : -value;
      if (!(value >= 0)) bits |= 1U << i;
    }
    if (rule == SignRule::kEven && std::popcount(bits) % 2 != 0) {
      // The element that matters least changes its sign.
      std::size_t least = 0;
      float least_weight = 0;
      for (std::size_t i = 0; i < kSignGroup; ++i) {
        const float weight = sub.weights[first + i] * x[first + i] * x[first + i];
        if (i == 0 || weight < least_weight) {
          least_weight = weight;
          least = i;
        }
      }
      sub.magnitudes[first + least] = -sub.magnitudes[first + least];
      bits ^= 1U << least;
    }
    sub.signs[first / kSignGroup] = static_cast<std::uint8_t>(bits);
  }
}

float LargestOf(const SubBlock& sub) {
  float largest = sub.magnitudes[0];
  for (std::size_t i = 1; i < sub.size; ++i) {
    largest = largest > sub.magnitudes[i] ? largest : sub.magnitudes[i];
  }
  return largest;
}

void SearchGrid(const Codebook& book, const GridSearch& search, float largest, float start,
                SignRule rule, SubBlock& sub) {
  const std::size_t groups = sub.size / static_cast<std::size_t>(book.dimensions());
  std::array<bool, kMaxGridGroups> on_book;
  on_book.fill(search.reassign == Reassign::kOffBook);
  auto kept = sub.levels;
  auto kept_on_book = on_book;
  float best = 0;
  sub.scale = start;
  for (int t = -search.tries; t <= search.tries; ++t) {
    const float inverse = (search.first + static_cast<float>(t) * search.step) / largest;
    const float scale = 1.0F / inverse;
    for (std::size_t g = 0; g < groups; ++g) {
      on_book[g] = AssignGroup(book, g, inverse, scale, sub);
    }
    const Fit fit = FitLevels(sub, sub.levels);
    if (fit.b > 0 && fit.a * fit.a > best * fit.b) {
      sub.scale = fit.a / fit.b;
      best = sub.scale * fit.a;
      kept = sub.levels;
      kept_on_book = on_book;
    }
  }
  sub.levels = kept;
  const auto on = std::span(kept_on_book).first(groups);
  const bool any_off = std::find(on.begin(), on.end(), false) != on.end();
  if ((any_off || search.reassign == Reassign::kAll) && sub.scale > 0) {
    const float inverse = 1.0F / sub.scale;
    for (std::size_t g = 0; g < groups; ++g) {
      if (search.reassign == Reassign::kOffBook && on[g]) continue;
      AssignGroup(book, g, inverse, sub.scale, sub);
    }
    Refit(sub);
  }
  if (sub.scale < 0) {
    sub.scale = -sub.scale;
    const std::uint32_t mask = rule == SignRule::kFull ? 0xFF : 0x7F;
    for (std::uint8_t& signs : sub.signs) signs = static_cast<std::uint8_t>(~signs & mask);
  }
}

std::uint32_t PointOf(const Codebook& book, const SubBlock& sub, std::size_t group) {
  const auto size = static_cast<std::size_t>(book.dimensions());
  const auto levels = std::span(sub.levels).subspan(group * size, size);
  return static_cast<std::uint32_t>(book.IndexOf(book.CodeOf(levels)));
}

std::uint32_t WithParity(std::uint32_t signs) {
  return signs | static_cast<std::uint32_t>(std::popcount(signs) % 2) << 7;
}

void DecodePoint(const Codebook& book, std::uint32_t point, std::span<const float> values,
                 float scale, std::uint32_t signs, float* out) {
  const auto levels = book.LevelsAt(point);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const float value = scale * values[levels[i]];
    out[i] = (signs >> i & 1) != 0 ? -value : value;
  }
}

}  // namespace sluice::quant
