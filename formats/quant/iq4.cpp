// IQ4_NL and IQ4_XS: 4-bit codes into a table of 16 unevenly spaced values.
//
//   IQ4_NL (18 bytes)    32 elements  d:f16  q[16]                        x = d * T[c]
//   IQ4_XS (136 bytes)  256 elements  d:f16  sh:u16  sl[4]  q[128]        x = d * (ls - 32) * T[c]
//
// Byte j of each 16 bytes of q holds elements j (low nibble) and j + 16 (high nibble) of a group of
// 32. The 6-bit scale ls of group g has its low four bits in nibble g % 2 of sl[g / 2], its top two
// in bits 2g, 2g + 1 of sh.
//
// The value table is data of ggml; see docs/formats/codebooks.md for its licence.
#include <algorithm>
#include <array>
#include <cmath>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::array<std::int8_t, 16> kTable{-127, -104, -83, -65, -49, -35, -22, -10,
                                             1,    13,   25,  38,  53,  69,  89,  113};
constexpr std::size_t kGroup = 32;
constexpr std::size_t kGroupBytes = kGroup / 2;
constexpr std::size_t kGroups = kSuperBlock / kGroup;
constexpr float kNegligible = 1e-15F;
constexpr int kTries = 7;  // candidates on either side of the middle one

// The scale of a group: candidates 1 / scale around T[0] / (largest value), by the fit of each.
float SearchScale(std::span<const float> x, std::span<const float> weights) {
  const float largest = LargestMagnitude(x);
  if (std::abs(largest) < kNegligible) return 0;
  const auto fit = [&](float inverse, float& a, float& b) {
    a = 0;
    b = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto q = static_cast<float>(kTable[NearestInTable(kTable, inverse * x[i])]);
      a += weights[i] * q * x[i];
      b += weights[i] * q * q;
    }
  };
  float a = 0;
  float b = 0;
  fit(1 / (-largest / static_cast<float>(kTable[0])), a, b);
  float scale = b > 0 ? a / b : 0;
  float best = scale * a;
  for (int t = -kTries; t <= kTries; ++t) {
    fit(static_cast<float>(t + kTable[0]) / largest, a, b);
    if (b > 0 && a * a > best * b) {
      scale = a / b;
      best = scale * a;
    }
  }
  return scale;
}

void PackGroup(std::span<const float> x, float inverse, std::byte* out) {
  for (std::size_t j = 0; j < kGroupBytes; ++j) {
    const std::size_t low = NearestInTable(kTable, inverse * x[j]);
    const std::size_t high = NearestInTable(kTable, inverse * x[j + kGroupBytes]);
    out[j] = static_cast<std::byte>(low | high << 4);
  }
}

void UnpackGroup(const std::byte* in, float scale, std::span<float> out) {
  for (std::size_t j = 0; j < kGroupBytes; ++j) {
    out[j] = scale * static_cast<float>(kTable[Byte(in[j]) & 15]);
    out[j + kGroupBytes] = scale * static_cast<float>(kTable[Byte(in[j]) >> 4]);
  }
}

// ---- IQ4_NL ------------------------------------------------------------------------------------

constexpr std::size_t kNlBytes = 18;

std::uint64_t EncodeNl(std::span<const float> row, std::span<const float> importance, bool,
                       std::byte* out) {
  std::array<float, kGroup> weights;
  for (std::size_t at = 0; at < row.size(); at += kGroup, out += kNlBytes) {
    const auto x = row.subspan(at, kGroup);
    const float sigma2 = SumOfSquares(x) * (2.0F / static_cast<float>(kGroup));
    WeightsOrSquares(x, PartOf(importance, at, kGroup), sigma2, weights);
    const float scale = SearchScale(x, weights);
    StoreF16(out, scale);
    PackGroup(x, Reciprocal(scale), out + 2);
  }
  return 0;
}

void DecodeNl(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kGroup, in += kNlBytes) {
    UnpackGroup(in + 2, LoadF16(in), out.subspan(at, kGroup));
  }
}

// ---- IQ4_XS ------------------------------------------------------------------------------------

constexpr std::size_t kHighScalesAt = 2;
constexpr std::size_t kLowScalesAt = 4;
constexpr std::size_t kCodesAt = 8;
constexpr std::size_t kXsBytes = 136;
constexpr int kScaleHalf = 32;

void EncodeXsBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  const float sigma2 = SumOfSquares(x) * (2.0F / static_cast<float>(kSuperBlock));
  std::array<float, kGroup> weights;
  std::array<float, kGroups> scales;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const auto part = x.subspan(g * kGroup, kGroup);
    WeightsOrSquares(part, PartOf(importance, g * kGroup, kGroup), sigma2, weights);
    scales[g] = SearchScale(part, weights);
  }
  const float scale = -LargestMagnitude(scales) / static_cast<float>(kScaleHalf);
  StoreF16(out, scale);
  const float inverse = Reciprocal(scale);
  std::uint32_t high_bits = 0;
  std::fill_n(out + kLowScalesAt, kCodesAt - kLowScalesAt, std::byte{0});
  for (std::size_t g = 0; g < kGroups; ++g) {
    const int l = std::clamp(NearestInt(inverse * scales[g]), -kScaleHalf, kScaleHalf - 1);
    // The unrounded scale decides the codes.
    const float group_scale = scale * static_cast<float>(l);
    PackGroup(x.subspan(g * kGroup, kGroup), Reciprocal(group_scale),
              out + kCodesAt + g * kGroupBytes);
    const auto stored = static_cast<std::uint32_t>(l + kScaleHalf);
    out[kLowScalesAt + g / 2] |= static_cast<std::byte>((stored & 15) << (4 * (g % 2)));
    high_bits |= (stored >> 4) << (2 * g);
  }
  Store(out + kHighScalesAt, static_cast<std::uint16_t>(high_bits));
}

std::uint64_t EncodeXs(std::span<const float> row, std::span<const float> importance, bool,
                       std::byte* out) {
  ForEachSuperBlock(row, importance, [&](auto x, auto weights) {
    EncodeXsBlock(x, weights, out);
    out += kXsBytes;
  });
  return 0;
}

void DecodeXs(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kSuperBlock, in += kXsBytes) {
    const float scale = LoadF16(in);
    const auto high_bits = Load<std::uint16_t>(in + kHighScalesAt);
    for (std::size_t g = 0; g < kGroups; ++g) {
      const std::uint32_t low = Byte(in[kLowScalesAt + g / 2]) >> (4 * (g % 2)) & 15;
      const int l = static_cast<int>(low | (high_bits >> (2 * g) & 3U) << 4) - kScaleHalf;
      UnpackGroup(in + kCodesAt + g * kGroupBytes, scale * static_cast<float>(l),
                  out.subspan(at + g * kGroup, kGroup));
    }
  }
}

}  // namespace

const Codec kCodecIQ4_NL{gguf::TensorType::kIQ4_NL, Importance::kUsed, EncodeNl, DecodeNl};
const Codec kCodecIQ4_XS{gguf::TensorType::kIQ4_XS, Importance::kUsed, EncodeXs, DecodeXs};

}  // namespace sluice::quant
