#include "runtime/kernels/vector_ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernel_fixture.h"
#include "simd_targets.h"

namespace sluice::runtime {
namespace {

using sluice::testing::ForEachSimdTarget;
using testing::RandomFloats;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Calls `test` with rows of lengths around those of vectors.
template <class Test>
void ForEachLength(const Test& test) {
  ForEachSimdTarget([&] {
    RandomFloats random;
    for (const std::size_t length : {1, 2, 15, 16, 17, 33, 100}) test(random.Take(length), random);
  });
}

TEST(VectorOps, RmsNormDividesByTheRootOfTheMeanSquare) {
  ForEachLength([](const std::vector<float>& row, RandomFloats& random) {
    const std::vector<float> weight = random.Take(row.size());
    double squares = 0;
    for (const float x : row) squares += static_cast<double>(x) * x;
    const double root = std::sqrt(squares / static_cast<double>(row.size()) + 1e-3);
    std::vector<float> out(row.size());
    RmsNorm(row, weight, 1e-3F, out.data());
    for (std::size_t i = 0; i < row.size(); ++i) {
      ASSERT_NEAR(out[i], row[i] / root * weight[i], 2e-6);
    }
    std::vector<float> in_place = row;
    RmsNorm(in_place, weight, 1e-3F, in_place.data());
    ASSERT_EQ(in_place, out);
  });
}

TEST(VectorOps, SiluTimesIsSmoothAndSafeFarFromZero) {
  ForEachLength([](const std::vector<float>& row, RandomFloats& random) {
    const std::vector<float> up = random.Take(row.size());
    std::vector<float> gate = row;
    for (float& x : gate) x *= 20;
    const std::vector<float> before = gate;
    SiluTimes(gate, up.data());
    for (std::size_t i = 0; i < row.size(); ++i) {
      const double x = before[i];
      ASSERT_NEAR(gate[i], x / (1 + std::exp(-x)) * up[i], 1e-6 * (1 + std::abs(x)));
    }
  });
  ForEachSimdTarget([] {
    const std::vector<float> up(20, 2.0F);
    for (const float far : {-1e30F, -1000.0F, -120.0F}) {
      std::vector<float> gate(20, far);
      SiluTimes(gate, up.data());
      for (const float x : gate) ASSERT_NEAR(x, 0.0F, 1e-6F) << far;
    }
    std::vector<float> gate(20, 1000.0F);
    SiluTimes(gate, up.data());
    for (const float x : gate) ASSERT_EQ(x, 2000.0F);
  });
}

TEST(VectorOps, AddScaled) {
  ForEachLength([](const std::vector<float>& row, RandomFloats& random) {
    const std::vector<float> before = random.Take(row.size());
    std::vector<float> sums = before;
    AddScaled(row, 0.5F, sums.data());
    for (std::size_t i = 0; i < row.size(); ++i) {
      ASSERT_NEAR(sums[i], before[i] + 0.5F * row[i], 1e-6F);
    }
  });
}

TEST(VectorOps, AddSquaresAddsToWhatIsThere) {
  ForEachLength([](const std::vector<float>& row, RandomFloats& random) {
    const std::vector<float> before = random.Take(row.size());
    std::vector<float> sums = before;
    AddSquares(row, sums.data());
    for (std::size_t i = 0; i < row.size(); ++i) {
      ASSERT_NEAR(sums[i], before[i] + row[i] * row[i], 1e-6F);
    }
  });
}

TEST(VectorOps, LargestIsFoundAnywhere) {
  ForEachSimdTarget([] {
    EXPECT_EQ(Largest({}), -kInfinity);
    for (const std::size_t length : {1, 16, 40}) {
      for (std::size_t at = 0; at < length; ++at) {
        std::vector<float> row(length, -5.0F);
        row[at] = -4.0F;
        ASSERT_EQ(Largest(row), -4.0F) << at;
      }
    }
  });
}

TEST(VectorOps, ExpAndSumShiftsAndAddsUp) {
  ForEachLength([](const std::vector<float>& row, RandomFloats&) {
    std::vector<float> weights = row;
    const float sum = ExpAndSum(weights, 3.0F, 2.0F);
    double want = 0;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const double e = std::exp(3.0 * row[i] - 2.0);
      ASSERT_NEAR(weights[i], e, 1e-6 * (1 + e));
      want += e;
    }
    ASSERT_NEAR(sum, want, 1e-5 * want);
  });
  ForEachSimdTarget([] {  // scores of masked or very unlikely positions
    std::vector<float> weights(20, -1e30F);
    EXPECT_EQ(ExpAndSum(weights, 1.0F, 0.0F), 0.0F);
  });
}

TEST(VectorOps, AllFiniteSeesEveryElement) {
  ForEachSimdTarget([] {
    for (const std::size_t length : {1, 16, 37}) {
      std::vector<float> row(length, std::numeric_limits<float>::max());
      EXPECT_TRUE(AllFinite(row));
      for (std::size_t at = 0; at < length; ++at) {
        for (const float bad : {kNan, kInfinity, -kInfinity}) {
          std::vector<float> broken = row;
          broken[at] = bad;
          ASSERT_FALSE(AllFinite(broken)) << at;
        }
      }
    }
  });
}

}  // namespace
}  // namespace sluice::runtime
