// Q4_K and Q5_K: 256 elements, 8 groups of 32, each with a 6-bit scale and a 6-bit minimum.
//
//   Q4_K (144 bytes)  d:f16  dmin:f16  sc[12]          q[128]
//   Q5_K (176 bytes)  d:f16  dmin:f16  sc[12]  qh[32]  q[128]
//   x = d * s * c - dmin * m
//
// Codes: for each pair of groups (2p, 2p + 1), byte 32p + l of q holds the low nibbles of their
// elements l. Bit 4 of element l of group g is bit g of qh[l].
#include <algorithm>
#include <array>
#include <cmath>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kGroups = 8;
constexpr std::size_t kGroup = kSuperBlock / kGroups;
constexpr int kScaleLevels = 63;
constexpr std::size_t kScalesAt = 4;
constexpr std::size_t kHighBitsAt = 16;

// What the two types differ in.
template <int kBits>
struct Layout {
  static constexpr int kLevels = (1 << kBits) - 1;
  static constexpr std::size_t kCodesAt = kBits == 4 ? 16 : 48;
  static constexpr std::size_t kBlockBytes = kCodesAt + 128;
  static constexpr AffineSearch kPlain{kLevels, kBits == 4 ? -1.0F : -0.5F, 0.1F,
                                       kBits == 4 ? 20 : 15, ErrorMeasure::kSquared};
  static constexpr AffineSearch kWeighted{kLevels, -0.9F, 0.05F, 36, ErrorMeasure::kSquared};
};

using GroupValues = std::array<float, kGroups>;
using GroupCodes = std::array<std::uint8_t, kGroups>;

struct Groups {
  GroupValues scales;
  GroupValues neg_mins;
  GroupValues weight_sums;
};

template <int kBits>
Groups SearchGroups(std::span<const float> x, std::span<const float> importance,
                    std::span<std::uint8_t> codes) {
  Groups groups{};
  const float sigma2 =
      importance.empty() ? 0 : 2 * SumOfSquares(x) / static_cast<float>(kSuperBlock);
  std::array<float, kGroup> weights;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const auto part = x.subspan(g * kGroup, kGroup);
    if (importance.empty()) {
      const float average = std::sqrt(SumOfSquares(part) / static_cast<float>(kGroup));
      for (std::size_t i = 0; i < kGroup; ++i) weights[i] = average + std::abs(part[i]);
    } else {
      ImportanceWeights(part, importance.subspan(g * kGroup, kGroup), sigma2, weights);
      for (const float weight : weights) groups.weight_sums[g] += weight;
    }
    const AffineSearch& search =
        importance.empty() ? Layout<kBits>::kPlain : Layout<kBits>::kWeighted;
    const Affine affine = SearchAffine(search, part, weights, codes.subspan(g * kGroup, kGroup));
    groups.scales[g] = affine.scale;
    groups.neg_mins[g] = affine.neg_min;
  }
  return groups;
}

float QuantizeByLargest(const GroupValues& values, GroupCodes& codes) {
  float largest = 0;
  for (const float value : values) {
    if (value > largest) largest = value;
  }
  const float inverse = largest > 0 ? static_cast<float>(kScaleLevels) / largest : 0;
  for (std::size_t g = 0; g < kGroups; ++g) {
    codes[g] = std::min<std::uint8_t>(kScaleLevels, Low8(NearestInt(inverse * values[g])));
  }
  return largest / static_cast<float>(kScaleLevels);
}

template <int kBits>
float QuantizeByWeight(const GroupValues& values, const GroupValues& weight_sums,
                       GroupCodes& codes) {
  const float scale = SearchPositive(kScaleLevels, values, weight_sums, codes);
  if constexpr (kBits == 5) {
    for (std::uint8_t& code : codes) code = std::min<std::uint8_t>(kScaleLevels, code);
  }
  return scale;
}

template <int kBits>
void PackCodes(const std::array<std::uint8_t, kSuperBlock>& codes, std::byte* out) {
  if constexpr (kBits == 5) {
    std::fill_n(out + kHighBitsAt, kGroup, std::byte{0});
    for (std::size_t i = 0; i < kSuperBlock; ++i) {
      out[kHighBitsAt + i % kGroup] |= static_cast<std::byte>((codes[i] >> 4) << (i / kGroup));
    }
  }
  std::byte* const low = out + Layout<kBits>::kCodesAt;
  for (std::size_t pair = 0; pair < kGroups / 2; ++pair) {
    for (std::size_t l = 0; l < kGroup; ++l) {
      const std::uint8_t* const c = codes.data() + 2 * pair * kGroup + l;
      low[pair * kGroup + l] = static_cast<std::byte>((c[0] & 15) | (c[kGroup] & 15) << 4);
    }
  }
}

template <int kBits>
void EncodeBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  std::array<std::uint8_t, kSuperBlock> codes;
  const Groups groups = SearchGroups<kBits>(x, importance, codes);
  SixBitPairs pairs;
  float scale = 0;
  float minimum = 0;
  if (importance.empty()) {
    scale = QuantizeByLargest(groups.scales, pairs.scales);
    minimum = QuantizeByLargest(groups.neg_mins, pairs.mins);
  } else {
    scale = QuantizeByWeight<kBits>(groups.scales, groups.weight_sums, pairs.scales);
    minimum = QuantizeByWeight<kBits>(groups.neg_mins, groups.weight_sums, pairs.mins);
  }
  StoreF16(out, scale);
  StoreF16(out + 2, minimum);
  PackSixBitPairs(pairs, out + kScalesAt);
  pairs = UnpackSixBitPairs(out + kScalesAt);
  scale = RoundToF16(scale);
  minimum = RoundToF16(minimum);
  for (std::size_t g = 0; g < kGroups; ++g) {
    const float group_scale = scale * static_cast<float>(pairs.scales[g]);
    if (group_scale == 0) continue;
    const float group_min = minimum * static_cast<float>(pairs.mins[g]);
    for (std::size_t i = g * kGroup; i < (g + 1) * kGroup; ++i) {
      codes[i] = static_cast<std::uint8_t>(
          std::clamp(NearestInt((x[i] + group_min) / group_scale), 0, Layout<kBits>::kLevels));
    }
  }
  PackCodes<kBits>(codes, out);
}

template <int kBits>
std::uint64_t Encode(std::span<const float> row, std::span<const float> importance, bool,
                     std::byte* out) {
  ForEachSuperBlock(row, importance, [&](auto x, auto weights) {
    EncodeBlock<kBits>(x, weights, out);
    out += Layout<kBits>::kBlockBytes;
  });
  return 0;
}

template <int kBits>
void Decode(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kSuperBlock, in += Layout<kBits>::kBlockBytes) {
    const float scale = LoadF16(in);
    const float minimum = LoadF16(in + 2);
    const SixBitPairs pairs = UnpackSixBitPairs(in + kScalesAt);
    const std::byte* const low = in + Layout<kBits>::kCodesAt;
    for (std::size_t i = 0; i < kSuperBlock; ++i) {
      const std::size_t g = i / kGroup;
      const std::size_t l = i % kGroup;
      std::uint32_t code = Byte(low[g / 2 * kGroup + l]) >> (4 * (g % 2)) & 15;
      if constexpr (kBits == 5) code |= (Byte(in[kHighBitsAt + l]) >> g & 1) << 4;
      out[at + i] = scale * static_cast<float>(pairs.scales[g]) * static_cast<float>(code) -
                    minimum * static_cast<float>(pairs.mins[g]);
    }
  }
}

}  // namespace

const Codec kCodecQ4_K{gguf::TensorType::kQ4_K, Importance::kUsed, Encode<4>, Decode<4>};
const Codec kCodecQ5_K{gguf::TensorType::kQ5_K, Importance::kUsed, Encode<5>, Decode<5>};

}  // namespace sluice::quant
