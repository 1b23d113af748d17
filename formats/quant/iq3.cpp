// IQ3_XXS and IQ3_S: 256 elements in groups of 4 that are points of a codebook, 8 sub-blocks of 32
// with a 4-bit scale each.
//
// clang-format off
//   IQ3_XXS (98 bytes)  d:f16  q[64]  u32[8]                 index bytes; for each sub-block a word
//                                                            of four 7-bit signs, scale in bits
//                                                            28-31
//   IQ3_S (110 bytes)   d:f16  q[64]  qh[8]  sg[32]  sc[4]   low index bytes, ninth index bits,
//                                                            sign bytes (8 elements each), scales
// clang-format on
//
//   IQ3_XXS  x = +-d * (0.5 + s) * 0.5 * (4, 12, 20, 28, 36, 44, 52 or 62)
//   IQ3_S    x = +-d * (1 + 2 s) * (1, 3, 5 .. 15)
#include <algorithm>
#include <array>
#include <limits>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/grid_search.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kSub = 32;
constexpr std::size_t kSubs = kSuperBlock / kSub;
constexpr std::size_t kGroup = 4;
constexpr std::size_t kGroups = kSub / kGroup;     // of a sub-block
constexpr std::size_t kSigns = kSub / kSignGroup;  // sign bytes of a sub-block
constexpr std::size_t kIndexAt = 2;
constexpr int kLargestScaleCode = 15;

// The sub-blocks of 256 elements, searched one by one. Calls `store(b, sub)` for each that is not
// skipped, which is one with no magnitude of `least` or more; returns the scales, 0 for the others.
template <class Store>
std::array<float, kSubs> SearchSubBlocks(const Codebook& book, const GridSearch& search,
                                         SignRule rule, float least, std::span<const float> x,
                                         std::span<const float> importance, const Store& store) {
  const float sigma2 = 2 * SumOfSquares(x) / static_cast<float>(kSuperBlock);
  std::array<float, kSubs> scales{};
  SubBlock sub;
  for (std::size_t b = 0; b < kSubs; ++b) {
    const auto part = x.subspan(b * kSub, kSub);
    WeightsOrSquares(part, PartOf(importance, b * kSub, kSub), sigma2, sub.weights);
    SplitSigns(part, rule, sub);
    const float largest = LargestOf(sub);
    if (largest < least) continue;
    SearchGrid(book, search, largest, largest / search.first, rule, sub);
    scales[b] = sub.scale;
    store(b, sub);
  }
  return scales;
}

float LargestScale(const std::array<float, kSubs>& scales) {
  float largest = 0;
  for (const float scale : scales) largest = largest > scale ? largest : scale;
  return largest;
}

// ---- IQ3_XXS -----------------------------------------------------------------------------------

constexpr std::size_t kXxsWordsAt = 66;
constexpr std::size_t kXxsBytes = 98;
constexpr float kXxsNegligible = 1e-8F;
constexpr float kXxsFudge = 1.0125F;
constexpr GridSearch kXxsSearch{15, 15.0F, 0.2F, Reassign::kOffBook};
constexpr std::array<float, 8> kXxsValues{4, 12, 20, 28, 36, 44, 52, 62};

void EncodeXxsBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  std::array<std::uint32_t, kSubs> words{};
  std::fill_n(out, kXxsBytes, std::byte{0});
  const auto scales = SearchSubBlocks(Iq3XxsBook(), kXxsSearch, SignRule::kEven, kXxsNegligible, x,
                                      importance, [&](std::size_t b, const SubBlock& sub) {
                                        for (std::size_t k = 0; k < kGroups; ++k) {
                                          out[kIndexAt + kGroups * b + k] =
                                              static_cast<std::byte>(PointOf(Iq3XxsBook(), sub, k));
                                        }
                                        for (std::size_t l = 0; l < kSigns; ++l)
                                          words[b] |= (sub.signs[l] & 0x7FU) << (7 * l);
                                      });
  const float largest = LargestScale(scales);
  if (largest == 0) {
    std::fill_n(out, kXxsBytes, std::byte{0});
    return;
  }
  const float step = largest / 31.0F;
  StoreF16(out, step * kXxsFudge);
  for (std::size_t b = 0; b < kSubs; ++b)
    words[b] |= OddStepCode(1 / step, scales[b], kLargestScaleCode) << 28;
  std::memcpy(out + kXxsWordsAt, words.data(), sizeof words);
}

std::uint64_t EncodeXxs(std::span<const float> row, std::span<const float> importance, bool,
                        std::byte* out) {
  ForEachSuperBlock(row, importance, [&](auto x, auto weights) {
    EncodeXxsBlock(x, weights, out);
    out += kXxsBytes;
  });
  return 0;
}

void DecodeXxs(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kSuperBlock, in += kXxsBytes) {
    for (std::size_t b = 0; b < kSubs; ++b) {
      const auto word = Load<std::uint32_t>(in + kXxsWordsAt + sizeof(std::uint32_t) * b);
      const float scale = LoadF16(in) * (0.5F + static_cast<float>(word >> 28)) * 0.5F;
      for (std::size_t k = 0; k < kGroups; ++k) {
        const std::uint32_t signs = WithParity(word >> (7 * (k / 2)) & 0x7F);
        DecodePoint(Iq3XxsBook(), Byte(in[kIndexAt + kGroups * b + k]), kXxsValues, scale,
                    signs >> (kGroup * (k % 2)), &out[at + kSub * b + kGroup * k]);
      }
    }
  }
}

// ---- IQ3_S -------------------------------------------------------------------------------------

constexpr std::size_t kSHighAt = 66;
constexpr std::size_t kSSignsAt = 74;
constexpr std::size_t kSScalesAt = 106;
constexpr std::size_t kSBytes = 110;
constexpr float kSFudge = 1.033F;
constexpr float kSmallestPositive =
    std::numeric_limits<float>::denorm_min();  // only zeros are below
constexpr GridSearch kSSearch{9, 15.0F, 0.2F, Reassign::kAllIfAnyOff};
constexpr std::array<float, 8> kSValues{1, 3, 5, 7, 9, 11, 13, 15};

using SBlock = std::array<std::byte, kSBytes>;

// The block as the reference writes it: q and sg have no gap for sub-blocks of zeros, while qh and
// sc have one, so that it decodes the sub-blocks behind to wrong values.
SBlock WithoutGaps(const std::byte* block, const std::array<bool, kSubs>& stored) {
  SBlock result{};
  std::copy_n(block, kIndexAt, result.begin());
  std::copy(block + kSHighAt, block + kSSignsAt, result.begin() + kSHighAt);
  std::copy(block + kSScalesAt, block + kSBytes, result.begin() + kSScalesAt);
  auto* index = result.begin() + kIndexAt;
  auto* signs = result.begin() + kSSignsAt;
  for (std::size_t b = 0; b < kSubs; ++b) {
    if (!stored[b]) continue;
    index = std::copy_n(block + kIndexAt + kGroups * b, kGroups, index);
    signs = std::copy_n(block + kSSignsAt + kSigns * b, kSigns, signs);
  }
  return result;
}

// Whether the reference has other bytes for this block.
bool EncodeSBlock(std::span<const float> x, std::span<const float> importance, bool exact,
                  std::byte* out) {
  std::array<bool, kSubs> stored{};
  std::fill_n(out, kSBytes, std::byte{0});
  const auto scales =
      SearchSubBlocks(Iq3SBook(), kSSearch, SignRule::kFull, kSmallestPositive, x, importance,
                      [&](std::size_t b, const SubBlock& sub) {
                        stored[b] = true;
                        for (std::size_t k = 0; k < kGroups; ++k) {
                          const std::uint32_t index = PointOf(Iq3SBook(), sub, k);
                          out[kIndexAt + kGroups * b + k] = static_cast<std::byte>(index & 0xFF);
                          out[kSHighAt + b] |= static_cast<std::byte>((index >> 8 & 1) << k);
                        }
                        for (std::size_t l = 0; l < kSigns; ++l) {
                          out[kSSignsAt + kSigns * b + l] = static_cast<std::byte>(sub.signs[l]);
                        }
                      });
  if (const float largest = LargestScale(scales); largest != 0) {
    const float step = largest / 31.0F;
    StoreF16(out, step * kSFudge);
    for (std::size_t b = 0; b < kSubs; ++b) {
      out[kSScalesAt + b / 2] |= static_cast<std::byte>(
          OddStepCode(1 / step, scales[b], kLargestScaleCode) << (4 * (b % 2)));
    }
  }
  const SBlock reference = WithoutGaps(out, stored);
  const bool differs = !std::equal(reference.begin(), reference.end(), out);
  if (exact) std::copy(reference.begin(), reference.end(), out);
  return differs;
}

std::uint64_t EncodeS(std::span<const float> row, std::span<const float> importance, bool exact,
                      std::byte* out) {
  std::uint64_t differing = 0;
  ForEachSuperBlock(row, importance, [&](auto x, auto weights) {
    if (EncodeSBlock(x, weights, exact, out)) ++differing;
    out += kSBytes;
  });
  return differing;
}

void DecodeS(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kSuperBlock, in += kSBytes) {
    for (std::size_t b = 0; b < kSubs; ++b) {
      const std::uint32_t code = Byte(in[kSScalesAt + b / 2]) >> (4 * (b % 2)) & 15;
      const float scale = LoadF16(in) * static_cast<float>(1 + 2 * code);
      for (std::size_t k = 0; k < kGroups; ++k) {
        const std::uint32_t high = Byte(in[kSHighAt + b]) >> k & 1;
        const std::uint32_t signs = Byte(in[kSSignsAt + kSigns * b + k / 2]);
        DecodePoint(Iq3SBook(), Byte(in[kIndexAt + kGroups * b + k]) | high << 8, kSValues, scale,
                    signs >> (kGroup * (k % 2)), &out[at + kSub * b + kGroup * k]);
      }
    }
  }
}

}  // namespace

const Codec kCodecIQ3_XXS{gguf::TensorType::kIQ3_XXS, Importance::kUsed, EncodeXxs, DecodeXxs};
const Codec kCodecIQ3_S{gguf::TensorType::kIQ3_S, Importance::kUsed, EncodeS, DecodeS};

}  // namespace sluice::quant
