// Products of an encoded matrix with rows of floats: the arithmetic behind every layer.
//
// Codes are decoded exactly and inputs stay F32 (or integers as good, see integer_dots.h), so
// results are those of the decoded matrix up to rounding. That depends on the CPU, the encoding and
// whether there is one input or more: not on how rows are split between calls.
#pragma once

#include <cstddef>

#include "core/buffer.h"
#include "runtime/kernels/matrix.h"

namespace sluice::runtime {

// Whether a matrix of this type can be used: any that has a codec.
[[nodiscard]] bool CanMultiply(gguf::TensorType type);
[[nodiscard]] bool CanMultiply(const Matrix& matrix);

// out[i * out_stride + r - rows.begin] = sum over k of weights[r, k] * inputs[i][k], for the rows r
// in `rows`. `panel` holds decoded rows or inputs meanwhile; each thread needs its own.
// REQUIRES: CanMultiply(weights).
void Multiply(const Matrix& weights, RowRange rows, const FloatRows& inputs, float* out,
              std::size_t out_stride, Buffer& panel);

// The rows of a matrix as floats, one after the other. REQUIRES: CanMultiply(weights).
void DecodeRows(const Matrix& weights, RowRange rows, float* out);

}  // namespace sluice::runtime
