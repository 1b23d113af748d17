#include "formats/quant/search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "formats/quant/arithmetic.h"

namespace sluice::quant {
namespace {

constexpr float kNegligible = 1e-15F;
constexpr std::size_t kMaxGroup = 32;
constexpr int kMaxSweeps = 5;
constexpr int kHalf3 = 4;  // of the 3-bit codes

// Sums of one candidate of a symmetric search.
struct Fit {
  float a = 0;  // sum w x l
  float b = 0;  // sum w l l
};

int SymmetricCode(float inverse, float x, int half) {
  return std::clamp(NearestInt(inverse * x), -half, half - 1);
}

Fit FitSymmetric(int half, float inverse, std::span<const float> x,
                 std::span<const float> weights) {
  Fit fit;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto l = static_cast<float>(SymmetricCode(inverse, x[i], half));
    const float w = weights.empty() ? x[i] * x[i] : weights[i];
    fit.a += w * x[i] * l;
    fit.b += w * l * l;
  }
  return fit;
}

void AssignSymmetric(int half, float inverse, std::span<const float> x,
                     std::span<std::uint8_t> codes) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    codes[i] = static_cast<std::uint8_t>(SymmetricCode(inverse, x[i], half) + half);
  }
}

// One round of single-code improvements for 3-bit codes with weights x^2; false if nothing changed.
bool SweepSymmetric3(std::span<const float> x, std::span<int> l, Fit& fit) {
  bool changed = false;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float w = x[i] * x[i];
    const auto code = static_cast<float>(l[i]);
    float a = fit.a - w * x[i] * code;
    if (!(a > 0)) continue;
    float b = fit.b - w * code * code;
    const int next = std::clamp(NearestInt(x[i] * b / a), -kHalf3, kHalf3 - 1);
    if (next == l[i]) continue;
    const auto next_code = static_cast<float>(next);
    a = a + w * x[i] * next_code;
    b = b + w * next_code * next_code;
    if (b > 0 && a * a * fit.b > fit.a * fit.a * b) {
      l[i] = next;
      fit = {a, b};
      changed = true;
    }
  }
  return changed;
}

// x ~ scale * code + minimum.
struct Line {
  float scale;
  float minimum;
};

void AssignAffine(int levels, float inverse, float low, std::span<const float> x,
                  std::span<std::uint8_t> codes) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    codes[i] = static_cast<std::uint8_t>(std::clamp(NearestInt(inverse * (x[i] - low)), 0, levels));
  }
}

float AffineError(ErrorMeasure measure, const Line& line, std::span<const float> x,
                  std::span<const float> weights, std::span<const std::uint8_t> codes) {
  float sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float e = line.scale * static_cast<float>(codes[i]) + line.minimum - x[i];
    sum += weights[i] * (measure == ErrorMeasure::kAbsolute ? std::abs(e) : e * e);
  }
  return sum;
}

// The least-squares line for these codes, its minimum at most 0; nothing if they do not determine
// one. `sum_w` and `sum_x` are the sums of w and w x.
std::optional<Line> FitLine(std::span<const float> x, std::span<const float> weights, float sum_w,
                            float sum_x, std::span<const std::uint8_t> codes) {
  float sum_l = 0;
  float sum_l2 = 0;
  float sum_xl = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto l = static_cast<float>(codes[i]);
    sum_l += weights[i] * l;
    sum_l2 += weights[i] * l * l;
    sum_xl += weights[i] * l * x[i];
  }
  const float determinant = sum_w * sum_l2 - sum_l * sum_l;
  if (!(determinant > 0)) return std::nullopt;
  const Line line{(sum_w * sum_xl - sum_x * sum_l) / determinant,
                  (sum_l2 * sum_x - sum_l * sum_xl) / determinant};
  if (line.minimum > 0) return Line{sum_xl / sum_l2, 0};
  return line;
}

// The inverse scale, out of nine, with the smallest error. The errors of the first are those of
// codes that are neither limited nor signed.
float BestPositiveInverse(int levels, float largest, std::span<const float> x,
                          std::span<const float> weights) {
  float best = static_cast<float>(levels) / largest;
  const float first_scale = 1 / best;
  float least = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float e = x[i] - first_scale * static_cast<float>(Low8(NearestInt(best * x[i])));
    least += weights[i] * e * e;
  }
  for (int t = -4; t <= 4; ++t) {
    if (t == 0) continue;
    const float inverse = (0.1F * static_cast<float>(t) + static_cast<float>(levels)) / largest;
    const float scale = 1 / inverse;
    float error = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const int l = std::min(levels, NearestInt(inverse * x[i]));
      const float e = x[i] - scale * static_cast<float>(l);
      error += weights[i] * e * e;
    }
    if (error < least) {
      least = error;
      best = inverse;
    }
  }
  return best;
}

// One round of single-code improvements; false if nothing changed. Codes that were negative count
// as the unsigned bytes they were stored as.
bool SweepPositive(int levels, std::span<const float> x, std::span<const float> weights,
                   std::span<std::uint8_t> codes, Fit& fit) {
  bool changed = false;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto code = static_cast<float>(codes[i]);
    float a = fit.a - weights[i] * x[i] * code;
    float b = fit.b - weights[i] * code * code;
    if (!(a > 0 && b > 0)) continue;
    const int next = std::min(levels, NearestInt(x[i] * b / a));
    if (next == codes[i]) continue;
    a = a + weights[i] * x[i] * static_cast<float>(next);
    b = b + weights[i] * static_cast<float>(next) * static_cast<float>(next);
    if (a * a * fit.b > fit.a * fit.a * b) {
      codes[i] = Low8(next);
      fit = {a, b};
      changed = true;
    }
  }
  return changed;
}

}  // namespace

float SearchSymmetric(int half, std::span<const float> x, std::span<const float> weights,
                      std::span<std::uint8_t> codes) {
  const float largest = LargestMagnitude(x);
  if (std::abs(largest) < kNegligible) {
    std::fill_n(codes.begin(), x.size(), std::uint8_t{0});
    return 0;
  }
  float inverse = static_cast<float>(-half) / largest;
  AssignSymmetric(half, inverse, x, codes);
  const Fit first = FitSymmetric(half, inverse, x, weights);
  float scale = first.b != 0 ? first.a / first.b : 0;
  float best = scale * first.a;
  for (int t = -9; t <= 9; ++t) {
    if (t == 0) continue;
    inverse = -(static_cast<float>(half) + 0.1F * static_cast<float>(t)) / largest;
    const Fit fit = FitSymmetric(half, inverse, x, weights);
    if (fit.b > 0 && fit.a * fit.a > best * fit.b) {
      AssignSymmetric(half, inverse, x, codes);
      scale = fit.a / fit.b;
      best = scale * fit.a;
    }
  }
  return scale;
}

float SearchSymmetric3(std::span<const float> x, std::span<std::uint8_t> codes) {
  const float largest = LargestMagnitude(x);
  if (std::abs(largest) < kNegligible) {
    std::fill_n(codes.begin(), x.size(), std::uint8_t{0});
    return 0;
  }
  const float inverse = static_cast<float>(-kHalf3) / largest;
  std::array<int, kMaxGroup> l{};
  Fit fit;
  for (std::size_t i = 0; i < x.size(); ++i) {
    l[i] = SymmetricCode(inverse, x[i], kHalf3);
    const float w = x[i] * x[i];
    const auto code = static_cast<float>(l[i]);
    fit.a += w * x[i] * code;
    fit.b += w * code * code;
  }
  for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
    if (!SweepSymmetric3(x, std::span(l).first(x.size()), fit)) break;
  }
  for (std::size_t i = 0; i < x.size(); ++i) codes[i] = static_cast<std::uint8_t>(l[i] + kHalf3);
  return fit.b > 0 ? fit.a / fit.b : 0;
}

Affine SearchAffine(const AffineSearch& search, std::span<const float> x,
                    std::span<const float> weights, std::span<std::uint8_t> codes) {
  float low = x[0];
  float high = x[0];
  float sum_w = weights[0];
  float sum_x = sum_w * x[0];
  for (std::size_t i = 1; i < x.size(); ++i) {
    if (x[i] < low) low = x[i];
    if (x[i] > high) high = x[i];
    sum_w += weights[i];
    sum_x += weights[i] * x[i];
  }
  if (low > 0) low = 0;
  if (high <= low) {
    std::fill_n(codes.begin(), x.size(), std::uint8_t{0});
    return {0, -low};
  }
  const auto levels = static_cast<float>(search.levels);
  float inverse = levels / (high - low);
  AssignAffine(search.levels, inverse, low, x, codes);
  Line best{1 / inverse, low};
  float least = AffineError(search.measure, best, x, weights, codes);
  std::array<std::uint8_t, kMaxGroup> trial;
  for (int t = 0; t <= search.tries; ++t) {
    inverse = (search.start + search.step * static_cast<float>(t) + levels) / (high - best.minimum);
    AssignAffine(search.levels, inverse, best.minimum, x, trial);
    const std::optional<Line> line = FitLine(x, weights, sum_w, sum_x, trial);
    if (!line) continue;
    const float error = AffineError(search.measure, *line, x, weights, trial);
    if (error < least) {
      std::copy_n(trial.begin(), x.size(), codes.begin());
      least = error;
      best = *line;
    }
  }
  return {best.scale, -best.minimum};
}

float SearchPositive(int levels, std::span<const float> x, std::span<const float> weights,
                     std::span<std::uint8_t> codes) {
  float largest = 0;
  for (const float value : x) largest = largest > value ? largest : value;
  if (largest < kNegligible) {
    std::fill_n(codes.begin(), x.size(), std::uint8_t{0});
    return 0;
  }
  const float inverse = BestPositiveInverse(levels, largest, x, weights);
  Fit fit;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const int l = std::min(levels, NearestInt(inverse * x[i]));
    codes[i] = Low8(l);
    fit.a += weights[i] * x[i] * static_cast<float>(l);
    fit.b += weights[i] * static_cast<float>(l) * static_cast<float>(l);
  }
  for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
    if (!SweepPositive(levels, x, weights, codes, fit)) break;
  }
  return fit.b > 0 ? fit.a / fit.b : 0;
}

std::size_t NearestInTable(std::span<const std::int8_t> table, float value) {
  const std::size_t last = table.size() - 1;
  if (value <= static_cast<float>(table[0])) return 0;
  if (!(value < static_cast<float>(table[last]))) return last;
  std::size_t low = 0;
  std::size_t high = last;
  while (high - low > 1) {
    const std::size_t middle = (low + high) / 2;
    (value < static_cast<float>(table[middle]) ? high : low) = middle;
  }
  const float below = value - static_cast<float>(table[high - 1]);
  const float above = static_cast<float>(table[high]) - value;
  return below < above ? high - 1 : high;
}

float LargestMagnitude(std::span<const float> x) {
  float magnitude = 0;
  float largest = 0;
  for (const float value : x) {
    if (std::abs(value) > magnitude) {
      magnitude = std::abs(value);
      largest = value;
    }
  }
  return largest;
}

float MaxMagnitude(std::span<const float> x) {
  float largest = 0;
  for (const float value : x) largest = largest > std::abs(value) ? largest : std::abs(value);
  return largest;
}

float SumOfSquares(std::span<const float> x) {
  float sum = 0;
  for (const float value : x) sum += value * value;
  return sum;
}

void ImportanceWeights(std::span<const float> x, std::span<const float> importance, float sigma2,
                       std::span<float> weights) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    weights[i] = importance[i] * std::sqrt(sigma2 + x[i] * x[i]);
  }
}

void WeightsOrSquares(std::span<const float> x, std::span<const float> importance, float sigma2,
                      std::span<float> weights) {
  if (!importance.empty()) return ImportanceWeights(x, importance, sigma2, weights);
  for (std::size_t i = 0; i < x.size(); ++i) weights[i] = x[i] * x[i];
}

std::uint32_t OddStepCode(float inverse, float scale, int largest) {
  const int code = NearestInt(0.5F * (inverse * scale - 1.0F));
  return static_cast<std::uint32_t>(std::clamp(code, 0, largest));
}

}  // namespace sluice::quant
