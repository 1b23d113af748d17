// The part of the encode stage that quantizes: whole rows through the block encoders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "core/result.h"
#include "stages/slab.h"

namespace sluice {

// Neighbouring rows as the encoders get them.
struct RowBatch {
  std::uint64_t first_row = 0;     // in the piece
  std::span<const float> values;   // [rows, row_elements]: rounded, finite
  std::span<const float> weights;  // of the columns; empty without importance
};

// The most elements of one batch. REQUIRES here and below: expr.quantizing.
[[nodiscard]] std::uint64_t BatchElements(const TensorExpr& expr);
// Bytes that ForEachBatch and QuantizePiece need besides the target's.
[[nodiscard]] std::uint64_t QuantizeScratchBytes(const TensorExpr& expr);

// Calls `visit` with all rows of a gathered piece, in order, whose first element is element `first`
// of the tensor, and counts in slab.zeroed and slab.overflowed. kCorrupt, with row and column, for
// NaN and infinity unless they become zero. `scratch`: see above, aligned for vectors.
Status ForEachBatch(const TensorExpr& expr, const Piece& piece, std::uint64_t first,
                    std::span<std::byte> scratch, Slab& slab,
                    const std::function<void(const RowBatch&)>& visit);

// Quantizes a piece to `out`; as ForEachBatch otherwise, and counts in slab.corrected too.
Status QuantizePiece(const TensorExpr& expr, const Piece& piece, std::uint64_t first,
                     std::span<std::byte> out, std::span<std::byte> scratch, Slab& slab);

}  // namespace sluice
