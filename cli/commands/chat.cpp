// sluice chat MODEL
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "cli/command.h"
#include "cli/generation_flags.h"
#include "core/utf8.h"

namespace sluice::cli {
namespace {

struct ChatFlags {
  ModelFlags model;
  GenerationFlags generation;
  ConversationFlags conversation;
};

constexpr std::string_view kHelp =
    "  /think, /nothink   answer with or without reasoning first\n"
    "  /tools FILE        let the model call the tools of a JSON file; you type their results\n"
    "  /clear             forget the conversation\n"
    "  /quit              end; so does Ctrl-D\n"
    "  Ctrl-C             stops the answer\n";

std::atomic<bool> interrupted{false};

void OnInterrupt(int) { interrupted.store(true); }

// From now on Ctrl-C only sets the flag and wakes up whoever waits for a line.
void WatchInterrupts() {
  struct sigaction action {};
  action.sa_handler = OnInterrupt;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
}

// A line of standard input without its end; nullopt at the end of the input and after Ctrl-C, which
// sets `interrupted`.
std::optional<std::string> ReadLine(std::string_view prompt) {
  if (::isatty(STDIN_FILENO) != 0) fmt::print("{}", prompt);
  std::fflush(stdout);
  struct Free {
    void operator()(char* text) const { std::free(text); }
  };
  char* text = nullptr;
  std::size_t capacity = 0;
  const ssize_t length = ::getline(&text, &capacity, stdin);
  const std::unique_ptr<char, Free> owner(text);
  if (length < 0) {
    std::clearerr(stdin);
    return std::nullopt;
  }
  std::string line(text, static_cast<std::size_t>(length));
  if (line.ends_with('\n')) line.pop_back();
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

// Prints reasoning dimmed where the terminal can, then the content.
class AnswerPrinter {
 public:
  void Print(const runtime::AnswerDelta& delta) {
    if (!delta.thinking.empty()) {
      fmt::print("{}{}{}", color_ ? "\x1b[2m" : "", Spoken(delta.thinking, stdout),
                 color_ ? "\x1b[0m" : "");
      after_thinking_ = true;
    }
    if (!delta.content.empty() && std::exchange(after_thinking_, false)) fmt::print("\n\n");
    fmt::print("{}", Spoken(delta.content, stdout));
    std::fflush(stdout);
  }

 private:
  const bool color_ = ::isatty(STDOUT_FILENO) != 0;
  bool after_thinking_ = false;
};

class Session {
 public:
  Session(runtime::ChatModel model, runtime::Chat chat, const GenerationFlags& flags)
      : model_(std::move(model)),
        options_(OptionsOf(flags, model_.sampling)),
        batch_(*model_.model, 1),
        chat_(std::move(chat)),
        first_turn_(chat_.messages.size()) {}

  Status UseTools(const std::string& path) {
    SLUICE_ASSIGN(chat_.tools, ReadTools(path));
    fmt::print("{} tools\n", chat_.tools.size());
    return Ok();
  }

  // One line of the user's. False ends the session.
  Result<bool> Handle(const std::string& line) {
    if (line.empty()) return true;
    if (line == "/quit" || line == "/exit" || line == "/bye") return false;
    if (line == "/think" || line == "/nothink") {
      chat_.thinking = line == "/think";
    } else if (line == "/clear") {
      chat_.messages.resize(first_turn_);
    } else if (line.starts_with("/tools ")) {
      SLUICE_TRY(UseTools(line.substr(std::string_view("/tools ").size())));
    } else if (line.starts_with('/')) {
      fmt::print("{}", kHelp);
    } else {
      SLUICE_TRY(Ask(line));
    }
    return true;
  }

 private:
  // A turn that fails or is given up leaves no trace in the conversation.
  Status Ask(const std::string& text) {
    const std::size_t before = chat_.messages.size();
    chat_.messages.push_back({runtime::Role::kUser, text, {}, {}, {}});
    Status status = Ok();
    bool again = true;
    while (status && again) {
      Result<bool> called = Answer();
      status = called ? Ok() : Status(called.error());
      again = called && *called;
    }
    if (!status) chat_.messages.resize(before);
    return status;
  }

  // The model's turn. True when it has called tools and their results are there.
  Result<bool> Answer() {
    SLUICE_ASSIGN(runtime::Generation generation, runtime::StartChat(model_, chat_, options_));
    runtime::GlmAnswer answer(chat_.thinking, chat_.tools);
    runtime::AnswerDelta whole;
    AnswerPrinter printer;
    interrupted.store(false);
    const Status status = runtime::RunChat(
        batch_, generation, answer,
        [&](const runtime::AnswerDelta& delta) {
          whole.thinking += delta.thinking;
          whole.content += delta.content;
          whole.calls.insert(whole.calls.end(), delta.calls.begin(), delta.calls.end());
          printer.Print(delta);
        },
        interrupted);
    fmt::print("\n");
    if (generation.finished() && generation.finish_reason() == runtime::FinishReason::kLength) {
      fmt::print(stderr, "(the answer was cut at {} tokens)\n", generation.answer_tokens());
    }
    interrupted.store(false);
    SLUICE_TRY(status);
    chat_.messages.push_back(
        {runtime::Role::kAssistant, whole.content, whole.thinking, whole.calls, {}});
    for (const runtime::ToolCall& call : whole.calls) SLUICE_TRY(AskForResult(call));
    return !whole.calls.empty();
  }

  Status AskForResult(const runtime::ToolCall& call) {
    fmt::print("{} {}\n", Printable(call.name), runtime::PythonJson(call.arguments));
    const auto result = ReadLine("result: ");
    if (!result) return MakeError(ErrorCode::kCancelled, "the tool call got no result");
    chat_.messages.push_back({runtime::Role::kTool, *result, {}, {}, {}});
    return Ok();
  }

  runtime::ChatModel model_;
  runtime::GenerationOptions options_;
  runtime::GenerationBatch batch_;
  runtime::Chat chat_;
  std::size_t first_turn_;  // messages in front of the first turn
};

Status Run(const ChatFlags& flags, const Context& context) {
  SLUICE_ASSIGN(runtime::ChatModel model, OpenModel(flags.model));
  if (!context.quiet) {
    PrintWarnings(model.warnings);
    fmt::print(stderr, "{}: /help shows what you can do\n", Printable(model.name));
  }
  SLUICE_ASSIGN(runtime::Chat chat, StartConversation(flags.conversation));
  Session session(std::move(model), std::move(chat), flags.generation);
  WatchInterrupts();
  while (true) {
    const auto line = ReadLine(">>> ");
    if (!line) {
      fmt::print("\n");
      if (!interrupted.exchange(false)) return Ok();
      continue;
    }
    const Result<bool> goes_on = session.Handle(*line);
    if (!goes_on) fmt::print(stderr, "error: {}\n", goes_on.error().Format());
    if (goes_on && !*goes_on) return Ok();
  }
}

}  // namespace

void AddChat(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("chat", "Talk to a model");
  auto flags = std::make_shared<ChatFlags>();
  AddModelFlags(*command, flags->model);
  AddConversationFlags(*command, flags->conversation);
  AddGenerationFlags(*command, flags->generation);
  command->callback([flags, &context] {
    const Status status = Run(*flags, context);
    if (!status) Fail(status.error(), context);
  });
}

}  // namespace sluice::cli
