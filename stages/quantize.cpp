#include "stages/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include "formats/mlx/codec.h"
#include "formats/quant/scales.h"
#include "stages/kernels/cast.h"
#include "stages/kernels/quant/encode.h"

namespace sluice {
namespace {

constexpr std::uint64_t kBatchElements = 32768;

std::string RowAndColumn(const TensorExpr& expr, std::uint64_t element) {
  return fmt::format("row {}, column {}", element / expr.row_elements, element % expr.row_elements);
}

// Where an element stands: in the tensor, and in the source tensor that it comes from where that is
// another one, as of a stack or of the parts of the MLX layout.
std::string PlaceOf(const TensorExpr& expr, std::uint64_t element) {
  const std::size_t at = SegmentAt(expr, element);
  const Segment& segment = expr.segments[at];
  std::string place = RowAndColumn(expr, element);
  const bool has_other_source = expr.segments.size() > 1 || expr.mlx_part;
  if (!has_other_source || segment.name.empty()) return place;
  const std::uint64_t begin = at == 0 ? 0 : expr.segments[at - 1].end;
  // Transposed and permuted views have their rows elsewhere.
  const std::string in_source =
      segment.view.IsContiguous() ? RowAndColumn(expr, element - begin) + " of" : "from";
  return fmt::format("{} ({} '{}')", place, in_source, segment.name);
}

// No block format can hold NaN or infinity, and one of them spoils its whole block.
Status CheckFinite(const TensorExpr& expr, std::span<float> values, std::uint64_t first_row,
                   SlabTarget& target) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    if (!expr.quantizing->zero_non_finite) {
      return MakeError(ErrorCode::kCorrupt, "a value to be quantized is not finite")
          .Actual(
              fmt::format("{} in {}", values[i], PlaceOf(expr, first_row * expr.row_elements + i)))
          .Advice("repair the checkpoint, or take 0 for such values with --nan zero");
    }
    values[i] = 0;
    ++target.zeroed;
  }
  return Ok();
}

// `values` are finite and one of them is infinite in what they are rounded to, whose bits are
// `halves`.
Error TooLarge(const TensorExpr& expr, std::span<const float> values, std::uint64_t first_row,
               std::span<const std::byte> halves) {
  const gguf::TensorType type = expr.quantizing->rounded;
  const std::uint64_t at = quant::FindUnusableBlock(type, halves).value_or(0);
  return MakeError(ErrorCode::kMismatch,
                   "a value is too large for the type to which values are rounded first")
      .Expected(fmt::format("values that {} can hold", gguf::InfoOf(type).name))
      .Actual(
          fmt::format("{} in {}", values[at], PlaceOf(expr, first_row * expr.row_elements + at)))
      .Advice(fmt::format("round to a type that holds it with --outtype {}, or take 0 for such "
                          "values with --nan zero",
                          type == gguf::TensorType::kF16 ? "bf16 or f32" : "f32"));
}

// Leaves of finite values what the converter's own output type leaves of them.
Status Round(const TensorExpr& expr, std::span<float> values, std::uint64_t first_row,
             std::span<std::byte> halves, SlabTarget& target) {
  const gguf::TensorType type = expr.quantizing->rounded;
  const bool is_f16 = type == gguf::TensorType::kF16;
  if (!is_f16 && type != gguf::TensorType::kBF16) return Ok();
  const std::uint64_t overflowed = is_f16 ? kernels::EncodeF16(values, halves.data())
                                          : kernels::EncodeBf16(values, halves.data());
  if (overflowed > 0 && !expr.quantizing->zero_non_finite) {
    return TooLarge(expr, values, first_row, halves.first(values.size() * sizeof(std::uint16_t)));
  }
  kernels::DecodeToF32(is_f16 ? Dtype::kF16 : Dtype::kBF16, halves.data(), values);
  target.overflowed += overflowed;
  return overflowed > 0 ? CheckFinite(expr, values, first_row, target) : Ok();
}

// A file with such a block is one that llama.cpp refuses.
Status CheckScales(const TensorExpr& expr, std::uint64_t first_row,
                   std::span<const std::byte> blocks) {
  const auto found = quant::FindUnusableBlock(expr.type, blocks);
  if (!found) return Ok();
  const gguf::TensorTypeInfo& info = gguf::InfoOf(expr.type);
  const std::uint64_t element = *found * info.block_elements;
  return MakeError(ErrorCode::kMismatch, info.block_elements == 1
                                             ? "a value is too large for its type"
                                             : "the scale of a quantized block is no finite number")
      .Expected(fmt::format("values that {} can hold", info.name))
      .Actual(fmt::format("others in row {}, columns {} to {}",
                          first_row + element / expr.row_elements, element % expr.row_elements,
                          element % expr.row_elements + info.block_elements - 1))
      .Advice("repair the checkpoint, or give the tensor another type with --tensor-type");
}

}  // namespace

std::uint64_t QuantizeScratch::BatchElements(const TensorExpr& expr) {
  return std::max<std::uint64_t>(1, kBatchElements / expr.row_elements) * expr.row_elements;
}

std::uint64_t QuantizeScratch::Bytes(const TensorExpr& expr, std::size_t num_targets) {
  const std::uint64_t batches = num_targets == 1 ? 1 : 2;
  const std::uint64_t batch = BatchElements(expr);
  return (batches * batch + expr.row_elements) * sizeof(float) + batch * sizeof(std::uint16_t);
}

QuantizeScratch::QuantizeScratch(const TensorExpr& expr, std::size_t num_targets,
                                 std::span<std::byte> memory) {
  const auto take = [&](std::uint64_t count) {
    const std::span<float> taken(reinterpret_cast<float*>(memory.data()), count);
    memory = memory.subspan(taken.size_bytes());
    return taken;
  };
  const std::uint64_t batch = BatchElements(expr);
  values_ = take(batch);
  own_values_ = num_targets == 1 ? values_ : take(batch);
  weights_ = take(expr.row_elements);
  halves_ = memory;
}

Result<std::span<const float>> RoundedValues(const TensorExpr& expr, const Piece& piece,
                                             std::uint64_t first_row, std::span<float> values,
                                             const QuantizeScratch& scratch, SlabTarget& target) {
  const Quantizing& how = *expr.quantizing;
  const bool rounds = !expr.steps.empty() || !IsSameEncoding(*piece.segment, how.rounded);
  if (!rounds && !kernels::HasNonFinite(values)) return std::span<const float>(values);
  const std::span<float> own = scratch.own_values().first(values.size());
  if (own.data() != values.data()) std::ranges::copy(values, own.begin());
  if (kernels::HasNonFinite(own)) SLUICE_TRY(CheckFinite(expr, own, first_row, target));
  if (rounds) SLUICE_TRY(Round(expr, own, first_row, scratch.halves(), target));
  return std::span<const float>(own);
}

Status ForEachBatch(const TensorExpr& expr, std::uint64_t first_row, std::span<const float> values,
                    LoadedWeights& weights, const std::function<Status(const RowBatch&)>& visit) {
  const Quantizing& how = *expr.quantizing;
  const std::uint64_t rows = values.size() / expr.row_elements;
  for (std::uint64_t done = 0; done < rows;) {
    std::uint64_t count = rows - done;
    std::span<const float> row_weights;
    if (how.importance != nullptr) {
      const std::uint64_t matrix = (first_row + done) / how.matrix_rows;
      count = std::min(count, (matrix + 1) * how.matrix_rows - (first_row + done));
      if (how.importance != weights.entry || matrix != weights.matrix) {
        SLUICE_TRY(how.importance_file->ReadWeights(*how.importance, matrix * expr.row_elements,
                                                    weights.values));
        weights.entry = how.importance;
        weights.matrix = matrix;
      }
      row_weights = weights.values;
    }
    const std::uint64_t elements = count * expr.row_elements;
    SLUICE_TRY(visit({done, values.subspan(done * expr.row_elements, elements), row_weights}));
    done += count;
  }
  return Ok();
}

Status QuantizeRows(const TensorExpr& expr, std::uint64_t first_row, std::span<const float> values,
                    LoadedWeights& weights, std::byte* out, SlabTarget& target) {
  if (expr.mlx_part) {
    mlx::EncodePart(*expr.mlx_part, values, out);
    return Ok();
  }
  const std::uint64_t row_bytes = *gguf::TensorBytes(expr.type, expr.row_elements);
  return ForEachBatch(expr, first_row, values, weights, [&](const RowBatch& batch) {
    std::byte* const encoded = out + batch.first_row * row_bytes;
    target.corrected += kernels::EncodeRows(expr.type, batch.values, expr.row_elements,
                                            batch.weights, expr.quantizing->exact, encoded);
    const std::uint64_t rows = batch.values.size() / expr.row_elements;
    return CheckScales(expr, first_row + batch.first_row, {encoded, rows * row_bytes});
  });
}

}  // namespace sluice
