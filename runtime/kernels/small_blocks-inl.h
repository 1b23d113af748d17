// Vector decoders of the formats with blocks of 32 or 64 elements: included once for each SIMD
// target.
//
// A decoder is made from the address of a block and yields its elements [i, i + lanes) as floats,
// the product of scale and code rounded once, as the codecs of formats/quant do. Where one scale
// serves the whole block, it also yields the codes without it.
#if defined(SLUICE_RUNTIME_SMALL_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_RUNTIME_SMALL_BLOCKS_INL_H_
#undef SLUICE_RUNTIME_SMALL_BLOCKS_INL_H_
#else
#define SLUICE_RUNTIME_SMALL_BLOCKS_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "runtime/kernels/codes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::runtime::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR  // which leaves block formats to their codecs

// d:f16  q:i8[32]
class Q8_0 {
 public:
  static constexpr std::size_t kElements = 32;
  static constexpr std::size_t kBytes = 34;
  HWY_INLINE explicit Q8_0(const std::byte* block)
      : scale_(BroadcastHalf(block)), codes_(block + 2) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Code() const {
    return FromI8(LoadBytes(I8(), codes_ + i));
  }
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    return hn::Mul(Code<i>(), scale_);
  }
  [[nodiscard]] HWY_INLINE Floats scale() const { return scale_; }

 private:
  Floats scale_;
  const std::byte* codes_;
};

// d:f16  q[16]; the code 8 is zero
class Q4_0 {
 public:
  static constexpr std::size_t kElements = 32;
  static constexpr std::size_t kBytes = 18;
  HWY_INLINE explicit Q4_0(const std::byte* block)
      : scale_(BroadcastHalf(block)), codes_(block + 2) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Code() const {
    return HalfSplitCodes<i, 16>(codes_).Minus(8);
  }
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    return hn::Mul(Code<i>(), scale_);
  }
  [[nodiscard]] HWY_INLINE Floats scale() const { return scale_; }

 private:
  Floats scale_;
  const std::byte* codes_;
};

// d:f16  m:f16  q[16]; m is the value of code 0
class Q4_1 {
 public:
  static constexpr std::size_t kElements = 32;
  static constexpr std::size_t kBytes = 20;
  HWY_INLINE explicit Q4_1(const std::byte* block)
      : scale_(BroadcastHalf(block)), least_(BroadcastHalf(block + 2)), codes_(block + 4) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    return hn::MulAdd(HalfSplitCodes<i, 16>(codes_).Minus(0), scale_, least_);
  }

 private:
  Floats scale_;
  Floats least_;
  const std::byte* codes_;
};

// Codes of five bits: as HalfSplitCodes of 32, with bit j of `high` on top of code j.
template <std::size_t i>
HWY_INLINE auto FiveBitCodes(const std::byte* high, const std::byte* codes) {
  constexpr std::uint32_t kTop = i < 16 ? 0x10 : 0x100;
  std::uint32_t bits;
  std::memcpy(&bits, high, sizeof bits);
  const Words own = hn::Shl(hn::Set(U32(), 1), hn::Iota(U32(), i));  // the bit of each lane
  const auto is_set = hn::TestBit(hn::Set(U32(), bits), own);
  return HalfSplitCodes<i, 16>(codes).Add(hn::IfThenElseZero(is_set, hn::Set(U32(), kTop)), kTop);
}

// d:f16  h:u32  q[16]; the code 16 is zero
class Q5_0 {
 public:
  static constexpr std::size_t kElements = 32;
  static constexpr std::size_t kBytes = 22;
  HWY_INLINE explicit Q5_0(const std::byte* block) : scale_(BroadcastHalf(block)), block_(block) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Code() const {
    return FiveBitCodes<i>(block_ + 2, block_ + 6).Minus(16);
  }
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    return hn::Mul(Code<i>(), scale_);
  }
  [[nodiscard]] HWY_INLINE Floats scale() const { return scale_; }

 private:
  Floats scale_;
  const std::byte* block_;
};

// d:f16  m:f16  h:u32  q[16]; m is the value of code 0
class Q5_1 {
 public:
  static constexpr std::size_t kElements = 32;
  static constexpr std::size_t kBytes = 24;
  HWY_INLINE explicit Q5_1(const std::byte* block)
      : scale_(BroadcastHalf(block)), least_(BroadcastHalf(block + 2)), block_(block) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    return hn::MulAdd(FiveBitCodes<i>(block_ + 4, block_ + 8).Minus(0), scale_, least_);
  }

 private:
  Floats scale_;
  Floats least_;
  const std::byte* block_;
};

// d:f16  q[16]; codes of a codebook
class IQ4_NL {
 public:
  static constexpr std::size_t kElements = 32;
  static constexpr std::size_t kBytes = 18;
  HWY_INLINE explicit IQ4_NL(const std::byte* block)
      : values_(kIq4, BroadcastHalf(block)), codes_(block + 2) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    return values_.At<i, 16>(codes_);
  }

 private:
  ScaledCodebook values_;
  const std::byte* codes_;
};

// 2^(e - 128); the two smallest are subnormal.
HWY_INLINE float Mxfp4Scale(const std::byte* block) {
  const auto e = std::to_integer<std::uint32_t>(block[0]);
  return std::bit_cast<float>(e < 2 ? std::uint32_t{0x0020'0000} << e : (e - 1) << 23);
}

// e:u8  q[16]; the scale is Mxfp4Scale
class MXFP4 {
 public:
  static constexpr std::size_t kElements = 32;
  static constexpr std::size_t kBytes = 17;
  HWY_INLINE explicit MXFP4(const std::byte* block)
      : values_(kFp4, hn::Set(F32(), Mxfp4Scale(block))), codes_(block + 1) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    return values_.At<i, 16>(codes_);
  }

 private:
  ScaledCodebook values_;
  const std::byte* codes_;
};

// Half of each unsigned E4M3 number; 0x7F, a NaN there, stands for 0.
inline constexpr auto kHalfE4M3 = [] {
  std::array<float, 256> halves{};
  for (std::uint32_t e = 0; e < halves.size(); ++e) {
    const std::uint32_t exponent = e >> 3 & 15;
    const std::uint32_t mantissa = e & 7;
    if (e == 0x7F) continue;
    const float significand = static_cast<float>(exponent == 0 ? mantissa : mantissa + 8);
    const std::uint32_t power = exponent == 0 ? 1 : exponent;
    halves[e] = significand * static_cast<float>(1U << power) * 0x1p-11F;
  }
  return halves;
}();

// e:u8[4]  q[32]: four groups of 16, scales in unsigned E4M3
class NVFP4 {
 public:
  static constexpr std::size_t kElements = 64;
  static constexpr std::size_t kBytes = 36;
  HWY_INLINE explicit NVFP4(const std::byte* block) : block_(block) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    constexpr std::size_t kGroup = i / 16;
    const ScaledCodebook values(kFp4, hn::Set(F32(), kHalfE4M3[ByteAt(kGroup)]));
    const std::byte* const codes = block_ + 4 + 8 * kGroup;
#if HWY_MAX_BYTES == 64  // one vector takes both halves of the group's bytes
    const hn::Half<U8> half;
    const auto bytes = LoadBytes(half, codes);
    const auto low = hn::And(bytes, hn::Set(half, 15));
    const auto both = hn::Combine(U8(), hn::ShiftRight<4>(bytes), low);
    return values.Find(hn::PromoteTo(U32(), both));
#else
    return values.At<i % 16, 8>(codes);
#endif
  }

 private:
  [[nodiscard]] HWY_INLINE std::size_t ByteAt(std::size_t i) const {
    return std::to_integer<std::size_t>(block_[i]);
  }
  const std::byte* block_;
};

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace sluice::runtime::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SLUICE_RUNTIME_SMALL_BLOCKS_INL_H_
