// Q4_K and Q5_K: eight groups of 32, a lane for each super block. For the blocks' layout see
// formats/quant/q4_k_q5_k.cpp.
#include <array>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/q4_k_q5_k.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/affine_blocks-inl.h"
#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/coding-inl.h"
#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

constexpr std::size_t kGroups = 8;
constexpr std::size_t kGroup = quant::kSuperBlock / kGroups;

template <int kBits>
struct Type {
  static constexpr std::size_t kGroups = HWY_NAMESPACE::kGroups;
  static constexpr int kLevels = (1 << kBits) - 1;
  static constexpr quant::AffineSearch kPlain{kLevels, kBits == 4 ? -1.0F : -0.5F, 0.1F,
                                              kBits == 4 ? 20 : 15, quant::ErrorMeasure::kSquared};
  static constexpr quant::AffineSearch kWeighted{kLevels, -0.9F, 0.05F, 36,
                                                 quant::ErrorMeasure::kSquared};
  static constexpr int kScaleLevels = 63;
  static constexpr int kPlainCap = kScaleLevels;
  static constexpr int kWeightedCap = kBits == 4 ? 255 : kScaleLevels;
  static constexpr float kSigma = 2;
  static constexpr std::size_t kCodesAt = kBits == 4 ? 16 : 48;
  static constexpr std::size_t kBytes = kCodesAt + quant::kSuperBlock / 2;

  // |x| + sqrt(mean of x^2 in the group).
  static HWY_INLINE void PlainWeights(const float* x, float* w) {
    Vec sum = hn::Zero(F32());
    for (std::size_t i = 0; i < kGroup; ++i) {
      const Vec v = hn::Load(F32(), x + i * kLanes);
      sum = hn::Add(sum, hn::Mul(v, v));
    }
    const Vec average = hn::Sqrt(hn::Mul(sum, SetAll(1.0F / static_cast<float>(kGroup))));
    for (std::size_t i = 0; i < kGroup; ++i) {
      hn::Store(hn::Add(average, hn::Abs(hn::Load(F32(), x + i * kLanes))), F32(), w + i * kLanes);
    }
  }
};

constexpr std::size_t kHighAt = 16;  // of Q5_K
using Codings = std::array<AffineCoding, kGroups>;

template <int kBits>
void PackCodes(const float* x, const Codings& codings, std::byte* out) {
  constexpr int kLevels = Type<kBits>::kLevels;
  const VecI low_bits = hn::Set(I32(), 15);
  for (std::size_t l = 0; l < kGroup; l += kLanes) {
    VecI high = hn::Zero(I32());
    for (std::size_t pair = 0; pair < kGroups / 2; ++pair) {
      const float* const at = x + 2 * pair * kGroup + l;
      const VecI first = CodesOf(kLevels, codings[2 * pair], at);
      const VecI second = CodesOf(kLevels, codings[2 * pair + 1], at + kGroup);
      if constexpr (kBits == 5) {
        const VecI bits =
            hn::Or(hn::ShiftRight<4>(first), hn::ShiftLeft<1>(hn::ShiftRight<4>(second)));
        high = hn::Or(high, hn::ShiftLeftSame(bits, static_cast<int>(2 * pair)));
      }
      StoreLowBytes(hn::Or(hn::And(first, low_bits), hn::ShiftLeft<4>(hn::And(second, low_bits))),
                    out + Type<kBits>::kCodesAt + pair * kGroup + l);
    }
    if constexpr (kBits == 5) StoreLowBytes(high, out + kHighAt + l);
  }
}

template <int kBits>
void FinishBlock(const float* x, const AffineBlocks<kGroups>& blocks, std::size_t lane,
                 std::byte* out) {
  quant::SixBitPairs pairs;
  for (std::size_t g = 0; g < kGroups; ++g) {
    pairs.scales[g] = static_cast<std::uint8_t>(blocks.scale_codes.at[g * kLanes + lane]);
    pairs.mins[g] = static_cast<std::uint8_t>(blocks.min_codes.at[g * kLanes + lane]);
  }
  quant::StoreF16(out, blocks.scale.at[lane]);
  quant::StoreF16(out + 2, blocks.minimum.at[lane]);
  quant::PackSixBitPairs(pairs, out + 4);
  pairs = quant::UnpackSixBitPairs(out + 4);
  const float scale = quant::LoadF16(out);
  const float minimum = quant::LoadF16(out + 2);
  Codings codings;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::size_t at = g * kLanes + lane;
    codings[g] = AffineCoding::Of(scale * static_cast<float>(pairs.scales[g]),
                                  minimum * static_cast<float>(pairs.mins[g]),
                                  blocks.fits.inverse.at[at], blocks.fits.low.at[at]);
  }
  PackCodes<kBits>(x, codings, out);
}

template <int kBits>
BadBlocks<> EncodeBatch(const Batch<>& batch) {
  AffineBlocks<kGroups> blocks;
  Mask bad = NoLanes();
  AffineBlockSearch<Type<kBits>>::Run(batch, blocks, bad);
  for (std::size_t j = 0; j < batch.count; ++j) {
    FinishBlock<kBits>(batch.x[j], blocks, j, batch.out + j * Type<kBits>::kBytes);
  }
  return ToBadBlocks(bad);
}

std::uint64_t EncodeQ4_K(const EncodeJob& job) {
  return EncodeBatches<quant::kSuperBlock, Type<4>::kBytes>(job, quant::kCodecQ4_K, EncodeBatch<4>);
}
std::uint64_t EncodeQ5_K(const EncodeJob& job) {
  return EncodeBatches<quant::kSuperBlock, Type<5>::kBytes>(job, quant::kCodecQ5_K, EncodeBatch<5>);
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeQ4_K);
HWY_EXPORT(EncodeQ5_K);

std::uint64_t EncodeQ4_K(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ4_K)(job); }
std::uint64_t EncodeQ5_K(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ5_K)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
