#include "formats/mlx/codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "formats/quant/arithmetic.h"
#include "formats/quant/narrow_float.h"

namespace sluice::mlx {
namespace {

using quant::Byte;

constexpr std::uint32_t kMaxGroup = 128;
using Codes = std::array<std::uint8_t, kMaxGroup>;  // of one group, one a byte

// ---- Affine -------------------------------------------------------------------------------------

struct Range {
  float low;
  float high;
};

// In lanes, so that the compiler makes vectors of it. REQUIRES: values.size() divides by kLanes.
Range RangeOf(std::span<const float> values) {
  constexpr std::size_t kLanes = 8;
  std::array<float, kLanes> low;
  std::copy_n(values.begin(), kLanes, low.begin());
  std::array<float, kLanes> high = low;
  for (std::size_t i = kLanes; i < values.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      low[lane] = value < low[lane] ? value : low[lane];
      high[lane] = value > high[lane] ? value : high[lane];
    }
  }
  return {*std::min_element(low.begin(), low.end()), *std::max_element(high.begin(), high.end())};
}

// What codes are chosen with; both are rounded only when they are stored.
struct Line {
  float scale;
  float bias;
};

// The line through the end of the range that is farther from zero, tilted so that zero has a code.
Line LineOf(std::span<const float> values, float largest_code) {
  constexpr float kLeastScale = 1e-7F;
  const auto [low, high] = RangeOf(values);
  const bool from_low = std::abs(low) > std::abs(high);
  const float step = std::max((high - low) / largest_code, kLeastScale);
  const float scale = from_low ? step : -step;
  const float edge = from_low ? low : high;
  const float steps_to_zero = std::rint(edge / scale);
  if (steps_to_zero == 0) return {scale, 0};
  return {edge / steps_to_zero, edge};
}

void StoreAs(Dtype dtype, float value, std::byte* out) {
  if (dtype == Dtype::kF32) return quant::Store(out, value);
  quant::Store(out, dtype == Dtype::kF16 ? quant::F32ToF16(value) : quant::F32ToBf16(value));
}

float LoadAs(Dtype dtype, const std::byte* in) {
  if (dtype == Dtype::kF32) return quant::Load<float>(in);
  const auto bits = quant::Load<std::uint16_t>(in);
  return dtype == Dtype::kF16 ? quant::F16ToF32(bits) : quant::Bf16ToF32(bits);
}

void AffineCodes(std::span<const float> values, float largest_code, Codes& codes) {
  const auto [scale, bias] = LineOf(values, largest_code);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float steps = (values[i] - bias) / scale;
    const float inside = std::min(std::max(steps, 0.0F), largest_code);
    codes[i] = quant::Low8(quant::NearestInt(inside));
  }
}

// ---- Small floats -------------------------------------------------------------------------------

// Indexed by E2M1 code: sign, two bits of exponent, one of mantissa.
constexpr std::array<float, 16> kE2M1{0.0F,  0.5F,  1.0F,  1.5F,  2.0F,  3.0F,  4.0F,  6.0F,
                                      -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};
constexpr float kLargestE2M1 = 6;
constexpr float kLargestE4M3 = 448;

// Nearest, ties to the smaller magnitude; nothing becomes -0.
std::uint8_t ToE2M1(float x) {
  constexpr std::array<float, 7> kBorders{0.25F, 0.75F, 1.25F, 1.75F, 2.5F, 3.5F, 5.0F};
  const float magnitude = std::abs(x);
  std::uint32_t code = 0;
  for (const float border : kBorders) code += magnitude > border ? 1U : 0U;
  return static_cast<std::uint8_t>(code == 0 || x > 0 ? code : code | 8U);
}

float LargestMagnitude(std::span<const float> values) {
  const auto [low, high] = RangeOf(values);
  return std::max(std::abs(low), std::abs(high));
}

// The least power of two that brings the group within reach, so that nothing is cut off; 1 for
// zeros.
std::uint8_t ToE8M0(float scale) {
  constexpr int kBias = 127;
  constexpr int kLargest = 254;
  if (!(scale > 0)) return kBias;
  int exponent = 0;
  const float mantissa = std::frexp(scale, &exponent);  // in [1/2, 1)
  if (mantissa == 0.5F) --exponent;
  return static_cast<std::uint8_t>(std::clamp(exponent + kBias, 0, kLargest));
}

float FromE8M0(std::uint32_t code) {
  constexpr std::uint32_t kNan = 255;
  if (code == kNan) return std::bit_cast<float>(std::uint32_t{0x7FC0'0000});
  return code == 0 ? 0x1p-127F : std::bit_cast<float>(code << 23);
}

std::uint8_t SmallFloatScale(Mode mode, std::span<const float> values) {
  const float largest = LargestMagnitude(values);
  if (mode == Mode::kNvfp4) return quant::F32ToF8E4M3(largest / kLargestE2M1);
  return ToE8M0(largest / (mode == Mode::kMxfp4 ? kLargestE2M1 : kLargestE4M3));
}

void SmallFloatCodes(const Encoding& encoding, std::span<const float> values, Codes& codes) {
  const auto stored = static_cast<std::byte>(SmallFloatScale(encoding.mode, values));
  const float scale = ScaleValue(encoding, &stored);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float x = scale == 0 ? 0.0F : values[i] / scale;
    codes[i] = encoding.bits == 4 ? ToE2M1(x) : quant::F32ToF8E4M3(x);
  }
}

// ---- Groups -------------------------------------------------------------------------------------

void Pack(const Codes& codes, const Encoding& encoding, std::byte* out) {
  if (encoding.bits == 8) {
    std::transform(codes.begin(), codes.begin() + encoding.group, out,
                   [](std::uint8_t code) { return static_cast<std::byte>(code); });
    return;
  }
  for (std::size_t i = 0; i < encoding.group; i += 2) {
    out[i / 2] = static_cast<std::byte>(codes[i] | codes[i + 1] << 4);
  }
}

void EncodeCodes(const Encoding& encoding, std::span<const float> group, std::byte* out) {
  Codes codes;
  if (encoding.mode == Mode::kAffine) {
    AffineCodes(group, encoding.bits == 4 ? 15.0F : 255.0F, codes);
  } else {
    SmallFloatCodes(encoding, group, codes);
  }
  Pack(codes, encoding, out);
}

void EncodeScale(const EncodedPart& part, std::span<const float> group, std::byte* out) {
  const Encoding& encoding = part.encoding;
  if (encoding.mode != Mode::kAffine) {
    *out = static_cast<std::byte>(SmallFloatScale(encoding.mode, group));
    return;
  }
  const auto [scale, bias] = LineOf(group, encoding.bits == 4 ? 15.0F : 255.0F);
  StoreAs(encoding.scale_dtype, part.part == Part::kScales ? scale : bias, out);
}

std::uint32_t CodeAt(const std::byte* codes, std::uint32_t bits, std::size_t i) {
  if (bits == 8) return Byte(codes[i]);
  return Byte(codes[i / 2]) >> (4 * (i % 2)) & 15;
}

}  // namespace

float ScaleValue(const Encoding& encoding, const std::byte* scale) {
  switch (encoding.mode) {
    case Mode::kAffine:
      return LoadAs(encoding.scale_dtype, scale);
    case Mode::kNvfp4:
      return quant::F8E4M3ToF32(std::to_integer<std::uint8_t>(*scale));
    default:
      return FromE8M0(Byte(*scale));
  }
}

void Decode(const Encoding& encoding, const Groups& groups, std::span<float> out) {
  const std::uint64_t scale_bytes = DtypeBytes(encoding.scale_dtype);
  for (std::size_t at = 0, group = 0; at < out.size(); at += encoding.group, ++group) {
    const std::byte* const codes = groups.codes + group * encoding.group_code_bytes();
    const float scale = ScaleValue(encoding, groups.scales + group * scale_bytes) * groups.factor;
    const bool affine = encoding.has_biases();
    const float bias =
        affine ? LoadAs(encoding.scale_dtype, groups.biases + group * scale_bytes) : 0.0F;
    for (std::size_t i = 0; i < encoding.group; ++i) {
      const std::uint32_t code = CodeAt(codes, encoding.bits, i);
      const float value = affine ? static_cast<float>(code)
                          : encoding.bits == 4
                              ? kE2M1[code]
                              : quant::F8E4M3ToF32(static_cast<std::uint8_t>(code));
      out[at + i] = affine ? scale * value + bias : value * scale;
    }
  }
}

void EncodePart(const EncodedPart& part, std::span<const float> values, std::byte* out) {
  for (std::size_t at = 0; at < values.size(); at += part.encoding.group) {
    const auto group = values.subspan(at, part.encoding.group);
    if (part.part == Part::kCodes) {
      EncodeCodes(part.encoding, group, out);
    } else {
      EncodeScale(part, group, out);
    }
    out += part.group_bytes();
  }
}

}  // namespace sluice::mlx
