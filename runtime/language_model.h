// What generation needs of a model: token ids in, logits out, for several sequences at once.
#pragma once

#include <cstdint>
#include <span>

#include "core/result.h"

namespace sluice::runtime {

using TokenId = std::uint32_t;

// Names a sequence from CreateSequence to ReleaseSequence.
using SequenceId = std::uint32_t;

// One sequence's share of a forward pass.
struct SequenceInput {
  SequenceId sequence = 0;
  std::span<const TokenId> tokens;  // appended to what the sequence holds; not empty, each < vocab
  std::span<float> logits;          // [vocab_size], of the last token; empty: not wanted
};

// A loaded model and the sequences it holds. A sequence is the tokens the model has seen so far,
// with whatever the model keeps of them (its cache). One thread at a time may call the non-const
// members.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  // Entries of a row of logits; at least as many as the tokenizer has tokens.
  [[nodiscard]] virtual std::uint32_t vocab_size() const = 0;
  // Tokens that one sequence can hold.
  [[nodiscard]] virtual std::uint32_t context_length() const = 0;

  // An empty sequence. kResource when the model can hold no further one.
  virtual Result<SequenceId> CreateSequence() = 0;
  // Forgets a sequence. REQUIRES: a live id.
  virtual void ReleaseSequence(SequenceId sequence) = 0;
  // Keeps the first `length` tokens of a sequence. REQUIRES: a live id, length <= its tokens.
  virtual void TruncateSequence(SequenceId sequence, std::uint32_t length) = 0;

  // Runs the tokens of every input through the model and fills the logits that are wanted. The
  // result for a sequence does not depend on which others are in the batch, nor on how its tokens
  // are cut into calls, beyond rounding.
  // REQUIRES: each sequence at most once in `batch`; no sequence grows past context_length().
  // kResource when memory runs out; the sequences of the batch are then only good for release.
  virtual Status Forward(std::span<const SequenceInput> batch) = 0;
};

}  // namespace sluice::runtime
