// sluice run MODEL -p TEXT
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "cli/command.h"
#include "cli/generation_flags.h"
#include "cli/metadata_text.h"
#include "cli/prompt.h"

namespace sluice::cli {
namespace {

struct RunFlags {
  ModelFlags model;
  GenerationFlags generation;
  PromptFlags prompt;
  ConversationFlags conversation;
  bool raw = false;
  bool json = false;
};

// The answer while it arrives: content and tool calls go to standard output, reasoning to standard
// error. As JSON everything is printed at the end.
class Output {
 public:
  Output(bool as_json, bool quiet) : as_json_(as_json), quiet_(quiet) {}

  void Print(const runtime::AnswerDelta& delta) {
    whole_.thinking += delta.thinking;
    whole_.content += delta.content;
    whole_.calls.insert(whole_.calls.end(), delta.calls.begin(), delta.calls.end());
    if (as_json_) return;
    if (!quiet_) fmt::print(stderr, "{}", Spoken(delta.thinking, stderr));
    if (!delta.content.empty()) EndThinking();
    fmt::print("{}", Spoken(delta.content, stdout));
    for (const runtime::ToolCall& call : delta.calls) {
      EndThinking();
      fmt::print("{}\n", CallJson(call).dump());
    }
    std::fflush(stdout);
  }

  void Finish(const runtime::Generation& generation) {
    if (as_json_) return PrintJson(generation);
    EndThinking();
    if (!whole_.content.empty()) fmt::print("\n");
  }

 private:
  static runtime::Json CallJson(const runtime::ToolCall& call) {
    return {{"name", call.name}, {"arguments", call.arguments}};
  }

  void EndThinking() {
    if (!quiet_ && !thinking_ended_ && !whole_.thinking.empty()) fmt::print(stderr, "\n\n");
    thinking_ended_ = true;
  }

  void PrintJson(const runtime::Generation& generation) {
    runtime::Json calls = runtime::Json::array();
    for (const runtime::ToolCall& call : whole_.calls) calls.push_back(CallJson(call));
    fmt::print("{}\n", DumpJson({{"format", 1},
                                 {"thinking", whole_.thinking},
                                 {"content", whole_.content},
                                 {"tool_calls", std::move(calls)},
                                 {"finish_reason", FinishName(generation.finish_reason())},
                                 {"prompt_tokens", generation.prompt_tokens()},
                                 {"answer_tokens", generation.answer_tokens()}}));
  }

  static std::string_view FinishName(runtime::FinishReason reason) {
    switch (reason) {
      case runtime::FinishReason::kEndToken:
      case runtime::FinishReason::kStopString:
        return "stop";
      case runtime::FinishReason::kLength:
        return "length";
      case runtime::FinishReason::kCancelled:
        return "cancelled";
    }
    return "";
  }

  bool as_json_;
  bool quiet_;
  bool thinking_ended_ = false;
  runtime::AnswerDelta whole_;
};

Result<runtime::Chat> MakeChat(const RunFlags& flags, std::string prompt) {
  SLUICE_ASSIGN(runtime::Chat chat, StartConversation(flags.conversation));
  chat.messages.push_back({runtime::Role::kUser, std::move(prompt), {}, {}, {}});
  return chat;
}

// The answer to the prompt as it stands, without any format around it.
Status RunRaw(runtime::GenerationBatch& batch, runtime::Generation& generation, Output& output,
              const std::atomic<bool>& cancel) {
  return runtime::RunGeneration(batch, generation, [&](const std::string& text) {
    output.Print({"", text, {}});
    return !cancel.load();
  });
}

void PrintSpeed(const runtime::Generation& generation, double seconds) {
  fmt::print(stderr, "\n{} prompt tokens, {} answer tokens, {:.1f} s\n", generation.prompt_tokens(),
             generation.answer_tokens(), seconds);
}

Status Run(const RunFlags& flags, const Context& context) {
  SLUICE_ASSIGN(const runtime::ChatModel model, OpenModel(flags.model));
  if (!context.quiet) PrintWarnings(model.warnings);
  SLUICE_ASSIGN(std::string prompt, ReadPrompt(flags.prompt));
  const runtime::GenerationOptions options = OptionsOf(flags.generation, model.sampling);
  SLUICE_ASSIGN(const runtime::Chat chat, MakeChat(flags, prompt));
  runtime::GenerationBatch batch(*model.model, 1);
  SLUICE_ASSIGN(runtime::Generation generation, flags.raw
                                                    ? runtime::StartText(model, prompt, options)
                                                    : runtime::StartChat(model, chat, options));
  const std::atomic<bool>& cancel = CancelOnSignals();
  Output output(flags.json, context.quiet);
  const auto start = std::chrono::steady_clock::now();
  if (flags.raw) {
    SLUICE_TRY(RunRaw(batch, generation, output, cancel));
  } else {
    runtime::GlmAnswer answer(chat.thinking, chat.tools);
    SLUICE_TRY(runtime::RunChat(
        batch, generation, answer, [&](const runtime::AnswerDelta& delta) { output.Print(delta); },
        cancel));
  }
  output.Finish(generation);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  if (!context.quiet && !flags.json) PrintSpeed(generation, seconds.count());
  if (cancel.load()) return MakeError(ErrorCode::kCancelled, "cancelled");
  return Ok();
}

}  // namespace

void AddRun(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("run", "Let a model answer one prompt");
  auto flags = std::make_shared<RunFlags>();
  AddModelFlags(*command, flags->model);
  AddPromptFlags(*command, flags->prompt);
  AddConversationFlags(*command, flags->conversation);
  command->add_flag("--raw", flags->raw, "Go on with the text as it stands; default: as a chat");
  command->add_flag("--json", flags->json, "Print JSON (docs/json.md); default: text");
  AddGenerationFlags(*command, flags->generation);
  command->callback([flags, &context] {
    const Status status = Run(*flags, context);
    if (!status) Fail(status.error(), context);
  });
}

}  // namespace sluice::cli
