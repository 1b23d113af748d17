#include "runtime/sampler.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "result_matchers.h"

namespace sluice::runtime {
namespace {

using ::sluice::testing::Fails;
using ::sluice::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

// Logits whose softmax is these shares.
std::vector<float> LogitsOf(const std::vector<double>& shares) {
  std::vector<float> logits;
  for (const double share : shares) logits.push_back(static_cast<float>(std::log(share)));
  return logits;
}

SamplingOptions Everything() {
  SamplingOptions options;
  options.top_p = 1;
  return options;
}

std::map<TokenId, int> Counts(const SamplingOptions& options, const std::vector<float>& logits,
                              int draws, const std::vector<TokenId>& before = {}) {
  Sampler sampler(options, 42);
  std::map<TokenId, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sampler.Sample(logits, before)];
  return counts;
}

std::set<TokenId> Drawn(const SamplingOptions& options, const std::vector<float>& logits,
                        const std::vector<TokenId>& before = {}) {
  std::set<TokenId> ids;
  for (const auto& [id, count] : Counts(options, logits, 2000, before)) ids.insert(id);
  return ids;
}

TEST(Sampler, DrawsInProportion) {
  const std::vector<double> shares{0.1, 0.4, 0.2, 0.3};
  constexpr int kDraws = 100000;
  auto counts = Counts(Everything(), LogitsOf(shares), kDraws);
  for (TokenId id = 0; id < shares.size(); ++id) {
    const double deviation = std::sqrt(kDraws * shares[id] * (1 - shares[id]));
    EXPECT_NEAR(counts[id], kDraws * shares[id], 4 * deviation) << id;
  }
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  SamplingOptions options = Everything();
  options.temperature = 0.5F;  // squares the shares: 1/17, 16/17
  constexpr int kDraws = 100000;
  EXPECT_NEAR(Counts(options, LogitsOf({0.2, 0.8}), kDraws)[0], kDraws / 17.0, 300);
  options.temperature = 2.0F;  // their roots: 1/3, 2/3
  EXPECT_NEAR(Counts(options, LogitsOf({0.2, 0.8}), kDraws)[0], kDraws / 3.0, 600);
  options.temperature = 0;
  EXPECT_THAT(Drawn(options, LogitsOf({0.2, 0.4, 0.4})), ElementsAre(1)) << "the lower id of two";
}

TEST(Sampler, TopKKeepsTheMostLikely) {
  SamplingOptions options = Everything();
  options.top_k = 2;
  EXPECT_THAT(Drawn(options, LogitsOf({0.1, 0.4, 0.2, 0.3})), UnorderedElementsAre(1, 3));
  EXPECT_THAT(Drawn(options, LogitsOf({0.25, 0.25, 0.25, 0.25})), UnorderedElementsAre(0, 1));
  options.top_k = 9;
  EXPECT_EQ(Drawn(options, LogitsOf({0.1, 0.4, 0.2, 0.3})).size(), 4U);
}

TEST(Sampler, TopPKeepsTokensWhileThoseBeforeAddUpToLess) {
  SamplingOptions options = Everything();
  const std::vector<float> logits = LogitsOf({0.1, 0.4, 0.2, 0.3});
  options.top_p = 0.69F;
  EXPECT_THAT(Drawn(options, logits), UnorderedElementsAre(1, 3));
  options.top_p = 0.71F;
  EXPECT_THAT(Drawn(options, logits), UnorderedElementsAre(1, 3, 2));
  options.top_p = 0.0F;
  EXPECT_THAT(Drawn(options, logits), ElementsAre(1)) << "at least one is kept";
  // Of what top-k leaves (0.4 and 0.3), the first alone is 0.57.
  options.top_p = 0.55F;
  options.top_k = 2;
  EXPECT_THAT(Drawn(options, logits), ElementsAre(1));
}

TEST(Sampler, MinPDropsWhatIsUnlikelyBesideTheMostLikely) {
  SamplingOptions options = Everything();
  options.min_p = 0.6F;
  EXPECT_THAT(Drawn(options, LogitsOf({0.1, 0.4, 0.2, 0.3})), UnorderedElementsAre(1, 3));
  options.min_p = 1.0F;
  EXPECT_THAT(Drawn(options, LogitsOf({0.1, 0.4, 0.2, 0.3})), ElementsAre(1));
}

// The token that greedy choice takes with these penalties.
TokenId Greedy(SamplingOptions options, const std::vector<float>& logits,
               const std::vector<TokenId>& before) {
  options.temperature = 0;
  return Sampler(options, 0).Sample(logits, before);
}

TEST(Sampler, PenaltiesAreTakenOffTokensThatOccur) {
  SamplingOptions repeat;
  repeat.repeat_penalty = 2.0F;
  EXPECT_EQ(Greedy(repeat, {3, 2}, {0, 0}), 1U) << "3 / 2 < 2, once however often it occurs";
  EXPECT_EQ(Greedy(repeat, {5, 2}, {0, 0}), 0U);
  EXPECT_EQ(Greedy(repeat, {-1, -1.5F}, {0}), 1U) << "negative logits are multiplied";
  SamplingOptions presence;
  presence.presence_penalty = 1.5F;
  EXPECT_EQ(Greedy(presence, {3, 2}, {0, 0, 0}), 1U);
  EXPECT_EQ(Greedy(presence, {4, 2}, {0, 0, 0}), 0U) << "taken off once";
  SamplingOptions frequency;
  frequency.frequency_penalty = 0.5F;
  EXPECT_EQ(Greedy(frequency, {3, 2}, {0}), 0U);
  EXPECT_EQ(Greedy(frequency, {3, 2}, {0, 0, 0}), 1U) << "taken off for each occurrence";
  EXPECT_EQ(Greedy(frequency, {3, 2}, {9}), 0U) << "an id without a logit";
}

TEST(Sampler, PenaltiesLookAtTheLastTokensOnly) {
  SamplingOptions options;
  options.presence_penalty = 5;
  options.repeat_last_n = 2;
  EXPECT_EQ(Greedy(options, {3, 2, 0}, {0, 2, 2}), 0U);
  EXPECT_EQ(Greedy(options, {3, 2, 0}, {2, 0, 2}), 1U);
  options.repeat_last_n = 0;
  EXPECT_EQ(Greedy(options, {3, 2, 0}, {0}), 0U);
  options.repeat_last_n = -1;
  EXPECT_EQ(Greedy(options, {3, 2, 0}, std::vector<TokenId>(1000, 0)), 1U);
}

TEST(Sampler, EqualSeedsGiveEqualDraws) {
  const std::vector<float> logits(1000, 1.0F);
  const auto draw = [&](std::uint64_t seed) {
    Sampler sampler(Everything(), seed);
    std::vector<TokenId> ids;
    for (int i = 0; i < 8; ++i) ids.push_back(sampler.Sample(logits, {}));
    return ids;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
  // SplitMix64 from seed 1234567, as published with the algorithm, begins with 6457827717110365317,
  // 3203168211198807973: the shares 0.350078 and 0.173644 of 2^64.
  Sampler sampler(Everything(), 1234567);
  EXPECT_EQ(sampler.Sample(logits, {}), 350U);
  EXPECT_EQ(sampler.Sample(logits, {}), 173U);
}

TEST(Sampler, ImpossibleTokensAreNotDrawn) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Drawn(Everything(), {-infinity, 0, nan, 0}), UnorderedElementsAre(1, 3));
}

TEST(CheckSampling, NamesTheOptionThatIsOutOfRange) {
  EXPECT_THAT(CheckSampling({}), IsOk());
  const auto fails = [](auto change, const char* name) {
    SamplingOptions options;
    change(options);
    EXPECT_THAT(CheckSampling(options), Fails(ErrorCode::kUsage, name)) << name;
  };
  fails([](auto& o) { o.temperature = -1; }, "temperature");
  fails([](auto& o) { o.temperature = std::nanf(""); }, "temperature");
  fails([](auto& o) { o.top_p = 1.5F; }, "top_p");
  fails([](auto& o) { o.min_p = -0.5F; }, "min_p");
  fails([](auto& o) { o.repeat_penalty = 0; }, "repeat_penalty");
  fails([](auto& o) { o.presence_penalty = 1e9F; }, "presence_penalty");
  fails([](auto& o) { o.frequency_penalty = -1e9F; }, "frequency_penalty");
  fails([](auto& o) { o.repeat_last_n = -2; }, "repeat_last_n");
}

TEST(RecommendedSampling, TakesWhatTheFileSays) {
  gguf::Metadata metadata;
  metadata.Set("general.sampling.temp", 0.7F);
  metadata.Set("general.sampling.top_k", std::int32_t{20});
  metadata.Set("general.sampling.top_p", 7.0F);
  const SamplingOptions options = RecommendedSampling(metadata);
  EXPECT_EQ(options.temperature, 0.7F);
  EXPECT_EQ(options.top_k, 20U);
  EXPECT_EQ(options.top_p, SamplingOptions().top_p) << "out of range";
}

}  // namespace
}  // namespace sluice::runtime
