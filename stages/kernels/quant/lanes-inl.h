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
// RoundSmall and quant::NearestInt agree on magnitudes up to here.
inline constexpr float kRoundLimit = 4194303.0F;

// Rounds half to even where |v| <= kRoundLimit.
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

#if HWY_TARGET == HWY_SCALAR
template <std::size_t kCount>
void Transpose(const float* const* blocks, float* out) {
  std::copy_n(blocks[0], kCount, out);
}
#else
// Values from .. from + 3 of four blocks.
HWY_INLINE void Transpose4x4(const float* const* rows, std::size_t from, float* out) {
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
}

// Brings kCount values, a multiple of 4, of each of kLanes blocks into its lane.
template <std::size_t kCount>
void Transpose(const float* const* blocks, float* out) {
  for (std::size_t lane = 0; lane < kLanes; lane += 4) {
    for (std::size_t i = 0; i < kCount; i += 4) {
      Transpose4x4(&blocks[lane], i, out + i * kLanes + lane);
    }
  }
}
#endif

template <std::size_t kCount>
void Transpose(const std::array<const float*, kLanes>& blocks, Lanes<kCount>& out) {
  Transpose<kCount>(blocks.data(), out.at);
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
