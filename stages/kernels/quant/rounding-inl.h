// Roundings that take ties away from zero.
#if defined(SLUICE_STAGES_KERNELS_QUANT_ROUNDING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_ROUNDING_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_ROUNDING_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_ROUNDING_INL_H_
#endif

#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// Truncation of roundf(v); 0 where it is not finite, as the low byte of INT_MIN.
HWY_INLINE VecI RoundAway(Vec v) {
  // Just below one half: what is added to values just below a half must not make them whole.
  const Vec half = hn::CopySign(SetAll(0x1.fffffep-2F), v);
  const Mask small = hn::Lt(hn::Abs(v), SetAll(kRoundLimit));
  return hn::ConvertTo(I32(), hn::IfThenElseZero(small, hn::Add(v, half)));
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
