// A model ready to talk: weights, tokenizer, prompt format.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "runtime/generation.h"
#include "runtime/generation_batch.h"
#include "runtime/language_model.h"
#include "runtime/model/load.h"
#include "runtime/sampler.h"
#include "runtime/text/chat.h"
#include "runtime/text/glm_answer.h"
#include "runtime/text/tokenizer.h"

namespace sluice::runtime {

struct ChatModel {
  std::unique_ptr<LanguageModel> model;
  Tokenizer tokenizer;
  std::vector<TokenId> end_tokens;  // of the files and of the prompt format
  SamplingOptions sampling;         // what the files recommend
  std::string name;                 // general.name, else the file's
  std::vector<std::string> warnings;
};

// Opens what LoadModel opens. Errors as of LoadModel and OpenTokenizer; kMismatch when the
// tokenizer does not fit the model.
Result<ChatModel> LoadChatModel(const std::string& path, const LoadOptions& options);

// The end tokens of the tokenizer's files and those that end a turn in GLM-4.7's prompts.
[[nodiscard]] std::vector<TokenId> ChatEndTokens(const Tokenizer& tokenizer);

// Starts the answer to a chat. Errors as of Tokenizer::Encode and Generation::Start.
Result<Generation> StartChat(const ChatModel& model, const Chat& chat,
                             const GenerationOptions& options);

// Starts the continuation of a text, without any format around it. The same errors.
Result<Generation> StartText(const ChatModel& model, std::string_view text,
                             const GenerationOptions& options);

// How the answer came to its end, for GlmAnswer. REQUIRES: generation.finished().
[[nodiscard]] AnswerEnd EndOf(const Generation& generation);

// Runs a generation to its end, or until `cancel` is set, and takes its text apart. `on_delta` gets
// what each piece adds, if it adds something. Errors as of GenerationBatch and GlmAnswer.
Status RunChat(GenerationBatch& batch, Generation& generation, GlmAnswer& answer,
               const std::function<void(const AnswerDelta&)>& on_delta,
               const std::atomic<bool>& cancel);

}  // namespace sluice::runtime
