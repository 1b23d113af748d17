// Arithmetic that refuses to wrap.
#include "core/checked.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace sluice {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kTwo32 = std::uint64_t{1} << 32;
constexpr std::uint64_t kTwo63 = std::uint64_t{1} << 63;

TEST(CheckedMul, GivesTheProductUpToTheLastValue) {
  EXPECT_EQ(CheckedMul(0, kMax), 0U);
  EXPECT_EQ(CheckedMul(kMax, 1), kMax);
  EXPECT_EQ(CheckedMul(kTwo32, kTwo32 - 1), kTwo32 * (kTwo32 - 1));
  EXPECT_EQ(CheckedMul(kMax / 3, 3), kMax);
}

TEST(CheckedMul, RejectsOverflow) {
  EXPECT_EQ(CheckedMul(kTwo32, kTwo32), std::nullopt);
  EXPECT_EQ(CheckedMul(kMax, 2), std::nullopt);
  EXPECT_EQ(CheckedMul(kMax / 3 + 1, 3), std::nullopt);
}

TEST(CheckedAdd, GivesTheSumOrNothing) {
  EXPECT_EQ(CheckedAdd(kMax - 1, 1), kMax);
  EXPECT_EQ(CheckedAdd(0, kMax), kMax);
  EXPECT_EQ(CheckedAdd(kMax, 1), std::nullopt);
  EXPECT_EQ(CheckedAdd(kTwo63, kTwo63), std::nullopt);
}

TEST(CheckedProduct, CountsTheElementsOfAShape) {
  EXPECT_EQ(CheckedProduct({}), 1U);
  EXPECT_EQ(CheckedProduct(std::array<std::uint64_t, 3>{2, 3, 5}), 30U);
  EXPECT_EQ(CheckedProduct(std::array<std::uint64_t, 3>{2, 0, 5}), 0U);
  EXPECT_EQ(CheckedProduct(std::array<std::uint64_t, 2>{kTwo32, kTwo32 - 1}),
            kTwo32 * (kTwo32 - 1));
}

TEST(CheckedProduct, RejectsOverflowAtAnyExtent) {
  EXPECT_EQ(CheckedProduct(std::array<std::uint64_t, 2>{kTwo32, kTwo32}), std::nullopt);
  EXPECT_EQ(CheckedProduct(std::array<std::uint64_t, 4>{2, kTwo63, 1, 1}), std::nullopt);
  EXPECT_EQ(CheckedProduct(std::vector<std::uint64_t>(65, 2)), std::nullopt);
}

TEST(RoundUp, GivesTheNextMultiple) {
  EXPECT_EQ(RoundUp(0, 32), 0U);
  EXPECT_EQ(RoundUp(1, 32), 32U);
  EXPECT_EQ(RoundUp(31, 32), 32U);
  EXPECT_EQ(RoundUp(32, 32), 32U);
  EXPECT_EQ(RoundUp(33, 32), 64U);
  EXPECT_EQ(RoundUp(13, 1), 13U);
  EXPECT_EQ(RoundUp(13, 5), 15U);  // no power of two is needed
  EXPECT_EQ(RoundUp(kTwo63 - 31, 32), kTwo63);
}

}  // namespace
}  // namespace sluice
