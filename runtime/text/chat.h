// A conversation with tools, in the terms of the OpenAI chat interface.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "runtime/text/json_text.h"

namespace sluice::runtime {

enum class Role : std::uint8_t { kSystem, kUser, kAssistant, kTool };

struct ToolCall {
  std::string id;  // given by whoever hands the call out; empty otherwise
  std::string name;
  Json arguments = Json::object();
};

struct Message {
  Role role = Role::kUser;
  std::string content;
  std::optional<std::string> reasoning;  // of an assistant; nullopt: look for it in the content
  std::vector<ToolCall> calls;           // of an assistant
  // Of a tool: its outputs where the content is a list of them; `content` is empty then.
  std::optional<std::vector<std::string>> outputs;
};

struct Chat {
  std::vector<Message> messages;
  std::vector<Json> tools;      // {"type": "function", "function": {"name", ...}}, as given
  bool thinking = true;         // whether the answer begins with reasoning
  bool keep_reasoning = false;  // also show the model its reasoning of earlier turns
};

// A list of messages: {"role", "content", "reasoning_content", "tool_calls", ...}. kUsage, naming
// the message, for what is no message.
Result<std::vector<Message>> ParseMessages(const Json& messages);

// A list of tools, each checked to have a function with a name. kUsage otherwise.
Result<std::vector<Json>> ParseTools(const Json& tools);

// The definition {"name", "parameters", ...} of a tool; nullptr when none has that name.
[[nodiscard]] const Json* FindFunction(std::span<const Json> tools, std::string_view name);

}  // namespace sluice::runtime
