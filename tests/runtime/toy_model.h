// A language model of a few lines for tests of what stands around one: its logits are a function of
// all tokens of a sequence, so that a token lost, doubled or taken from another sequence shows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "runtime/language_model.h"

namespace sluice::runtime::testing {

class ToyModel : public LanguageModel {
 public:
  ToyModel(std::uint32_t vocab_size, std::uint32_t context_length, std::size_t max_sequences = 100)
      : vocab_size_(vocab_size), context_length_(context_length), max_sequences_(max_sequences) {}

  [[nodiscard]] std::uint32_t vocab_size() const override { return vocab_size_; }
  [[nodiscard]] std::uint32_t context_length() const override { return context_length_; }

  Result<SequenceId> CreateSequence() override {
    if (sequences_.size() >= max_sequences_) {
      return MakeError(ErrorCode::kResource, "no room for a sequence");
    }
    sequences_[next_];
    return next_++;
  }
  void ReleaseSequence(SequenceId sequence) override { sequences_.erase(sequence); }
  void TruncateSequence(SequenceId sequence, std::uint32_t length) override {
    sequences_.at(sequence).resize(length);
  }

  Status Forward(std::span<const SequenceInput> batch) override {
    ++passes;
    if (fail_after > 0 && passes >= fail_after) {
      return MakeError(ErrorCode::kResource, "the toy model fails");
    }
    for (const SequenceInput& input : batch) {
      std::vector<TokenId>& tokens = sequences_.at(input.sequence);
      tokens.insert(tokens.end(), input.tokens.begin(), input.tokens.end());
      tokens_run += input.tokens.size();
      largest_input = std::max(largest_input, input.tokens.size());
      if (!input.logits.empty()) Fill(tokens, input.logits);
    }
    return Ok();
  }

  // What the model must have seen for the logits to be right.
  static std::uint64_t Hash(std::span<const TokenId> tokens) {
    std::uint64_t hash = 1469598103934665603;
    for (const TokenId token : tokens) hash = (hash ^ token) * 1099511628211;
    return hash;
  }
  static void Fill(std::span<const TokenId> tokens, std::span<float> logits) {
    std::uint64_t state = Hash(tokens);
    for (float& logit : logits) {
      state = state * 6364136223846793005 + 1442695040888963407;
      logit = static_cast<float>(state >> 40U) / 4e6F;
    }
  }

  [[nodiscard]] std::size_t num_sequences() const { return sequences_.size(); }

  std::size_t passes = 0;
  std::size_t fail_after = 0;  // from this pass on; 0: never
  std::size_t tokens_run = 0;
  std::size_t largest_input = 0;

 private:
  std::uint32_t vocab_size_;
  std::uint32_t context_length_;
  std::size_t max_sequences_;
  SequenceId next_ = 7;
  std::map<SequenceId, std::vector<TokenId>> sequences_;
};

}  // namespace sluice::runtime::testing
