// IQ2_XXS, IQ2_XS, IQ2_S: sub-blocks of 32 or 16, searched one by one. For the blocks' layout see
// formats/quant/iq2.cpp.
#include <algorithm>
#include <array>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/grid_search.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"
#include "stages/kernels/quant/neighbours.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/iq2.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/grid-inl.h"
#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/positive-inl.h"
#include "stages/kernels/quant/sub_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

constexpr std::size_t kGroup = 8;
constexpr int kLargestScaleCode = 15;

template <std::size_t kGroups>
struct Sub {
  bool stored = false;
  float scale = 0;
  std::array<std::uint32_t, kGroups> points{};
  std::array<std::uint8_t, kGroups> signs{};
};
template <std::size_t kSize>
using Subs = std::array<Sub<kSize / kGroup>, quant::kSuperBlock / kSize>;

// Finds the points of a sub-block of which magnitudes, weights and signs are set.
template <std::size_t kGroups>
void SearchSub(const NeighbourCodes& neighbours, const quant::GridSearch& search, float largest,
               float start, quant::SignRule rule, quant::SubBlock& sub, Sub<kGroups>& out) {
  GridLanes<kGroup> lanes(neighbours);
  lanes.Search(search, largest, start, rule, sub, out.points.data());
  out.stored = true;
  out.scale = sub.scale;
  std::copy_n(sub.signs.begin(), kGroups, out.signs.begin());
}

// The largest scale is 31 steps.
template <class Subs>
float StepOf(const Subs& subs) {
  float largest = 0;
  for (const auto& sub : subs) {
    if (sub.stored) largest = largest > sub.scale ? largest : sub.scale;  // NaN > x is false
  }
  return largest / 31.0F;
}

// ---- IQ2_XXS ------------------------------------------------------------------------------------

constexpr std::size_t kXxsSub = 32;
constexpr std::size_t kXxsSubs = quant::kSuperBlock / kXxsSub;
constexpr std::size_t kXxsBytes = 66;
constexpr float kXxsNegligible = 1e-15F;
constexpr quant::GridSearch kXxsSearch{6, 5.0F, 0.1F, quant::Reassign::kAll};

using XxsSubs = Subs<kXxsSub>;

// The scales from which the searches of all sub-blocks start.
std::array<float, kXxsSubs> StartScales(const std::array<quant::SubBlock, kXxsSubs>& blocks) {
  constexpr int kStartLevels = 4;
  std::array<float, kXxsSubs> starts;
  Lanes<kXxsSub> magnitudes, weights, ignored;
  Lanes<1> scales;
  for (std::size_t first = 0; first < kXxsSubs; first += kLanes) {
    std::array<const float*, kLanes> from;
    const auto block = [&](std::size_t j) -> const quant::SubBlock& {
      return blocks[(first + j) % kXxsSubs];
    };
    for (std::size_t j = 0; j < kLanes; ++j) from[j] = block(j).magnitudes.data();
    Transpose(from, magnitudes);
    for (std::size_t j = 0; j < kLanes; ++j) from[j] = block(j).weights.data();
    Transpose(from, weights);
    scales.Set(0, PositiveLanes<kXxsSub>().Search(kStartLevels, magnitudes, weights, ignored));
    std::copy_n(scales.at, std::min(kLanes, kXxsSubs - first), &starts[first]);
  }
  return starts;
}

XxsSubs SearchXxs(std::span<const float> x, std::span<const float> importance) {
  static const NeighbourCodes kNeighbours(quant::Iq2XxsBook());
  const float sigma2 = quant::SumOfSquares(x) / static_cast<float>(quant::kSuperBlock);
  std::array<quant::SubBlock, kXxsSubs> blocks;
  for (std::size_t b = 0; b < kXxsSubs; ++b) {
    const auto part = x.subspan(b * kXxsSub, kXxsSub);
    WeighSubBlock(part, importance.subspan(b * kXxsSub, kXxsSub), sigma2, 0, blocks[b]);
    SplitSubBlock(part, quant::SignRule::kEven, blocks[b]);
  }
  const std::array<float, kXxsSubs> starts = StartScales(blocks);
  XxsSubs subs;
  for (std::size_t b = 0; b < kXxsSubs; ++b) {
    const float largest = starts[b] * 3;
    if (quant::LargestOf(blocks[b]) < kXxsNegligible || largest <= 0) continue;
    SearchSub(kNeighbours, kXxsSearch, largest, starts[b], quant::SignRule::kEven, blocks[b],
              subs[b]);
  }
  return subs;
}

bool EncodeXxsBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  const XxsSubs subs = SearchXxs(x, importance);
  const float step = StepOf(subs);
  std::fill_n(out, kXxsBytes, std::byte{0});
  if (step == 0) return false;
  quant::StoreF16(out, step);
  for (std::size_t b = 0; b < kXxsSubs; ++b) {
    std::uint32_t points = 0;
    std::uint32_t signs = quant::OddStepCode(1 / step, subs[b].scale, kLargestScaleCode) << 28;
    for (std::size_t k = 0; k < 4; ++k) {
      points |= subs[b].points[k] << (8 * k);
      signs |= (subs[b].signs[k] & 0x7FU) << (7 * k);
    }
    quant::Store(out + 2 + 8 * b, points);
    quant::Store(out + 2 + 8 * b + 4, signs);
  }
  return false;
}

std::uint64_t EncodeIQ2_XXS(const EncodeJob& job) {
  return EncodeSuperBlocks<kXxsBytes>(job, EncodeXxsBlock);
}

// ---- IQ2_XS and IQ2_S ---------------------------------------------------------------------------

constexpr std::size_t kSub = 16;
constexpr std::size_t kSubs = quant::kSuperBlock / kSub;
constexpr quant::GridSearch kSearch{9, 5.0F, 0.1F, quant::Reassign::kOffBook};

using XsSubs = Subs<kSub>;

// Sub-blocks without a magnitude of `least` or more stay 0.
void SearchSubs(const NeighbourCodes& neighbours, quant::SignRule rule, float least, float sigma2,
                std::span<const float> x, std::span<const float> importance, XsSubs& subs) {
  quant::SubBlock sub;
  for (std::size_t b = 0; b < kSubs; ++b) {
    const auto part = x.subspan(b * kSub, kSub);
    WeighSubBlock(part, quant::PartOf(importance, b * kSub, kSub), sigma2, 0.25F * sigma2, sub);
    SplitSubBlock(part, rule, sub);
    const float largest = quant::LargestOf(sub);
    if (largest < least) continue;
    SearchSub(neighbours, kSearch, largest, largest / kSearch.first, rule, sub, subs[b]);
  }
}

// The two 4-bit scales of each byte.
void PackScales(const XsSubs& subs, float step, std::byte* out) {
  for (std::size_t b = 0; b < kSubs; ++b) {
    const std::uint32_t code = quant::OddStepCode(1 / step, subs[b].scale, kLargestScaleCode);
    out[b / 2] |= static_cast<std::byte>(code << (4 * (b % 2)));
  }
}

constexpr std::size_t kXsScalesAt = 66;
constexpr std::size_t kXsBytes = 74;

bool EncodeXsBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  static const NeighbourCodes kNeighbours(quant::Iq2XsBook());
  const float sigma2 = quant::SumOfSquares(x) / static_cast<float>(quant::kSuperBlock);
  XsSubs subs;
  SearchSubs(kNeighbours, quant::SignRule::kEven, 1e-15F, sigma2, x, importance, subs);
  const float step = StepOf(subs);
  std::fill_n(out, kXsBytes, std::byte{0});
  if (step == 0) return false;
  quant::StoreF16(out, step);
  for (std::size_t g = 0; g < 2 * kSubs; ++g) {
    const auto& sub = subs[g / 2];
    const std::uint32_t word = sub.points[g % 2] | (sub.signs[g % 2] & 0x7FU) << 9;
    quant::Store(out + 2 + 2 * g, static_cast<std::uint16_t>(word));
  }
  PackScales(subs, step, out + kXsScalesAt);
  return false;
}

std::uint64_t EncodeIQ2_XS(const EncodeJob& job) {
  return EncodeSuperBlocks<kXsBytes>(job, EncodeXsBlock);
}

constexpr std::size_t kSSignsAt = 34;
constexpr std::size_t kSHighAt = 66;
constexpr std::size_t kSScalesAt = 74;
constexpr std::size_t kSBytes = 82;
constexpr float kSFudge = 0.9875F;

bool EncodeSBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  static const NeighbourCodes kNeighbours(quant::Iq2SBook());
  const float sigma2 = 2 * quant::SumOfSquares(x) / static_cast<float>(quant::kSuperBlock);
  XsSubs subs;
  SearchSubs(kNeighbours, quant::SignRule::kFull, 1e-8F, sigma2, x, importance, subs);
  std::fill_n(out, kSBytes, std::byte{0});
  for (std::size_t g = 0; g < 2 * kSubs; ++g) {
    const std::uint32_t point = subs[g / 2].points[g % 2];
    out[2 + g] = static_cast<std::byte>(point & 0xFF);
    out[kSSignsAt + g] = static_cast<std::byte>(subs[g / 2].signs[g % 2]);
    out[kSHighAt + g / 4] |= static_cast<std::byte>((point >> 8) << (2 * (g % 4)));
  }
  const float step = StepOf(subs);
  if (step == 0) return false;  // what was stored stays
  quant::StoreF16(out, step * kSFudge);
  PackScales(subs, step, out + kSScalesAt);
  return false;
}

std::uint64_t EncodeIQ2_S(const EncodeJob& job) {
  return EncodeSuperBlocks<kSBytes>(job, EncodeSBlock);
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeIQ2_XXS);
HWY_EXPORT(EncodeIQ2_XS);
HWY_EXPORT(EncodeIQ2_S);

std::uint64_t EncodeIQ2_XXS(const EncodeJob& job) {
  return HWY_DYNAMIC_DISPATCH(EncodeIQ2_XXS)(job);
}
std::uint64_t EncodeIQ2_XS(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeIQ2_XS)(job); }
std::uint64_t EncodeIQ2_S(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeIQ2_S)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
