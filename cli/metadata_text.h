// Key-values as text and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "formats/gguf/value.h"

namespace sluice::cli {

// One line a key: name, type, value; long arrays and strings are shortened.
void PrintMetadata(const gguf::Metadata& metadata);

// {"key": {"type": "u32", "value": 1}, "list": {"type": "arr", "of": "str", "value": [...]}}
[[nodiscard]] nlohmann::ordered_json MetadataJson(const gguf::Metadata& metadata);
[[nodiscard]] nlohmann::ordered_json ValueJson(const gguf::Value& value);

// Indented text; bytes that are no UTF-8 become replacement characters.
[[nodiscard]] std::string DumpJson(const nlohmann::ordered_json& json);

}  // namespace sluice::cli
