// Q6_K: 256 elements, 16 groups of 16, each with a signed 8-bit scale.
//
//   Q6_K (210 bytes)  ql[128]  qh[64]  sc:i8[16]  d:f16
//   x = d * sc * (c - 32), c six bits
//
// With e_k = element 128p + 32k + l of half p: ql[64p + l] holds the low nibbles of e_0 and e_2,
// ql[64p + 32 + l] those of e_1 and e_3, qh[32p + l] the top two bits of e_0 .. e_3.
#include <algorithm>
#include <array>
#include <cmath>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kGroups = 16;
constexpr std::size_t kGroup = kSuperBlock / kGroups;
constexpr int kHalf = 32;
constexpr float kNegligible = 1e-15F;

constexpr std::size_t kHighAt = 128;
constexpr std::size_t kScalesAt = 192;
constexpr std::size_t kScaleAt = 208;
constexpr std::size_t kBlockBytes = 210;

void PackCodes(const std::array<std::uint8_t, kSuperBlock>& codes, std::byte* out) {
  for (std::size_t half = 0; half < 2; ++half) {
    for (std::size_t l = 0; l < 32; ++l) {
      const std::uint8_t* const e = codes.data() + 128 * half + l;
      out[64 * half + l] = static_cast<std::byte>((e[0] & 15) | (e[64] & 15) << 4);
      out[64 * half + 32 + l] = static_cast<std::byte>((e[32] & 15) | (e[96] & 15) << 4);
      out[kHighAt + 32 * half + l] = static_cast<std::byte>(e[0] >> 4 | (e[32] >> 4) << 2 |
                                                            (e[64] >> 4) << 4 | (e[96] >> 4) << 6);
    }
  }
}

void EncodeBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  std::array<std::uint8_t, kSuperBlock> codes;
  std::array<float, kGroups> scales;
  for (std::size_t g = 0; g < kGroups; ++g) {
    // Unlike in the other types the importance is the weight, without the magnitude of x.
    const auto weights = PartOf(importance, g * kGroup, kGroup);
    scales[g] = SearchSymmetric(kHalf, x.subspan(g * kGroup, kGroup), weights,
                                std::span(codes).subspan(g * kGroup, kGroup));
  }
  const float largest = LargestMagnitude(scales);
  if (std::abs(largest) < kNegligible) {
    std::fill_n(out, kBlockBytes, std::byte{0});
    return;
  }
  const float inverse = -128.0F / largest;
  StoreF16(out + kScaleAt, 1 / inverse);
  const float scale = LoadF16(out + kScaleAt);
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::int8_t code = LowInt8(std::min(127, NearestInt(inverse * scales[g])));
    out[kScalesAt + g] = static_cast<std::byte>(code);
    const float group_scale = scale * static_cast<float>(code);
    if (group_scale == 0) continue;
    for (std::size_t i = g * kGroup; i < (g + 1) * kGroup; ++i) {
      codes[i] = static_cast<std::uint8_t>(
          std::clamp(NearestInt(x[i] / group_scale), -kHalf, kHalf - 1) + kHalf);
    }
  }
  PackCodes(codes, out);
}

std::uint64_t Encode(std::span<const float> row, std::span<const float> importance, bool,
                     std::byte* out) {
  ForEachSuperBlock(row, importance, [&](auto x, auto weights) {
    EncodeBlock(x, weights, out);
    out += kBlockBytes;
  });
  return 0;
}

void Decode(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kSuperBlock, in += kBlockBytes) {
    const float scale = LoadF16(in + kScaleAt);
    for (std::size_t i = 0; i < kSuperBlock; ++i) {
      const std::size_t half = i / 128;
      const std::size_t k = i % 128 / 32;
      const std::size_t l = i % 32;
      const std::uint32_t low = Byte(in[64 * half + 32 * (k % 2) + l]) >> (4 * (k / 2)) & 15;
      const std::uint32_t high = Byte(in[kHighAt + 32 * half + l]) >> (2 * k) & 3;
      const int code = static_cast<int>(low | high << 4) - kHalf;
      const auto group = static_cast<std::int8_t>(in[kScalesAt + i / kGroup]);
      out[at + i] = scale * static_cast<float>(group) * static_cast<float>(code);
    }
  }
}

}  // namespace

const Codec kCodecQ6_K{gguf::TensorType::kQ6_K, Importance::kUsed, Encode, Decode};

}  // namespace sluice::quant
