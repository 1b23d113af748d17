// The logits of a text's tokens, a few rows at a time: all of them would not fit into memory.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "core/result.h"
#include "runtime/model/glm.h"

namespace sluice::runtime {

// Runs tokens as a sequence of their own, which ends with the object. Model and tokens must outlive
// it. Used by one thread at a time. Errors as of Glm::ForwardAll.
class LogitStream {
 public:
  LogitStream(Glm& model, std::span<const TokenId> tokens) : model_(model), rest_(tokens) {}
  LogitStream(const LogitStream&) = delete;
  LogitStream& operator=(const LogitStream&) = delete;
  ~LogitStream();

  // Runs the next `count` tokens, whose logits are not wanted. REQUIRES: there are so many left.
  Status Skip(std::size_t count);

  // The logits [n, vocab_size] of the next n tokens, valid until the next call; none after the last
  // token.
  Result<std::span<const float>> Next();

 private:
  Status Start();

  Glm& model_;
  std::span<const TokenId> rest_;
  std::optional<SequenceId> sequence_;
  std::vector<float> logits_;
};

}  // namespace sluice::runtime
