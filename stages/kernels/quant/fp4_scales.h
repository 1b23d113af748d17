// The scales of the 4-bit float types. For the formats see formats/quant/fp4.cpp.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace sluice::kernels {

// floor(log2f(a)) with a correctly rounded log2f, which is k for some values just below 2^k.
inline int FloorLog2(float a) {
  constexpr std::uint32_t kMantissa = 0x7F'FFFF;
  constexpr std::uint32_t kFarBelow = kMantissa - 64;  // at most 44 values below 2^k are rounded up
  const bool normal = a >= std::numeric_limits<float>::min();
  if (normal && (std::bit_cast<std::uint32_t>(a) & kMantissa) < kFarBelow) return std::ilogb(a);
  return static_cast<int>(std::floor(static_cast<float>(std::log2(static_cast<double>(a)))));
}

// To unsigned E4M3: half up on the next mantissa bit alone, everything from 256 on becomes 448.
inline std::uint8_t ToE4M3(float x) {
  constexpr float kSmallestNormal = 0x1p-6F;
  constexpr float kSubnormalStep = 0x1p-9F;
  constexpr std::uint8_t kLargest = 0x7E;
  if (!(x > 0)) return 0;
  if (x >= 256) return kLargest;
  if (x < kSmallestNormal) {
    return static_cast<std::uint8_t>(std::min(7.0F, x / kSubnormalStep + 0.5F));
  }
  // Exponent and the top four mantissa bits, of which the last one rounds.
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x / 0x1p-7F) >> 19;
  const std::uint32_t code = ((bits - (127U << 4)) + 1) >> 1;
  return code >= (15U << 3) ? kLargest : static_cast<std::uint8_t>(code);
}

// 2^exponent, normal.
inline float Power(int exponent) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

// Half of the value of an E4M3 code below 0x7F.
inline float HalfE4M3(std::uint32_t code) {
  const auto mantissa = static_cast<float>(code & 7);
  const int exponent = static_cast<int>(code >> 3);
  return exponent == 0 ? mantissa * 0x1p-10F : (8 + mantissa) * Power(exponent - 11);
}

}  // namespace sluice::kernels
