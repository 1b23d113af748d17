#include "runtime/parallel/products.h"

#include <algorithm>
#include <vector>

#include "core/checked.h"
#include "runtime/kernels/multiply.h"

namespace sluice::runtime {

std::uint64_t RowsOfTask(const Matrix& weights) {
  constexpr std::uint64_t kTaskBytes = std::uint64_t{256} << 10;
  constexpr std::uint64_t kTileRows = 4;  // see kernels/multiply.cpp
  return RoundUp(std::max<std::uint64_t>(1, kTaskBytes / weights.row_bytes), kTileRows);
}

void MultiplyAll(Workers& workers, std::span<const Product> products) {
  struct Task {
    const Product* product;
    RowRange rows;
  };
  std::vector<Task> tasks;
  for (const Product& product : products) {
    if (product.inputs.count == 0) continue;
    workers.Show(product.weights, product.inputs);
    const std::uint64_t step = RowsOfTask(product.weights);
    for (std::uint64_t begin = 0; begin < product.weights.rows; begin += step) {
      tasks.push_back({&product, {begin, std::min(begin + step, product.weights.rows)}});
    }
  }
  workers.For(tasks.size(), [&](std::size_t i, Scratch& scratch) {
    const auto& [product, rows] = tasks[i];
    Multiply(product->weights, rows, product->inputs, product->out + rows.begin,
             product->out_stride, scratch.panel);
  });
}

}  // namespace sluice::runtime
