// IQ1_S: 256 elements in groups of 8 that are points of a codebook of three levels, 8 sub-blocks of
// 32 with a 3-bit scale and a shift each.
//
//   IQ1_S (50 bytes)  d:f16  q[32]  u16[8]
//   x = d * (2 s + 1) * (level - 1 +- 1/8)
//
// q has the low index bytes of the groups; the word of a sub-block four times three high index
// bits, s in bits 12-14, and bit 15 set for values shifted down.
#include <algorithm>
#include <array>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/iq1_search.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kSub = 32;
constexpr std::size_t kSubs = kSuperBlock / kSub;
constexpr std::size_t kIndexAt = 2;
constexpr std::size_t kWordsAt = 34;
constexpr std::size_t kBytes = 50;
constexpr float kNegligible = 1e-12F;
constexpr float kFudge = 1.125F;
constexpr std::uint32_t kAllGroups = 0xF;

Iq1Fit FitSplit(const PrefixSums<kSub>& sums, std::size_t low, std::size_t high,
                const LevelValues& v) {
  return {sums.x[low] * v[0] + (sums.x[high] - sums.x[low]) * v[1] +
              (sums.x[kSub] - sums.x[high]) * v[2],
          sums.w[low] * v[0] * v[0] + (sums.w[high] - sums.w[low]) * v[1] * v[1] +
              (sums.w[kSub] - sums.w[high]) * v[2] * v[2]};
}

Iq1Choice Search(std::span<const float> x, std::span<const float> weights) {
  if (MaxMagnitude(x) < kNegligible) return {};
  const auto order = SortedOrder<kSub>(x);
  const auto sums = SumInOrder(order, x, weights, 0, kSub);
  Iq1BestSplit best;
  for (std::size_t low = 0; low <= kSub; ++low) {
    for (std::size_t high = low; high <= kSub; ++high) {
      best.Try(FitSplit(sums, low, high, kLevelsUp), low, high, 0);
      best.Try(FitSplit(sums, low, high, kLevelsDown), low, high, kAllGroups);
    }
  }
  return best.found() ? ChoosePoints(best.split(), order, x, weights) : Iq1Choice{};
}

void EncodeBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  const float sigma2 = 2 * SumOfSquares(x) / static_cast<float>(kSuperBlock);
  std::array<Iq1Choice, kSubs> choices;
  std::array<std::uint16_t, kSubs> words{};
  std::array<float, kSub> weights;
  float largest = 0;
  std::fill_n(out, kBytes, std::byte{0});
  for (std::size_t b = 0; b < kSubs; ++b) {
    const auto part = x.subspan(b * kSub, kSub);
    ImportanceWeights(part, importance.subspan(b * kSub, kSub), sigma2, weights);
    choices[b] = Search(part, weights);
    for (std::size_t k = 0; k < 4; ++k) {
      const std::uint32_t point = choices[b].points[k];
      out[kIndexAt + 4 * b + k] = static_cast<std::byte>(point & 0xFF);
      words[b] = static_cast<std::uint16_t>(words[b] | (point >> 8) << (3 * k));
    }
    largest = largest > choices[b].scale ? largest : choices[b].scale;
  }
  if (largest != 0) {
    const float step = largest / 15.0F;
    StoreF16(out, step * kFudge);
    for (std::size_t b = 0; b < kSubs; ++b) {
      const std::uint32_t shift = choices[b].IsDown(0) ? 8 : 0;
      const std::uint32_t code =
          OddStepCode(1 / step, choices[b].scale, kIq1LargestScaleCode) | shift;
      words[b] = static_cast<std::uint16_t>(words[b] | code << 12);
    }
  }
  std::memcpy(out + kWordsAt, words.data(), sizeof words);
}

std::uint64_t Encode(std::span<const float> row, std::span<const float> importance, bool,
                     std::byte* out) {
  ForEachSuperBlock(row, importance, [&](auto x, auto weights) {
    EncodeBlock(x, weights, out);
    out += kBytes;
  });
  return 0;
}

void Decode(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kSuperBlock, in += kBytes) {
    for (std::size_t g = 0; g < kIq1Groups; ++g) {
      const std::uint32_t word = Load<std::uint16_t>(in + kWordsAt + 2 * (g / 4));
      const std::uint32_t point = Byte(in[kIndexAt + g]) | (word >> (3 * (g % 4)) & 7) << 8;
      const float scale = LoadF16(in) * static_cast<float>(2 * (word >> 12 & 7) + 1);
      DecodeIq1Point(point, scale, (word & 0x8000) != 0, &out[at + g * kIq1Group]);
    }
  }
}

}  // namespace

const Codec kCodecIQ1_S{gguf::TensorType::kIQ1_S, Importance::kRequired, Encode, Decode};

}  // namespace sluice::quant
