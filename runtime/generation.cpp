#include "runtime/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::runtime {

Generation::Generation(const Tokenizer& tokenizer, const GenerationOptions& options)
    : tokenizer_(tokenizer),
      sampler_(options.sampling, options.seed ? *options.seed : RandomSeed()),
      stop_(options.stop) {}

Result<Generation> Generation::Start(const LanguageModel& model, const Tokenizer& tokenizer,
                                     std::vector<TokenId> end_tokens, std::vector<TokenId> prompt,
                                     const GenerationOptions& options) {
  SLUICE_TRY(CheckSampling(options.sampling));
  const auto usage = [](std::string_view what) { return MakeError(ErrorCode::kUsage, what); };
  if (options.max_tokens == 0U) return usage("max_tokens must be at least 1");
  if (prompt.empty()) return usage("the prompt is empty");
  const TokenId largest = *std::max_element(prompt.begin(), prompt.end());
  if (largest >= model.vocab_size()) {
    return MakeError(ErrorCode::kMismatch, "the tokenizer has tokens that the model lacks")
        .Expected(fmt::format("ids below {}", model.vocab_size()))
        .Actual(fmt::format("{}", largest));
  }
  const std::uint32_t context = model.context_length();
  if (prompt.size() >= context) {
    return usage("the prompt does not fit the model's context")
        .Expected(fmt::format("fewer than {} tokens", context))
        .Actual(fmt::format("{}", prompt.size()));
  }
  Generation generation(tokenizer, options);
  generation.end_tokens_ = std::move(end_tokens);
  generation.tokens_ = std::move(prompt);
  generation.prompt_tokens_ = static_cast<std::uint32_t>(generation.tokens_.size());
  const std::uint32_t room = context - generation.prompt_tokens_;
  generation.max_total_ =
      generation.prompt_tokens_ + std::min(room, options.max_tokens.value_or(room));
  return generation;
}

std::string Generation::Accept(std::span<const float> logits) {
  // Rows beyond the tokenizer's are padding and mean nothing.
  const std::size_t known = std::min<std::size_t>(logits.size(), tokenizer_.size());
  const TokenId token = sampler_.Sample(logits.first(known), tokens_);
  if (std::find(end_tokens_.begin(), end_tokens_.end(), token) != end_tokens_.end()) {
    return Finish(FinishReason::kEndToken);
  }
  tokens_.push_back(token);
  std::string text = stop_.Push(utf8_.Push(tokenizer_.BytesOf(token)));
  if (stop_.stopped()) {
    finish_reason_ = FinishReason::kStopString;
  } else if (tokens_.size() >= max_total_) {
    text += Finish(FinishReason::kLength);
  }
  return text;
}

std::string Generation::Cancel() { return Finish(FinishReason::kCancelled); }

std::string Generation::Finish(FinishReason reason) {
  finish_reason_ = reason;
  std::string text = stop_.Push(utf8_.Finish());
  if (!stop_.stopped()) text += stop_.Finish();
  return text;
}

}  // namespace sluice::runtime
