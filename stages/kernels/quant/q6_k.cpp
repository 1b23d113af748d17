// Q6_K: sixteen groups of 16, a lane for each super block. For the block's layout see
// formats/quant/q6_k.cpp.
#include <algorithm>
#include <array>
#include <cmath>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/packing.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/q6_k.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/coding-inl.h"
#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/symmetric-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

constexpr std::size_t kGroups = 16;
constexpr std::size_t kGroup = quant::kSuperBlock / kGroups;
constexpr int kHalf = 32;
constexpr float kNegligible = 1e-15F;

constexpr std::size_t kHighAt = 128;
constexpr std::size_t kScalesAt = 192;
constexpr std::size_t kScaleAt = 208;
constexpr std::size_t kBlockBytes = 210;

using Codings = std::array<SymmetricCoding, kGroups>;

void PackCodes(const float* x, const Codings& codings, std::byte* out) {
  constexpr std::size_t kRun = 32;
  const VecI low_bits = hn::Set(I32(), 15);
  for (std::size_t half = 0; half < 2; ++half) {
    for (std::size_t l = 0; l < kRun; l += kLanes) {
      VecI codes[4];
      VecI high = hn::Zero(I32());
      for (std::size_t k = 0; k < 4; ++k) {
        const std::size_t at = 4 * kRun * half + kRun * k + l;
        codes[k] = CodesOf<kHalf>(codings[at / kGroup], x + at);
        high =
            hn::Or(high, hn::ShiftLeftSame(hn::ShiftRight<4>(codes[k]), static_cast<int>(2 * k)));
      }
      const auto store_low = [&](VecI first, VecI second, std::size_t at) {
        StoreLowBytes(hn::Or(hn::And(first, low_bits), hn::ShiftLeft<4>(hn::And(second, low_bits))),
                      out + at);
      };
      store_low(codes[0], codes[2], 2 * kRun * half + l);
      store_low(codes[1], codes[3], 2 * kRun * half + kRun + l);
      StoreLowBytes(high, out + kHighAt + kRun * half + l);
    }
  }
}

// Scales of a batch of super blocks.
struct Blocks {
  SymmetricFits<kGroups> fits;
  Lanes<kGroups> scale_codes;  // -128 .. 127, as floats
  Lanes<1> largest;            // group scale by magnitude
  Lanes<1> scale;
};

void QuantizeScales(Blocks& blocks) {
  const Vec largest = LargestMagnitude(blocks.fits.scale.at, kGroups);
  const Vec inverse = hn::Div(SetAll(-128.0F), largest);
  for (std::size_t g = 0; g < kGroups; ++g) {
    const VecI code =
        hn::Min(NearestIntOf(hn::Mul(inverse, blocks.fits.scale.Get(g))), hn::Set(I32(), 127));
    const VecI low8 = hn::ShiftRight<24>(hn::ShiftLeft<24>(code));
    blocks.scale_codes.Set(g, hn::ConvertTo(F32(), low8));
  }
  blocks.largest.Set(0, largest);
  blocks.scale.Set(0, hn::Div(SetAll(1), inverse));
}

void FinishBlock(const float* x, const Blocks& blocks, std::size_t lane, std::byte* out) {
  if (std::abs(blocks.largest.at[lane]) < kNegligible) {
    std::fill_n(out, kBlockBytes, std::byte{0});
    return;
  }
  quant::StoreF16(out + kScaleAt, blocks.scale.at[lane]);
  const float scale = quant::LoadF16(out + kScaleAt);
  Codings codings;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::size_t at = g * kLanes + lane;
    const float code = blocks.scale_codes.at[at];
    out[kScalesAt + g] = static_cast<std::byte>(static_cast<std::int8_t>(code));
    codings[g] = SymmetricCoding::Of(scale * code, blocks.fits.inverse.at[at]);
  }
  PackCodes(x, codings, out);
}

BadBlocks<> EncodeBatch(const Batch<>& batch) {
  Lanes<quant::kSuperBlock> x;
  Lanes<quant::kSuperBlock> importance;
  Blocks blocks;
  Transpose(batch.x, x);
  const bool weighted = batch.importance[0] != nullptr;
  if (weighted) Transpose(batch.importance, importance);
  Mask bad = NoLanes();
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::size_t at = g * kGroup * kLanes;
    SymmetricLanes<kHalf, kGroup> search(x.at + at, weighted ? importance.at + at : nullptr);
    search.Search(g, blocks.fits, bad);
  }
  QuantizeScales(blocks);
  for (std::size_t j = 0; j < batch.count; ++j) {
    FinishBlock(batch.x[j], blocks, j, batch.out + j * kBlockBytes);
  }
  return ToBadBlocks(bad);
}

std::uint64_t EncodeQ6_K(const EncodeJob& job) {
  return EncodeBatches<quant::kSuperBlock, kBlockBytes>(job, quant::kCodecQ6_K, EncodeBatch);
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeQ6_K);

std::uint64_t EncodeQ6_K(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ6_K)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
