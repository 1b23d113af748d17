// Where the codes, scales and zeros of packed weights lie in their tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "formats/safetensors/header.h"
#include "pipeline/prequantized/quantization_config.h"
#include "stages/packed.h"

namespace sluice {

// A tensor of the checkpoint.
struct PackedPart {
  const safetensors::TensorInfo* info = nullptr;
  std::uint32_t shard = 0;
};

// Extents of a stack of matrices, or how many neighbours along each axis share a number.
struct StackExtents {
  std::uint64_t matrices = 1;
  std::uint64_t rows = 1;
  std::uint64_t columns = 1;
};

// [rows, columns] or [matrices, rows, columns]; nullopt for a shape of another rank or without
// elements.
[[nodiscard]] std::optional<StackExtents> ExtentsOf(std::span<const std::uint64_t> shape);

// The number that elements of a dtype are; nullopt for those that are neither codes nor scales.
[[nodiscard]] std::optional<PackedNumber> NumberOf(Dtype dtype);
// Unsigned codes of 2, 4 or 8 bits.
[[nodiscard]] PackedNumber UnsignedOf(std::uint64_t bits);

// Numbers in row-major order, `stored` of them along each axis, `shared` elements to each.
[[nodiscard]] PackedField RowMajor(const PackedPart& part, PackedNumber number,
                                   const StackExtents& stored, const StackExtents& shared);

// Which elements of `full` share one of the scales whose tensor has `shape`: a scalar, one for each
// row or matrix, or an axis for an axis, each in full, of extent 1 or, where the scheme has blocks,
// one for each block. Fills `stored`; nullopt when the shape is none of these.
[[nodiscard]] std::optional<StackExtents> SharedScales(std::span<const std::uint64_t> shape,
                                                       const StackExtents& full, bool is_stack,
                                                       const WeightScheme& scheme,
                                                       StackExtents& stored);

[[nodiscard]] constexpr std::uint64_t CeilDivide(std::uint64_t a, std::uint64_t b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

}  // namespace sluice
