// The part of the encode stage that quantizes: whole rows through the block encoders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "core/result.h"
#include "stages/slab.h"

namespace sluice {

// The memory of one batch of rows while it is quantized, for all targets of a slab.
class QuantizeScratch {
 public:
  // Elements of one batch: whole rows, enough blocks to fill the vectors many times, few enough to
  // stay in a second-level cache.
  [[nodiscard]] static std::uint64_t BatchElements(const TensorExpr& expr);
  // Bytes of `memory` below.
  [[nodiscard]] static std::uint64_t Bytes(const TensorExpr& expr, std::size_t num_targets);

  // `memory`: aligned for vectors; it must outlive the object. `expr`: any of the targets'.
  QuantizeScratch(const TensorExpr& expr, std::size_t num_targets, std::span<std::byte> memory);

  // The decoded batch, the same for all targets.
  [[nodiscard]] std::span<float> values() const { return values_; }
  // Where one target may change the values: the batch itself when nobody else needs it.
  [[nodiscard]] std::span<float> own_values() const { return own_values_; }
  // A batch in 16 bits.
  [[nodiscard]] std::span<std::byte> halves() const { return halves_; }
  // A row of column weights.
  [[nodiscard]] std::span<float> weights() const { return weights_; }

 private:
  std::span<float> values_;
  std::span<float> own_values_;
  std::span<float> weights_;
  std::span<std::byte> halves_;
};

// The column weights that are at hand.
struct LoadedWeights {
  std::span<float> values;                // of a row
  const imatrix::Entry* entry = nullptr;  // where they are from
  std::uint64_t matrix = 0;               // which of its matrices they belong to
};

// The values as `expr` quantizes them: rounded to the type that they pass through, without NaN and
// infinity. `values`: elements from row `first_row` of `piece` on, decoded; they change only if
// they lie in `scratch.own_values()`. Counts in target.zeroed and target.overflowed. kCorrupt, with
// row and column, for a value that is not finite, kMismatch for one that the type they pass through
// cannot hold, unless such become zero.
Result<std::span<const float>> RoundedValues(const TensorExpr& expr, const Piece& piece,
                                             std::uint64_t first_row, std::span<float> values,
                                             const QuantizeScratch& scratch, SlabTarget& target);

// Neighbouring rows with the same column weights, as the encoders get them.
struct RowBatch {
  std::uint64_t first_row = 0;     // among the rows of the call
  std::span<const float> values;   // [rows, row_elements]
  std::span<const float> weights;  // of the columns; empty without importance
};

// Calls `visit` with all of these rows, from row `first_row` of the tensor on, in order, until it
// fails. Errors of imatrix::Reader::ReadWeights too.
Status ForEachBatch(const TensorExpr& expr, std::uint64_t first_row, std::span<const float> values,
                    LoadedWeights& weights, const std::function<Status(const RowBatch&)>& visit);

// Quantizes whole rows, from row `first_row` of the tensor on, to `out`, and counts in
// target.corrected. kMismatch, with row and columns, for values so large (in MXFP4 so small) that
// a block's scale is no finite number. Errors of imatrix::Reader::ReadWeights.
Status QuantizeRows(const TensorExpr& expr, std::uint64_t first_row, std::span<const float> values,
                    LoadedWeights& weights, std::byte* out, SlabTarget& target);

}  // namespace sluice
