// The integer conversions of ggml's quantizers, in exact form: what they give for infinities, NaNs
// and values out of range is part of the format's bytes.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include "formats/quant/float_formats.h"

namespace sluice::quant {

// Round half to even for |value| <= 4194303, by the bits of a float sum. Infinities give -4194304,
// NaN gives 0.
inline std::int32_t NearestInt(float value) {
  constexpr float kShift = 12582912.0F;  // 1.5 * 2^23: the sum's mantissa ends at the units
  const auto bits = std::bit_cast<std::uint32_t>(value + kShift);
  return static_cast<std::int32_t>(bits & 0x7F'FFFF) - 0x40'0000;
}

// Truncation as x86's cvttss2si does it: NaN and values outside 32 bits give INT32_MIN.
inline std::int32_t TruncateToInt(float value) {
  constexpr float kLimit = 2147483648.0F;
  if (!(value >= -kLimit && value < kLimit)) return std::numeric_limits<std::int32_t>::min();
  return static_cast<std::int32_t>(value);
}

// The low eight bits of an integer, signed or not.
inline std::int8_t LowInt8(std::int32_t value) {
  return static_cast<std::int8_t>(static_cast<std::uint8_t>(value));
}
inline std::uint8_t Low8(std::int32_t value) { return static_cast<std::uint8_t>(value); }

// value rounded to F16 and back.
inline float RoundToF16(float value) { return F16ToF32(F32ToF16(value)); }

inline float Reciprocal(float value) { return value != 0 ? 1.0F / value : 0.0F; }

// Blocks are written field by field: their structs would need packing, and rows need not be
// aligned.
inline void StoreF16(std::byte* out, float value) {
  const std::uint16_t bits = F32ToF16(value);
  std::memcpy(out, &bits, sizeof bits);
}
inline float LoadF16(const std::byte* in) {
  std::uint16_t bits;
  std::memcpy(&bits, in, sizeof bits);
  return F16ToF32(bits);
}
template <typename T>
void Store(std::byte* out, T value) {
  std::memcpy(out, &value, sizeof value);
}
template <typename T>
T Load(const std::byte* in) {
  T value;
  std::memcpy(&value, in, sizeof value);
  return value;
}
inline std::uint32_t Byte(std::byte value) { return std::to_integer<std::uint32_t>(value); }

}  // namespace sluice::quant
