// Encodes rows of floats to any tensor type, as fast as this CPU can: the bytes are those of
// formats/quant/codec.h on every SIMD target.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/gguf/types.h"

namespace sluice::kernels {

// Whether the type has an encoder of its own here; the others use the scalar one.
[[nodiscard]] bool HasFastEncoder(gguf::TensorType type);

// Encodes `rows`, [rows.size() / row_length, row_length], one after the other to `out` (any
// alignment). `importance` is empty or has row_length weights, which count for every row. `exact`
// and the result are those of quant::EncodeRow: whether the reference's defects are reproduced, and
// how many blocks differ for that reason. Blocks of several rows share vectors: give at least 32
// blocks at once. REQUIRES: quant::FindCodec(type) is there; row_length fills whole blocks;
// rows.size() is a multiple of row_length; importance is not empty where the type needs one.
std::uint64_t EncodeRows(gguf::TensorType type, std::span<const float> rows, std::size_t row_length,
                         std::span<const float> importance, bool exact, std::byte* out);

}  // namespace sluice::kernels
