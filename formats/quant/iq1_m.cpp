// IQ1_M: 256 elements in groups of 8 that are points of a codebook of three levels, 16 sub-blocks
// of 16 with a 3-bit scale; each group has a shift of its own.
//
//   IQ1_M (56 bytes)  q[32]  qh[16]  sc:u16[4]
//   x = d * (2 s + 1) * (level - 1 +- 1/8)
//
// q has the low index bytes of the groups; qh[b] for either group of sub-block b a nibble of three
// high index bits and a bit set for values shifted down; sc[b / 4] the scale in bits 3 (b % 4) ..
// + 2. The top nibbles of sc are d as F16, the lowest nibble first.
#include <algorithm>
#include <array>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/iq1_search.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kSub = 16;
constexpr std::size_t kSubs = kSuperBlock / kSub;
constexpr std::size_t kHighAt = 32;
constexpr std::size_t kScalesAt = 48;
constexpr std::size_t kBytes = 56;
constexpr float kNegligible = 1e-7F;
constexpr float kFudge = 1.1125F;
// Which halves are shifted down, in the order of the candidates.
constexpr std::array<std::uint32_t, 4> kShifts{0b00, 0b10, 0b01, 0b11};

// The fits of one half of a sub-block, for values shifted up and down: as in IQ1_S, but with
// the factors of each sum gathered (0.75 = 0.875^2 - 0.125^2, -1.25 = 0.125^2 - 1.125^2).
std::array<Iq1Fit, 2> FitHalf(const PrefixSums<kSub>& sums, std::size_t low, std::size_t high) {
  const float x = sums.x[low] + sums.x[high];
  const float w = sums.w[kSub];
  return {
      Iq1Fit{sums.x[kSub] * kLevelsUp[2] - x,
             w * kLevelsUp[2] * kLevelsUp[2] + sums.w[low] * 0.75F + sums.w[high] * -1.25F},
      Iq1Fit{sums.x[kSub] * kLevelsDown[2] - x,
             w * kLevelsDown[2] * kLevelsDown[2] + sums.w[low] * 1.25F + sums.w[high] * -0.75F}};
}

Iq1Choice Search(std::span<const float> x, std::span<const float> weights) {
  if (MaxMagnitude(x) < kNegligible) return {};
  const auto order = SortedOrder<kSub>(x);
  const auto first = SumInOrder(order, x, weights, 0, kIq1Group);
  const auto second = SumInOrder(order, x, weights, kIq1Group, kSub);
  Iq1BestSplit best;
  for (std::size_t low = 0; low <= kSub; ++low) {
    for (std::size_t high = low; high <= kSub; ++high) {
      const auto fits0 = FitHalf(first, low, high);
      const auto fits1 = FitHalf(second, low, high);
      for (const std::uint32_t down : kShifts) {
        const Iq1Fit& fit0 = fits0[down & 1];
        const Iq1Fit& fit1 = fits1[down >> 1];
        best.Try({fit0.a + fit1.a, fit0.b + fit1.b}, low, high, down);
      }
    }
  }
  return best.found() ? ChoosePoints(best.split(), order, x, weights) : Iq1Choice{};
}

// The block's scale for the codes as they are stored, in the place of `step`.
float RefitBlock(std::span<const float> x, std::span<const float> weights,
                 const std::array<Iq1Choice, kSubs>& choices, float step) {
  Iq1Fit fit;
  for (std::size_t i = 0; i < kSuperBlock; ++i) {
    const Iq1Choice& choice = choices[i / kSub];
    const std::uint32_t code = OddStepCode(1 / step, choice.scale, kIq1LargestScaleCode);
    const float v = choice.ValuesOf(i % kSub / kIq1Group)[choice.levels[i % kSub]] *
                    static_cast<float>(2 * code + 1);
    fit.a += weights[i] * v * x[i];
    fit.b += weights[i] * v * v;
  }
  return fit.b > 0 ? fit.a / fit.b : step;
}

void EncodeBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  std::array<float, kSuperBlock> weights;
  WeightsOrSquares(x, importance, 2 * SumOfSquares(x) / static_cast<float>(kSuperBlock), weights);
  std::array<Iq1Choice, kSubs> choices;
  float largest = 0;
  std::fill_n(out, kBytes, std::byte{0});
  for (std::size_t b = 0; b < kSubs; ++b) {
    choices[b] = Search(x.subspan(b * kSub, kSub), std::span(weights).subspan(b * kSub, kSub));
    const Iq1Choice& choice = choices[b];
    for (std::size_t k = 0; k < 2; ++k) {
      out[2 * b + k] = static_cast<std::byte>(choice.points[k] & 0xFF);
      out[kHighAt + b] |= static_cast<std::byte>((choice.points[k] >> 8) << (4 * k));
    }
    largest = largest > choice.scale ? largest : choice.scale;
  }
  if (largest == 0) return;
  const float step = largest / 15.0F;
  std::array<std::uint16_t, 4> words;
  const std::uint32_t scale = F32ToF16(RefitBlock(x, weights, choices, step) * kFudge);
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = static_cast<std::uint16_t>((scale >> (4 * i) & 15) << 12);
  }
  for (std::size_t b = 0; b < kSubs; ++b) {
    const std::uint32_t code = OddStepCode(1 / step, choices[b].scale, kIq1LargestScaleCode);
    words[b / 4] = static_cast<std::uint16_t>(words[b / 4] | code << (3 * (b % 4)));
    const std::uint32_t shifts =
        (choices[b].IsDown(0) ? 0x08U : 0U) | (choices[b].IsDown(1) ? 0x80U : 0U);
    out[kHighAt + b] |= static_cast<std::byte>(shifts);
  }
  std::memcpy(out + kScalesAt, words.data(), sizeof words);
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
    const auto words = Load<std::array<std::uint16_t, 4>>(in + kScalesAt);
    std::uint32_t scale_bits = 0;
    for (std::size_t i = 0; i < words.size(); ++i) scale_bits |= (words[i] >> 12U) << (4 * i);
    const float scale = F16ToF32(static_cast<std::uint16_t>(scale_bits));
    for (std::size_t g = 0; g < kIq1Groups; ++g) {
      const std::size_t b = g / 2;
      const std::uint32_t high = Byte(in[kHighAt + b]) >> (4 * (g % 2));
      const std::uint32_t code = words[b / 4] >> (3 * (b % 4)) & 7U;
      DecodeIq1Point(Byte(in[g]) | (high & 7) << 8, scale * static_cast<float>(2 * code + 1),
                     (high & 8) != 0, &out[at + g * kIq1Group]);
    }
  }
}

}  // namespace

const Codec kCodecIQ1_M{gguf::TensorType::kIQ1_M, Importance::kUsed, Encode, Decode};

}  // namespace sluice::quant
