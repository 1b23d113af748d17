// The values of a piece in F32, after the pointwise steps.
#pragma once

#include <cstdint>
#include <span>

#include "stages/slab.h"

namespace sluice {

// Fills `values` with elements [first, first + values.size()) of a gathered piece. Returns how many
// finite values became infinite, which happens to F64 only. REQUIRES: blocks of a type with a
// codec, and whole ones.
std::uint64_t DecodeValues(const TensorExpr& expr, const Piece& piece, std::uint64_t first,
                           std::span<float> values);

}  // namespace sluice
