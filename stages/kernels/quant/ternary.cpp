// TQ1_0 and TQ2_0: super blocks. For the blocks' layouts see formats/quant/ternary.cpp.
#include <array>
#include <cstring>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/packing.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/ternary.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/coding-inl.h"
#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/range-inl.h"
#include "stages/kernels/quant/rounding-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

constexpr std::size_t kBlock = quant::kSuperBlock;
using Ranges = BlockRanges<kBlock>;

struct Scales {
  BlockNumbers scale;
  Lanes<1> inverse;

  HWY_INLINE explicit Scales(const Ranges& ranges) : scale(ranges.MaxMagnitude()) {
    inverse.Set(0, Reciprocals(scale.values.Get(0)));
  }
};

// Trits 0 .. 2 of a vector of elements: none is larger than the scale. The inverse of a subnormal
// scale is infinite, and what is not finite gets the middle trit.
HWY_INLINE VecI Trits(const float* x, float inverse) {
  return hn::Add(RoundAway(hn::Mul(hn::LoadU(F32(), x), SetAll(inverse))), hn::Set(I32(), 1));
}

// ---- TQ1_0 -------------------------------------------------------------------------------------

// n / 243 is n * kInverse >> kShift.
constexpr int kShift = 18;
constexpr int kInverse = 1079;
constexpr bool IsExactUpTo(int most) {
  for (int n = 0; n <= most; ++n) {
    if (n * kInverse >> kShift != n / 243) return false;
  }
  return true;
}
static_assert(IsExactUpTo(242 * 13 + 242));

// Bytes of `kDigits` trits, the first the most significant, from elements x + k * stride.
template <std::size_t kDigits>
HWY_INLINE void PackTrits(const float* x, std::size_t stride, float inverse, std::byte* out) {
  constexpr std::size_t kMostDigits = 5;
  VecI value = Trits(x, inverse);
  for (std::size_t k = 1; k < kMostDigits; ++k) {
    value = hn::Add(value, hn::ShiftLeft<1>(value));
    if (k < kDigits) value = hn::Add(value, Trits(x + k * stride, inverse));
  }
  // ceil(value * 256 / 243) is value + (value * 13 + 242) / 243. The division is exact.
  const VecI numerator = hn::Add(hn::Mul(value, hn::Set(I32(), 13)), hn::Set(I32(), 242));
  const VecI quotient = hn::ShiftRight<kShift>(hn::Mul(numerator, hn::Set(I32(), kInverse)));
  StoreLowBytes(hn::Add(value, quotient), out);
}

bool EncodeTQ1Block(const float* x, const Scales& scales, std::size_t block, std::byte* out) {
  const float inverse = scales.inverse.at[block];
  for (std::size_t m = 0; m < 32; m += kLanes) PackTrits<5>(x + m, 32, inverse, out + m);
  for (std::size_t m = 0; m < 16; m += kLanes) {
    PackTrits<5>(x + 160 + m, 16, inverse, out + 32 + m);
  }
  // The last four bytes fill no long vector: their elements, moved apart, do.
  constexpr std::size_t kLast = 4;
  constexpr std::size_t kStride = 16;
  std::array<float, kLast * kStride> apart{};
  std::array<std::byte, kStride> last;
  for (std::size_t k = 0; k < kLast; ++k) {
    std::memcpy(&apart[k * kStride], x + 240 + k * kLast, kLast * sizeof(float));
  }
  for (std::size_t m = 0; m < kLast; m += kLanes) {
    PackTrits<4>(&apart[m], kStride, inverse, &last[m]);
  }
  std::memcpy(out + 48, last.data(), kLast);
  scales.scale.StoreF16(block, out + 52);
  return true;
}

std::uint64_t EncodeTQ1_0(const EncodeJob& job) {
  constexpr std::size_t kBytes = 54;
  return EncodeRanges<kBlock, kBytes>(
      job, quant::kCodecTQ1_0, [](const Ranges& ranges) { return Scales(ranges); }, EncodeTQ1Block);
}

// ---- TQ2_0 -------------------------------------------------------------------------------------

bool EncodeTQ2Block(const float* x, const Scales& scales, std::size_t block, std::byte* out) {
  const float inverse = scales.inverse.at[block];
  PackTwoBits([&](std::size_t at) { return Trits(x + at, inverse); }, out);
  scales.scale.StoreF16(block, out + 64);
  return true;
}

std::uint64_t EncodeTQ2_0(const EncodeJob& job) {
  constexpr std::size_t kBytes = 66;
  return EncodeRanges<kBlock, kBytes>(
      job, quant::kCodecTQ2_0, [](const Ranges& ranges) { return Scales(ranges); }, EncodeTQ2Block);
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeTQ1_0);
HWY_EXPORT(EncodeTQ2_0);

std::uint64_t EncodeTQ1_0(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeTQ1_0)(job); }
std::uint64_t EncodeTQ2_0(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeTQ2_0)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
