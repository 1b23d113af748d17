// Perplexity: how surprised a model is by a text, measured as llama.cpp's tool of that name does.
#pragma once

#include <cstdint>
#include <span>

#include "core/result.h"
#include "runtime/model/glm.h"

namespace sluice::runtime {

// Sums of the negative log-probabilities that a model gave to the tokens which came.
class Perplexity {
 public:
  void Add(double negative_log_probability) {
    ++count_;
    sum_ += negative_log_probability;
    squares_ += negative_log_probability * negative_log_probability;
  }

  [[nodiscard]] std::uint64_t count() const { return count_; }
  // e^mean. REQUIRES: count() > 0.
  [[nodiscard]] double value() const;
  // Of value(): value() times the standard error of the mean; 0 for a single token.
  // REQUIRES: count() > 0.
  [[nodiscard]] double standard_error() const;

 private:
  std::uint64_t count_ = 0;
  double sum_ = 0;
  double squares_ = 0;
};

// Adds the second half of a window: each token behind position window.size() / 2 is predicted from
// all tokens of the window before it. So every prediction has at least half a window to go by, and
// window.size() - 1 - window.size() / 2 tokens are scored. Errors as of Glm::ForwardAll.
// REQUIRES: window.size() >= 2.
Status ScoreWindow(Glm& model, std::span<const TokenId> window, Perplexity& perplexity);

}  // namespace sluice::runtime
