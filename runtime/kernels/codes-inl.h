// What the vector decoders of block formats have in common: included once for each SIMD target.
// They need 4, 8 or 16 lanes.
#if defined(SLUICE_RUNTIME_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_RUNTIME_CODES_INL_H_
#undef SLUICE_RUNTIME_CODES_INL_H_
#else
#define SLUICE_RUNTIME_CODES_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <cstdint>

#include "runtime/kernels/plain_formats-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::runtime::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR  // which leaves block formats to their codecs

// ---- Parts of codes
// ---

using Bytes = hn::Vec<U8>;
using Words = hn::Vec<U32>;

// A half-precision number, by the instruction that converts several.
HWY_INLINE float LoadHalf(const std::byte* from) {
  const hn::Full128<float> d;
  const hn::Rebind<std::uint16_t, decltype(d)> bits;
  const hn::Rebind<hwy::float16_t, decltype(d)> half;
  return hn::GetLane(hn::PromoteTo(d, hn::BitCast(half, hn::Set(bits, LoadU16(from)))));
}

// Every lane the same half-precision number.
HWY_INLINE Floats BroadcastHalf(const std::byte* from) {
  return FromF16(hn::Set(U16(), LoadU16(from)));
}

HWY_INLINE Floats FromI8(hn::Vec<I8> codes) {
  return hn::ConvertTo(F32(), hn::PromoteTo(I32(), codes));
}

// One byte for each lane, widened.
HWY_INLINE Words LoadWords(const std::byte* from) {
  return hn::PromoteTo(U32(), LoadBytes(U8(), from));
}

template <int kShift>
HWY_INLINE Words ShiftWordsLeft(Words words) {
  if constexpr (kShift > 0) return hn::ShiftLeft<kShift>(words);
  if constexpr (kShift < 0) return hn::ShiftRight<-kShift>(words);
  return words;
}

// Turns codes that lie at bit kBit (0 or 4) of each word into floats without moving them: they
// become the lowest bits of the mantissa of 2^(23 - kBit), which is subtracted again, and with it
// the code that stands for zero. All of it is exact.
template <int kBit>
class CodeFloats {
 public:
  // The bits `mask` of `words`, which must be codes at kBit.
  HWY_INLINE CodeFloats(Words words, std::uint32_t mask)
      : bits_(hn::OrAnd(hn::Set(U32(), kExponent), words, hn::Set(U32(), mask))) {}
  // More bits of the same codes.
  HWY_INLINE CodeFloats& Add(Words words, std::uint32_t mask) {
    bits_ = hn::OrAnd(bits_, words, hn::Set(U32(), mask));
    return *this;
  }
  [[nodiscard]] HWY_INLINE Floats Minus(float zero) const {
    return hn::Sub(hn::BitCast(F32(), bits_), hn::Set(F32(), kBase + zero));
  }

 private:
  static constexpr std::uint32_t kExponent = (127U + 23U - kBit) << 23;
  static constexpr float kBase = static_cast<float>(1 << (23 - kBit));
  Words bits_;
};

// Four-bit codes [i, i + lanes) of a group of 2 * kHalf that is stored as kHalf bytes: byte j holds
// code j in its low and code j + kHalf in its high bits. REQUIRES: lanes <= kHalf.
template <std::size_t i, std::size_t kHalf>
HWY_INLINE auto HalfSplitCodes(const std::byte* bytes) {
  constexpr int kBit = i < kHalf ? 0 : 4;
  return CodeFloats<kBit>(LoadWords(bytes + i % kHalf), 15U << kBit);
}

// ---- Codebooks of 16 values ---------------------------------------------------------------------

using Codebook = std::array<std::int8_t, 16>;

inline constexpr Codebook kIq4{-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};
// Twice the values of E2M1.
inline constexpr Codebook kFp4{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// The values of a codebook times a scale. Vectors of 16 lanes hold the products, which are made
// once and looked up; narrower ones look the codes up and multiply.
class ScaledCodebook {
 public:
#if HWY_MAX_BYTES == 64
  HWY_INLINE ScaledCodebook(const Codebook& codebook, Floats scale)
      : ScaledCodebook(hn::Mul(FromI8(hn::LoadU(I8(), codebook.data())), scale)) {}
  HWY_INLINE explicit ScaledCodebook(Floats products) : products_(products) {}
  // The values for codes [i, i + lanes) of a group as HalfSplitCodes has them.
  template <std::size_t i, std::size_t kHalf>
  [[nodiscard]] HWY_INLINE Floats At(const std::byte* bytes) const {
    const Words words = LoadWords(bytes + i % kHalf);
    return Find(i < kHalf ? words : hn::ShiftRight<4>(words));
  }
  // The lookup ignores all but the low four bits of a code.
  [[nodiscard]] HWY_INLINE Floats Find(Words codes) const {
    return Floats{_mm512_permutexvar_ps(codes.raw, products_.raw)};
  }

 private:
  Floats products_;
#else
  HWY_INLINE ScaledCodebook(const Codebook& codebook, Floats scale)
      : codebook_(codebook.data()), scale_(scale) {}
  // The values for codes [i, i + lanes) of a group as HalfSplitCodes has them.
  template <std::size_t i, std::size_t kHalf>
  [[nodiscard]] HWY_INLINE Floats At(const std::byte* bytes) const {
    const Bytes both = LoadBytes(U8(), bytes + i % kHalf);
    return Find(i < kHalf ? hn::And(both, hn::Set(U8(), 15)) : hn::ShiftRight<4>(both));
  }
  // REQUIRES: codes below 16.
  [[nodiscard]] HWY_INLINE Floats Find(Bytes codes) const {
    const auto table = hn::LoadU(hn::Full128<std::int8_t>(), codebook_);
    const auto values = hn::TableLookupBytes(table, hn::BitCast(I8(), codes));
    return hn::Mul(FromI8(values), scale_);
  }

 private:
  const std::int8_t* codebook_;
  Floats scale_;
#endif
};

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace sluice::runtime::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SLUICE_RUNTIME_CODES_INL_H_
