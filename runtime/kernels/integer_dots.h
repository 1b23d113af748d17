// Products of quantized matrices with one row of floats in integer arithmetic.
//
// For formats whose blocks are codes of a byte or less and one scale. The input becomes integers of
// 21 bits, relative to the largest of each 128 elements: that loses less than sums of floats do.
// Codes and integers are multiplied and added up exactly, 64 at a time, by the instructions that
// x86-64 has for that (AVX-512 with VNNI and VBMI).
#pragma once

#include "core/buffer.h"
#include "runtime/kernels/matrix.h"

namespace sluice::runtime {

// out[r] = sum over k of m[r, k] * input[k]. Returns false, having done nothing, for other types
// and shapes and on other CPUs. The input's integers go to `scratch`.
bool IntegerDots(const Matrix& m, const float* input, float* out, Buffer& scratch);

}  // namespace sluice::runtime
