#include "runtime/chat_model.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "runtime/model/ollama_model.h"
#include "runtime/text/glm_prompt.h"

namespace sluice::runtime {
namespace {

namespace fs = std::filesystem;

std::string NameOf(const std::string& path, const gguf::Metadata& metadata) {
  const auto* name = metadata.Get<std::string>("general.name");
  if (name != nullptr && !name->empty()) return *name;
  const fs::path file = fs::path(path).lexically_normal();
  return file.has_filename() ? file.stem().string() : file.parent_path().filename().string();
}

}  // namespace

Result<ChatModel> LoadChatModel(const std::string& path, const LoadOptions& options) {
  if (OllamaModel::IsManifest(path)) {
    SLUICE_ASSIGN(const OllamaModel blobs, OllamaModel::Open(path));
    Result<ChatModel> model = LoadChatModel(blobs.folder(), options);
    if (!model) return blobs.WithRealNames(std::move(model).error());
    model->name = fs::path(path).parent_path().filename().string();
    return model;
  }
  SLUICE_ASSIGN(LoadedModel loaded, LoadModel(path, options));
  SLUICE_ASSIGN(Tokenizer tokenizer, TokenizerOf(path, loaded));
  if (tokenizer.size() > loaded.model->vocab_size()) {
    return MakeError(ErrorCode::kMismatch, "the tokenizer has more tokens than the model")
        .In(path)
        .Expected(fmt::format("at most {}", loaded.model->vocab_size()))
        .Actual(fmt::format("{}", tokenizer.size()));
  }
  std::vector<TokenId> end_tokens = ChatEndTokens(tokenizer);
  return ChatModel{std::move(loaded.model),       std::move(tokenizer),
                   std::move(end_tokens),         RecommendedSampling(loaded.metadata),
                   NameOf(path, loaded.metadata), std::move(loaded.warnings)};
}

std::vector<TokenId> ChatEndTokens(const Tokenizer& tokenizer) {
  std::vector<TokenId> ends = tokenizer.end_tokens();
  for (const std::string_view text : glm::kEnds) {
    if (const auto id = tokenizer.FindAdded(text)) ends.push_back(*id);
  }
  return ends;
}

Result<Generation> StartChat(const ChatModel& model, const Chat& chat,
                             const GenerationOptions& options) {
  for (const Message& message : chat.messages) SLUICE_TRY(CheckUtf8(message.content));
  return StartText(model, GlmPrompt(chat), options);
}

Result<Generation> StartText(const ChatModel& model, std::string_view text,
                             const GenerationOptions& options) {
  const std::uint64_t context = model.model->context_length();
  if (text.size() > context * model.tokenizer.longest_token()) {  // not worth the work of Encode
    return MakeError(ErrorCode::kUsage, "the prompt does not fit the model's context")
        .Expected(fmt::format("fewer than {} tokens", context))
        .Actual(fmt::format("a text of {} bytes", text.size()));
  }
  SLUICE_ASSIGN(std::vector<TokenId> prompt, model.tokenizer.Encode(text));
  return Generation::Start(*model.model, model.tokenizer, model.end_tokens, std::move(prompt),
                           options);
}

AnswerEnd EndOf(const Generation& generation) {
  return generation.finish_reason() == FinishReason::kEndToken ? AnswerEnd::kWhole
                                                               : AnswerEnd::kCut;
}

Status RunChat(GenerationBatch& batch, Generation& generation, GlmAnswer& answer,
               const std::function<void(const AnswerDelta&)>& on_delta,
               const std::atomic<bool>& cancel) {
  Status parsed = Ok();
  const auto hand_out = [&](const Result<AnswerDelta>& delta) {
    if (!delta) {
      parsed = delta.error();
    } else if (!delta->empty()) {
      on_delta(*delta);
    }
  };
  SLUICE_TRY(RunGeneration(batch, generation, [&](const std::string& text) {
    if (parsed) hand_out(answer.Push(text));
    return parsed && !cancel.load();
  }));
  if (parsed) hand_out(answer.Finish(EndOf(generation)));
  return parsed;
}

}  // namespace sluice::runtime
