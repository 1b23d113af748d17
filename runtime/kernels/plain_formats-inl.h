// Vector loads of the plain floating-point formats: included once for each SIMD target.
#if defined(SLUICE_RUNTIME_PLAIN_FORMATS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_RUNTIME_PLAIN_FORMATS_INL_H_
#undef SLUICE_RUNTIME_PLAIN_FORMATS_INL_H_
#else
#define SLUICE_RUNTIME_PLAIN_FORMATS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

#include "formats/gguf/types.h"
#include "formats/quant/float_formats.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::runtime::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Kernels work on vectors of at most 16 floats; block formats rely on it.
using F32 = hn::CappedTag<float, 16>;
using U32 = hn::RebindToUnsigned<F32>;
using I32 = hn::RebindToSigned<F32>;
using U16 = hn::Rebind<std::uint16_t, F32>;
using U8 = hn::Rebind<std::uint8_t, F32>;
using I8 = hn::Rebind<std::int8_t, F32>;
using Floats = hn::Vec<F32>;

constexpr std::size_t kLanes = hn::MaxLanes(F32());

// Elements at unaligned addresses are loaded as bytes of the same vector.
template <class D>
HWY_INLINE hn::Vec<D> LoadBytes(D d, const std::byte* from) {
  return hn::LoadU(d, reinterpret_cast<const hn::TFromD<D>*>(from));
}

HWY_INLINE std::uint16_t LoadU16(const std::byte* from) {
  std::uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

HWY_INLINE Floats FromBf16(hn::Vec<U16> bits) {
  return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(U32(), bits)));
}
HWY_INLINE Floats FromF16(hn::Vec<U16> bits) {
  const hn::Rebind<hwy::float16_t, F32> half;
  return hn::PromoteTo(F32(), hn::BitCast(half, bits));
}

// How one format is read: a vector, and one element.
struct PlainF32 {
  static constexpr std::size_t kBytes = 4;
  static HWY_INLINE Floats Load(const std::byte* at) { return LoadBytes(F32(), at); }
  static HWY_INLINE float LoadOne(const std::byte* at) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
};
struct PlainF16 {
  static constexpr std::size_t kBytes = 2;
  static HWY_INLINE Floats Load(const std::byte* at) { return FromF16(LoadBytes(U16(), at)); }
  static HWY_INLINE float LoadOne(const std::byte* at) { return quant::F16ToF32(LoadU16(at)); }
};
struct PlainBf16 {
  static constexpr std::size_t kBytes = 2;
  static HWY_INLINE Floats Load(const std::byte* at) { return FromBf16(LoadBytes(U16(), at)); }
  static HWY_INLINE float LoadOne(const std::byte* at) { return quant::Bf16ToF32(LoadU16(at)); }
};

// Calls `visit.operator()<Format>()` for the format of a type. REQUIRES: F32, F16 or BF16.
template <class Visit>
HWY_INLINE void WithPlainFormat(gguf::TensorType type, const Visit& visit) {
  if (type == gguf::TensorType::kBF16) return visit.template operator()<PlainBf16>();
  if (type == gguf::TensorType::kF16) return visit.template operator()<PlainF16>();
  visit.template operator()<PlainF32>();
}

HWY_INLINE float Sum(Floats v) { return hn::GetLane(hn::SumOfLanes(F32(), v)); }

}  // namespace sluice::runtime::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SLUICE_RUNTIME_PLAIN_FORMATS_INL_H_
