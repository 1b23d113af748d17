// Which tensors of a model are quantized in the MLX layout, and how. The rules are those of Ollama
// fb30760 (docs/formats/mlx.md).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/dtype.h"
#include "formats/mlx/encoding.h"

namespace sluice {

// What a user asks for: --type int4, ...
enum class MlxType : std::uint8_t { kInt4, kInt8, kNvfp4, kMxfp4, kMxfp8 };

// By its name in lower case; nullopt for any other text.
[[nodiscard]] std::optional<MlxType> ParseMlxType(std::string_view name);

// `affine_group`: of int4 and int8. `source`: which affine scales have as their dtype, if they can.
[[nodiscard]] mlx::Encoding MlxEncodingOf(MlxType type, std::uint32_t affine_group, Dtype source);

// The encoding of a tensor, named as in the output; nullopt for one that stays as it is.
[[nodiscard]] std::optional<mlx::Encoding> ChooseMlxEncoding(std::string_view name,
                                                             std::span<const std::uint64_t> shape,
                                                             MlxType type,
                                                             std::uint32_t affine_group,
                                                             Dtype source);

}  // namespace sluice
