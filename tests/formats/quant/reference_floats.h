// Slow conversions of small floating-point formats, from their definition and in double precision,
// where every value of them and every tie between two is exact.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace sluice::testing {

// A format of one sign bit, `exponent_bits` and `mantissa_bits`, with IEEE's infinities and NaNs.
struct FloatFormat {
  int exponent_bits;
  int mantissa_bits;

  [[nodiscard]] int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  [[nodiscard]] int smallest_exponent() const { return 1 - bias(); }
  [[nodiscard]] std::uint32_t infinity() const {
    return ((1U << exponent_bits) - 1) << mantissa_bits;
  }
  [[nodiscard]] std::uint32_t sign_bit() const { return 1U << (exponent_bits + mantissa_bits); }
};

inline constexpr FloatFormat kF16Format{5, 10};
inline constexpr FloatFormat kBf16Format{8, 7};
inline constexpr FloatFormat kF8E5M2Format{5, 2};

// The value of finite bits; NaN and infinity for the rest.
inline double Decode(const FloatFormat& format, std::uint32_t bits) {
  const double sign = (bits & format.sign_bit()) != 0 ? -1.0 : 1.0;
  const std::uint32_t magnitude = bits & (format.sign_bit() - 1);
  if (magnitude > format.infinity()) return std::numeric_limits<double>::quiet_NaN();
  if (magnitude == format.infinity()) return sign * std::numeric_limits<double>::infinity();
  const std::uint32_t hidden = 1U << format.mantissa_bits;
  const std::uint32_t exponent = magnitude >> format.mantissa_bits;
  const std::uint32_t mantissa = magnitude & (hidden - 1);
  const int scale = format.smallest_exponent() - format.mantissa_bits;
  if (exponent == 0) return sign * std::ldexp(mantissa, scale);
  return sign * std::ldexp(hidden + mantissa, scale + static_cast<int>(exponent) - 1);
}

// The nearest whole number, the even one of two.
inline double RoundTiesToEven(double value) {
  const double below = std::floor(value);
  const double rest = value - below;
  if (rest < 0.5) return below;
  if (rest > 0.5) return below + 1;
  return std::fmod(below, 2) == 0 ? below : below + 1;
}

// The bits of the nearest value of the format. REQUIRES: `value` is no NaN.
inline std::uint32_t Encode(const FloatFormat& format, double value) {
  const std::uint32_t sign = std::signbit(value) ? format.sign_bit() : 0;
  const double magnitude = std::fabs(value);
  if (magnitude == 0) return sign;
  if (std::isinf(magnitude)) return sign | format.infinity();
  const int exponent = std::max(std::ilogb(magnitude), format.smallest_exponent());
  // How many units of the last place; 2^(mantissa_bits + 1) carries into the exponent by itself.
  const double units = RoundTiesToEven(std::ldexp(magnitude, format.mantissa_bits - exponent));
  const auto above_smallest = static_cast<std::uint32_t>(exponent - format.smallest_exponent());
  const std::uint64_t bits = (static_cast<std::uint64_t>(above_smallest) << format.mantissa_bits) +
                             static_cast<std::uint64_t>(units);
  return sign | static_cast<std::uint32_t>(std::min<std::uint64_t>(bits, format.infinity()));
}

}  // namespace sluice::testing
