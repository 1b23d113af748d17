// Types of single tensors as lines of a --tensor-types file.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/gguf/types.h"

namespace sluice {

using TypedName = std::pair<std::string_view, gguf::TensorType>;

// One "REGEX=TYPE" for all blocks in which a tensor has the same type, in the order in which they
// are met first: "^blk\.(0|3)\.attn_k\.weight$=q4_k". Each matches the whole of the names.
[[nodiscard]] std::vector<std::string> TypeLines(const std::vector<TypedName>& tensors);

}  // namespace sluice
