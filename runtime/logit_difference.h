// How far the logits of two models are apart: what a conversion or a quantization has cost.
#pragma once

#include <span>
#include <vector>

#include "core/result.h"
#include "runtime/model/glm.h"

namespace sluice::runtime {

// For one token, or for several: then the largest of `largest`, the means of the others.
struct LogitDifference {
  double largest = 0;     // absolute difference of two logits
  double mean = 0;        // of the absolute differences
  double divergence = 0;  // Kullback and Leibler's, of the reference from the other, in nats
  double agreement = 0;   // 1 if both like the same token best, else 0
};

// Of two rows of logits for the same token. REQUIRES: equally long, not empty, finite.
[[nodiscard]] LogitDifference DifferenceOf(std::span<const float> reference,
                                           std::span<const float> tested);

// Of all tokens together. REQUIRES: not empty.
[[nodiscard]] LogitDifference Summarize(std::span<const LogitDifference> tokens);

// Runs both models on the same tokens and compares their logits, token by token. kMismatch when the
// vocabularies are not equally large; errors as of Glm::ForwardAll, which do not name the model.
Result<std::vector<LogitDifference>> CompareLogits(Glm& reference, Glm& tested,
                                                   std::span<const TokenId> tokens);

}  // namespace sluice::runtime
