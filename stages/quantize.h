// The part of the encode stage that quantizes: whole rows through the block encoders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/result.h"
#include "stages/slab.h"

namespace sluice {

// Bytes that QuantizePiece needs besides the target's. REQUIRES: expr.quantizing.
[[nodiscard]] std::uint64_t QuantizeScratchBytes(const TensorExpr& expr);

// Quantizes a gathered piece, whose first element is element `first` of the tensor, to `out`, and
// counts in slab.zeroed, slab.corrected and slab.overflowed. kCorrupt, with row and column, for
// NaN and infinity unless they become zero. `scratch`: see above, aligned for vectors.
Status QuantizePiece(const TensorExpr& expr, const Piece& piece, std::uint64_t first,
                     std::span<std::byte> out, std::span<std::byte> scratch, Slab& slab);

}  // namespace sluice
