// Q2_K: 256 elements, 16 groups of 16, each with a 4-bit scale and a 4-bit minimum.
//
//   Q2_K (84 bytes)  sc[16]  q[64]  d:f16  dmin:f16
//   x = d * (sc & 15) * q - dmin * (sc >> 4)
//
// Codes of two bits, in halves p of 128 elements: byte 32p + l of q holds elements 128p + l (bits
// 0-1), 128p + l + 32 (bits 2-3), + 64 (bits 4-5), + 96 (bits 6-7).
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
constexpr int kLevels = 3;
constexpr int kScaleLevels = 15;
constexpr AffineSearch kPlain{kLevels, -0.5F, 0.1F, 15, ErrorMeasure::kAbsolute};
constexpr AffineSearch kWeighted{kLevels, -0.9F, 0.05F, 36, ErrorMeasure::kSquared};

// Offsets of the fields.
constexpr std::size_t kCodesAt = 16;
constexpr std::size_t kScaleAt = 80;
constexpr std::size_t kMinAt = 82;
constexpr std::size_t kBlockBytes = 84;

using GroupValues = std::array<float, kGroups>;
using GroupCodes = std::array<std::uint8_t, kGroups>;

// Scales (or minima) of all groups by one F16 factor: 15 steps of the largest.
float QuantizeByLargest(const GroupValues& values, GroupCodes& codes) {
  float largest = 0;
  for (const float value : values) {
    if (value > largest) largest = value;
  }
  codes.fill(0);
  if (!(largest > 0)) return 0;
  const float inverse = static_cast<float>(kScaleLevels) / largest;
  for (std::size_t g = 0; g < kGroups; ++g) codes[g] = Low8(NearestInt(inverse * values[g]));
  return largest / static_cast<float>(kScaleLevels);
}

struct Groups {
  GroupValues scales;
  GroupValues neg_mins;
  GroupValues weight_sums;
};

Groups SearchGroups(std::span<const float> x, std::span<const float> importance,
                    std::span<std::uint8_t> codes) {
  Groups groups{};
  const float sigma2 = importance.empty() ? 0 : SumOfSquares(x) / static_cast<float>(kSuperBlock);
  std::array<float, kGroup> weights;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const auto part = x.subspan(g * kGroup, kGroup);
    if (importance.empty()) {
      for (std::size_t i = 0; i < kGroup; ++i) weights[i] = std::abs(part[i]);
    } else {
      ImportanceWeights(part, importance.subspan(g * kGroup, kGroup), sigma2, weights);
      for (const float weight : weights) groups.weight_sums[g] += weight;
    }
    const Affine affine = SearchAffine(importance.empty() ? kPlain : kWeighted, part, weights,
                                       codes.subspan(g * kGroup, kGroup));
    groups.scales[g] = affine.scale;
    groups.neg_mins[g] = affine.neg_min;
  }
  return groups;
}

void EncodeBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  std::array<std::uint8_t, kSuperBlock> codes;
  const Groups groups = SearchGroups(x, importance, codes);
  GroupCodes scale_codes;
  GroupCodes min_codes;
  float scale = 0;
  float minimum = 0;
  if (importance.empty()) {
    scale = QuantizeByLargest(groups.scales, scale_codes);
    minimum = QuantizeByLargest(groups.neg_mins, min_codes);
  } else {
    scale = SearchPositive(kScaleLevels, groups.scales, groups.weight_sums, scale_codes);
    minimum = SearchPositive(kScaleLevels, groups.neg_mins, groups.weight_sums, min_codes);
  }
  StoreF16(out + kScaleAt, scale);
  StoreF16(out + kMinAt, minimum);
  scale = RoundToF16(scale);
  minimum = RoundToF16(minimum);
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::uint8_t packed = Low8(scale_codes[g] | min_codes[g] << 4);
    out[g] = static_cast<std::byte>(packed);
    const float group_scale = scale * static_cast<float>(packed & 15);
    if (group_scale == 0) continue;
    const float group_min = minimum * static_cast<float>(packed >> 4);
    for (std::size_t i = g * kGroup; i < (g + 1) * kGroup; ++i) {
      codes[i] = static_cast<std::uint8_t>(
          std::clamp(NearestInt((x[i] + group_min) / group_scale), 0, kLevels));
    }
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
    const float scale = LoadF16(in + kScaleAt);
    const float minimum = LoadF16(in + kMinAt);
    for (std::size_t i = 0; i < kSuperBlock; ++i) {
      const std::uint32_t packed = Byte(in[i / kGroup]);
      out[at + i] = scale * static_cast<float>(packed & 15) * static_cast<float>(codes[i]) -
                    minimum * static_cast<float>(packed >> 4);
    }
  }
}

}  // namespace

const Codec kCodecQ2_K{gguf::TensorType::kQ2_K, Importance::kUsed, Encode, Decode};

}  // namespace sluice::quant
