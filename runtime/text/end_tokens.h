// Which tokens end an answer, as a model's files say.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"
#include "runtime/language_model.h"

namespace sluice::runtime {

// eos, eot and eom ids, and the list of eos ids that Ollama's converter writes. Empty when the file
// names none.
[[nodiscard]] std::vector<TokenId> EndTokensOf(const gguf::Metadata& metadata);

// eos_token_id of the first that has one of generation_config.json and config.json, else the
// eos_token of tokenizer_config.json or special_tokens_map.json, whose id `find` gives by its text.
// Empty when there is none; kCorrupt for a file that is not JSON.
Result<std::vector<TokenId>> EndTokensOf(
    const std::string& folder, const std::function<std::optional<TokenId>(std::string_view)>& find);

}  // namespace sluice::runtime
