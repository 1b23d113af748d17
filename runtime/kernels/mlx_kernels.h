// Products and values of matrices in the MLX layout. runtime/kernels/multiply.h calls them.
#pragma once

#include "core/buffer.h"
#include "runtime/kernels/matrix.h"

namespace sluice::runtime {

// out[r] = sum over k of m[r, k] * input[k]. The order of additions depends on the SIMD target and
// the encoding only. `sums` is memory for the call. REQUIRES: m.mlx.
void DotsMlx(const Matrix& m, const float* input, float* out, Buffer& sums);

// All values, row after row, as mlx::Decode gives them but for the rounding of a fused
// multiply-add. REQUIRES: m.mlx.
void DecodeMlx(const Matrix& m, float* out);

}  // namespace sluice::runtime
