#include "runtime/model/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace sluice::runtime {
namespace {

using ::testing::ElementsAre;

// The logit whose sigmoid is p.
float Logit(double p) { return static_cast<float>(std::log(p / (1 - p))); }

std::vector<Choice> Choose(const RouterConfig& config, const std::vector<float>& logits,
                           const std::vector<float>& bias) {
  std::vector<Choice> chosen(config.used_experts);
  Route(config, logits, bias, chosen);
  return chosen;
}

std::vector<std::uint32_t> ExpertsOf(const std::vector<Choice>& chosen) {
  std::vector<std::uint32_t> experts;
  for (const Choice& choice : chosen) experts.push_back(choice.expert);
  return experts;
}

TEST(Router, BiasSelectsAndSigmoidWeighs) {
  const RouterConfig config{.used_experts = 2, .scale = 1.8F};
  const std::vector<Choice> chosen =
      Choose(config, {Logit(0.9), Logit(0.5), Logit(0.25), Logit(0.1)}, {-1, 0, 0, 0.5});
  EXPECT_THAT(ExpertsOf(chosen), ElementsAre(1, 3));
  EXPECT_NEAR(chosen[0].weight, 0.5 / 0.6 * 1.8, 1e-6);
  EXPECT_NEAR(chosen[1].weight, 0.1 / 0.6 * 1.8, 1e-6);
}

TEST(Router, WeightsMayStayAsTheyAre) {
  const RouterConfig config{.used_experts = 2, .norm_weights = false, .scale = 2};
  const std::vector<Choice> chosen =
      Choose(config, {Logit(0.75), Logit(0.5), Logit(0.1)}, {0, 0, 0});
  EXPECT_NEAR(chosen[0].weight, 1.5, 1e-6);
  EXPECT_NEAR(chosen[1].weight, 1.0, 1e-6);
}

TEST(Router, OneExpertWithNormedWeightGetsTheScale) {
  const std::vector<Choice> chosen =
      Choose({.used_experts = 1, .scale = 1.8F}, {Logit(0.2), Logit(0.3)}, {0, 0});
  EXPECT_THAT(ExpertsOf(chosen), ElementsAre(1));
  EXPECT_NEAR(chosen[0].weight, 1.8, 1e-6);
}

TEST(Router, OfEqualsTheFirstIsChosen) {
  const std::vector<float> same(5, 0.0F);
  EXPECT_THAT(ExpertsOf(Choose({.used_experts = 3}, same, same)), ElementsAre(0, 1, 2));
  const RouterConfig grouped{.used_experts = 3, .groups = 4, .used_groups = 2};
  const std::vector<float> eight(8, 0.0F);
  EXPECT_THAT(ExpertsOf(Choose(grouped, eight, eight)), ElementsAre(0, 1, 2));
}

// Eight experts in four groups; the bias makes preferences of sigmoid 0.5 what a test wants.
class GroupedRouter : public ::testing::Test {
 protected:
  static std::vector<std::uint32_t> Experts(std::uint32_t used,
                                            const std::vector<float>& preferences) {
    const RouterConfig config{.used_experts = used, .groups = 4, .used_groups = 2};
    std::vector<float> bias;
    for (const float preference : preferences) bias.push_back(preference - 0.5F);
    return ExpertsOf(Choose(config, std::vector<float>(8, 0.0F), bias));
  }
};

TEST_F(GroupedRouter, TakesExpertsOfTheBestGroupsOnly) {
  // Sums of the groups: 1.0, 1.1, 0.3, 0.9. Expert 6 is better than 1, its group is not.
  EXPECT_THAT(Experts(3, {0.9F, 0.1F, 0.6F, 0.5F, 0.2F, 0.1F, 0.8F, 0.1F}), ElementsAre(0, 2, 3));
}

TEST_F(GroupedRouter, AGroupIsAsGoodAsItsTwoBestTogether) {
  // The best single expert, 0.95, is in a group of sum 0.95.
  EXPECT_THAT(Experts(2, {0.95F, 0.0F, 0.6F, 0.5F, 0.7F, 0.4F, 0.1F, 0.1F}), ElementsAre(2, 4));
}

TEST_F(GroupedRouter, ExpertsOfOtherGroupsStayOutEvenIfAllAreNegative) {
  EXPECT_THAT(Experts(4, {-0.5F, -0.6F, -3, -0.1F, -0.7F, -0.8F, -4, -4}), ElementsAre(0, 1, 4, 5));
}

TEST(Router, DoesNotHideNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto chosen = Choose({.used_experts = 2}, {nan, 1, nan, nan}, {0, 0, 0, 0});
  EXPECT_THAT(ExpertsOf(chosen), ElementsAre(0, 1));
  for (const Choice& choice : chosen) EXPECT_TRUE(std::isnan(choice.weight));
  for (const Choice& choice : Choose({.used_experts = 1}, {1, 2, 3, 4}, {nan, 0, 0, 0})) {
    EXPECT_TRUE(std::isnan(choice.weight));
  }
}

}  // namespace
}  // namespace sluice::runtime
