// IQ4_NL and IQ4_XS: groups of 32, a lane for each block or super block. For the blocks' layout see
// formats/quant/iq4.cpp.
#include <array>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/packing.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/iq4.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/iq4-inl.h"
#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

constexpr std::size_t kGroup = 32;
constexpr std::size_t kGroupBytes = kGroup / 2;

// Weights of a group; sigma2 is used with importance only.
HWY_INLINE void GroupWeights(const float* x, const float* importance, Vec sigma2, float* w) {
  if (importance != nullptr) {
    ImportanceWeights(x, importance, kGroup, sigma2, w);
    return;
  }
  for (std::size_t i = 0; i < kGroup; ++i) {
    const Vec v = hn::Load(F32(), x + i * kLanes);
    hn::Store(hn::Mul(v, v), F32(), w + i * kLanes);
  }
}

// Codes of a group in natural order.
HWY_INLINE void PackGroup(const float* x, float inverse, std::byte* out) {
  const NearestIq4 nearest;
  const auto codes = [&](const float* from) {
    const Vec v = hn::Mul(SetAll(inverse), hn::LoadU(F32(), from));
    const Vec highest = SetAll(kIq4Values.back());
    const Vec bounded = hn::IfThenElse(hn::Lt(v, highest), v, highest);  // NaN too
    return nearest.Code(hn::Max(bounded, SetAll(kIq4Values[0])));
  };
  for (std::size_t j = 0; j < kGroupBytes; j += kLanes) {
    StoreLowBytes(hn::Or(codes(x + j), hn::ShiftLeft<4>(codes(x + kGroupBytes + j))), out + j);
  }
}

// ---- IQ4_NL -------------------------------------------------------------------------------------

constexpr std::size_t kNlBytes = 18;

BadBlocks<> EncodeNlBatch(const Batch<>& batch) {
  Lanes<kGroup> x, importance, w;
  Lanes<1> scales;
  Mask bad = NoLanes();
  const bool weighted = batch.importance[0] != nullptr;
  Transpose(batch.x, x);
  if (weighted) Transpose(batch.importance, importance);
  const Vec sigma2 = hn::Mul(SumOfSquares(x), SetAll(2.0F / static_cast<float>(kGroup)));
  GroupWeights(x.at, weighted ? importance.at : nullptr, sigma2, w.at);
  scales.Set(0, Iq4Lanes<kGroup>().Search(x.at, w.at, bad));
  for (std::size_t j = 0; j < batch.count; ++j) {
    std::byte* const out = batch.out + j * kNlBytes;
    quant::StoreF16(out, scales.at[j]);
    PackGroup(batch.x[j], quant::Reciprocal(scales.at[j]), out + 2);
  }
  return ToBadBlocks(bad);
}

std::uint64_t EncodeIQ4_NL(const EncodeJob& job) {
  return EncodeBatches<kGroup, kNlBytes>(job, quant::kCodecIQ4_NL, EncodeNlBatch);
}

// ---- IQ4_XS -------------------------------------------------------------------------------------

constexpr std::size_t kGroups = quant::kSuperBlock / kGroup;
constexpr std::size_t kHighScalesAt = 2;
constexpr std::size_t kLowScalesAt = 4;
constexpr std::size_t kCodesAt = 8;
constexpr std::size_t kXsBytes = 136;
constexpr int kScaleHalf = 32;

// Group scales of a batch, and what is stored of them.
struct Scales {
  Lanes<kGroups> of_groups;
  Lanes<kGroups> codes;     // -32 .. 31, as floats
  Lanes<kGroups> inverses;  // of the decoded group scales, 0 for 0
  Lanes<1> scale;
};

HWY_INLINE Vec ReciprocalOrZero(Vec v) {
  return hn::IfThenElseZero(NotEqual(v, hn::Zero(F32())), hn::Div(SetAll(1), v));
}

void QuantizeScales(Scales& scales) {
  const Vec scale = hn::Div(hn::Neg(LargestMagnitude(scales.of_groups.at, kGroups)),
                            SetAll(static_cast<float>(kScaleHalf)));
  const Vec inverse = ReciprocalOrZero(scale);
  for (std::size_t g = 0; g < kGroups; ++g) {
    const VecI nearest = NearestIntOf(hn::Mul(inverse, scales.of_groups.Get(g)));
    const Vec code = hn::ConvertTo(F32(), ClampInt(nearest, -kScaleHalf, kScaleHalf - 1));
    scales.codes.Set(g, code);
    // The unrounded scale decides the codes.
    scales.inverses.Set(g, ReciprocalOrZero(hn::Mul(scale, code)));
  }
  scales.scale.Set(0, scale);
}

void FinishXsBlock(const float* x, const Scales& scales, std::size_t lane, std::byte* out) {
  std::uint32_t high_bits = 0;
  std::uint32_t low_bits = 0;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::size_t at = g * kLanes + lane;
    const auto stored = static_cast<std::uint32_t>(scales.codes.at[at] + kScaleHalf);
    low_bits |= (stored & 15) << (4 * g);
    high_bits |= (stored >> 4) << (2 * g);
    PackGroup(x + g * kGroup, scales.inverses.at[at], out + kCodesAt + g * kGroupBytes);
  }
  quant::StoreF16(out, scales.scale.at[lane]);
  quant::Store(out + kHighScalesAt, static_cast<std::uint16_t>(high_bits));
  quant::Store(out + kLowScalesAt, low_bits);
}

BadBlocks<> EncodeXsBatch(const Batch<>& batch) {
  Lanes<quant::kSuperBlock> x, importance;
  Lanes<kGroup> w;
  Scales scales;
  Mask bad = NoLanes();
  const bool weighted = batch.importance[0] != nullptr;
  Transpose(batch.x, x);
  if (weighted) Transpose(batch.importance, importance);
  const Vec sigma2 =
      hn::Mul(SumOfSquares(x), SetAll(2.0F / static_cast<float>(quant::kSuperBlock)));
  for (std::size_t g = 0; g < kGroups; ++g) {
    const std::size_t at = g * kGroup * kLanes;
    GroupWeights(x.at + at, weighted ? importance.at + at : nullptr, sigma2, w.at);
    scales.of_groups.Set(g, Iq4Lanes<kGroup>().Search(x.at + at, w.at, bad));
  }
  QuantizeScales(scales);
  for (std::size_t j = 0; j < batch.count; ++j) {
    FinishXsBlock(batch.x[j], scales, j, batch.out + j * kXsBytes);
  }
  return ToBadBlocks(bad);
}

std::uint64_t EncodeIQ4_XS(const EncodeJob& job) {
  return EncodeBatches<quant::kSuperBlock, kXsBytes>(job, quant::kCodecIQ4_XS, EncodeXsBatch);
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeIQ4_NL);
HWY_EXPORT(EncodeIQ4_XS);

std::uint64_t EncodeIQ4_NL(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeIQ4_NL)(job); }
std::uint64_t EncodeIQ4_XS(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeIQ4_XS)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
