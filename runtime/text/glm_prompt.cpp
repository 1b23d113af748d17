#include "runtime/text/glm_prompt.h"

#include <algorithm>

#include "core/utf8.h"

namespace sluice::runtime {
namespace {

// Around the tools' definitions. Words and line breaks are those the model was trained on.
constexpr std::string_view kBeforeTools =
    "<|system|>\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n";
constexpr std::string_view kAfterTools =
    "</tools>\n\nFor each function call, output the function name and arguments within the "
    "following XML format:\n<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>"
    "{arg-value-1}</arg_value><arg_key>{arg-key-2}</arg_key><arg_value>{arg-value-2}</arg_value>"
    "...</tool_call>";

std::string_view TrimNewlinesLeft(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of('\n'), text.size()));
}
std::string_view TrimNewlinesRight(std::string_view text) {
  return text.substr(0, text.find_last_not_of('\n') + 1);
}

struct Parts {
  std::string_view reasoning;
  std::string_view content;
};

// An assistant's reasoning and what it said. Reasoning that is not a field of its own stands in the
// content, before the first </think>.
Parts Split(const Message& message) {
  const std::string_view content = message.content;
  if (message.reasoning) return {*message.reasoning, content};
  const std::size_t first_end = content.find(glm::kEndThink);
  if (first_end == std::string_view::npos) return {"", content};
  std::string_view reasoning = TrimNewlinesRight(content.substr(0, first_end));
  const std::size_t start = reasoning.rfind(glm::kThink);
  if (start != std::string_view::npos) reasoning.remove_prefix(start + glm::kThink.size());
  const std::size_t last_end = content.rfind(glm::kEndThink);
  return {TrimNewlinesLeft(reasoning),
          TrimNewlinesLeft(content.substr(last_end + glm::kEndThink.size()))};
}

void AppendCall(const ToolCall& call, std::string& out) {
  out.append(glm::kToolCall).append(call.name);
  for (auto argument = call.arguments.begin(); argument != call.arguments.end(); ++argument) {
    const auto* text = argument->get_ptr<const std::string*>();
    out.append(glm::kArgKey).append(argument.key()).append(glm::kEndArgKey);
    out.append(glm::kArgValue).append(text != nullptr ? *text : PythonJson(*argument));
    out.append(glm::kEndArgValue);
  }
  out.append(glm::kEndToolCall);
}

void AppendAssistant(const Message& message, bool show_reasoning, std::string& out) {
  const Parts parts = Split(message);
  out += "<|assistant|>";
  if (show_reasoning && !parts.reasoning.empty()) {
    out.append(glm::kThink).append(Trim(parts.reasoning));
  }
  out.append(glm::kEndThink).append(Trim(parts.content));
  for (const ToolCall& call : message.calls) AppendCall(call, out);
}

// Consecutive results share one mark, but a list of outputs begins with its own.
void AppendToolResult(const Message& message, bool after_another, std::string& out) {
  const auto append = [&](std::string_view text) {
    out.append("<tool_response>").append(text).append("</tool_response>");
  };
  if (message.outputs || !after_another) out += "<|observation|>";
  if (!message.outputs) return append(message.content);
  for (const std::string& output : *message.outputs) append(output);
}

}  // namespace

std::string GlmPrompt(const Chat& chat) {
  std::string out = "[gMASK]<sop>";
  if (!chat.tools.empty()) {
    out += kBeforeTools;
    for (const Json& tool : chat.tools) out.append(PythonJson(tool)).append("\n");
    out += kAfterTools;
  }
  const std::vector<Message>& messages = chat.messages;
  const auto is_user = [](const Message& message) { return message.role == Role::kUser; };
  // Index after the last user message; 0 without one.
  const auto last_turn = static_cast<std::size_t>(
      messages.rend() - std::find_if(messages.rbegin(), messages.rend(), is_user));
  for (std::size_t i = 0; i < messages.size(); ++i) {
    switch (messages[i].role) {
      case Role::kSystem:
        out.append("<|system|>").append(messages[i].content);
        break;
      case Role::kUser:
        out.append("<|user|>").append(messages[i].content);
        break;
      case Role::kAssistant:
        AppendAssistant(messages[i], chat.keep_reasoning || i >= last_turn, out);
        break;
      case Role::kTool:
        AppendToolResult(messages[i], i > 0 && messages[i - 1].role == Role::kTool, out);
        break;
    }
  }
  out.append("<|assistant|>").append(chat.thinking ? glm::kThink : glm::kEndThink);
  return out;
}

}  // namespace sluice::runtime
