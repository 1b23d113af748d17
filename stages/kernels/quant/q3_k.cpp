// Q3_K: sixteen groups of 16, a lane for each super block. For the block's layout see
// formats/quant/q3_k.cpp.
#include <algorithm>
#include <array>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/q3_k.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/coding-inl.h"
#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/refining-inl.h"
#include "stages/kernels/quant/symmetric-inl.h"
#include "stages/kernels/quant/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

constexpr std::size_t kGroups = 16;
constexpr std::size_t kGroup = quant::kSuperBlock / kGroups;
constexpr int kHalf = 4;
constexpr int kScaleHalf = 32;

constexpr std::size_t kHighBytes = 32;
constexpr std::size_t kCodesAt = 32;
constexpr std::size_t kScalesAt = 96;
constexpr std::size_t kScaleBytes = 12;
constexpr std::size_t kScaleAt = 108;
constexpr std::size_t kBlockBytes = 110;

using SuperBlocks = Lanes<quant::kSuperBlock>;

// Scales of a batch of super blocks.
struct Blocks {
  SymmetricFits<kGroups> fits;
  Lanes<kGroups> scale_codes;  // 0 .. 63, as floats
  Lanes<1> scale;
};

// Signed steps of the scale of largest magnitude.
void QuantizeByLargest(Blocks& blocks) {
  const Vec largest = LargestMagnitude(blocks.fits.scale.at, kGroups);
  const Mask any = NotEqual(largest, hn::Zero(F32()));
  const Vec inverse = hn::Div(SetAll(-kScaleHalf), largest);
  for (std::size_t g = 0; g < kGroups; ++g) {
    const VecI nearest = NearestIntOf(hn::Mul(inverse, blocks.fits.scale.Get(g)));
    const VecI low8 = hn::ShiftRight<24>(hn::ShiftLeft<24>(nearest));
    const Vec code = hn::ConvertTo(F32(), ClampInt(low8, -kScaleHalf, kScaleHalf - 1));
    blocks.scale_codes.Set(g, hn::IfThenElseZero(any, hn::Add(code, SetAll(kScaleHalf))));
  }
  blocks.scale.Set(0, hn::IfThenElseZero(any, hn::Div(SetAll(1), inverse)));
}

// The groups of a batch that need refinement: one in five of normally distributed values.
class Pending {
 public:
  Pending(const Batch<>& batch, Lanes<kGroups>& scales) : batch_(batch), scales_(scales) {}

  void Add(std::size_t group, Mask lanes) {
    const BadBlocks<> which = ToBadBlocks(lanes);
    for (std::size_t j = 0; j < kLanes; ++j) {
      if (which[j]) at_[count_++] = static_cast<std::uint16_t>(group * kLanes + j);
    }
  }

  // Packs them into full vectors.
  void Refine() {
    for (std::size_t first = 0; first < count_; first += kWide * kLanes) {
      Lanes<kWide * kGroup> x;
      for (std::size_t k = 0; k < kWide; ++k) Load(first + k * kLanes, x.at + k * kGroup * kLanes);
      RefiningLanes<kHalf, kGroup, kWide> lanes(x.at);
      lanes.Refine();
      for (std::size_t k = 0; k < kWide; ++k) Store(first + k * kLanes, lanes.Scale(k));
    }
  }

 private:
  static constexpr std::size_t kWide = 4;

  void Load(std::size_t first, float* out) const {
    std::array<const float*, kLanes> groups;
    for (std::size_t j = 0; j < kLanes; ++j) {
      const std::size_t at = at_[first + j < count_ ? first + j : 0];
      groups[j] = batch_.x[at % kLanes] + at / kLanes * kGroup;
    }
    Transpose<kGroup>(groups.data(), out);
  }
  void Store(std::size_t first, Vec scale) {
    Lanes<1> values;
    values.Set(0, scale);
    for (std::size_t j = 0; j < kLanes && first + j < count_; ++j) {
      scales_.at[at_[first + j]] = values.at[j];
    }
  }

  const Batch<>& batch_;
  Lanes<kGroups>& scales_;
  std::array<std::uint16_t, kGroups * kLanes> at_;
  std::size_t count_ = 0;
};

void SearchPlain(const Batch<>& batch, const SuperBlocks& x, Blocks& blocks, Mask& bad) {
  Pending pending(batch, blocks.fits.scale);
  for (std::size_t g = 0; g < kGroups; ++g) {
    RefiningLanes<kHalf, kGroup, 1> lanes(x.at + g * kGroup * kLanes);
    blocks.fits.scale.Set(g, lanes.Scale(0));
    pending.Add(g, lanes.MayMove());
    bad = hn::Or(bad, lanes.Bad(0));
  }
  pending.Refine();
  QuantizeByLargest(blocks);
}

void SearchWeighted(const Batch<>& batch, const SuperBlocks& x, Blocks& blocks, Mask& bad) {
  SuperBlocks importance;
  Lanes<kGroup> w;
  Lanes<kGroups> weight_sums;
  Transpose(batch.importance, importance);
  const Vec sigma2 = hn::Mul(hn::Mul(SetAll(2), SumOfSquares(x)),
                             SetAll(1.0F / static_cast<float>(quant::kSuperBlock)));
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::size_t at = g * kGroup * kLanes;
    weight_sums.Set(g, ImportanceWeights(x.at + at, importance.at + at, kGroup, sigma2, w.at));
    SymmetricLanes<kHalf, kGroup>(x.at + at, w.at).Search(g, blocks.fits, bad);
  }
  SymmetricFits<1> fit;
  SymmetricLanes<kScaleHalf, kGroups>(blocks.fits.scale.at, weight_sums.at).Search(0, fit, bad);
  const Vec inverse = fit.inverse.Get(0);
  const Mask any = NotEqual(inverse, hn::Zero(F32()));
  for (std::size_t g = 0; g < kGroups; ++g) {
    const VecI code = ClampInt(NearestIntOf(hn::Mul(inverse, blocks.fits.scale.Get(g))),
                               -kScaleHalf, kScaleHalf - 1);
    const Vec stored = hn::Add(hn::ConvertTo(F32(), code), SetAll(kScaleHalf));
    blocks.scale_codes.Set(g, hn::IfThenElseZero(any, stored));
  }
  blocks.scale.Set(0, fit.scale.Get(0));
}

void PackScales(const std::array<std::uint32_t, kGroups>& codes, std::byte* out) {
  std::fill_n(out, kScaleBytes, std::byte{0});
  for (std::size_t g = 0; g < kGroups; ++g) {
    out[g % 8] |= static_cast<std::byte>((codes[g] & 15) << (g < 8 ? 0 : 4));
    out[8 + g % 4] |= static_cast<std::byte>((codes[g] >> 4) << (2 * (g / 4)));
  }
}

struct GroupCoding {
  SymmetricCoding coding;
  const float* x;
};

void PackCodes(const std::array<GroupCoding, kGroups>& groups, std::byte* out) {
  constexpr std::size_t kRuns = 4;
  const VecI low_bits = hn::Set(I32(), 3);
  for (std::size_t l = 0; l < kHighBytes; l += kLanes) {
    VecI high = hn::Zero(I32());
    for (std::size_t half = 0; half < 2; ++half) {
      VecI low = hn::Zero(I32());
      for (std::size_t k = 0; k < kRuns; ++k) {
        const std::size_t at = kHighBytes * (kRuns * half + k) + l;
        const GroupCoding& group = groups[at / kGroup];
        const VecI code = CodesOf<kHalf>(group.coding, group.x + at % kGroup);
        low = hn::Or(low, hn::ShiftLeftSame(hn::And(code, low_bits), static_cast<int>(2 * k)));
        high = hn::Or(
            high, hn::ShiftLeftSame(hn::ShiftRight<2>(code), static_cast<int>(kRuns * half + k)));
      }
      StoreLowBytes(low, out + kCodesAt + kHighBytes * half + l);
    }
    StoreLowBytes(high, out + l);
  }
}

// The codes of the search, less kHalf. Rare: a group whose scale is rounded to 0.
void KeepCodes(const float* x, float* kept) {
  std::array<std::uint8_t, kGroup> codes;
  quant::SearchSymmetric3({x, kGroup}, codes);
  for (std::size_t i = 0; i < kGroup; ++i) kept[i] = static_cast<float>(codes[i]) - kHalf;
}

void FinishBlock(const float* x, bool weighted, const Blocks& blocks, std::size_t lane,
                 std::byte* out) {
  quant::StoreF16(out + kScaleAt, blocks.scale.at[lane]);
  const float scale = quant::LoadF16(out + kScaleAt);
  std::array<std::uint32_t, kGroups> scale_codes;
  std::array<GroupCoding, kGroups> groups;
  std::array<float, quant::kSuperBlock> kept;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::size_t at = g * kLanes + lane;
    const float code = blocks.scale_codes.at[at];
    const float group_scale = scale * (code - static_cast<float>(kScaleHalf));
    scale_codes[g] = static_cast<std::uint32_t>(code);
    const float* const part = x + g * kGroup;
    if (weighted) {
      groups[g] = {SymmetricCoding::Of(group_scale, blocks.fits.inverse.at[at]), part};
    } else if (group_scale != 0) {
      groups[g] = {SymmetricCoding{group_scale, true}, part};
    } else {
      KeepCodes(part, &kept[g * kGroup]);
      groups[g] = {SymmetricCoding{1, false}, &kept[g * kGroup]};
    }
  }
  PackScales(scale_codes, out + kScalesAt);
  PackCodes(groups, out);
}

BadBlocks<> EncodeBatch(const Batch<>& batch) {
  SuperBlocks x;
  Blocks blocks;
  Mask bad = NoLanes();
  const bool weighted = batch.importance[0] != nullptr;
  Transpose(batch.x, x);
  if (weighted) {
    SearchWeighted(batch, x, blocks, bad);
  } else {
    SearchPlain(batch, x, blocks, bad);
  }
  for (std::size_t j = 0; j < batch.count; ++j) {
    FinishBlock(batch.x[j], weighted, blocks, j, batch.out + j * kBlockBytes);
  }
  return ToBadBlocks(bad);
}

std::uint64_t EncodeQ3_K(const EncodeJob& job) {
  return EncodeBatches<quant::kSuperBlock, kBlockBytes>(job, quant::kCodecQ3_K, EncodeBatch);
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeQ3_K);

std::uint64_t EncodeQ3_K(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ3_K)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
