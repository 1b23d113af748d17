// One answer in the making: prompt tokens in, text out, token by token.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/utf8.h"
#include "runtime/language_model.h"
#include "runtime/sampler.h"
#include "runtime/text/stop_strings.h"
#include "runtime/text/tokenizer.h"

namespace sluice::runtime {

struct GenerationOptions {
  SamplingOptions sampling;
  std::optional<std::uint64_t> seed;        // nullopt: another one each time
  std::optional<std::uint32_t> max_tokens;  // of the answer; nullopt: until the context is full
  std::vector<std::string> stop;            // end the answer and are no part of it
};

enum class FinishReason : std::uint8_t {
  kEndToken,
  kStopString,
  kLength,     // max_tokens, or the context is full
  kCancelled,  // the caller asked for it
};

// Knows what the model must see next and makes text of what it says. Does not run the model: see
// GenerationBatch.
class Generation {
 public:
  // `end_tokens` end the answer. kUsage for options that make no sense, an empty prompt, tokens
  // that the model does not have, and a prompt that leaves no room in the context.
  static Result<Generation> Start(const LanguageModel& model, const Tokenizer& tokenizer,
                                  std::vector<TokenId> end_tokens, std::vector<TokenId> prompt,
                                  const GenerationOptions& options);

  // Prompt and answer so far; all but the last have to be in the model's sequence when the last
  // one's logits are asked for.
  [[nodiscard]] const std::vector<TokenId>& tokens() const { return tokens_; }

  // Chooses the next token and returns the text that became certain, which may be empty.
  // `logits`: of the last of tokens(), [vocab_size]. REQUIRES: !finished().
  std::string Accept(std::span<const float> logits);

  // Ends the answer where it is and returns the text that was still held back.
  std::string Cancel();

  [[nodiscard]] bool finished() const { return finish_reason_.has_value(); }
  // REQUIRES: finished().
  [[nodiscard]] FinishReason finish_reason() const { return *finish_reason_; }
  [[nodiscard]] std::uint32_t prompt_tokens() const { return prompt_tokens_; }
  // Without the end token.
  [[nodiscard]] std::uint32_t answer_tokens() const {
    return static_cast<std::uint32_t>(tokens_.size()) - prompt_tokens_;
  }

 private:
  Generation(const Tokenizer& tokenizer, const GenerationOptions& options);
  // Text that nothing can hold back any longer.
  std::string Finish(FinishReason reason);

  Tokenizer tokenizer_;
  std::vector<TokenId> end_tokens_;
  std::vector<TokenId> tokens_;
  std::uint32_t prompt_tokens_ = 0;
  std::uint64_t max_total_ = 0;  // tokens of prompt and answer
  Sampler sampler_;
  Utf8Stream utf8_;
  StopStrings stop_;
  std::optional<FinishReason> finish_reason_;
};

}  // namespace sluice::runtime
