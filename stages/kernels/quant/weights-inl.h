// Weights of the elements of blocks that lie side by side.
#if defined(SLUICE_STAGES_KERNELS_QUANT_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_WEIGHTS_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_WEIGHTS_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_WEIGHTS_INL_H_
#endif

#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// x0*x0 + x1*x1 + .. of each block, in order.
template <std::size_t kCount>
HWY_INLINE Vec SumOfSquares(const Lanes<kCount>& x) {
  Vec sum = hn::Zero(F32());
  for (std::size_t i = 0; i < kCount; ++i) sum = hn::Add(sum, hn::Mul(x.Get(i), x.Get(i)));
  return sum;
}

// importance * sqrt(sigma2 + x^2) for `count` values; returns their sum, in order.
HWY_INLINE Vec ImportanceWeights(const float* x, const float* importance, std::size_t count,
                                 Vec sigma2, float* w) {
  Vec sum = hn::Zero(F32());
  for (std::size_t i = 0; i < count; ++i) {
    const Vec v = hn::Load(F32(), x + i * kLanes);
    const Vec weight =
        hn::Mul(hn::Load(F32(), importance + i * kLanes), hn::Sqrt(hn::Add(sigma2, hn::Mul(v, v))));
    hn::Store(weight, F32(), w + i * kLanes);
    sum = hn::Add(sum, weight);
  }
  return sum;
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
