// MXFP4 and NVFP4: groups of 32 or 16 elements with a scale each. For the blocks' layout see
// formats/quant/fp4.cpp.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "stages/kernels/quant/fp4_scales.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/fp4.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/range-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

// Half of each code's value is 0, 1/2, 1 .. 6: here the borders between twice these, above which
// the next code is nearer.
constexpr std::array<float, 7> kBorders{0.5F, 1.5F, 2.5F, 3.5F, 5, 7, 10};

// Codes of a vector of elements; `scale` is the value of code 1. Negative values have 8 on top, but
// nothing is coded as -0.
HWY_INLINE VecI NearestCodes(const float* x, float scale) {
  const Vec v = hn::LoadU(F32(), x);
  const Vec magnitude = hn::Abs(v);
  VecI code = hn::Zero(I32());
  for (const float border : kBorders) {
    const Mask above = hn::Gt(magnitude, SetAll(border * scale));
    code = hn::Sub(code, hn::VecFromMask(I32(), hn::RebindMask(I32(), above)));
  }
  const VecI sign = hn::And(hn::ShiftRight<28>(hn::BitCast(I32(), v)), hn::Set(I32(), 8));
  return hn::IfThenElseZero(hn::Gt(code, hn::Zero(I32())), hn::Or(code, sign));
}

template <std::size_t kGroup>
HWY_INLINE void PackGroup(const float* x, float scale, std::byte* out) {
  constexpr std::size_t kHalf = kGroup / 2;
  alignas(64) std::array<std::uint8_t, kGroup> codes;
  for (std::size_t i = 0; i < kGroup; i += kLanes) {
    StoreLowBytes(NearestCodes(x + i, scale), reinterpret_cast<std::byte*>(&codes[i]));
  }
  for (std::size_t j = 0; j < kHalf; j += sizeof(std::uint64_t)) {
    std::uint64_t low;
    std::uint64_t high;
    std::memcpy(&low, &codes[j], sizeof low);
    std::memcpy(&high, &codes[kHalf + j], sizeof high);
    quant::Store(out + j, low | high << 4);
  }
}

template <std::size_t kElements>
Lanes<1> MaxMagnitudes(const BlockRanges<kElements>& ranges) {
  Lanes<1> largest;
  largest.Set(0, ranges.MaxMagnitude());
  return largest;
}

// ---- MXFP4 --------------------------------------------------------------------------------------

constexpr std::size_t kMxBlock = 32;
constexpr std::size_t kMxBytes = 17;

bool EncodeMxBlock(const float* x, const Lanes<1>& largest_of, std::size_t block, std::byte* out) {
  const float largest = largest_of.at[block];
  const int exponent = largest > 0 ? FloorLog2(largest) - 2 + 127 : 0;
  const std::uint8_t e = quant::Low8(exponent);
  out[0] = static_cast<std::byte>(e);
  PackGroup<kMxBlock>(x, e < 2 ? std::ldexp(1.0F, e - 128) : Power(e - 128), out + 1);
  return true;
}

std::uint64_t EncodeMXFP4(const EncodeJob& job) {
  return EncodeRanges<kMxBlock, kMxBytes>(job, quant::kCodecMXFP4, MaxMagnitudes<kMxBlock>,
                                          EncodeMxBlock);
}

// ---- NVFP4 --------------------------------------------------------------------------------------

constexpr std::size_t kNvBlock = 64;
constexpr std::size_t kNvGroup = 16;
constexpr std::size_t kNvGroups = kNvBlock / kNvGroup;
constexpr std::size_t kNvBytes = 36;

bool EncodeNvBlock(const float* x, const Lanes<1>& largest_of, std::size_t block, std::byte* out) {
  constexpr float kLarge = 0x1p20F;
  if (largest_of.at[block] > kLarge) return false;  // all codes are far off: rounding decides
  for (std::size_t s = 0; s < kNvGroups; ++s) {
    const float* const part = x + s * kNvGroup;
    const std::uint8_t e = ToE4M3(BlockRange(part, kNvGroup).MaxMagnitude() / 6.0F);
    out[s] = static_cast<std::byte>(e);
    std::byte* const codes = out + kNvGroups + s * kNvGroup / 2;
    if (e == 0) {
      std::fill_n(codes, kNvGroup / 2, std::byte{0});
    } else {
      PackGroup<kNvGroup>(part, HalfE4M3(e), codes);
    }
  }
  return true;
}

std::uint64_t EncodeNVFP4(const EncodeJob& job) {
  return EncodeRanges<kNvBlock, kNvBytes>(job, quant::kCodecNVFP4, MaxMagnitudes<kNvBlock>,
                                          EncodeNvBlock);
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeMXFP4);
HWY_EXPORT(EncodeNVFP4);

std::uint64_t EncodeMXFP4(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeMXFP4)(job); }
std::uint64_t EncodeNVFP4(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeNVFP4)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
