// Narrowing to 16 bits, against the slow reference: all ties with their neighbours, the borders of
// the ranges, and patterns spread over all floats.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "formats/quant/float_formats.h"
#include "quant/reference_floats.h"

namespace sluice::quant {
namespace {

using testing::Decode;
using testing::Encode;
using testing::FloatFormat;
using testing::kBf16Format;
using testing::kF16Format;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::uint16_t ExpectedF16(float value) {
  if (std::isnan(value)) return std::signbit(value) ? 0xFE00 : 0x7E00;
  return static_cast<std::uint16_t>(Encode(kF16Format, value));
}

std::uint16_t ExpectedBf16(float value) {
  if (std::isnan(value)) {
    return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16 | 0x40);
  }
  return static_cast<std::uint16_t>(Encode(kBf16Format, value));
}

void ExpectBothRight(float value) {
  ASSERT_EQ(F32ToF16(value), ExpectedF16(value)) << std::hex << std::bit_cast<std::uint32_t>(value);
  ASSERT_EQ(F32ToBf16(value), ExpectedBf16(value))
      << std::hex << std::bit_cast<std::uint32_t>(value);
}

// Every finite value of the format, the tie between it and the next, and the floats around both.
std::vector<float> BordersOf(const FloatFormat& format) {
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits < format.infinity(); ++bits) {
    const double here = Decode(format, bits);
    // The value that would follow the largest one marks where overflow begins.
    const double next = bits + 1 < format.infinity() ? Decode(format, bits + 1)
                                                     : here + (here - Decode(format, bits - 1));
    const double tie = (here + next) / 2;
    for (const double point : {here, tie}) {
      const auto value = static_cast<float>(point);
      values.push_back(value);
      values.push_back(std::nextafterf(value, kInfinity));
      values.push_back(std::nextafterf(value, -kInfinity));
    }
  }
  return values;
}

TEST(NarrowTo16Bits, RoundsAtEveryBorderOfF16) {
  for (const float value : BordersOf(kF16Format)) {
    ASSERT_NO_FATAL_FAILURE(ExpectBothRight(value));
    ASSERT_NO_FATAL_FAILURE(ExpectBothRight(-value));
  }
}

TEST(NarrowTo16Bits, RoundsAtEveryBorderOfBf16) {
  for (const float value : BordersOf(kBf16Format)) {
    ASSERT_NO_FATAL_FAILURE(ExpectBothRight(value));
    ASSERT_NO_FATAL_FAILURE(ExpectBothRight(-value));
  }
}

// An odd stride visits every exponent, and low bits of all kinds.
TEST(NarrowTo16Bits, RoundsPatternsSpreadOverAllFloats) {
  constexpr std::uint64_t kStride = 1021;
  for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 32; bits += kStride) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (F32ToF16(value) != ExpectedF16(value) || F32ToBf16(value) != ExpectedBf16(value)) {
      ASSERT_NO_FATAL_FAILURE(ExpectBothRight(value));
    }
  }
}

// Written out, so that the reference is not the only witness.
TEST(F32ToF16, KnownValues) {
  EXPECT_EQ(F32ToF16(0.0F), 0x0000);
  EXPECT_EQ(F32ToF16(-0.0F), 0x8000);
  EXPECT_EQ(F32ToF16(1.0F), 0x3C00);
  EXPECT_EQ(F32ToF16(-2.0F), 0xC000);
  EXPECT_EQ(F32ToF16(65504.0F), 0x7BFF);
  EXPECT_EQ(F32ToF16(65519.996F), 0x7BFF);
  EXPECT_EQ(F32ToF16(65520.0F), 0x7C00);
  EXPECT_EQ(F32ToF16(-1e10F), 0xFC00);
  EXPECT_EQ(F32ToF16(kInfinity), 0x7C00);
  EXPECT_EQ(F32ToF16(0x1p-14F), 0x0400);
  EXPECT_EQ(F32ToF16(0x1.FF8p-15F), 0x03FF) << "the largest subnormal";
  EXPECT_EQ(F32ToF16(0x1p-24F), 0x0001);
  EXPECT_EQ(F32ToF16(0x1p-25F), 0x0000) << "a tie, to even";
  EXPECT_EQ(F32ToF16(0x1.000002p-25F), 0x0001);
  EXPECT_EQ(F32ToF16(0x1.8p-24F), 0x0002) << "a tie, to even";
  EXPECT_EQ(F32ToF16(0x1p-149F), 0x0000);
  EXPECT_EQ(F32ToF16(1.0F + 0x1p-11F), 0x3C00) << "a tie, to even";
  EXPECT_EQ(F32ToF16(1.0F + 0x3p-11F), 0x3C02) << "a tie, to even";
  EXPECT_EQ(F32ToF16(std::numeric_limits<float>::quiet_NaN()), 0x7E00);
}

TEST(F32ToBf16, KnownValues) {
  EXPECT_EQ(F32ToBf16(0.0F), 0x0000);
  EXPECT_EQ(F32ToBf16(-0.0F), 0x8000);
  EXPECT_EQ(F32ToBf16(1.0F), 0x3F80);
  EXPECT_EQ(F32ToBf16(1.0F + 0x1p-8F), 0x3F80) << "a tie, to even";
  EXPECT_EQ(F32ToBf16(1.0F + 0x3p-8F), 0x3F82) << "a tie, to even";
  EXPECT_EQ(F32ToBf16(std::numeric_limits<float>::max()), 0x7F80) << "rounds to infinity";
  EXPECT_EQ(F32ToBf16(-kInfinity), 0xFF80);
  EXPECT_EQ(F32ToBf16(0x1p-149F), 0x0000) << "below half of the smallest subnormal";
  EXPECT_EQ(F32ToBf16(0x1p-133F), 0x0001) << "subnormals stay";
  // The payload lies in the bits that are cut off: the result must not become infinity.
  EXPECT_EQ(F32ToBf16(std::bit_cast<float>(0x7F80'0001U)), 0x7FC0);
  EXPECT_EQ(F32ToBf16(std::bit_cast<float>(0xFF80'0001U)), 0xFFC0);
}

}  // namespace
}  // namespace sluice::quant
