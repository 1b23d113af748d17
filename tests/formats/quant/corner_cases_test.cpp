// Blocks and numbers whose encoding is decided by a rule of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/iq1_search.h"
#include "formats/quant/search.h"
#include "golden_vectors.h"

namespace sluice::quant {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<std::byte> Encode(const Codec& codec, std::span<const float> row,
                              std::span<const float> importance = {}) {
  return testing::EncodeRows(codec, row, row.size(), importance, /*exact=*/true).bytes;
}

std::vector<std::byte> EncodeConstant(const Codec& codec, float value) {
  const std::vector<float> row(gguf::InfoOf(codec.type).block_elements, value);
  return Encode(codec, row);
}

// A run of equal bytes.
struct Run {
  std::size_t count;
  int value;
};
std::vector<std::byte> Bytes(std::initializer_list<Run> runs) {
  std::vector<std::byte> bytes;
  for (const Run& run : runs)
    bytes.insert(bytes.end(), run.count, static_cast<std::byte>(run.value));
  return bytes;
}

TEST(ZeroBlock, HasTheBytesOfTheReference) {
  // Signed zero scales, and codes that stand for 0 or for what is nearest to it.
  EXPECT_EQ(EncodeConstant(kCodecQ4_0, 0), Bytes({{1, 0}, {1, 0x80}, {16, 0x88}}));
  EXPECT_EQ(EncodeConstant(kCodecQ5_0, 0), Bytes({{1, 0}, {1, 0x80}, {4, 0xFF}, {16, 0}}));
  EXPECT_EQ(EncodeConstant(kCodecQ8_0, 0), Bytes({{34, 0}}));
  EXPECT_EQ(EncodeConstant(kCodecIQ4_NL, 0), Bytes({{2, 0}, {16, 0x88}}));
  EXPECT_EQ(EncodeConstant(kCodecIQ4_XS, 0),
            Bytes({{1, 0}, {1, 0x80}, {2, 0xAA}, {4, 0}, {128, 0x88}}));
  EXPECT_EQ(EncodeConstant(kCodecQ3_K, 0), Bytes({{110, 0}}));
  EXPECT_EQ(EncodeConstant(kCodecQ6_K, 0), Bytes({{210, 0}}));
  EXPECT_EQ(EncodeConstant(kCodecMXFP4, 0), Bytes({{17, 0}}));
  EXPECT_EQ(EncodeConstant(kCodecNVFP4, 0), Bytes({{36, 0}}));
  EXPECT_EQ(EncodeConstant(kCodecQ1_0, 0), Bytes({{2, 0}, {16, 0xFF}}));
  EXPECT_EQ(EncodeConstant(kCodecQ2_0, 0), Bytes({{2, 0}, {16, 0x55}}));
  EXPECT_EQ(EncodeConstant(kCodecTQ2_0, 0), Bytes({{64, 0x55}, {2, 0}}));
}

TEST(ZeroBlock, DecodesToZerosWhereTheTypeHasZero) {
  // The codebooks of these have none, and Q1_0 has only d and -d; but their scale is 0.
  for (const Codec* codec : Codecs()) {
    const std::size_t elements = gguf::InfoOf(codec->type).block_elements;
    const std::vector<float> row(elements, 0.0F);
    const std::vector<float> weights(elements, 1.0F);
    const auto importance =
        codec->importance == Importance::kRequired ? std::span(weights) : std::span<const float>();
    const auto values = testing::Decode(*codec, Encode(*codec, row, importance), elements);
    for (const float value : values) ASSERT_EQ(value, 0) << gguf::InfoOf(codec->type).name;
  }
}

// A constant block is within reach of every type that has a scale of its own for few elements.
TEST(ConstantBlock, DecodesToTheConstant) {
  constexpr float kConstant = 0.37F;
  for (const Codec* codec :
       {&kCodecQ4_0, &kCodecQ4_1, &kCodecQ5_0, &kCodecQ5_1, &kCodecQ8_0, &kCodecQ2_K, &kCodecQ3_K,
        &kCodecQ4_K, &kCodecQ5_K, &kCodecQ6_K, &kCodecIQ4_NL, &kCodecIQ4_XS, &kCodecTQ1_0,
        &kCodecTQ2_0, &kCodecQ1_0, &kCodecQ2_0}) {
    const auto bytes = EncodeConstant(*codec, kConstant);
    const std::size_t elements = gguf::InfoOf(codec->type).block_elements;
    for (const float value : testing::Decode(*codec, bytes, elements)) {
      ASSERT_NEAR(value, kConstant, 0.012F * kConstant) << gguf::InfoOf(codec->type).name;
    }
  }
}

TEST(NearestInt, IsDefinedByTheBitsOfASum) {
  EXPECT_EQ(NearestInt(0.5F), 0);
  EXPECT_EQ(NearestInt(1.5F), 2);
  EXPECT_EQ(NearestInt(-2.5F), -2);
  EXPECT_EQ(NearestInt(4194303.0F), 4194303);
  EXPECT_EQ(NearestInt(kInfinity), -4194304);
  EXPECT_EQ(NearestInt(-kInfinity), -4194304);
  EXPECT_EQ(NearestInt(kNan), 0);
}

TEST(TruncateToInt, GivesTheLeastIntegerOutOfRange) {
  constexpr std::int32_t kLeast = std::numeric_limits<std::int32_t>::min();
  EXPECT_EQ(TruncateToInt(-1.9F), -1);
  EXPECT_EQ(TruncateToInt(2147483520.0F), 2147483520);
  EXPECT_EQ(TruncateToInt(2147483648.0F), kLeast);
  EXPECT_EQ(TruncateToInt(kInfinity), kLeast);
  EXPECT_EQ(TruncateToInt(kNan), kLeast);
  EXPECT_EQ(LowInt8(kLeast), 0);
}

TEST(SearchSymmetric, NegligibleGroupsHaveCodesZeroNotTheMiddle) {
  const std::vector<float> x(16, 1e-16F);
  std::vector<std::uint8_t> codes(16, 7);
  EXPECT_EQ(SearchSymmetric(32, x, {}, codes), 0);
  EXPECT_EQ(codes, std::vector<std::uint8_t>(16, 0));
  codes.assign(16, 7);
  EXPECT_EQ(SearchSymmetric3(x, codes), 0);
  EXPECT_EQ(codes, std::vector<std::uint8_t>(16, 0));
}

TEST(SearchPositive, NegativeValuesKeepWrappedCodes) {
  const std::vector<float> x{1, -0.25F};
  const std::vector<float> weights{0, 0};
  std::vector<std::uint8_t> codes(2);
  EXPECT_EQ(SearchPositive(4, x, weights, codes), 0);  // no weight, no scale
  EXPECT_EQ(codes, (std::vector<std::uint8_t>{4, 255}));
}

TEST(NearestInTable, TiesGoUp) {
  constexpr std::array<std::int8_t, 4> kTable{-10, 1, 5, 9};
  EXPECT_EQ(NearestInTable(kTable, 3), 2);
  EXPECT_EQ(NearestInTable(kTable, -4.5F), 1);
  EXPECT_EQ(NearestInTable(kTable, -4.6F), 0);
  EXPECT_EQ(NearestInTable(kTable, -100), 0);
  EXPECT_EQ(NearestInTable(kTable, kNan), 3);
}

// How far below 2^k the logarithm is still rounded up to k, in float steps.
struct Threshold {
  int least_power;
  int most_power;
  std::uint32_t steps;
};
constexpr std::array kThresholds{
    Threshold{65, 127, 44},   Threshold{33, 64, 22},     Threshold{17, 32, 11},
    Threshold{9, 16, 5},      Threshold{5, 8, 2},        Threshold{3, 4, 1},
    Threshold{-1, 2, 0},      Threshold{-3, -2, 1},      Threshold{-7, -4, 2},
    Threshold{-15, -8, 5},    Threshold{-31, -16, 11},   Threshold{-63, -32, 22},
    Threshold{-125, -64, 44}, Threshold{-126, -126, 22}, Threshold{-128, -127, 11},
    Threshold{-129, -129, 5}, Threshold{-130, -130, 2},  Threshold{-131, -131, 1},
    Threshold{-148, -132, 0},
};

TEST(MXFP4, ExponentIsThatOfARoundedLogarithm) {
  std::vector<float> row(32, 0.0F);
  const auto exponent_of = [&](std::uint32_t bits) {
    row[0] = std::bit_cast<float>(bits);
    return std::to_integer<int>(Encode(kCodecMXFP4, row)[0]);
  };
  for (const Threshold& threshold : kThresholds) {
    for (int power = threshold.least_power; power <= threshold.most_power; ++power) {
      const auto bits = std::bit_cast<std::uint32_t>(std::ldexp(1.0F, power));
      const int expected = (power + 125) & 0xFF;  // wraps where the scale would be too small
      EXPECT_EQ(exponent_of(bits), expected) << power;
      EXPECT_EQ(exponent_of(bits - threshold.steps), expected) << power;
      EXPECT_EQ(exponent_of(bits - threshold.steps - 1), (power + 124) & 0xFF) << power;
    }
  }
}

TEST(NVFP4, ScaleRoundsHalfUpAndJumpsAt256) {
  std::vector<float> row(64, 0.0F);
  const auto scale_of = [&](float scale) {
    row[0] = 6 * scale;
    return std::to_integer<int>(Encode(kCodecNVFP4, row)[0]);
  };
  EXPECT_EQ(scale_of(1), 0x38);
  EXPECT_EQ(scale_of(1.0625F), 0x39);  // halfway: up, to an odd mantissa
  EXPECT_EQ(scale_of(1.0625F - 0x1p-10F), 0x38);
  EXPECT_EQ(scale_of(240), 0x77);
  EXPECT_EQ(scale_of(247.5F), 0x77);
  EXPECT_EQ(scale_of(248), 0x7E);  // would be 256
  EXPECT_EQ(scale_of(256), 0x7E);
  EXPECT_EQ(scale_of(1000), 0x7E);
  EXPECT_EQ(scale_of(0x1p-10F), 1);  // half of the smallest
  EXPECT_EQ(scale_of(0x1p-11F), 0);
}

TEST(TernaryTypes, RoundHalvesAwayFromZero) {
  std::vector<float> row(256, 0.0F);
  row[0] = 1;
  row[1] = 0.5F;
  row[2] = -0.5F;
  row[3] = 0.49F;
  for (const Codec* codec : {&kCodecTQ1_0, &kCodecTQ2_0}) {
    const auto values = testing::Decode(*codec, Encode(*codec, row), row.size());
    EXPECT_EQ(values[1], 1);
    EXPECT_EQ(values[2], -1);
    EXPECT_EQ(values[3], 0);
  }
}

TEST(SortedOrder, EqualValuesKeepTheirOrder) {
  const std::array<float, 6> x{1, 0, -2, 1, -0.0F, 1};
  EXPECT_EQ(SortedOrder<6>(x), (std::array<std::size_t, 6>{2, 1, 4, 0, 3, 5}));
}

}  // namespace
}  // namespace sluice::quant
