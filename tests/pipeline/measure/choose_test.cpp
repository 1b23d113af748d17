// The choice of a mix, against trying all of them.
#include "pipeline/measure/choose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/stages/random.h"

namespace sluice {
namespace {

using sluice::testing::Random;
using ::testing::ElementsAre;

using Tensors = std::vector<Candidates>;

Candidate Of(std::uint64_t bytes, double error) { return {gguf::TensorType::kF32, bytes, error}; }

// Candidates as measured ones are: the error falls about fourfold with every bit, but not exactly,
// and some candidates are larger and worse than others.
Tensors RandomTensors(Random& random, std::size_t count) {
  Tensors tensors;
  for (std::size_t t = 0; t < count; ++t) {
    Candidates& candidates = tensors.emplace_back();
    const std::uint64_t size = random.Between(1, 40);
    double error = static_cast<double>(random.Between(1000, 100000));
    for (std::uint64_t bits = 2; bits < 2 + random.Between(1, 6); ++bits) {
      candidates.push_back(Of(bits * size + random.Between(0, 3), error));
      error *= static_cast<double>(random.Between(20, 110)) / 100;
    }
  }
  return tensors;
}

std::uint64_t LeastBytes(const Tensors& tensors) {
  std::uint64_t bytes = 0;
  for (const Candidates& candidates : tensors) bytes += candidates[SmallestOf(candidates)].bytes;
  return bytes;
}

// The least error of all choices that fit, from tensor `t` on.
double BestError(const Tensors& tensors, std::size_t t, std::uint64_t budget) {
  if (t == tensors.size()) return 0;
  double best = std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : tensors[t]) {
    if (candidate.bytes > budget) continue;
    best = std::min(best, candidate.error + BestError(tensors, t + 1, budget - candidate.bytes));
  }
  return best;
}

TEST(ChooseMix, FitsAndIsAsGoodAsItClaims) {
  Random random(201);
  std::size_t optimal = 0;
  constexpr std::size_t kRounds = 300;
  for (std::size_t round = 0; round < kRounds; ++round) {
    const Tensors tensors = RandomTensors(random, random.Between(1, 6));
    const std::uint64_t budget = LeastBytes(tensors) + random.Between(0, 200);
    const Mix mix = ChooseMix(tensors, budget);
    ASSERT_EQ(mix.chosen.size(), tensors.size());
    std::uint64_t bytes = 0;
    double error = 0;
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      bytes += tensors[t][mix.chosen[t]].bytes;
      error += tensors[t][mix.chosen[t]].error;
    }
    EXPECT_EQ(mix.bytes, bytes);
    EXPECT_DOUBLE_EQ(mix.error, error);
    EXPECT_LE(bytes, budget);
    const double best = BestError(tensors, 0, budget);
    const double rounding = 1e-9 * best;
    EXPECT_GE(error, best - rounding);
    EXPECT_LE(mix.lower_bound, best + rounding);
    if (error <= best + rounding) ++optimal;
  }
  // Few tensors are the hardest case: the remainder is a large part of the budget.
  EXPECT_GT(optimal, kRounds * 9 / 10);
}

TEST(ChooseMix, IsOptimalWhereTheHullEnds) {
  // Steps of 10 bytes that save 8, 6, 4 and 2.
  const Tensors tensors{{Of(10, 12), Of(20, 4), Of(30, 0)}, {Of(10, 9), Of(20, 3), Of(30, 1)}};
  const Mix mix = ChooseMix(tensors, 40);
  EXPECT_THAT(mix.chosen, ElementsAre(1, 1));
  EXPECT_EQ(mix.error, 7);
  EXPECT_EQ(mix.lower_bound, 7);
}

TEST(ChooseMix, LeavesOutWhatIsAboveTheHull) {
  // The second candidate saves less a byte than the third.
  const Tensors tensors{{Of(10, 100), Of(20, 99), Of(30, 0)}};
  EXPECT_THAT(ChooseMix(tensors, 30).chosen, ElementsAre(2));
  EXPECT_THAT(ChooseMix(tensors, 29).chosen, ElementsAre(1)) << "it fits the remainder";
}

TEST(ChooseMix, TakesAStepBackWhereAnotherSavesMore) {
  // The first tensor's step has the better rate, but then that of the second does not fit.
  const Tensors tensors{{Of(10, 100), Of(20, 80)}, {Of(10, 100), Of(29, 65)}};
  EXPECT_THAT(ChooseMix(tensors, 39).chosen, ElementsAre(0, 1));
}

TEST(ChooseMix, TakesTheBetterOfEqualSizes) {
  const Tensors tensors{{Of(10, 5), Of(10, 3), Of(12, 4)}};
  EXPECT_THAT(ChooseMix(tensors, 100).chosen, ElementsAre(1));
}

TEST(ChooseMix, NothingToChoose) {
  EXPECT_THAT(ChooseMix({}, 0).chosen, ElementsAre());
  EXPECT_EQ(ChooseMix({}, 0).lower_bound, 0);
}

}  // namespace
}  // namespace sluice
