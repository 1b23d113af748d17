// The logarithm that turns logits into log-probabilities.
#pragma once

#include <span>

namespace sluice::runtime {

// log(sum of e^x): the log-probability of token i is logits[i] minus this. In binary64.
// REQUIRES: not empty, finite.
[[nodiscard]] double LogOfSumOfExp(std::span<const float> logits);

}  // namespace sluice::runtime
