// IQ2_XXS, IQ2_XS, IQ2_S: 256 elements in groups of 8 that are points of a codebook.
//
//   IQ2_XXS (66 bytes)  d:f16  u32[16]            pairs of words for each 32 elements: four index
//                                                 bytes; four 7-bit signs, scale in bits 28-31
//   IQ2_XS (74 bytes)   d:f16  u16[32]  sc[8]     index | signs << 9 for each group; 4-bit scales
//                                                 for each 16 elements
//   IQ2_S (82 bytes)    d:f16  q[32]  sg[32]  qh[8]  sc[8]   low index bytes, sign bytes, top two
//                                                 index bits, 4-bit scales for each 16 elements
//   x = +-d * (0.5 + s) * 0.25 * (8, 25 or 43)
#include <algorithm>
#include <array>
#include <cmath>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/grid_search.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kGroup = 8;
constexpr int kLargestScaleCode = 15;
constexpr std::array<float, 3> kLevelValues{8, 25, 43};

float GroupScale(float scale, std::uint32_t code) {
  return scale * (0.5F + static_cast<float>(code)) * 0.25F;
}

// ---- IQ2_XXS -----------------------------------------------------------------------------------

constexpr std::size_t kXxsSub = 32;
constexpr std::size_t kXxsBytes = 66;
constexpr float kXxsNegligible = 1e-15F;
constexpr GridSearch kXxsSearch{6, 5.0F, 0.1F, Reassign::kAll};

// The scale of a sub-block and its points; false if there is nothing to store.
bool SearchXxs(std::span<const float> x, SubBlock& sub) {
  SplitSigns(x, SignRule::kEven, sub);
  if (LargestOf(sub) < kXxsNegligible) return false;
  constexpr int kStartLevels = 4;
  std::array<std::uint8_t, kXxsSub> ignored;
  const float start = SearchPositive(kStartLevels, std::span(sub.magnitudes).first(kXxsSub),
                                     std::span(sub.weights).first(kXxsSub), ignored);
  const float largest = start * 3;
  if (largest <= 0) return false;
  SearchGrid(Iq2XxsBook(), kXxsSearch, largest, start, SignRule::kEven, sub);
  return true;
}

void EncodeXxsBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  const float sigma2 = SumOfSquares(x) / static_cast<float>(kSuperBlock);
  std::array<std::uint32_t, 16> words{};
  std::array<float, kSuperBlock / kXxsSub> scales{};
  float largest = 0;
  SubBlock sub;
  for (std::size_t b = 0; b < scales.size(); ++b) {
    const auto part = x.subspan(b * kXxsSub, kXxsSub);
    ImportanceWeights(part, importance.subspan(b * kXxsSub, kXxsSub), sigma2, sub.weights);
    if (!SearchXxs(part, sub)) continue;
    for (std::size_t k = 0; k < 4; ++k) {
      words[2 * b] |= PointOf(Iq2XxsBook(), sub, k) << (8 * k);
      words[2 * b + 1] |= (sub.signs[k] & 0x7FU) << (7 * k);
    }
    scales[b] = sub.scale;
    largest = largest > sub.scale ? largest : sub.scale;
  }
  if (largest == 0) {
    std::fill_n(out, kXxsBytes, std::byte{0});
    return;
  }
  const float step = largest / 31.0F;
  StoreF16(out, step);
  for (std::size_t b = 0; b < scales.size(); ++b) {
    words[2 * b + 1] |= OddStepCode(1 / step, scales[b], kLargestScaleCode) << 28;
  }
  std::memcpy(out + 2, words.data(), sizeof words);
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
    for (std::size_t b = 0; b < 8; ++b) {
      const auto word = Load<std::uint32_t>(in + 2 + 8 * b + 4);
      const float scale = GroupScale(LoadF16(in), word >> 28);
      for (std::size_t k = 0; k < 4; ++k) {
        DecodePoint(Iq2XxsBook(), Byte(in[2 + 8 * b + k]), kLevelValues, scale,
                    WithParity(word >> (7 * k) & 0x7F), &out[at + kXxsSub * b + kGroup * k]);
      }
    }
  }
}

// ---- IQ2_XS and IQ2_S --------------------------------------------------------------------------

constexpr std::size_t kSub = 16;
constexpr std::size_t kSubs = kSuperBlock / kSub;
constexpr GridSearch kSearch{9, 5.0F, 0.1F, Reassign::kOffBook};

// Searches one sub-block; false if it is negligible and nothing is stored for it.
bool SearchSub(const Codebook& book, SignRule rule, float negligible, std::span<const float> x,
               SubBlock& sub) {
  SplitSigns(x, rule, sub);
  const float largest = LargestOf(sub);
  if (largest < negligible) return false;
  SearchGrid(book, kSearch, largest, largest / kSearch.first, rule, sub);
  return true;
}

// The two 4-bit scales of each byte.
void PackScales(const std::array<float, kSubs>& scales, float step, std::byte* out) {
  for (std::size_t b = 0; b < kSubs; ++b) {
    out[b / 2] |= static_cast<std::byte>(OddStepCode(1 / step, scales[b], kLargestScaleCode)
                                         << (4 * (b % 2)));
  }
}

constexpr std::size_t kXsScalesAt = 66;
constexpr std::size_t kXsBytes = 74;

void EncodeXsBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  const float sigma2 = SumOfSquares(x) / static_cast<float>(kSuperBlock);
  std::array<float, kSubs> scales{};
  float largest = 0;
  SubBlock sub;
  std::fill_n(out, kXsBytes, std::byte{0});
  for (std::size_t b = 0; b < kSubs; ++b) {
    const auto part = x.subspan(b * kSub, kSub);
    ImportanceWeights(part, importance.subspan(b * kSub, kSub), sigma2, sub.weights);
    if (!SearchSub(Iq2XsBook(), SignRule::kEven, 1e-15F, part, sub)) continue;
    for (std::size_t k = 0; k < 2; ++k) {
      const std::uint32_t index = PointOf(Iq2XsBook(), sub, k);
      Store(out + 2 + 2 * (2 * b + k),
            static_cast<std::uint16_t>(index | (sub.signs[k] & 0x7FU) << 9));
    }
    scales[b] = sub.scale;
    largest = largest > sub.scale ? largest : sub.scale;
  }
  if (largest == 0) {
    std::fill_n(out, kXsBytes, std::byte{0});
    return;
  }
  const float step = largest / 31.0F;
  StoreF16(out, step);
  PackScales(scales, step, out + kXsScalesAt);
}

std::uint64_t EncodeXs(std::span<const float> row, std::span<const float> importance, bool,
                       std::byte* out) {
  ForEachSuperBlock(row, importance, [&](auto x, auto weights) {
    EncodeXsBlock(x, weights, out);
    out += kXsBytes;
  });
  return 0;
}

std::uint32_t ScaleNibble(const std::byte* scales, std::size_t sub) {
  return Byte(scales[sub / 2]) >> (4 * (sub % 2)) & 15;
}

void DecodeXs(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kSuperBlock, in += kXsBytes) {
    for (std::size_t g = 0; g < kSuperBlock / kGroup; ++g) {
      const auto word = Load<std::uint16_t>(in + 2 + 2 * g);
      DecodePoint(Iq2XsBook(), word & 511U, kLevelValues,
                  GroupScale(LoadF16(in), ScaleNibble(in + kXsScalesAt, g / 2)),
                  WithParity(word >> 9), &out[at + kGroup * g]);
    }
  }
}

constexpr std::size_t kSSignsAt = 34;
constexpr std::size_t kSHighAt = 66;
constexpr std::size_t kSScalesAt = 74;
constexpr std::size_t kSBytes = 82;
constexpr float kSFudge = 0.9875F;

void SWeights(std::span<const float> x, std::span<const float> importance, float sigma2,
              std::span<float> weights) {
  if (!importance.empty()) return ImportanceWeights(x, importance, sigma2, weights);
  for (std::size_t i = 0; i < x.size(); ++i) weights[i] = 0.25F * sigma2 + x[i] * x[i];
}

void EncodeSBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  const float sigma2 = 2 * SumOfSquares(x) / static_cast<float>(kSuperBlock);
  std::array<float, kSubs> scales{};
  float largest = 0;
  SubBlock sub;
  std::fill_n(out, kSBytes, std::byte{0});
  for (std::size_t b = 0; b < kSubs; ++b) {
    const auto part = x.subspan(b * kSub, kSub);
    SWeights(part, PartOf(importance, b * kSub, kSub), sigma2, sub.weights);
    if (!SearchSub(Iq2SBook(), SignRule::kFull, 1e-8F, part, sub)) continue;
    for (std::size_t k = 0; k < 2; ++k) {
      const std::size_t g = 2 * b + k;
      const std::uint32_t index = PointOf(Iq2SBook(), sub, k);
      out[2 + g] = static_cast<std::byte>(index & 0xFF);
      out[kSSignsAt + g] = static_cast<std::byte>(sub.signs[k]);
      out[kSHighAt + g / 4] |= static_cast<std::byte>((index >> 8) << (2 * (g % 4)));
    }
    scales[b] = sub.scale;
    largest = largest > sub.scale ? largest : sub.scale;
  }
  if (largest == 0) return;  // the scale is 0; what was stored stays
  const float step = largest / 31.0F;
  StoreF16(out, step * kSFudge);
  PackScales(scales, step, out + kSScalesAt);
}

std::uint64_t EncodeS(std::span<const float> row, std::span<const float> importance, bool,
                      std::byte* out) {
  ForEachSuperBlock(row, importance, [&](auto x, auto weights) {
    EncodeSBlock(x, weights, out);
    out += kSBytes;
  });
  return 0;
}

void DecodeS(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kSuperBlock, in += kSBytes) {
    for (std::size_t g = 0; g < kSuperBlock / kGroup; ++g) {
      const std::uint32_t high = Byte(in[kSHighAt + g / 4]) >> (2 * (g % 4)) & 3;
      DecodePoint(Iq2SBook(), Byte(in[2 + g]) | high << 8, kLevelValues,
                  GroupScale(LoadF16(in), ScaleNibble(in + kSScalesAt, g / 2)),
                  Byte(in[kSSignsAt + g]), &out[at + kGroup * g]);
    }
  }
}

}  // namespace

const Codec kCodecIQ2_XXS{gguf::TensorType::kIQ2_XXS, Importance::kRequired, EncodeXxs, DecodeXxs};
const Codec kCodecIQ2_XS{gguf::TensorType::kIQ2_XS, Importance::kRequired, EncodeXs, DecodeXs};
const Codec kCodecIQ2_S{gguf::TensorType::kIQ2_S, Importance::kUsed, EncodeS, DecodeS};

}  // namespace sluice::quant
