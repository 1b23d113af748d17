// Q2_K: sixteen groups of 16, a lane for each super block. For the block's layout see
// formats/quant/q2_k.cpp.
#include <array>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/q2_k.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/affine_blocks-inl.h"
#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/coding-inl.h"
#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

constexpr std::size_t kGroups = 16;
constexpr std::size_t kGroup = quant::kSuperBlock / kGroups;
constexpr int kLevels = 3;

constexpr std::size_t kCodesAt = 16;
constexpr std::size_t kScaleAt = 80;
constexpr std::size_t kMinAt = 82;
constexpr std::size_t kBlockBytes = 84;

struct Type {
  static constexpr std::size_t kGroups = HWY_NAMESPACE::kGroups;
  static constexpr quant::AffineSearch kPlain{kLevels, -0.5F, 0.1F, 15,
                                              quant::ErrorMeasure::kAbsolute};
  static constexpr quant::AffineSearch kWeighted{kLevels, -0.9F, 0.05F, 36,
                                                 quant::ErrorMeasure::kSquared};
  static constexpr int kScaleLevels = 15;
  static constexpr int kPlainCap = 255;
  static constexpr int kWeightedCap = 255;
  static constexpr float kSigma = 1;

  static HWY_INLINE void PlainWeights(const float* x, float* w) {
    for (std::size_t i = 0; i < kGroup; ++i) {
      hn::Store(hn::Abs(hn::Load(F32(), x + i * kLanes)), F32(), w + i * kLanes);
    }
  }
};

void FinishBlock(const float* x, const AffineBlocks<kGroups>& blocks, std::size_t lane,
                 std::byte* out) {
  quant::StoreF16(out + kScaleAt, blocks.scale.at[lane]);
  quant::StoreF16(out + kMinAt, blocks.minimum.at[lane]);
  const float scale = quant::LoadF16(out + kScaleAt);
  const float minimum = quant::LoadF16(out + kMinAt);
  std::array<AffineCoding, kGroups> codings;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::size_t at = g * kLanes + lane;
    const int packed = static_cast<int>(blocks.scale_codes.at[at]) |
                       static_cast<int>(blocks.min_codes.at[at]) << 4;
    out[g] = static_cast<std::byte>(packed & 0xFF);
    codings[g] = AffineCoding::Of(scale * static_cast<float>(packed & 15),
                                  minimum * static_cast<float>(packed >> 4 & 15),
                                  blocks.fits.inverse.at[at], blocks.fits.low.at[at]);
  }
  PackTwoBits([&](std::size_t at) { return CodesOf(kLevels, codings[at / kGroup], x + at); },
              out + kCodesAt);
}

BadBlocks<> EncodeBatch(const Batch<>& batch) {
  AffineBlocks<kGroups> blocks;
  Mask bad = NoLanes();
  AffineBlockSearch<Type>::Run(batch, blocks, bad);
  for (std::size_t j = 0; j < batch.count; ++j) {
    FinishBlock(batch.x[j], blocks, j, batch.out + j * kBlockBytes);
  }
  return ToBadBlocks(bad);
}

std::uint64_t EncodeQ2_K(const EncodeJob& job) {
  return EncodeBatches<quant::kSuperBlock, kBlockBytes>(job, quant::kCodecQ2_K, EncodeBatch);
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeQ2_K);

std::uint64_t EncodeQ2_K(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ2_K)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
