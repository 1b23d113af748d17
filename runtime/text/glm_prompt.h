// The prompt of GLM-4.7: a conversation as the text that the model was trained on.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "runtime/text/chat.h"

namespace sluice::runtime {

// Marks of GLM-4.7's text; each is one token.
namespace glm {
inline constexpr std::string_view kThink = "<think>";
inline constexpr std::string_view kEndThink = "</think>";
inline constexpr std::string_view kToolCall = "<tool_call>";
inline constexpr std::string_view kEndToolCall = "</tool_call>";
inline constexpr std::string_view kArgKey = "<arg_key>";
inline constexpr std::string_view kEndArgKey = "</arg_key>";
inline constexpr std::string_view kArgValue = "<arg_value>";
inline constexpr std::string_view kEndArgValue = "</arg_value>";

// End an answer, besides the tokens that a model's files name.
inline constexpr std::array<std::string_view, 3> kEnds{"<|endoftext|>", "<|user|>",
                                                       "<|observation|>"};
}  // namespace glm

// The text up to where the answer begins: after "<think>", or after "</think>" when the chat is
// without thinking. Source: the chat template published with GLM-4.7-Flash.
[[nodiscard]] std::string GlmPrompt(const Chat& chat);

}  // namespace sluice::runtime
