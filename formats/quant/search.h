// The scale searches that several block formats share: scalar references in the exact order of
// additions of ggml-quants.c (gcc, x86-64: IEEE single precision, one rounding an operation).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::quant {

// Scale for codes l in -half .. half - 1 with x ~ scale * l, found by trying 19 inverse scales and
// keeping the one with the largest sum(w x l)^2 / sum(w l^2). `codes` get l + half; a group whose
// largest magnitude is below 1e-15 gets codes 0 and scale 0. Empty `weights` mean x^2.
float SearchSymmetric(int half, std::span<const float> x, std::span<const float> weights,
                      std::span<std::uint8_t> codes);

// The same for Q3_K without importance: one start and up to five rounds of single-code
// improvements, weights x^2, codes 0 .. 7.
float SearchSymmetric3(std::span<const float> x, std::span<std::uint8_t> codes);

enum class ErrorMeasure : std::uint8_t { kAbsolute, kSquared };

// How an affine search walks: inverse scales (start + step * t + levels) / (max - min), t = 0 ..
// tries.
struct AffineSearch {
  int levels;  // the largest code
  float start;
  float step;
  int tries;
  ErrorMeasure measure;
};

// Scale and minimum with x ~ scale * code - neg_min, codes 0 .. levels. An accepted candidate's
// minimum replaces the lower end of the range for the candidates after it.
struct Affine {
  float scale;
  float neg_min;  // never negative, but possibly -0
};
Affine SearchAffine(const AffineSearch& search, std::span<const float> x,
                    std::span<const float> weights, std::span<std::uint8_t> codes);

// Scale for non-negative values (the scales and minima of sub-blocks), codes 0 .. levels. Negative
// inputs wrap to large codes for a moment, as in the reference.
float SearchPositive(int levels, std::span<const float> x, std::span<const float> weights,
                     std::span<std::uint8_t> codes);

// Index of the nearest entry of a sorted table; ties go up, NaN gives the last.
std::size_t NearestInTable(std::span<const std::int8_t> table, float value);

// The signed value of largest magnitude, the first one of several; 0 for none but zeros.
float LargestMagnitude(std::span<const float> x);

// max(|x|), starting from 0.
float MaxMagnitude(std::span<const float> x);

// x0*x0 + x1*x1 + ..., in order.
float SumOfSquares(std::span<const float> x);

// The importance of `count` elements from `at` on: none if there is none.
inline std::span<const float> PartOf(std::span<const float> importance, std::size_t at,
                                     std::size_t count) {
  return importance.empty() ? importance : importance.subspan(at, count);
}

// w_i = importance_i * sqrt(sigma2 + x_i^2): the weights of most types with an importance matrix.
void ImportanceWeights(std::span<const float> x, std::span<const float> importance, float sigma2,
                       std::span<float> weights);

// The same, or x_i^2 where `importance` is empty.
void WeightsOrSquares(std::span<const float> x, std::span<const float> importance, float sigma2,
                      std::span<float> weights);

// The code c in 0 .. largest whose 2c + 1 is nearest to inverse * scale: how the types with
// codebooks store the scales of sub-blocks.
std::uint32_t OddStepCode(float inverse, float scale, int largest);

}  // namespace sluice::quant
