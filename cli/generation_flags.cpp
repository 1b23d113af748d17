#include "cli/generation_flags.h"

#include <unistd.h>

#include <cstdio>
#include <map>
#include <utility>

#include "cli/command.h"
#include "core/file.h"
#include "core/utf8.h"

namespace sluice::cli {
namespace {

constexpr std::uint64_t kMaxToolsBytes = std::uint64_t{16} << 20;

const std::map<std::string, gguf::TensorType> kCacheTypes{{"f32", gguf::TensorType::kF32},
                                                          {"f16", gguf::TensorType::kF16},
                                                          {"bf16", gguf::TensorType::kBF16}};

template <typename T>
void Apply(const std::optional<T>& flag, T& value) {
  if (flag) value = *flag;
}

}  // namespace

void AddModelFlags(CLI::App& command, ModelFlags& flags) {
  command
      .add_option(
          "MODEL", flags.path,
          "A .gguf file or a checkpoint folder of GLM-4 MoE Lite, or Ollama's manifest of one")
      ->type_name("")
      ->required();
  AddThreads(command, flags.threads);
  AddChoices(*command.add_option("--cache", flags.cache, "Type of the cache; default f32"),
             {"f32", "f16", "bf16"});
}

runtime::LoadOptions LoadOptionsOf(const ModelFlags& flags) {
  runtime::LoadOptions options;
  options.model.threads = flags.threads;
  options.model.cache_type = kCacheTypes.at(flags.cache);
  return options;
}

Result<runtime::ChatModel> OpenModel(const ModelFlags& flags) {
  return runtime::LoadChatModel(flags.path, LoadOptionsOf(flags));
}

void AddGenerationFlags(CLI::App& command, GenerationFlags& flags) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    command.add_option(name, value, help)->type_name("NUMBER");
  };
  add("--temperature", flags.temperature,
      "How freely to choose; 0: always the most likely token; default: the model's, else 1");
  add("--top-k", flags.top_k,
      "Choose among this many most likely tokens; 0: all; default: the model's, else 0");
  add("--top-p", flags.top_p,
      "Choose among the most likely tokens that add up to this; default: the model's, else 0.95");
  add("--min-p", flags.min_p,
      "Leave out tokens less likely than this share of the most likely; default: the model's, "
      "else 0");
  add("--repeat-penalty", flags.repeat_penalty,
      "Divides the logits of tokens that occurred; default 1: off");
  add("--presence-penalty", flags.presence_penalty,
      "Taken off the logits of tokens that occurred; default 0");
  add("--frequency-penalty", flags.frequency_penalty,
      "Taken off logits for each time the token occurred; default 0");
  add("--repeat-last-n", flags.repeat_last_n,
      "Tokens that the penalties look at; -1: all; default 64");
  add("--seed", flags.seed, "Equal seeds give equal answers; default: another one each time");
  add("--max-tokens", flags.max_tokens,
      "Longest answer in tokens; default: until the context is full");
  command.add_option("--stop", flags.stop, "Ends the answer; repeatable; default: none")
      ->type_name("TEXT")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
}

runtime::GenerationOptions OptionsOf(const GenerationFlags& flags,
                                     const runtime::SamplingOptions& recommended) {
  runtime::GenerationOptions options;
  options.sampling = recommended;
  Apply(flags.temperature, options.sampling.temperature);
  Apply(flags.top_k, options.sampling.top_k);
  Apply(flags.top_p, options.sampling.top_p);
  Apply(flags.min_p, options.sampling.min_p);
  Apply(flags.repeat_penalty, options.sampling.repeat_penalty);
  Apply(flags.presence_penalty, options.sampling.presence_penalty);
  Apply(flags.frequency_penalty, options.sampling.frequency_penalty);
  Apply(flags.repeat_last_n, options.sampling.repeat_last_n);
  options.seed = flags.seed;
  options.max_tokens = flags.max_tokens;
  options.stop = flags.stop;
  return options;
}

void AddConversationFlags(CLI::App& command, ConversationFlags& flags) {
  command.add_option("--system", flags.system, "System message; default: none")->type_name("TEXT");
  command
      .add_option("--tools", flags.tools,
                  "JSON file with the tools that the model may call; default: none")
      ->type_name("FILE");
  command.add_flag("--no-think", flags.no_think,
                   "Answer without reasoning first; default: with it");
}

Result<runtime::Chat> StartConversation(const ConversationFlags& flags) {
  runtime::Chat chat;
  chat.thinking = !flags.no_think;
  if (!flags.tools.empty()) {
    SLUICE_ASSIGN(chat.tools, ReadTools(flags.tools));
  }
  if (!flags.system.empty()) {
    chat.messages.push_back({runtime::Role::kSystem, flags.system, {}, {}, {}});
  }
  return chat;
}

Result<std::vector<runtime::Json>> ReadTools(const std::string& path) {
  SLUICE_ASSIGN(const std::string text, ReadWholeFile(path, kMaxToolsBytes));
  Result<runtime::Json> json = runtime::ParseJson(text);
  if (!json) return std::move(json).error().In(path);
  Result<std::vector<runtime::Json>> tools = runtime::ParseTools(*json);
  if (!tools) {
    Error error = std::move(tools).error().In(path);
    error.code = ErrorCode::kCorrupt;  // of a file, not of the command line
    return error;
  }
  return tools;
}

std::string Spoken(std::string text, std::FILE* stream) {
  return ::isatty(::fileno(stream)) != 0 ? PrintableLines(text) : text;
}

}  // namespace sluice::cli
