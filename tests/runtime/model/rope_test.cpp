#include "runtime/model/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "result_matchers.h"

namespace sluice::runtime {
namespace {

using ::testing::ElementsAre;
using testing::Fails;
using ::testing::FloatNear;
using testing::IsOk;

// Cosine and sine of pair `j` of 4 at a position.
struct Turn {
  float cosine;
  float sine;
};
Turn TurnOf(const RopeConfig& config, std::uint32_t position, std::size_t j) {
  std::vector<float> angles(8);
  Rope(config, 8).Angles(position, angles);
  return {angles[j], angles[4 + j]};
}

// The angle that a pair is turned by at position 1.
double AngleOf(const RopeConfig& config, std::size_t j) {
  const auto [cosine, sine] = TurnOf(config, 1, j);
  return std::atan2(sine, cosine);
}

RopeConfig Yarn() {
  RopeConfig config;
  config.theta = 10'000;
  config.scaling = RopeScaling::kYarn;
  config.factor = 4;
  config.original_context = 64;
  return config;
}

Result<RopeConfig> Parse(std::string_view text) {
  const auto document = json::Document::Parse(text, "config.json");
  EXPECT_TRUE(document.has_value());
  return RopeFromConfig(*document, 5e5, 4096);
}

TEST(Rope, TurnsEachPairSlowerThanTheOneBefore) {
  RopeConfig config;
  config.theta = 10'000;
  for (std::size_t j = 0; j < 4; ++j) {
    EXPECT_NEAR(AngleOf(config, j), std::pow(10'000.0, -2.0 * static_cast<double>(j) / 8), 1e-6);
  }
  EXPECT_NEAR(TurnOf(config, 3, 0).cosine, std::cos(3.0), 1e-6);
  EXPECT_NEAR(TurnOf(config, 3, 0).sine, std::sin(3.0), 1e-6);
}

TEST(Rope, RotatesNeighbours) {
  const std::vector<float> angles{0, 1, 1, 0};  // cosines 0 and 1, sines 1 and 0
  std::vector<float> x{2, 3, 4, 5};
  RotatePairs(angles, x);
  EXPECT_THAT(x, ElementsAre(-3, 2, 4, 5));
}

TEST(Rope, ScoresDependOnDistanceAlone) {
  RopeConfig config;
  const Rope rope(config, 8);
  const auto score = [&](std::uint32_t query, std::uint32_t key) {
    std::vector<float> q{1, 2, -1, 3, 0.5F, 1, 2, 2};
    std::vector<float> k{2, 1, 1, -2, 3, 0.25F, 1, -1};
    std::vector<float> angles(8);
    rope.Angles(query, angles);
    RotatePairs(angles, q);
    rope.Angles(key, angles);
    RotatePairs(angles, k);
    float sum = 0;
    for (std::size_t i = 0; i < q.size(); ++i) sum += q[i] * k[i];
    return sum;
  };
  EXPECT_NEAR(score(7, 3), score(1007, 1003), 1e-3);
  EXPECT_GT(std::abs(score(7, 3) - score(8, 3)), 0.1);
}

TEST(Rope, LinearScalingDividesFrequencies) {
  RopeConfig config;
  config.scaling = RopeScaling::kLinear;
  config.factor = 3;
  EXPECT_NEAR(AngleOf(config, 0), 1.0 / 3, 1e-6);
  EXPECT_EQ(config.score_factor(), 1.0);
  config.mscale_all_dim = 1;
  EXPECT_NEAR(config.score_factor(), std::pow(0.1 * std::log(3.0) + 1, 2), 1e-9);
}

// By hand: over 64 positions the pairs make 10.2, 1.02, 0.1 and 0.01 turns; the edges for 32 turns
// and 1 turn are dimensions -1 (so 0) and 2 after rounding, so pair 1 is half scaled.
TEST(Rope, YarnScalesWhatTurnsSlowly) {
  const RopeConfig config = Yarn();
  EXPECT_NEAR(AngleOf(config, 0), 1.0, 1e-6);
  EXPECT_NEAR(AngleOf(config, 1), 0.1 * (0.5 + 0.5 / 4), 1e-6);
  EXPECT_NEAR(AngleOf(config, 2), 0.01 / 4, 1e-6);
  EXPECT_NEAR(AngleOf(config, 3), 0.001 / 4, 1e-6);
}

// The length of (cosine, sine).
double MultiplierOf(const RopeConfig& config) {
  const auto [cosine, sine] = TurnOf(config, 5, 2);
  return std::hypot(cosine, sine);
}

TEST(Rope, YarnMultipliesCosineAndSine) {
  const auto m = [](double weight) { return 0.1 * weight * std::log(4.0) + 1; };
  RopeConfig config = Yarn();
  EXPECT_NEAR(MultiplierOf(config), m(1), 1e-6);
  EXPECT_EQ(config.score_factor(), 1.0);
  config.mscale = 0.7;
  EXPECT_NEAR(MultiplierOf(config), m(1), 1e-6);  // one of the two is not enough
  config.mscale_all_dim = 1.2;
  EXPECT_NEAR(MultiplierOf(config), m(0.7) / m(1.2), 1e-6);
  EXPECT_NEAR(config.score_factor(), m(1.2) * m(1.2), 1e-9);
  config.attention = 1.5;
  EXPECT_NEAR(MultiplierOf(config), 1.5, 1e-6);
}

TEST(RopeFromConfig, ReadsBothSpellings) {
  EXPECT_EQ(Parse("{}")->scaling, RopeScaling::kNone);
  EXPECT_EQ(Parse("{}")->theta, 5e5);
  EXPECT_EQ(Parse(R"({"rope_parameters": {"rope_type": "default"}})")->scaling, RopeScaling::kNone);
  const auto linear = Parse(R"({"rope_scaling": {"type": "linear", "factor": 2}})");
  EXPECT_EQ(linear->scaling, RopeScaling::kLinear);
  EXPECT_EQ(linear->factor, 2.0);
  const auto yarn = Parse(R"({"rope_scaling": {"type": "linear", "factor": 2},
      "rope_parameters": {"rope_type": "yarn", "factor": 4.5, "beta_fast": 16, "beta_slow": 2,
      "truncate": false, "mscale": 1, "mscale_all_dim": 0.5, "attention_factor": 1.25,
      "original_max_position_embeddings": 128}})");
  EXPECT_EQ(yarn->scaling, RopeScaling::kYarn);
  EXPECT_EQ(yarn->factor, 4.5);
  EXPECT_EQ(yarn->beta_fast, 16.0);
  EXPECT_EQ(yarn->beta_slow, 2.0);
  EXPECT_FALSE(yarn->truncate);
  EXPECT_EQ(yarn->mscale, 1.0);
  EXPECT_EQ(yarn->mscale_all_dim, 0.5);
  EXPECT_EQ(yarn->attention, 1.25);
  EXPECT_EQ(yarn->original_context, 128.0);
  EXPECT_EQ(Parse(R"({"rope_scaling": {"type": "yarn", "factor": 4}})")->original_context, 4096.0);
}

TEST(RopeFromConfig, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(Parse(R"({"rope_scaling": {"type": "longrope", "factor": 2}})"),
              Fails(ErrorCode::kUnsupported,
                    "config.json: RoPE scaling: expected default, linear or yarn, got longrope"));
  EXPECT_THAT(Parse(R"({"rope_scaling": {"type": "yarn"}})"),
              Fails(ErrorCode::kCorrupt, "without a factor above 0"));
  EXPECT_THAT(Parse(R"({"rope_scaling": {"type": "linear", "factor": -1}})"),
              Fails(ErrorCode::kCorrupt, "without a factor above 0"));
}

}  // namespace
}  // namespace sluice::runtime
