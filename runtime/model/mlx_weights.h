// Matrices of tensors that lie in mapped shards in the MLX layout.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/kernels/matrix.h"
#include "stages/source_set.h"
#include "stages/tensor_expr.h"

namespace sluice::runtime {

// Owns what the matrices point to, but for the mappings.
class MlxWeights {
 public:
  explicit MlxWeights(const SourceSet& sources) : sources_(sources) {}

  // The elements [first, first + rows * columns) of a segment where they lie; nullopt when these
  // are no whole rows of its tensor. REQUIRES: segment.mlx, mapped shards.
  std::optional<Matrix> InPlace(const Segment& segment, std::uint64_t first, std::uint64_t rows,
                                std::uint64_t columns);
  // Decodes elements [first, first + out.size()) of a segment in their order.
  void Decode(const Segment& segment, std::uint64_t first, std::span<float> out);

 private:
  // Rows of a whole tensor.
  Matrix RowsOf(const MlxTensor& tensor, std::uint64_t first_row, std::uint64_t rows);

  const SourceSet& sources_;
  std::map<const MlxTensor*, std::unique_ptr<const MlxMatrix>> matrices_;
};

}  // namespace sluice::runtime
