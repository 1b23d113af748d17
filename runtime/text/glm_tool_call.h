// Tool calls as GLM-4.7 writes them, between <tool_call> and </tool_call>:
//   NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>...
#pragma once

#include <span>
#include <string_view>

#include "core/result.h"
#include "runtime/text/chat.h"

namespace sluice::runtime {

// The call that `text` is. A value is the exact text between its marks; only where the model left
// marks out, those that the order of marks asks for are put in. Values get the type that the
// function's parameters declare; a value that does not fit it, or whose argument is not declared,
// stays a string. kCorrupt for a call without a name or with an argument that lacks its name or
// value.
Result<ToolCall> ParseGlmToolCall(std::string_view text, std::span<const Json> tools);

// Whether no mark is missing, not even that of the last value's end.
[[nodiscard]] bool IsPlainGlmToolCall(std::string_view text);

// Whether a plain call that lacks only its end can be taken for whole: the function is declared and
// every argument that it requires is there.
[[nodiscard]] bool HasAllItRequires(const ToolCall& call, std::span<const Json> tools);

// An argument's text as the JSON value that its schema asks for (a schema of JSON Schema, or null
// for an argument that is not declared).
[[nodiscard]] Json TypedArgument(std::string_view text, const Json* schema);

}  // namespace sluice::runtime
