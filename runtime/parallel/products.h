// Products of matrices with rows of floats on all threads.
#pragma once

#include <cstddef>
#include <span>

#include "runtime/kernels/matrix.h"
#include "runtime/parallel/workers.h"

namespace sluice::runtime {

// out[i * out_stride + r] = sum over k of weights[r, k] * inputs[i][k].
struct Product {
  Matrix weights;
  FloatRows inputs;
  float* out = nullptr;
  std::size_t out_stride = 0;
};

// Rows of a matrix that make a task worth its scheduling: at least a few, and enough to stream from
// memory at full speed.
[[nodiscard]] std::uint64_t RowsOfTask(const Matrix& weights);

// Computes all products at the same time, and shows them to an observer. The result does not depend
// on the number of threads.
void MultiplyAll(Workers& workers, std::span<const Product> products);

}  // namespace sluice::runtime
