// Q3_K: 256 elements, 16 groups of 16, each with a signed 6-bit scale.
//
//   Q3_K (110 bytes)  hm[32]  q[64]  sc[12]  d:f16
//   x = d * (sc - 32) * (c - 4), c three bits
//
// The low two bits of the codes as in Q2_K; bit 2 of element j is bit j / 32 of hm[j % 32]. Scales:
// groups 0-7 in the low, 8-15 in the high nibbles of bytes 0-7, their top two bits in bytes 8-11.
#include <algorithm>
#include <array>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kGroups = 16;
constexpr std::size_t kGroup = kSuperBlock / kGroups;
constexpr int kHalf = 4;
constexpr int kScaleHalf = 32;

constexpr std::size_t kCodesAt = 32;
constexpr std::size_t kScalesAt = 96;
constexpr std::size_t kScaleBytes = 12;
constexpr std::size_t kScaleAt = 108;
constexpr std::size_t kBlockBytes = 110;

using GroupValues = std::array<float, kGroups>;
using GroupCodes = std::array<std::uint8_t, kGroups>;

void PackScales(const GroupCodes& codes, std::byte* out) {
  std::fill_n(out, kScaleBytes, std::byte{0});
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::uint32_t low = codes[g] & 15U;
    const std::uint32_t high = codes[g] >> 4;
    out[g % 8] |= static_cast<std::byte>(g < 8 ? low : low << 4);
    out[8 + g % 4] |= static_cast<std::byte>(high << (2 * (g / 4)));
  }
}

GroupCodes UnpackScales(const std::byte* in) {
  GroupCodes codes;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::uint32_t low = Byte(in[g % 8]) >> (g < 8 ? 0 : 4) & 15;
    const std::uint32_t high = Byte(in[8 + g % 4]) >> (2 * (g / 4)) & 3;
    codes[g] = static_cast<std::uint8_t>(low | high << 4);
  }
  return codes;
}

// Signed 6-bit scales from the one of largest magnitude; the block's factor.
float QuantizeByLargest(const GroupValues& scales, GroupCodes& codes) {
  codes.fill(0);
  const float largest = LargestMagnitude(scales);
  if (largest == 0) return 0;
  const float inverse = static_cast<float>(-kScaleHalf) / largest;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const int code = LowInt8(NearestInt(inverse * scales[g]));
    codes[g] =
        static_cast<std::uint8_t>(std::clamp(code, -kScaleHalf, kScaleHalf - 1) + kScaleHalf);
  }
  return 1 / inverse;
}

float SearchScales(std::span<const float> x, std::span<const float> importance,
                   std::span<std::uint8_t> codes, GroupCodes& scale_codes) {
  GroupValues scales{};
  GroupValues weight_sums{};
  if (importance.empty()) {
    for (std::size_t g = 0; g < kGroups; ++g) {
      scales[g] =
          SearchSymmetric3(x.subspan(g * kGroup, kGroup), codes.subspan(g * kGroup, kGroup));
    }
    return QuantizeByLargest(scales, scale_codes);
  }
  const float sigma2 = 2 * SumOfSquares(x) / static_cast<float>(kSuperBlock);
  std::array<float, kGroup> weights;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const auto part = x.subspan(g * kGroup, kGroup);
    ImportanceWeights(part, importance.subspan(g * kGroup, kGroup), sigma2, weights);
    for (const float weight : weights) weight_sums[g] += weight;
    scales[g] = SearchSymmetric(kHalf, part, weights, codes.subspan(g * kGroup, kGroup));
  }
  return SearchSymmetric(kScaleHalf, scales, weight_sums, scale_codes);
}

void EncodeBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  std::array<std::uint8_t, kSuperBlock> codes;
  GroupCodes scale_codes;
  const float scale = SearchScales(x, importance, codes, scale_codes);
  PackScales(scale_codes, out + kScalesAt);
  StoreF16(out + kScaleAt, scale);
  const float rounded = RoundToF16(scale);
  for (std::size_t g = 0; g < kGroups; ++g) {
    const float group_scale = rounded * static_cast<float>(scale_codes[g] - kScaleHalf);
    if (group_scale == 0) continue;
    for (std::size_t i = g * kGroup; i < (g + 1) * kGroup; ++i) {
      codes[i] = static_cast<std::uint8_t>(
          std::clamp(NearestInt(x[i] / group_scale), -kHalf, kHalf - 1) + kHalf);
    }
  }
  std::fill_n(out, kCodesAt, std::byte{0});
  for (std::size_t i = 0; i < kSuperBlock; ++i) {
    out[i % kCodesAt] |= static_cast<std::byte>((codes[i] >> 2) << (i / kCodesAt));
  }
  PackTwoBits(codes, out + kCodesAt);
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
  std::array<std::uint8_t, kSuperBlock> codes;
  for (std::size_t at = 0; at < out.size(); at += kSuperBlock, in += kBlockBytes) {
    UnpackTwoBits(in + kCodesAt, codes);
    const GroupCodes scale_codes = UnpackScales(in + kScalesAt);
    const float scale = LoadF16(in + kScaleAt);
    for (std::size_t i = 0; i < kSuperBlock; ++i) {
      const int high = static_cast<int>(Byte(in[i % kCodesAt]) >> (i / kCodesAt) & 1);
      const int code = codes[i] + 4 * high - kHalf;
      out[at + i] = scale * static_cast<float>(scale_codes[i / kGroup] - kScaleHalf) *
                    static_cast<float>(code);
    }
  }
}

}  // namespace

const Codec kCodecQ3_K{gguf::TensorType::kQ3_K, Importance::kUsed, Encode, Decode};

}  // namespace sluice::quant
