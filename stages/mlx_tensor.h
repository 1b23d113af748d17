// A matrix, or a stack of them, whose shards hold it quantized in the MLX layout.
#pragma once

#include <cstdint>
#include <optional>

#include "formats/mlx/encoding.h"

namespace sluice {

struct MlxTensor {
  struct Place {
    std::uint32_t shard = 0;   // index into the SourceSet
    std::uint64_t offset = 0;  // of the first byte, from the shard's start
  };

  mlx::Encoding encoding;
  std::uint64_t rows = 0;     // of all matrices of a stack together
  std::uint64_t columns = 0;  // values of a row: whole groups
  Place codes;
  Place scales;
  std::optional<Place> biases;
  // F32 numbers that the values are multiplied with, each for so many rows.
  std::optional<Place> factors;
  std::uint64_t rows_of_factor = 1;

  [[nodiscard]] std::uint64_t groups_of_row() const { return columns / encoding.group; }
  [[nodiscard]] std::uint64_t row_code_bytes() const {
    return groups_of_row() * encoding.group_code_bytes();
  }
  [[nodiscard]] std::uint64_t row_scale_bytes() const {
    return groups_of_row() * DtypeBytes(encoding.scale_dtype);
  }
};

}  // namespace sluice
