// Random numbers and matrices for the tests of kernels.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "core/buffer.h"
#include "formats/quant/codec.h"
#include "runtime/kernels/matrix.h"

namespace sluice::runtime::testing {

// Numbers from -1 to 1, the same on every machine.
class RandomFloats {
 public:
  float Next() {
    constexpr float kHalfRange = 0x1p31F;
    return static_cast<float>(static_cast<std::uint32_t>(engine_())) / kHalfRange - 1.0F;
  }
  std::vector<float> Take(std::size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = Next();
    return values;
  }

 private:
  std::mt19937 engine_{1};
};

// A random matrix in an encoding, and what its codec decodes.
struct EncodedMatrix {
  EncodedMatrix(gguf::TensorType type, std::uint64_t rows, std::uint64_t columns,
                RandomFloats& random)
      : values(rows * columns) {
    const quant::Codec& codec = *quant::FindCodec(type);
    const std::uint64_t row_bytes = *gguf::TensorBytes(type, columns);
    const std::vector<float> importance(columns, 1.0F);
    bytes.resize(rows * row_bytes + 1);
    std::byte* const data = bytes.data() + 1;  // kernels must not rely on alignment
    for (std::uint64_t r = 0; r < rows; ++r) {
      std::byte* const row = data + r * row_bytes;
      codec.encode(random.Take(columns), importance, false, row);
      codec.decode(row, std::span(values).subspan(r * columns, columns));
    }
    matrix = {type, data, rows, columns, row_bytes};
  }

  [[nodiscard]] std::span<const float> Row(std::uint64_t r) const {
    return std::span(values).subspan(r * matrix.columns, matrix.columns);
  }

  std::vector<std::byte> bytes;
  std::vector<float> values;
  Matrix matrix;
};

}  // namespace sluice::runtime::testing
