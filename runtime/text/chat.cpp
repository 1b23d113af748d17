#include "runtime/text/chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/utf8.h"

namespace sluice::runtime {
namespace {

Error Wrong(std::string_view what) { return MakeError(ErrorCode::kUsage, what); }

const std::string* StringMember(const Json& object, const char* key) {
  const Json* member = Member(object, key);
  return member == nullptr ? nullptr : member->get_ptr<const std::string*>();
}

Result<Role> ParseRole(const Json& message) {
  constexpr std::array<std::pair<std::string_view, Role>, 5> kRoles{{
      {"system", Role::kSystem},
      {"developer", Role::kSystem},
      {"user", Role::kUser},
      {"assistant", Role::kAssistant},
      {"tool", Role::kTool},
  }};
  const std::string* name = StringMember(message, "role");
  for (const auto& [known, role] : kRoles) {
    if (name != nullptr && *name == known) return role;
  }
  return Wrong("unknown role")
      .Expected("system, developer, user, assistant or tool")
      .Actual(name == nullptr ? "none" : *name);
}

// The text of one part of a content list: a string, or {"type": "text", "text": "..."}.
Result<std::string> TextOfPart(const Json& part) {
  if (const auto* text = part.get_ptr<const std::string*>()) return *text;
  const std::string* text = StringMember(part, "text");
  const std::string* type = StringMember(part, "type");
  if (text != nullptr && (type == nullptr || *type == "text")) return *text;
  return Wrong("a part of the content is no text")
      .Expected("{\"type\": \"text\", \"text\": ...}")
      .Actual(type == nullptr ? part.type_name() : *type);
}

// A tool's list content holds its outputs: {"output": ...} or anything else. A list of text parts
// alone is one text.
bool IsOutputList(const Json& content) {
  return std::any_of(content.begin(), content.end(),
                     [](const Json& item) { return StringMember(item, "text") == nullptr; });
}

std::string OutputText(const Json& item) {
  const Json* output = Member(item, "output");
  const Json& value = output == nullptr ? item : *output;
  const auto* text = value.get_ptr<const std::string*>();
  return text == nullptr ? PythonJson(value) : *text;
}

Status ParseContent(const Json& content, Message& message) {
  if (const auto* text = content.get_ptr<const std::string*>()) {
    message.content = *text;
    return Ok();
  }
  if (!content.is_array()) {
    return Wrong("content is neither a string nor a list").Actual(content.type_name());
  }
  if (message.role == Role::kTool && IsOutputList(content)) {
    message.outputs.emplace();
    for (const Json& item : content) message.outputs->push_back(OutputText(item));
    return Ok();
  }
  for (const Json& part : content) {
    SLUICE_ASSIGN(const std::string text, TextOfPart(part));
    message.content += text;
  }
  return Ok();
}

Result<ToolCall> ParseCall(const Json& item) {
  const Json* function = Member(item, "function");
  const Json& call = function == nullptr ? item : *function;
  const std::string* name = StringMember(call, "name");
  if (name == nullptr) return Wrong("a tool call has no name");
  ToolCall parsed;
  parsed.name = *name;
  if (const std::string* id = StringMember(item, "id")) parsed.id = *id;
  const Json* arguments = Member(call, "arguments");
  if (arguments == nullptr) return parsed;
  if (const auto* text = arguments->get_ptr<const std::string*>()) {
    Result<Json> value = text->empty() ? Json::object() : ParseJson(*text);
    if (!value) {
      return Wrong(fmt::format("arguments of the call of '{}' are not JSON", *name))
          .Actual(value.error().actual);
    }
    parsed.arguments = *std::move(value);
  } else {
    parsed.arguments = *arguments;
  }
  if (!parsed.arguments.is_object()) {
    return Wrong(fmt::format("arguments of the call of '{}' are no object", *name))
        .Actual(parsed.arguments.type_name());
  }
  return parsed;
}

Result<Message> ParseMessage(const Json& item) {
  Message message;
  SLUICE_ASSIGN(message.role, ParseRole(item));
  if (const Json* content = Member(item, "content")) SLUICE_TRY(ParseContent(*content, message));
  for (const char* key : {"reasoning", "reasoning_content"}) {
    const Json* reasoning = Member(item, key);
    if (reasoning == nullptr) continue;
    if (!reasoning->is_string()) {
      return Wrong(fmt::format("{} is no string", key)).Actual(reasoning->type_name());
    }
    message.reasoning = reasoning->get<std::string>();
  }
  if (const Json* calls = Member(item, "tool_calls")) {
    if (!calls->is_array()) return Wrong("tool_calls is no list").Actual(calls->type_name());
    for (const Json& call : *calls) {
      SLUICE_ASSIGN(ToolCall parsed, ParseCall(call));
      message.calls.push_back(std::move(parsed));
    }
  }
  return message;
}

}  // namespace

Result<std::vector<Message>> ParseMessages(const Json& messages) {
  if (!messages.is_array()) return Wrong("messages is no list").Actual(messages.type_name());
  std::vector<Message> parsed;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    Result<Message> message = ParseMessage(messages[i]);
    if (!message) {
      Error error = std::move(message).error();
      error.what = fmt::format("messages[{}]: {}", i, error.what);
      return error;
    }
    parsed.push_back(*std::move(message));
  }
  return parsed;
}

Result<std::vector<Json>> ParseTools(const Json& tools) {
  if (!tools.is_array()) return Wrong("tools is no list").Actual(tools.type_name());
  std::vector<Json> parsed;
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const Json* function = Member(tools[i], "function");
    const auto wrong = [&](std::string_view what) {
      return Wrong(fmt::format("tools[{}] {}", i, what));
    };
    const std::string* name = function == nullptr ? nullptr : StringMember(*function, "name");
    if (name == nullptr || Trim(*name).empty()) {
      return wrong("has no function with a name");
    }
    const Json* parameters = Member(*function, "parameters");
    if (parameters != nullptr && !parameters->is_object()) {
      return wrong("has parameters that are no object").Actual(parameters->type_name());
    }
    const Json* properties = parameters == nullptr ? nullptr : Member(*parameters, "properties");
    if (properties != nullptr && !properties->is_object()) {
      return wrong("has properties that are no object").Actual(properties->type_name());
    }
    parsed.push_back(tools[i]);
  }
  return parsed;
}

const Json* FindFunction(std::span<const Json> tools, std::string_view name) {
  for (const Json& tool : tools) {
    const Json* function = Member(tool, "function");
    const std::string* known = function == nullptr ? nullptr : StringMember(*function, "name");
    if (known != nullptr && *known == name) return function;
  }
  return nullptr;
}

}  // namespace sluice::runtime
