// Codes of a group's elements, once its scale is known: elements side by side, in natural order.
#if defined(SLUICE_STAGES_KERNELS_QUANT_CODING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_CODING_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_CODING_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_CODING_INL_H_
#endif

#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// NearestInt((x + offset) / scale), or * scale where the codes of the search are kept.
struct AffineCoding {
  float offset;
  float scale;
  bool divides;

  static AffineCoding OfSearch(float inverse, float low) { return {-low, inverse, false}; }
  // `scale` and `minimum` as they are decoded; a scale of 0 keeps the codes of the search.
  static AffineCoding Of(float scale, float minimum, float inverse, float low) {
    return scale != 0 ? AffineCoding{minimum, scale, true} : OfSearch(inverse, low);
  }
};

HWY_INLINE VecI CodesOf(int levels, const AffineCoding& coding, const float* x) {
  const Vec shifted = hn::Add(hn::LoadU(F32(), x), SetAll(coding.offset));
  const Vec v = coding.divides ? hn::Div(shifted, SetAll(coding.scale))
                               : hn::Mul(SetAll(coding.scale), shifted);
  return ClampInt(NearestIntOf(v), 0, levels);
}

// NearestInt(x / scale), or * scale where the codes of the search are kept. A negligible group has
// codes 0, which is not the code of 0.
struct SymmetricCoding {
  float scale;
  bool divides;
  bool negligible = false;

  static SymmetricCoding OfSearch(float inverse) { return {inverse, false, inverse == 0}; }
  // `scale` as it is decoded; 0 keeps the codes of the search.
  static SymmetricCoding Of(float scale, float inverse) {
    return scale != 0 ? SymmetricCoding{scale, true} : OfSearch(inverse);
  }
};

// Codes 0 .. 2 * kHalf - 1.
template <int kHalf>
HWY_INLINE VecI CodesOf(const SymmetricCoding& coding, const float* x) {
  if (coding.negligible) return hn::Zero(I32());
  const Vec v = coding.divides ? hn::Div(hn::LoadU(F32(), x), SetAll(coding.scale))
                               : hn::Mul(SetAll(coding.scale), hn::LoadU(F32(), x));
  return hn::Add(ClampInt(NearestIntOf(v), -kHalf, kHalf - 1), hn::Set(I32(), kHalf));
}

// The low two bits of the codes of 256 elements, in the order of quant::PackTwoBits. `codes(at)`
// gives those of a vector of elements from `at` on.
template <class Codes>
HWY_INLINE void PackTwoBits(const Codes& codes, std::byte* out) {
  constexpr std::size_t kRun = 32;
  const VecI low_bits = hn::Set(I32(), 3);
  for (std::size_t half = 0; half < 2; ++half) {
    for (std::size_t l = 0; l < kRun; l += kLanes) {
      const std::size_t at = 4 * kRun * half + l;
      const auto bits = [&](std::size_t k) { return hn::And(codes(at + k * kRun), low_bits); };
      const VecI low = hn::Or(bits(0), hn::ShiftLeft<2>(bits(1)));
      const VecI high = hn::Or(hn::ShiftLeft<4>(bits(2)), hn::ShiftLeft<6>(bits(3)));
      StoreLowBytes(hn::Or(low, high), out + kRun * half + l);
    }
  }
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
