#include "runtime/logit_difference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "runtime/log_softmax.h"

namespace sluice::runtime {
namespace {

// Logits of the probabilities, shifted: logits are free up to a constant.
std::vector<float> LogitsOf(const std::vector<double>& probabilities, double shift) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + shift));
  return logits;
}

TEST(LogitDifference, KnowsTheDivergenceOfTwoDistributions) {
  const LogitDifference difference =
      DifferenceOf(LogitsOf({0.5, 0.25, 0.25}, 3), LogitsOf({0.25, 0.5, 0.25}, 3));
  EXPECT_NEAR(difference.largest, std::log(2), 1e-6);
  EXPECT_NEAR(difference.mean, 2 * std::log(2) / 3, 1e-6);
  EXPECT_NEAR(difference.divergence, 0.25 * std::log(2), 1e-6);
  EXPECT_EQ(difference.agreement, 0);
}

TEST(LogitDifference, AShiftOfAllLogitsIsNoDivergence) {
  const LogitDifference difference =
      DifferenceOf(LogitsOf({0.5, 0.3, 0.2}, 0), LogitsOf({0.5, 0.3, 0.2}, 90));
  EXPECT_NEAR(difference.largest, 90, 1e-4);
  EXPECT_NEAR(difference.divergence, 0, 1e-5);
  EXPECT_GE(difference.divergence, 0);
  EXPECT_EQ(difference.agreement, 1);
}

TEST(LogitDifference, SummarizesTheLargestAndMeans) {
  const std::vector<LogitDifference> tokens{{1, 0.5, 0.25, 1}, {3, 0.25, 0.5, 0}};
  const LogitDifference all = Summarize(tokens);
  EXPECT_EQ(all.largest, 3);
  EXPECT_EQ(all.mean, 0.375);
  EXPECT_EQ(all.divergence, 0.375);
  EXPECT_EQ(all.agreement, 0.5);
}

TEST(LogOfSumOfExp, SurvivesLargeLogits) {
  const std::vector<float> large{1000, 1000, -1000};
  EXPECT_NEAR(LogOfSumOfExp(large), 1000 + std::log(2), 1e-9);
  const std::vector<float> small{-5000};
  EXPECT_EQ(LogOfSumOfExp(small), -5000);
}

}  // namespace
}  // namespace sluice::runtime
