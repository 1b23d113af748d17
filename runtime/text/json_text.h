// JSON of chats: tool definitions, arguments, requests. Objects keep the order of their members,
// because prompts show it to the model.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/result.h"

namespace sluice::runtime {

using Json = nlohmann::ordered_json;

// kCorrupt for text that is not JSON, is not UTF-8 or nests deeper than anything sensible does.
Result<Json> ParseJson(std::string_view text);

// What an object holds under a key; nullptr where that is absent or null, or there is no object.
[[nodiscard]] const Json* Member(const Json& object, const std::string& key);
[[nodiscard]] const Json* Member(const Json* object, const std::string& key);

// One line as Python's json.dumps(ensure_ascii=False) writes it: ", " and ": " between things,
// numbers in Python's spelling. Prompts that the model was trained on hold JSON of this form.
// REQUIRES: strings are UTF-8, as they are in what ParseJson gives.
[[nodiscard]] std::string PythonJson(const Json& value);

}  // namespace sluice::runtime
