// Blocks side by side, one in each SIMD lane: every block's sums keep the order of the scalar
// encoders, whatever the number of lanes.
#if defined(SLUICE_STAGES_KERNELS_QUANT_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_LANES_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_LANES_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "formats/quant/codec.h"
#include "formats/quant/packing.h"
#include "stages/kernels/quant/encoders.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using I32 = hn::RebindToSigned<F32>;
using Vec = hn::Vec<F32>;
using VecI = hn::Vec<I32>;
using Mask = hn::Mask<F32>;
inline constexpr std::size_t kLanes = hn::MaxLanes(F32());

// Values of kLanes blocks, `kCount` of each: value i of block j is at [i * kLanes + j].
template <std::size_t kCount>
struct alignas(64) Lanes {
  float at[kCount * kLanes];

  HWY_INLINE Vec Get(std::size_t i) const { return hn::Load(F32(), at + i * kLanes); }
  HWY_INLINE void Set(std::size_t i, Vec v) { hn::Store(v, F32(), at + i * kLanes); }
};

HWY_INLINE Vec SetAll(float value) { return hn::Set(F32(), value); }
HWY_INLINE Mask NoLanes() { return hn::FirstN(F32(), 0); }

// As in C++ a NaN differs from everything; hn::Ne has it so on some targets only.
HWY_INLINE Mask NotEqual(Vec a, Vec b) { return hn::Not(hn::Eq(a, b)); }

// Added to a small value, it leaves the rounded value in the lowest bits of the sum.
inline constexpr float kRoundShift = 12582912.0F;  // 1.5 * 2^23

// Round half to even for |v| <= 2^22.
HWY_INLINE Vec RoundSmall(Vec v) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_SSE4
  return hn::Round(v);
#else
  const Vec shift = SetAll(kRoundShift);
  return hn::Sub(hn::Add(v, shift), shift);
#endif
}

// quant::NearestInt in each lane, for infinities and NaNs too.
HWY_INLINE VecI NearestIntOf(Vec v) {
  const VecI bits = hn::BitCast(I32(), hn::Add(v, SetAll(kRoundShift)));
  return hn::Sub(hn::And(bits, hn::Set(I32(), 0x7F'FFFF)), hn::Set(I32(), 0x40'0000));
}

HWY_INLINE VecI ClampInt(VecI v, int low, int high) {
  return hn::Min(hn::Max(v, hn::Set(I32(), low)), hn::Set(I32(), high));
}

// A candidate's products below this are rounded alike by RoundSmall and quant::NearestInt.
inline constexpr float kRoundLimit = 4194303.0F;

// Stores the low bytes of a vector of 0 .. 255.
HWY_INLINE void StoreLowBytes(VecI v, std::byte* out) {
  const hn::Rebind<std::uint8_t, I32> d8;
  hn::StoreU(hn::DemoteTo(d8, v), d8, reinterpret_cast<std::uint8_t*>(out));
}

// Of `count` values a lane the one of largest magnitude, the first of several; 0 for zeros only.
HWY_INLINE Vec LargestMagnitude(const float* x, std::size_t count) {
  Vec high = hn::Zero(F32());
  Vec low = high;
  for (std::size_t i = 0; i < count; ++i) {
    const Vec v = hn::Load(F32(), x + i * kLanes);
    high = hn::Max(v, high);
    low = hn::Min(v, low);
  }
  const Mask is_high = hn::Gt(high, hn::Neg(low));
  const Mask is_low = hn::Lt(high, hn::Neg(low));
  if (HWY_LIKELY(hn::AllTrue(F32(), hn::Or(is_high, is_low)))) {
    return hn::IfThenElse(is_high, high, low);
  }
  // Ties, which the order decides, zeros and NaNs.
  Vec magnitude = hn::Zero(F32());
  Vec largest = magnitude;
  for (std::size_t i = 0; i < count; ++i) {
    const Vec v = hn::Load(F32(), x + i * kLanes);
    const Mask larger = hn::Gt(hn::Abs(v), magnitude);
    magnitude = hn::IfThenElse(larger, hn::Abs(v), magnitude);
    largest = hn::IfThenElse(larger, v, largest);
  }
  return largest;
}

// Bit j is that of lane j.
HWY_INLINE std::uint32_t BitsOf(hn::Mask<I32> mask) {
  std::array<std::uint8_t, 8> bytes{};
  hn::StoreMaskBits(I32(), mask, bytes.data());
  return bytes[0] | static_cast<std::uint32_t>(bytes[1]) << 8;
}

// Four rows of four values become four columns.
HWY_INLINE void Transpose4x4(const float* const* rows, std::size_t from, float* out) {
#if HWY_TARGET == HWY_SCALAR
  (void)rows, (void)from, (void)out;
#else
  const hn::Full128<float> d;
  const auto a = hn::LoadU(d, rows[0] + from);
  const auto b = hn::LoadU(d, rows[1] + from);
  const auto c = hn::LoadU(d, rows[2] + from);
  const auto e = hn::LoadU(d, rows[3] + from);
  const auto ab_low = hn::InterleaveLower(d, a, b);
  const auto ab_high = hn::InterleaveUpper(d, a, b);
  const auto ce_low = hn::InterleaveLower(d, c, e);
  const auto ce_high = hn::InterleaveUpper(d, c, e);
  hn::Store(hn::ConcatLowerLower(d, ce_low, ab_low), d, out);
  hn::Store(hn::ConcatUpperUpper(d, ce_low, ab_low), d, out + kLanes);
  hn::Store(hn::ConcatLowerLower(d, ce_high, ab_high), d, out + 2 * kLanes);
  hn::Store(hn::ConcatUpperUpper(d, ce_high, ab_high), d, out + 3 * kLanes);
#endif
}

// Brings kCount values of each of kLanes blocks into its lane.
template <std::size_t kCount>
void Transpose(const float* const* blocks, float* out) {
  if constexpr (kLanes == 1) {
    std::copy_n(blocks[0], kCount, out);
  } else {
    for (std::size_t lane = 0; lane < kLanes; lane += 4) {
      for (std::size_t i = 0; i < kCount; i += 4) {
        Transpose4x4(&blocks[lane], i, out + i * kLanes + lane);
      }
    }
  }
}

template <std::size_t kCount>
void Transpose(const std::array<const float*, kLanes>& blocks, Lanes<kCount>& out) {
  Transpose<kCount>(blocks.data(), out.at);
}

// As many blocks as there are lanes in kWide vectors. Lanes that are left over repeat the first
// block.
template <std::size_t kWide = 1>
struct Batch {
  static constexpr std::size_t kBlocks = kWide * kLanes;
  std::array<const float*, kBlocks> x;
  std::array<const float*, kBlocks> importance;  // nullptr without
  std::array<std::size_t, kBlocks> row;
  std::size_t count;
  std::byte* out;  // of the first block; the others follow
};

// Which blocks of a batch must be encoded by the scalar encoder instead.
template <std::size_t kWide = 1>
using BadBlocks = std::array<bool, kWide * kLanes>;

// Sets those of the lanes of vector k.
template <std::size_t kBlocks>
HWY_INLINE void SetBad(Mask bad, std::size_t k, std::array<bool, kBlocks>& blocks) {
  if (HWY_LIKELY(hn::AllFalse(F32(), bad))) return;
  Lanes<1> lanes;
  lanes.Set(0, hn::IfThenElseZero(bad, SetAll(1)));
  for (std::size_t j = 0; j < kLanes; ++j) blocks[k * kLanes + j] = lanes.at[j] != 0;
}
HWY_INLINE BadBlocks<> ToBadBlocks(Mask bad) {
  BadBlocks<> blocks{};
  SetBad(bad, 0, blocks);
  return blocks;
}

// Calls `encode(batch)` for all blocks of `kElements` in `kBytes`. It returns the blocks that it
// cannot encode exactly. The codec encodes them, with the others of their `unit` of blocks: 1 or a
// whole row. Returns what the codec counted.
template <std::size_t kElements, std::size_t kBytes, std::size_t kWide, class Encode>
std::uint64_t EncodeBatches(const EncodeJob& job, const quant::Codec& codec, std::size_t unit,
                            const Encode& encode) {
  const std::size_t row_blocks = job.row_length / kElements;
  const std::size_t num_blocks = job.num_rows * row_blocks;
  const auto importance_of = [&](std::size_t block) {
    return job.importance ? job.importance + block % row_blocks * kElements : nullptr;
  };
  std::vector<std::size_t> bad_units;
  for (std::size_t first = 0; first < num_blocks; first += kWide * kLanes) {
    Batch<kWide> batch;
    batch.count = std::min(kWide * kLanes, num_blocks - first);
    batch.out = job.out + first * kBytes;
    for (std::size_t j = 0; j < batch.x.size(); ++j) {
      const std::size_t block = first + (j < batch.count ? j : 0);
      batch.x[j] = job.rows + block * kElements;
      batch.importance[j] = importance_of(block);
      batch.row[j] = block / row_blocks;
    }
    const BadBlocks<kWide> bad = encode(batch);
    for (std::size_t j = 0; j < batch.count; ++j) {
      const std::size_t at = (first + j) / unit;
      if (bad[j] && (bad_units.empty() || bad_units.back() != at)) bad_units.push_back(at);
    }
  }
  std::uint64_t differing = 0;
  for (const std::size_t at : bad_units) {
    const std::size_t block = at * unit;
    std::span<const float> importance;
    if (job.importance) importance = {importance_of(block), unit * kElements};
    differing += codec.encode({job.rows + block * kElements, unit * kElements}, importance,
                              job.exact, job.out + block * kBytes);
  }
  return differing;
}

// The same with blocks that do not depend on each other.
template <std::size_t kElements, std::size_t kBytes, class Encode>
std::uint64_t EncodeBatches(const EncodeJob& job, const quant::Codec& codec, const Encode& encode) {
  return EncodeBatches<kElements, kBytes, 1>(job, codec, 1, encode);
}

// The importance of the elements of a super block; empty without.
HWY_INLINE std::span<const float> ImportanceOf(const EncodeJob& job, std::size_t super_block) {
  if (!job.importance) return {};
  const std::size_t at = super_block * quant::kSuperBlock % job.row_length;
  return {job.importance + at, quant::kSuperBlock};
}

// Calls `encode(x, importance, out)` for each super block of 256 elements; it returns whether the
// block is to be counted. Returns the count.
template <std::size_t kBytes, class Encode>
std::uint64_t EncodeSuperBlocks(const EncodeJob& job, const Encode& encode) {
  constexpr std::size_t kElements = quant::kSuperBlock;
  const std::size_t num_blocks = job.num_rows * job.row_length / kElements;
  std::uint64_t count = 0;
  for (std::size_t block = 0; block < num_blocks; ++block) {
    const std::span<const float> x(job.rows + block * kElements, kElements);
    if (encode(x, ImportanceOf(job, block), job.out + block * kBytes)) ++count;
  }
  return count;
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
