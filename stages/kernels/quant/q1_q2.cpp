// Q1_0 and Q2_0: blocks of 128 and 64. For the blocks' layouts see formats/quant/q1_q2.cpp.
#include <array>
#include <cstring>
#include <limits>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/q1_q2.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/range-inl.h"
#include "stages/kernels/quant/rounding-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

constexpr std::size_t kBlockBytes = 18;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// ---- Q1_0: the scale is the mean magnitude -----------------------------------------------------

constexpr std::size_t kQ1Block = 128;

// A bit for each element that is not negative. REQUIRES: none is NaN.
HWY_INLINE void StoreSigns(const float* x, std::byte* out) {
  constexpr std::size_t kWord = 32;
  for (std::size_t at = 0; at < kQ1Block; at += kWord) {
    std::uint32_t word = 0;
    for (std::size_t i = 0; i < kWord; i += kLanes) {
      const Mask bits = hn::Ge(hn::LoadU(F32(), x + at + i), hn::Zero(F32()));
      word |= BitsOf(hn::RebindMask(I32(), bits)) << i;
    }
    std::memcpy(out + at / 8, &word, sizeof word);
  }
}

BadBlocks<> EncodeQ1Batch(const Batch<>& batch) {
  Lanes<kQ1Block> x;
  Transpose(batch.x, x);
  Vec sum = hn::Zero(F32());
  for (std::size_t i = 0; i < kQ1Block; ++i) sum = hn::Add(sum, hn::Abs(x.Get(i)));
  const BlockNumbers scale(hn::Div(sum, SetAll(kQ1Block)));
  for (std::size_t b = 0; b < batch.count; ++b) {
    std::byte* const out = batch.out + b * kBlockBytes;
    scale.StoreF16(b, out);
    StoreSigns(batch.x[b], out + 2);
  }
  return ToBadBlocks(hn::Not(hn::Lt(sum, SetAll(kInfinity))));
}

std::uint64_t EncodeQ1_0(const EncodeJob& job) {
  return EncodeBatches<kQ1Block, kBlockBytes>(job, quant::kCodecQ1_0, EncodeQ1Batch);
}

// ---- Q2_0: the scale is the largest magnitude --------------------------------------------------

constexpr std::size_t kQ2Block = 64;

struct Scales {
  BlockNumbers scale;
  Lanes<1> inverse;

  HWY_INLINE explicit Scales(const BlockRanges<kQ2Block>& ranges) : scale(ranges.MaxMagnitude()) {
    inverse.Set(0, Reciprocals(scale.values.Get(0)));
  }
};

// Four codes of two bits, a byte each, into the lowest byte.
HWY_INLINE VecI JoinCodes(VecI codes) {
  const VecI pairs = hn::Or(codes, hn::ShiftRight<6>(codes));
  return hn::And(hn::Or(pairs, hn::ShiftRight<12>(pairs)), hn::Set(I32(), 0xFF));
}

bool EncodeQ2Block(const float* x, const Scales& scales, std::size_t block, std::byte* out) {
  const float inverse = scales.inverse.at[block];
  if (!(inverse < kInfinity)) return false;
  std::array<std::byte, kQ2Block> codes;
  for (std::size_t i = 0; i < kQ2Block; i += kLanes) {
    const VecI code = RoundAway(hn::Mul(hn::LoadU(F32(), x + i), SetAll(inverse)));
    StoreLowBytes(hn::Add(code, hn::Set(I32(), 1)), &codes[i]);
  }
  alignas(64) std::array<std::int32_t, kQ2Block / 4> words;
  std::memcpy(words.data(), codes.data(), sizeof words);
  for (std::size_t i = 0; i < words.size(); i += kLanes) {
    StoreLowBytes(JoinCodes(hn::Load(I32(), &words[i])), out + 2 + i);
  }
  scales.scale.StoreF16(block, out);
  return true;
}

std::uint64_t EncodeQ2_0(const EncodeJob& job) {
  return EncodeRanges<kQ2Block, kBlockBytes>(
      job, quant::kCodecQ2_0, [](const BlockRanges<kQ2Block>& ranges) { return Scales(ranges); },
      EncodeQ2Block);
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeQ1_0);
HWY_EXPORT(EncodeQ2_0);

std::uint64_t EncodeQ1_0(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ1_0)(job); }
std::uint64_t EncodeQ2_0(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ2_0)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
