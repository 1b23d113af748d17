#include "stages/quantize.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <limits>

#include "stages/decode.h"
#include "stages/kernels/cast.h"
#include "stages/kernels/quant/encode.h"

namespace sluice {
namespace {

// Elements quantized at once, at least a row: enough blocks to fill the vectors many times, few
// enough to stay in a second-level cache.
constexpr std::uint64_t kBatchElements = 32768;
constexpr std::uint64_t kNoMatrix = std::numeric_limits<std::uint64_t>::max();

std::uint64_t BatchRows(const TensorExpr& expr) {
  return std::max<std::uint64_t>(1, kBatchElements / expr.row_elements);
}

// The scratch memory of one piece.
struct Scratch {
  std::span<float> values;     // a batch
  std::span<float> weights;    // a row
  std::span<std::byte> bytes;  // a batch in 16 bits

  Scratch(const TensorExpr& expr, std::span<std::byte> memory) {
    const std::uint64_t batch = BatchElements(expr);
    auto* const floats = reinterpret_cast<float*>(memory.data());
    values = {floats, batch};
    weights = {floats + batch, expr.row_elements};
    bytes = memory.subspan((batch + expr.row_elements) * sizeof(float));
  }
};

// What the converter's own output type leaves of the values.
std::uint64_t Round(gguf::TensorType type, std::span<float> values, std::span<std::byte> bytes) {
  std::uint64_t overflowed = 0;
  if (type == gguf::TensorType::kF16) {
    overflowed = kernels::EncodeF16(values, bytes.data());
    kernels::DecodeToF32(Dtype::kF16, bytes.data(), values);
  } else if (type == gguf::TensorType::kBF16) {
    overflowed = kernels::EncodeBf16(values, bytes.data());
    kernels::DecodeToF32(Dtype::kBF16, bytes.data(), values);
  }
  return overflowed;
}

// No block format can hold NaN or infinity, and one of them spoils its whole block.
Status CheckFinite(const TensorExpr& expr, std::span<float> values, std::uint64_t first_row,
                   Slab& slab) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    if (!expr.quantizing->zero_non_finite) {
      return MakeError(ErrorCode::kCorrupt, "a value to be quantized is not finite")
          .Actual(fmt::format("{} in row {}, column {}", values[i],
                              first_row + i / expr.row_elements, i % expr.row_elements))
          .Advice("repair the checkpoint, or take 0 for such values with --nan zero");
    }
    values[i] = 0;
    ++slab.zeroed;
  }
  return Ok();
}

// Whether any value is not finite; in integers, so that the compiler makes vectors of it.
bool HasNonFinite(std::span<const float> values) {
  constexpr std::uint32_t kExponent = 0x7F800000;
  std::uint32_t found = 0;
  for (const float value : values) {
    found |= (std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent ? 1U : 0U;
  }
  return found != 0;
}

}  // namespace

std::uint64_t BatchElements(const TensorExpr& expr) { return BatchRows(expr) * expr.row_elements; }

std::uint64_t QuantizeScratchBytes(const TensorExpr& expr) {
  const std::uint64_t batch = BatchElements(expr);
  return (batch + expr.row_elements) * sizeof(float) + batch * sizeof(std::uint16_t);
}

Status ForEachBatch(const TensorExpr& expr, const Piece& piece, std::uint64_t first,
                    std::span<std::byte> memory, Slab& slab,
                    const std::function<void(const RowBatch&)>& visit) {
  const Quantizing& how = *expr.quantizing;
  const Scratch scratch(expr, memory);
  const std::uint64_t rows = piece.elements / expr.row_elements;
  const bool rounds = !expr.steps.empty() || !IsSameEncoding(*piece.segment, how.rounded);
  std::uint64_t loaded_matrix = kNoMatrix;
  for (std::uint64_t done = 0; done < rows;) {
    const std::uint64_t row = first / expr.row_elements + done;
    std::uint64_t count = std::min(BatchRows(expr), rows - done);
    std::span<const float> weights;
    if (how.importance != nullptr) {
      const std::uint64_t matrix = row / how.matrix_rows;
      count = std::min(count, (matrix + 1) * how.matrix_rows - row);
      if (matrix != loaded_matrix) {
        SLUICE_TRY(how.importance_file->ReadWeights(*how.importance, matrix * expr.row_elements,
                                                    scratch.weights));
        loaded_matrix = matrix;
      }
      weights = scratch.weights;
    }
    const std::span<float> values = scratch.values.first(count * expr.row_elements);
    slab.overflowed += DecodeValues(expr, piece, done * expr.row_elements, values);
    if (rounds) slab.overflowed += Round(how.rounded, values, scratch.bytes);
    if (HasNonFinite(values)) SLUICE_TRY(CheckFinite(expr, values, row, slab));
    visit({done, values, weights});
    done += count;
  }
  return Ok();
}

Status QuantizePiece(const TensorExpr& expr, const Piece& piece, std::uint64_t first,
                     std::span<std::byte> out, std::span<std::byte> memory, Slab& slab) {
  const std::uint64_t row_bytes = *gguf::TensorBytes(expr.type, expr.row_elements);
  return ForEachBatch(expr, piece, first, memory, slab, [&](const RowBatch& batch) {
    slab.corrected +=
        kernels::EncodeRows(expr.type, batch.values, expr.row_elements, batch.weights,
                            expr.quantizing->exact, out.data() + batch.first_row * row_bytes);
  });
}

}  // namespace sluice
