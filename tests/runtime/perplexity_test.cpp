#include "runtime/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::runtime {
namespace {

TEST(Perplexity, IsEToTheMeanWithItsStandardError) {
  Perplexity perplexity;
  for (const double p : {0.5, 0.125, 0.25, 0.25}) perplexity.Add(-std::log(p));
  EXPECT_EQ(perplexity.count(), 4U);
  EXPECT_NEAR(perplexity.value(), 4, 1e-12);  // bits 1, 3, 2, 2
  // Variance of the sample in nats: 2 log(2)^2 / 3; of the mean of four: a fourth of it.
  EXPECT_NEAR(perplexity.standard_error(), 4 * std::log(2) * std::sqrt(2.0 / 3 / 4), 1e-12);
}

TEST(Perplexity, HasNoErrorForEqualOrSingleTokens) {
  Perplexity perplexity;
  perplexity.Add(0.1);
  EXPECT_EQ(perplexity.standard_error(), 0);
  for (int i = 0; i < 6; ++i) perplexity.Add(0.1);
  EXPECT_NEAR(perplexity.standard_error(), 0, 1e-8);  // rounding must not make it NaN
}

}  // namespace
}  // namespace sluice::runtime
