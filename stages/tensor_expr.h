// What one output tensor is made of, in the form that the stages execute: segments of strided
// source views, pointwise steps on their values, one encoding.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "formats/gguf/types.h"
#include "formats/imatrix/reader.h"
#include "formats/mlx/encoding.h"
#include "stages/mlx_tensor.h"
#include "stages/view.h"

namespace sluice {

struct PackedSource;  // stages/packed.h

// Pointwise steps on decoded values, in F32.
enum class PointwiseStep : std::uint8_t { kTanh, kOneMinus, kReciprocal };

// A run of target elements from one source tensor.
struct Segment {
  std::uint32_t shard = 0;        // index into the SourceSet
  std::uint64_t byte_offset = 0;  // of the source tensor's first element, from the shard's start
  Dtype dtype = Dtype::kF32;
  StridedView view;       // coalesced
  std::uint64_t end = 0;  // target elements up to and including this segment
  // Of elements from a GGUF file that no Dtype describes, `dtype` then counts for nothing: their
  // type. The view is contiguous, if not packed, and is walked in whole blocks.
  std::optional<gguf::TensorType> blocks = std::nullopt;
  // Of elements that are packed in several tensors: those. They are read as F32, the `dtype` of
  // such a segment, or repacked as `blocks`; the view counts elements in their storage order.
  std::shared_ptr<const PackedSource> packed = nullptr;
  // Of elements in the MLX layout, which only the runtime reads; the stages do not.
  std::shared_ptr<const MlxTensor> mlx = nullptr;
  std::string name = {};  // of the source tensor, for errors

  // Whether the same elements come from the same place.
  bool operator==(const Segment& other) const;
};

// Bytes of `elements` neighbours in the source: whole blocks, where there are blocks.
[[nodiscard]] inline std::uint64_t SourceBytes(const Segment& segment, std::uint64_t elements) {
  if (!segment.blocks) return elements * DtypeBytes(segment.dtype);
  const gguf::TensorTypeInfo& info = gguf::InfoOf(*segment.blocks);
  return elements / info.block_elements * info.block_bytes;
}

// At least the bytes of one element.
[[nodiscard]] inline std::uint64_t MaxElementBytes(const Segment& segment) {
  if (!segment.blocks) return DtypeBytes(segment.dtype);
  const gguf::TensorTypeInfo& info = gguf::InfoOf(*segment.blocks);
  return (info.block_bytes + info.block_elements - 1) / info.block_elements;
}

// How the values of a tensor are quantized, beyond its type.
struct Quantizing {
  gguf::TensorType rounded = gguf::TensorType::kF32;  // a type that the values pass through first
  bool exact = false;            // reproduce the known defects of the reference (quant::EncodeRow)
  bool zero_non_finite = false;  // else NaN and infinity are errors
  // Weights of the columns, and how many rows share those of one matrix. The file outlives the
  // expression.
  const imatrix::Reader* importance_file = nullptr;
  const imatrix::Entry* importance = nullptr;
  std::uint64_t matrix_rows = 0;
};

struct BlockSize {
  std::uint64_t elements = 1;
  std::uint64_t bytes = 0;
};

struct TensorExpr {
  std::vector<Segment> segments;  // in target order; they tile the target
  std::vector<PointwiseStep> steps;
  gguf::TensorType type = gguf::TensorType::kF32;
  std::uint64_t row_elements = 1;  // elements of the innermost target dimension
  std::uint64_t elements = 0;
  std::optional<Quantizing> quantizing;
  // Instead of `type`: one of the tensors that a matrix becomes in the MLX layout. Always
  // quantized.
  std::optional<mlx::EncodedPart> mlx_part = std::nullopt;
  bool read_again = false;  // the next tensor is made of the same elements

  // The fewest neighbours that are encoded together.
  [[nodiscard]] BlockSize block() const {
    if (mlx_part) return {mlx_part->encoding.group, mlx_part->group_bytes()};
    const gguf::TensorTypeInfo& info = gguf::InfoOf(type);
    return {info.block_elements, info.block_bytes};
  }
  // Of whole blocks.
  [[nodiscard]] std::uint64_t BytesOf(std::uint64_t count) const {
    return count / block().elements * block().bytes;
  }
  [[nodiscard]] std::uint64_t bytes() const { return BytesOf(elements); }
};

// Whether both have the same values in the same rows, however they encode them.
[[nodiscard]] inline bool IsSameSource(const TensorExpr& a, const TensorExpr& b) {
  return a.row_elements == b.row_elements && a.elements == b.elements && a.steps == b.steps &&
         a.segments == b.segments;
}

// Expressions of the same source, at least one: made together, each for an output of its own.
struct ExprGroup {
  // One is a group as well.
  ExprGroup(const TensorExpr& expr) : exprs{&expr} {}  // NOLINT(google-explicit-constructor)
  explicit ExprGroup(std::vector<const TensorExpr*> same_source) : exprs(std::move(same_source)) {}

  // What all have in common: segments, steps, rows.
  [[nodiscard]] const TensorExpr& front() const { return *exprs.front(); }

  std::vector<const TensorExpr*> exprs;
};

// Whether values of `dtype` are stored exactly as tensors of `type` are.
[[nodiscard]] constexpr bool IsSameEncoding(Dtype dtype, gguf::TensorType type) {
  return (dtype == Dtype::kF64 && type == gguf::TensorType::kF64) ||
         (dtype == Dtype::kF32 && type == gguf::TensorType::kF32) ||
         (dtype == Dtype::kF16 && type == gguf::TensorType::kF16) ||
         (dtype == Dtype::kBF16 && type == gguf::TensorType::kBF16);
}
[[nodiscard]] constexpr bool IsSameEncoding(const Segment& segment, gguf::TensorType type) {
  return segment.blocks ? *segment.blocks == type : IsSameEncoding(segment.dtype, type);
}

}  // namespace sluice
