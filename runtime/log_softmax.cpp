#include "runtime/log_softmax.h"

#include <algorithm>
#include <cmath>

namespace sluice::runtime {

double LogOfSumOfExp(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum);
}

}  // namespace sluice::runtime
