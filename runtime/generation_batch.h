// Runs several generations on one model at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"
#include "runtime/generation.h"
#include "runtime/language_model.h"

namespace sluice::runtime {

// Sequences of finished generations are kept, so that a prompt that begins like an earlier one, as
// every turn of a conversation does, only has to be run from where it differs.
// For one thread; the model must outlive it and be used by nobody else.
class GenerationBatch {
 public:
  // At most `max_generations` run at once. REQUIRES: max_generations > 0.
  GenerationBatch(LanguageModel& model, std::uint32_t max_generations);
  GenerationBatch(const GenerationBatch&) = delete;
  GenerationBatch& operator=(const GenerationBatch&) = delete;
  ~GenerationBatch();

  [[nodiscard]] bool full() const { return active_.size() >= max_generations_; }
  [[nodiscard]] bool empty() const { return active_.empty(); }

  // Takes part from the next Step on; must live until it has been removed.
  // kResource when the model can hold no further sequence. REQUIRES: !full().
  Status Add(Generation& generation);

  // Ends a generation's part, finished or not. REQUIRES: it was added.
  void Remove(const Generation& generation);

  struct Output {
    Generation* generation = nullptr;
    std::string text;  // see Generation::Accept
  };
  // One pass through the model: a token for every generation whose prompt has been read, and some
  // tokens of prompts that have not. Gives an Output for each that got a token. After an error all
  // of them have been removed.
  Result<std::vector<Output>> Step();

  // Of the prompt of a generation that takes part, the tokens that an earlier one had left.
  [[nodiscard]] std::uint32_t reused_tokens(const Generation& generation) const;

 private:
  // A sequence of the model and what it has seen.
  struct Slot {
    SequenceId sequence = 0;
    std::vector<TokenId> tokens;
    std::uint64_t last_used = 0;
  };
  struct Active {
    Generation* generation = nullptr;
    Slot slot;
    std::uint32_t reused = 0;
    std::vector<float> logits;  // [vocab_size]
  };

  Result<Slot> TakeSlot(const std::vector<TokenId>& prompt);
  Slot TakeIdle(std::size_t index);

  LanguageModel& model_;
  const std::size_t max_generations_;
  std::vector<std::unique_ptr<Active>> active_;
  std::vector<Slot> idle_;
  std::uint64_t clock_ = 0;
};

// Runs one generation to its end. `on_text` gets each piece of text; returning false cancels.
template <typename OnText>
Status RunGeneration(GenerationBatch& batch, Generation& generation, OnText on_text) {
  SLUICE_TRY(batch.Add(generation));
  while (!generation.finished()) {
    SLUICE_ASSIGN(const std::vector<GenerationBatch::Output> outputs, batch.Step());
    const std::string text = outputs.empty() ? std::string() : outputs.front().text;
    if (!on_text(text) && !generation.finished()) on_text(generation.Cancel());
  }
  batch.Remove(generation);
  return Ok();
}

}  // namespace sluice::runtime
