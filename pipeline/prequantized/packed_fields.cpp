#include "pipeline/prequantized/packed_fields.h"

#include <algorithm>

namespace sluice {
namespace {

// How many of `extent` neighbours share one of `scales` numbers; nullopt if that is no layout.
std::optional<std::uint64_t> Shared(std::uint64_t extent, std::uint64_t scales,
                                    std::uint64_t block) {
  if (block > 0) {
    if (scales != CeilDivide(extent, block)) return std::nullopt;
    return block;
  }
  if (scales == extent) return 1;
  if (scales == 1) return extent;
  return std::nullopt;
}

}  // namespace

std::optional<StackExtents> ExtentsOf(std::span<const std::uint64_t> shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return std::nullopt;
  if (shape.size() == 2) return StackExtents{1, shape[0], shape[1]};
  if (shape.size() == 3) return StackExtents{shape[0], shape[1], shape[2]};
  return std::nullopt;
}

std::optional<PackedNumber> NumberOf(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32:
      return PackedNumber::kF32;
    case Dtype::kF16:
      return PackedNumber::kF16;
    case Dtype::kBF16:
      return PackedNumber::kBF16;
    case Dtype::kF8E4M3:
      return PackedNumber::kE4M3;
    case Dtype::kF8E5M2:
      return PackedNumber::kE5M2;
    case Dtype::kF8E8M0:
    case Dtype::kU8:  // as scales
      return PackedNumber::kE8M0;
    case Dtype::kI8:
      return PackedNumber::kSigned8;
    default:
      return std::nullopt;
  }
}

PackedNumber UnsignedOf(std::uint64_t bits) {
  if (bits == 2) return PackedNumber::kUnsigned2;
  return bits == 4 ? PackedNumber::kUnsigned4 : PackedNumber::kUnsigned8;
}

PackedField RowMajor(const PackedPart& part, PackedNumber number, const StackExtents& stored,
                     const StackExtents& shared) {
  const std::uint64_t width = BitsOf(number);
  PackedField field{part.info->name, part.shard, part.info->offset, part.info->bytes, number};
  field.column = {shared.columns, width};
  field.row = {shared.rows, stored.columns * width};
  field.matrix = {shared.matrices, stored.rows * stored.columns * width};
  return field;
}

std::optional<StackExtents> SharedScales(std::span<const std::uint64_t> shape,
                                         const StackExtents& full, bool is_stack,
                                         const WeightScheme& scheme, StackExtents& stored) {
  const bool is_one = std::all_of(shape.begin(), shape.end(), [](auto n) { return n == 1; });
  if (is_one && shape.size() < 2) {
    stored = {};
  } else if (shape.size() == 1) {
    stored = is_stack ? StackExtents{shape[0], 1, 1} : StackExtents{1, shape[0], 1};
  } else if (const auto extents = ExtentsOf(shape);
             extents && shape.size() == (is_stack ? 3U : 2U)) {
    stored = *extents;
  } else {
    return std::nullopt;
  }
  const auto matrices = Shared(full.matrices, stored.matrices, 0);
  const auto rows = Shared(full.rows, stored.rows, scheme.block_rows);
  const auto columns = Shared(full.columns, stored.columns, scheme.block_columns);
  if (!matrices || !rows || !columns) return std::nullopt;
  return StackExtents{*matrices, *rows, *columns};
}

}  // namespace sluice
