// Elementwise steps and reductions on rows of floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::runtime {

// out = row / sqrt(mean(row^2) + epsilon) * weight. `out` may be `row`.
// REQUIRES: the spans are equally long.
void RmsNorm(std::span<const float> row, std::span<const float> weight, float epsilon, float* out);

// gate = gate / (1 + e^-gate) * up.
void SiluTimes(std::span<float> gate, const float* up);

// out += row * scale.
void AddScaled(std::span<const float> row, float scale, float* out);

// sums += row^2, element by element.
void AddSquares(std::span<const float> row, float* sums);

// The largest of the values; -infinity of none.
[[nodiscard]] float Largest(std::span<const float> row);

// row = e^(row * scale - offset); returns the sum.
float ExpAndSum(std::span<float> row, float scale, float offset);

// Whether no value is infinite or NaN.
[[nodiscard]] bool AllFinite(std::span<const float> row);

}  // namespace sluice::runtime
