#include "runtime/perplexity.h"

#include <algorithm>
#include <cmath>

#include "runtime/log_softmax.h"
#include "runtime/logit_stream.h"

namespace sluice::runtime {

double Perplexity::value() const { return std::exp(sum_ / static_cast<double>(count_)); }

double Perplexity::standard_error() const {
  if (count_ < 2) return 0;
  const auto count = static_cast<double>(count_);
  const double mean = sum_ / count;
  const double variance = std::max(0.0, squares_ / count - mean * mean);
  return value() * std::sqrt(variance / (count - 1));
}

Status ScoreWindow(Glm& model, std::span<const TokenId> window, Perplexity& perplexity) {
  const std::size_t vocab = model.vocab_size();
  std::size_t next = window.size() / 2 + 1;  // the token that the coming row of logits predicts
  LogitStream stream(model, window.first(window.size() - 1));
  SLUICE_TRY(stream.Skip(next - 1));
  while (next < window.size()) {
    SLUICE_ASSIGN(const std::span<const float> logits, stream.Next());
    for (std::size_t at = 0; at < logits.size(); at += vocab, ++next) {
      const std::span<const float> row = logits.subspan(at, vocab);
      perplexity.Add(LogOfSumOfExp(row) - row[window[next]]);
    }
  }
  return Ok();
}

}  // namespace sluice::runtime
