#include "formats/quant/narrow_float.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace sluice::quant {
namespace {

TEST(F32ToF8E4M3, InvertsTheDecoderAndRoundsToNearestEven) {
  for (int bits = 0; bits <= 0xFF; ++bits) {
    const auto code = static_cast<std::uint8_t>(bits);
    EXPECT_EQ(F32ToF8E4M3(F8E4M3ToF32(code)), code) << std::hex << bits;
  }
  for (int bits = 0; bits < 0x7E; ++bits) {
    const float low = F8E4M3ToF32(static_cast<std::uint8_t>(bits));
    const float high = F8E4M3ToF32(static_cast<std::uint8_t>(bits + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(F32ToF8E4M3(middle), bits + bits % 2) << std::hex << bits;
    EXPECT_EQ(F32ToF8E4M3(std::nextafter(middle, low)), bits);
    EXPECT_EQ(F32ToF8E4M3(-std::nextafter(middle, high)), (bits + 1) | 0x80);
  }
}

TEST(F32ToF8E4M3, StopsAtTheLargestValue) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float large : {449.0F, 464.0F, 1e30F, kInfinity}) {
    EXPECT_EQ(F32ToF8E4M3(large), 0x7E);
    EXPECT_EQ(F32ToF8E4M3(-large), 0xFE);
  }
}

}  // namespace
}  // namespace sluice::quant
