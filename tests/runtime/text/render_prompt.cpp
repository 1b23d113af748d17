// Reads one chat a line from standard input, {"messages", "tools", "enable_thinking",
// "clear_thinking"}, and writes each prompt as a JSON string. For test_glm_prompt.py.
#include <fmt/format.h>

#include <iostream>
#include <string>

#include "runtime/text/chat.h"
#include "runtime/text/glm_prompt.h"

namespace {

using namespace sluice;
using namespace sluice::runtime;

Result<std::string> Render(const std::string& line) {
  SLUICE_ASSIGN(const Json request, ParseJson(line));
  Chat chat;
  SLUICE_ASSIGN(chat.messages, ParseMessages(request.at("messages")));
  if (request.contains("tools")) {
    SLUICE_ASSIGN(chat.tools, ParseTools(request.at("tools")));
  }
  chat.thinking = request.value("enable_thinking", true);
  chat.keep_reasoning = !request.value("clear_thinking", true);
  return GlmPrompt(chat);
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const Result<std::string> prompt = Render(line);
    if (!prompt) {
      fmt::print(stderr, "{}\n", prompt.error().Format());
      return 1;
    }
    fmt::print("{}\n", Json(*prompt).dump());
  }
  return 0;
}
