// Options that run, chat and serve share: which model, how to run it, how to choose tokens.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "runtime/chat_model.h"

namespace sluice::cli {

struct ModelFlags {
  std::string path;
  int threads = 0;  // 0: all allowed cores
  std::string cache = "f32";
};
void AddModelFlags(CLI::App& command, ModelFlags& flags);
[[nodiscard]] runtime::LoadOptions LoadOptionsOf(const ModelFlags& flags);
Result<runtime::ChatModel> OpenModel(const ModelFlags& flags);

// Absent flags leave what the model's files recommend.
struct GenerationFlags {
  std::optional<float> temperature;
  std::optional<std::uint32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repeat_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::optional<std::int64_t> repeat_last_n;
  std::optional<std::uint64_t> seed;
  std::optional<std::uint32_t> max_tokens;
  std::vector<std::string> stop;
};
void AddGenerationFlags(CLI::App& command, GenerationFlags& flags);
[[nodiscard]] runtime::GenerationOptions OptionsOf(const GenerationFlags& flags,
                                                   const runtime::SamplingOptions& recommended);

// What a conversation starts with.
struct ConversationFlags {
  std::string system;
  std::string tools;  // a file
  bool no_think = false;
};
void AddConversationFlags(CLI::App& command, ConversationFlags& flags);
// The conversation before its first turn. Errors name the file of tools.
Result<runtime::Chat> StartConversation(const ConversationFlags& flags);

// The tools of a JSON file: a list of {"type": "function", "function": {...}}. Errors name the
// file.
Result<std::vector<runtime::Json>> ReadTools(const std::string& path);

// What a model says, for one of our streams: where that is a terminal, nothing in it acts on it.
[[nodiscard]] std::string Spoken(std::string text, std::FILE* stream);

}  // namespace sluice::cli
