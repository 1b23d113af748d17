// Narrowing to 8-bit floats; float_formats.h has the format and the way back.
#pragma once

#include <bit>
#include <cstdint>

#include "formats/quant/float_formats.h"

namespace sluice::quant {

// To F8_E4M3: nearest, ties to even. What passes the largest value, 448, becomes that; a NaN stays
// a NaN.
inline std::uint8_t F32ToF8E4M3(float value) {
  constexpr std::uint32_t kLargest = 0x43E0'0000;         // 448
  constexpr std::uint32_t kSmallestNormal = 0x3C80'0000;  // 2^-6
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>((bits & kF32SignMask) >> 24);
  const std::uint32_t magnitude = bits & ~kF32SignMask;
  if (magnitude > kF32Infinity) return sign | 0x7F;
  if (magnitude >= kLargest) return sign | 0x7E;
  if (magnitude < kSmallestNormal) {
    // As in F32ToF16: the unit of the subnormals, 2^-9, is that of a sum with 2^14.
    const float sum = std::bit_cast<float>(magnitude) + 0x1p14F;
    return static_cast<std::uint8_t>(sign | (std::bit_cast<std::uint32_t>(sum) - 0x4680'0000));
  }
  const std::uint32_t rounded = magnitude + 0x7'FFFF + ((magnitude >> 20) & 1);
  return static_cast<std::uint8_t>(sign | ((rounded - 0x3C00'0000) >> 20));
}

}  // namespace sluice::quant
