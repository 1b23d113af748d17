// Whether the scales of encoded blocks are numbers: what ggml's data validation asks of a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "formats/gguf/types.h"

namespace sluice::quant {

// The number of the first block with a scale (or minimum) that is infinite or NaN, which a scale in
// F16 becomes when the block's values are too large for the type; in MXFP4 an exponent of 255, that
// of values near 2^-126; in F16 and BF16 the number itself. nullopt when there is none, and for
// types that have no such scales. REQUIRES: whole blocks.
[[nodiscard]] std::optional<std::uint64_t> FindUnusableBlock(gguf::TensorType type,
                                                             std::span<const std::byte> blocks);

}  // namespace sluice::quant
