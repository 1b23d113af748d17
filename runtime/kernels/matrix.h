// What the kernels work on: weight matrices where they lie in memory, and rows of floats.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/gguf/types.h"
#include "formats/mlx/encoding.h"

namespace sluice::runtime {

// A whole tensor in the MLX layout, at any alignment; owned by somebody else. Rows of all its
// matrices follow each other.
struct MlxMatrix {
  mlx::Encoding encoding;
  const std::byte* codes = nullptr;
  const std::byte* scales = nullptr;
  const std::byte* biases = nullptr;   // affine only
  const std::byte* factors = nullptr;  // F32, each for `rows_of_factor` rows; nullptr: none
  std::uint64_t rows_of_factor = 1;
};

// A matrix [rows, columns] in an encoding of GGUF, one row after the other; owned by somebody else.
struct Matrix {
  gguf::TensorType type = gguf::TensorType::kF32;
  const std::byte* data = nullptr;  // any alignment
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;    // a multiple of the type's block
  std::uint64_t row_bytes = 0;  // from one row to the next
  // The tensor that the rows belong to if they are in the MLX layout: `data` are then its codes,
  // from the first of the rows on, and `type` is I8 and counts for nothing.
  const MlxMatrix* mlx = nullptr;
};

// Whether elements stand for themselves, not for codes of a block.
[[nodiscard]] constexpr bool IsPlain(gguf::TensorType type) {
  using enum gguf::TensorType;
  return type == kF32 || type == kF16 || type == kBF16;
}

// Rows [begin, end) of a matrix.
struct RowRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  [[nodiscard]] std::uint64_t size() const { return end - begin; }
};

// `count` rows of floats, `stride` floats apart; with `index`, row i is the index[i]-th.
struct FloatRows {
  const float* base = nullptr;
  std::size_t stride = 0;
  std::size_t count = 0;
  const std::uint32_t* index = nullptr;

  [[nodiscard]] const float* operator[](std::size_t i) const {
    return base + stride * (index == nullptr ? i : index[i]);
  }
};

}  // namespace sluice::runtime
