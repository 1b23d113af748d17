// IQ3_XXS and IQ3_S: eight sub-blocks of 32, searched one by one. For the blocks' layout see
// formats/quant/iq3.cpp.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/grid_search.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"
#include "stages/kernels/quant/neighbours.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/iq3.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/grid-inl.h"
#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/sub_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

constexpr std::size_t kSub = 32;
constexpr std::size_t kSubs = quant::kSuperBlock / kSub;
constexpr std::size_t kGroup = 4;
constexpr std::size_t kGroups = kSub / kGroup;            // of a sub-block
constexpr std::size_t kSigns = kSub / quant::kSignGroup;  // sign bytes of a sub-block
constexpr std::size_t kIndexAt = 2;
constexpr int kLargestScaleCode = 15;

struct Sub {
  bool stored = false;
  float scale = 0;
  std::array<std::uint32_t, kGroups> points{};
  std::array<std::uint8_t, kSigns> signs{};
};
using Subs = std::array<Sub, kSubs>;

// Sub-blocks without a magnitude of `least` or more are not stored.
Subs SearchSubs(const NeighbourCodes& neighbours, const quant::GridSearch& search,
                quant::SignRule rule, float least, std::span<const float> x,
                std::span<const float> importance) {
  const float sigma2 = 2 * quant::SumOfSquares(x) / static_cast<float>(quant::kSuperBlock);
  GridLanes<kGroup> lanes(neighbours);
  quant::SubBlock sub;
  Subs subs;
  for (std::size_t b = 0; b < kSubs; ++b) {
    const auto part = x.subspan(b * kSub, kSub);
    WeighSubBlock(part, quant::PartOf(importance, b * kSub, kSub), sigma2, 0, sub);
    SplitSubBlock(part, rule, sub);
    const float largest = quant::LargestOf(sub);
    if (largest < least) continue;
    lanes.Search(search, largest, largest / search.first, rule, sub, subs[b].points.data());
    subs[b].stored = true;
    subs[b].scale = sub.scale;
    std::copy_n(sub.signs.begin(), kSigns, subs[b].signs.begin());
  }
  return subs;
}

// The largest scale is 31 steps.
float StepOf(const Subs& subs) {
  float largest = 0;
  for (const Sub& sub : subs) largest = largest > sub.scale ? largest : sub.scale;
  return largest / 31.0F;
}

// ---- IQ3_XXS ------------------------------------------------------------------------------------

constexpr std::size_t kXxsWordsAt = 66;
constexpr std::size_t kXxsBytes = 98;
constexpr float kXxsFudge = 1.0125F;
constexpr quant::GridSearch kXxsSearch{15, 15.0F, 0.2F, quant::Reassign::kOffBook};

void EncodeXxsBlock(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  static const NeighbourCodes kNeighbours(quant::Iq3XxsBook());
  const Subs subs =
      SearchSubs(kNeighbours, kXxsSearch, quant::SignRule::kEven, 1e-8F, x, importance);
  const float step = StepOf(subs);
  std::fill_n(out, kXxsBytes, std::byte{0});
  if (step == 0) return;
  quant::StoreF16(out, step * kXxsFudge);
  for (std::size_t b = 0; b < kSubs; ++b) {
    std::uint32_t word = quant::OddStepCode(1 / step, subs[b].scale, kLargestScaleCode) << 28;
    for (std::size_t k = 0; k < kGroups; ++k) {
      out[kIndexAt + kGroups * b + k] = static_cast<std::byte>(subs[b].points[k]);
    }
    for (std::size_t l = 0; l < kSigns; ++l) word |= (subs[b].signs[l] & 0x7FU) << (7 * l);
    quant::Store(out + kXxsWordsAt + sizeof word * b, word);
  }
}

std::uint64_t EncodeIQ3_XXS(const EncodeJob& job) {
  return EncodeSuperBlocks<kXxsBytes>(job, [](auto x, auto importance, std::byte* out) {
    EncodeXxsBlock(x, importance, out);
    return false;
  });
}

// ---- IQ3_S --------------------------------------------------------------------------------------

constexpr std::size_t kSHighAt = 66;
constexpr std::size_t kSSignsAt = 74;
constexpr std::size_t kSScalesAt = 106;
constexpr std::size_t kSBytes = 110;
constexpr float kSFudge = 1.033F;
constexpr float kSmallestPositive = std::numeric_limits<float>::denorm_min();
constexpr quant::GridSearch kSSearch{9, 15.0F, 0.2F, quant::Reassign::kAllIfAnyOff};

// Indices and signs of sub-block b, at the place of sub-block `at`.
void StoreSub(const Sub& sub, std::size_t b, std::size_t at, std::byte* out) {
  for (std::size_t k = 0; k < kGroups; ++k) {
    out[kIndexAt + kGroups * at + k] = static_cast<std::byte>(sub.points[k] & 0xFF);
    out[kSHighAt + b] |= static_cast<std::byte>((sub.points[k] >> 8 & 1) << k);
  }
  for (std::size_t l = 0; l < kSigns; ++l) {
    out[kSSignsAt + kSigns * at + l] = static_cast<std::byte>(sub.signs[l]);
  }
}

// Whether the reference has other bytes: behind sub-blocks that are not stored it leaves no gap for
// indices and signs.
bool EncodeSBlock(std::span<const float> x, std::span<const float> importance, bool exact,
                  std::byte* out) {
  static const NeighbourCodes kNeighbours(quant::Iq3SBook());
  const Subs subs =
      SearchSubs(kNeighbours, kSSearch, quant::SignRule::kFull, kSmallestPositive, x, importance);
  std::array<std::byte, kSBytes> with_gaps{};
  std::array<std::byte, kSBytes> without_gaps{};
  std::size_t num_stored = 0;
  for (std::size_t b = 0; b < kSubs; ++b) {
    if (!subs[b].stored) continue;
    StoreSub(subs[b], b, b, with_gaps.data());
    StoreSub(subs[b], b, num_stored++, without_gaps.data());
  }
  const bool differs = with_gaps != without_gaps;
  std::copy_n((exact ? without_gaps : with_gaps).begin(), kSBytes, out);
  const float step = StepOf(subs);
  if (step == 0) return differs;
  quant::StoreF16(out, step * kSFudge);
  for (std::size_t b = 0; b < kSubs; ++b) {
    const std::uint32_t code = quant::OddStepCode(1 / step, subs[b].scale, kLargestScaleCode);
    out[kSScalesAt + b / 2] |= static_cast<std::byte>(code << (4 * (b % 2)));
  }
  return differs;
}

std::uint64_t EncodeIQ3_S(const EncodeJob& job) {
  return EncodeSuperBlocks<kSBytes>(job, [&](auto x, auto importance, std::byte* out) {
    return EncodeSBlock(x, importance, job.exact, out);
  });
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeIQ3_XXS);
HWY_EXPORT(EncodeIQ3_S);

std::uint64_t EncodeIQ3_XXS(const EncodeJob& job) {
  return HWY_DYNAMIC_DISPATCH(EncodeIQ3_XXS)(job);
}
std::uint64_t EncodeIQ3_S(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeIQ3_S)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
