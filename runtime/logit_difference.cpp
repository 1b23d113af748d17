#include "runtime/logit_difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/log_softmax.h"
#include "runtime/logit_stream.h"

namespace sluice::runtime {

LogitDifference DifferenceOf(std::span<const float> reference, std::span<const float> tested) {
  const double of_reference = LogOfSumOfExp(reference);
  const double of_tested = LogOfSumOfExp(tested);
  LogitDifference difference;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double a = reference[i];
    const double b = tested[i];
    difference.largest = std::max(difference.largest, std::abs(a - b));
    difference.mean += std::abs(a - b);
    const double log_p = a - of_reference;
    difference.divergence += std::exp(log_p) * (log_p - (b - of_tested));
  }
  difference.mean /= static_cast<double>(reference.size());
  difference.divergence = std::max(0.0, difference.divergence);  // rounding may take it below
  const auto best = [](std::span<const float> row) {
    return std::max_element(row.begin(), row.end()) - row.begin();
  };
  difference.agreement = best(reference) == best(tested) ? 1 : 0;
  return difference;
}

LogitDifference Summarize(std::span<const LogitDifference> tokens) {
  LogitDifference all;
  for (const LogitDifference& token : tokens) {
    all.largest = std::max(all.largest, token.largest);
    all.mean += token.mean;
    all.divergence += token.divergence;
    all.agreement += token.agreement;
  }
  const auto count = static_cast<double>(tokens.size());
  all.mean /= count;
  all.divergence /= count;
  all.agreement /= count;
  return all;
}

Result<std::vector<LogitDifference>> CompareLogits(Glm& reference, Glm& tested,
                                                   std::span<const TokenId> tokens) {
  const std::size_t vocab = reference.vocab_size();
  if (tested.vocab_size() != vocab) {
    return MakeError(ErrorCode::kMismatch, "the models have vocabularies of different sizes")
        .Expected(fmt::format("{} tokens", vocab))
        .Actual(fmt::format("{}", tested.vocab_size()));
  }
  LogitStream of_reference(reference, tokens);
  LogitStream of_tested(tested, tokens);
  std::vector<LogitDifference> differences;
  while (differences.size() < tokens.size()) {
    SLUICE_ASSIGN(const std::span<const float> a, of_reference.Next());
    SLUICE_ASSIGN(const std::span<const float> b, of_tested.Next());
    for (std::size_t at = 0; at < a.size(); at += vocab) {
      differences.push_back(DifferenceOf(a.subspan(at, vocab), b.subspan(at, vocab)));
    }
  }
  return differences;
}

}  // namespace sluice::runtime
