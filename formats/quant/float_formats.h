// The plain floating-point formats: scalar reference conversions, one value at a time.
//
//   F32      s eeeeeeee mmmmmmmmmmmmmmmmmmmmmmm   bias 127
//   BF16     s eeeeeeee mmmmmmm                   the upper half of an F32
//   F16      s eeeee mmmmmmmmmm                   bias 15, IEEE binary16
//   F8_E5M2  s eeeee mm                           the upper half of an F16
//   F8_E4M3  s eeee mmm                           bias 7, no infinities, S.1111.111 is NaN
//
// Narrowing rounds to nearest, ties to even; infinities and the sign of zero stay; a NaN stays a
// NaN. The fast versions of stages/kernels/cast.h give the same bits.
#pragma once

#include <bit>
#include <cstdint>

namespace sluice::quant {

inline constexpr std::uint32_t kF32SignMask = 0x8000'0000;
inline constexpr std::uint32_t kF32Infinity = 0x7F80'0000;

inline float Bf16ToF32(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline std::uint16_t F32ToBf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & ~kF32SignMask) > kF32Infinity) {
    return static_cast<std::uint16_t>((bits >> 16) |
                                      0x40);  // quiet, or a NaN could become infinity
  }
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

inline float F16ToF32(std::uint16_t bits) {
  // The magnitude as if it were an F32 with 13 low zero bits, rescaled by the difference of biases:
  // exact for normal and subnormal values alike.
  constexpr float kScale = 0x1p112F;
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  const std::uint32_t magnitude = static_cast<std::uint32_t>(bits & 0x7FFF) << 13;
  if (magnitude >= 0x0F80'0000) {  // infinity or NaN
    return std::bit_cast<float>(sign | kF32Infinity | magnitude);
  }
  const float value = std::bit_cast<float>(magnitude) * kScale;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
}

// Every NaN becomes sign | 0x7E00, as ggml writes it.
inline std::uint16_t F32ToF16(float value) {
  constexpr std::uint32_t kOverflow = 0x4780'0000;        // 2^16
  constexpr std::uint32_t kSmallestNormal = 0x3880'0000;  // 2^-14
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits & kF32SignMask) >> 16);
  const std::uint32_t magnitude = bits & ~kF32SignMask;
  if (magnitude > kF32Infinity) return sign | 0x7E00;
  if (magnitude >= kOverflow) return sign | 0x7C00;
  if (magnitude < kSmallestNormal) {
    // Adding 0.5 puts the units of the subnormal result at the bottom of the sum's mantissa; the
    // addition itself rounds to nearest even.
    const float sum = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(sum) - 0x3F00'0000));
  }
  const std::uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x3800'0000) >> 13));
}

inline float F8E5M2ToF32(std::uint8_t bits) {
  return F16ToF32(static_cast<std::uint16_t>(bits << 8));
}

inline float F8E4M3ToF32(std::uint8_t bits) {
  constexpr float kScale = 0x1p120F;  // 2^(127 - 7)
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80) << 24;
  const std::uint32_t magnitude = bits & 0x7F;
  if (magnitude == 0x7F) return std::bit_cast<float>(sign | 0x7FC0'0000);
  const float value = std::bit_cast<float>(magnitude << 20) * kScale;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
}

}  // namespace sluice::quant
