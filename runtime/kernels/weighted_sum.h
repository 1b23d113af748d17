// Weighted sums of rows: what attention makes of its values.
#pragma once

#include <cstddef>

#include "runtime/kernels/matrix.h"

namespace sluice::runtime {

// out[i * out_stride + k] += sum over r of weights[i][r] * rows[r, k], for k below rows.columns.
// REQUIRES: rows.type is F32, F16 or BF16; weights has rows.rows floats a row.
void AddWeightedRows(const FloatRows& weights, const Matrix& rows, float* out,
                     std::size_t out_stride);

}  // namespace sluice::runtime
