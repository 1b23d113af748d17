// Q8_0: blocks of 32. For the block's layout see formats/quant/q8_0.cpp.
#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/q8_0.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/range-inl.h"
#include "stages/kernels/quant/rounding-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kBlockBytes = 34;

struct Scales {
  BlockNumbers scale;
  Lanes<1> inverse;

  HWY_INLINE explicit Scales(const BlockRanges<kBlock>& ranges)
      : scale(hn::Div(ranges.MaxMagnitude(), SetAll(127))) {
    inverse.Set(0, Reciprocals(scale.values.Get(0)));
  }
};

bool EncodeBlock(const float* x, const Scales& scales, std::size_t block, std::byte* out) {
  const Vec inverse = SetAll(scales.inverse.at[block]);
  scales.scale.StoreF16(block, out);
  const hn::Rebind<std::int8_t, I32> d8;
  for (std::size_t i = 0; i < kBlock; i += kLanes) {
    const VecI code = RoundAway(hn::Mul(hn::LoadU(F32(), x + i), inverse));
    hn::StoreU(hn::DemoteTo(d8, code), d8, reinterpret_cast<std::int8_t*>(out + 2 + i));
  }
  return true;
}

std::uint64_t EncodeQ8_0(const EncodeJob& job) {
  return EncodeRanges<kBlock, kBlockBytes>(
      job, quant::kCodecQ8_0, [](const BlockRanges<kBlock>& ranges) { return Scales(ranges); },
      EncodeBlock);
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeQ8_0);

std::uint64_t EncodeQ8_0(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ8_0)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
