// Every value of the 16-bit and 8-bit formats, widened and narrowed again.
#include "formats/quant/float_formats.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "quant/reference_floats.h"

namespace sluice::quant {
namespace {

using testing::Decode;
using testing::kBf16Format;
using testing::kF16Format;
using testing::kF8E5M2Format;

std::uint32_t BitsOf(float value) { return std::bit_cast<std::uint32_t>(value); }

// Equal bits, so that the sign of zero counts; a NaN equals every NaN.
bool IsSame(float value, double expected) {
  if (std::isnan(expected)) return std::isnan(value);
  return BitsOf(value) == BitsOf(static_cast<float>(expected));
}

TEST(Bf16ToF32, GivesTheDefinedValueOfAllBits) {
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    ASSERT_TRUE(IsSame(Bf16ToF32(static_cast<std::uint16_t>(bits)), Decode(kBf16Format, bits)))
        << std::hex << bits;
  }
}

TEST(F16ToF32, GivesTheDefinedValueOfAllBits) {
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    ASSERT_TRUE(IsSame(F16ToF32(static_cast<std::uint16_t>(bits)), Decode(kF16Format, bits)))
        << std::hex << bits;
  }
}

TEST(F16ToF32, KeepsTheBitsOfANan) {
  EXPECT_EQ(BitsOf(F16ToF32(0x7C01)), 0x7F80'2000U);
  EXPECT_EQ(BitsOf(F16ToF32(0xFE00)), 0xFFC0'0000U);
}

TEST(Bf16RoundTrip, KeepsEverythingButSignallingNans) {
  for (std::uint32_t i = 0; i <= 0xFFFF; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const bool is_nan = (bits & 0x7FFF) > 0x7F80;
    const std::uint16_t expected = is_nan ? bits | 0x40 : bits;
    ASSERT_EQ(F32ToBf16(Bf16ToF32(bits)), expected) << std::hex << bits;
  }
}

TEST(F16RoundTrip, KeepsEverythingButThePayloadOfNans) {
  for (std::uint32_t i = 0; i <= 0xFFFF; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const bool is_nan = (bits & 0x7FFF) > 0x7C00;
    const std::uint16_t expected = is_nan ? (bits & 0x8000) | 0x7E00 : bits;
    ASSERT_EQ(F32ToF16(F16ToF32(bits)), expected) << std::hex << bits;
  }
}

TEST(F8E5M2ToF32, GivesTheDefinedValueOfAllBits) {
  for (std::uint32_t bits = 0; bits <= 0xFF; ++bits) {
    EXPECT_TRUE(IsSame(F8E5M2ToF32(static_cast<std::uint8_t>(bits)), Decode(kF8E5M2Format, bits)))
        << std::hex << bits;
  }
  EXPECT_EQ(F8E5M2ToF32(0x7B), 57344.0F);
  EXPECT_EQ(F8E5M2ToF32(0x01), 0x1p-16F);
  EXPECT_EQ(F8E5M2ToF32(0xFC), -std::numeric_limits<float>::infinity());
}

// The "FN" format of ONNX and PyTorch: only two NaNs, and their neighbours are ordinary numbers.
TEST(F8E4M3ToF32, GivesTheDefinedValueOfAllBits) {
  for (int bits = 0; bits <= 0xFF; ++bits) {
    const double sign = bits >= 0x80 ? -1 : 1;
    const int exponent = bits / 8 % 16;
    const int mantissa = bits % 8;
    const double expected = exponent == 15 && mantissa == 7
                                ? std::numeric_limits<double>::quiet_NaN()
                            : exponent == 0 ? sign * mantissa / 512
                                            : sign * (1 + mantissa / 8.0) * std::exp2(exponent - 7);
    EXPECT_TRUE(IsSame(F8E4M3ToF32(static_cast<std::uint8_t>(bits)), expected)) << std::hex << bits;
  }
  EXPECT_EQ(F8E4M3ToF32(0x7E), 448.0F);
  EXPECT_EQ(F8E4M3ToF32(0x01), 0x1p-9F);
  EXPECT_TRUE(std::signbit(F8E4M3ToF32(0xFF)));
}

}  // namespace
}  // namespace sluice::quant
