// What the kernels work on: weight matrices where they lie in memory, and rows of floats.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/gguf/types.h"

namespace sluice::runtime {

// A matrix [rows, columns] in an encoding of GGUF, one row after the other; owned by somebody else.
struct Matrix {
  gguf::TensorType type = gguf::TensorType::kF32;
  const std::byte* data = nullptr;  // any alignment
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;    // a multiple of the type's block
  std::uint64_t row_bytes = 0;  // from one row to the next
};

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
