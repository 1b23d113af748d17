// Vector decoders of the block formats: included once for each SIMD target.
//
// A decoder is made from the address of one block and yields its elements [i, i + lanes) as floats,
// the product of scale and code rounded once, as the codecs of formats/quant do. Block layouts:
// docs/formats/gguf.md. The classes need at most 16 lanes, which divide 16.
#if defined(SLUICE_RUNTIME_BLOCK_FORMATS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_RUNTIME_BLOCK_FORMATS_INL_H_
#undef SLUICE_RUNTIME_BLOCK_FORMATS_INL_H_
#else
#define SLUICE_RUNTIME_BLOCK_FORMATS_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "runtime/kernels/plain_formats-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::runtime::HWY_NAMESPACE {

// ---- Loads
// ---

using Bytes = hn::Vec<U8>;

HWY_INLINE float LoadHalf(const std::byte* from) { return quant::F16ToF32(LoadU16(from)); }

HWY_INLINE Floats FromI8(hn::Vec<I8> codes) {
  return hn::ConvertTo(F32(), hn::PromoteTo(I32(), codes));
}
HWY_INLINE Floats FromU8(Bytes codes) { return hn::ConvertTo(F32(), hn::PromoteTo(I32(), codes)); }

// Every lane the same half-precision number.
HWY_INLINE Floats BroadcastHalf(const std::byte* from) {
  return FromF16(hn::Set(U16(), LoadU16(from)));
}

template <int kShift>
HWY_INLINE Bytes ShiftBytesRight(Bytes bytes) {
  if constexpr (kShift > 0) return hn::ShiftRight<kShift>(bytes);
  return bytes;
}

// The low (0) or high (1) four bits of bytes.
template <std::size_t kHigh>
HWY_INLINE Bytes Nibbles(Bytes bytes) {
  return kHigh == 1 ? hn::ShiftRight<4>(bytes) : hn::And(bytes, hn::Set(U8(), 15));
}

// Elements [i, i + lanes) of a group of 2 * kHalf that is stored as kHalf bytes: byte j holds
// element j in its low and element j + kHalf in its high four bits. REQUIRES: lanes <= kHalf.
template <std::size_t i, std::size_t kHalf>
HWY_INLINE Bytes HalfSplitNibbles(const std::byte* bytes) {
  return Nibbles<i / kHalf>(LoadBytes(U8(), bytes + i % kHalf));
}

// ---- Codebooks of 16 values
// -----------------------------------------------------------------------

using Codebook = std::array<std::int8_t, 16>;

inline constexpr Codebook kCentered{-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
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
      : products_(hn::Mul(FromI8(hn::LoadU(I8(), codebook.data())), scale)) {}
  // REQUIRES: indices below 16.
  [[nodiscard]] HWY_INLINE Floats At(Bytes indices) const {
    const auto lanes = hn::PromoteTo(U32(), indices);
    return hn::TableLookupLanes(products_, hn::IndicesFromVec(F32(), lanes));
  }

 private:
  Floats products_;
#else
  HWY_INLINE ScaledCodebook(const Codebook& codebook, Floats scale)
      : codebook_(codebook.data()), scale_(scale) {}
  // REQUIRES: indices below 16.
  [[nodiscard]] HWY_INLINE Floats At(Bytes indices) const {
#if HWY_TARGET == HWY_SCALAR
    const auto codes = hn::Set(I8(), codebook_[hn::GetLane(indices)]);
#else
    const auto table = hn::LoadU(hn::Full128<std::int8_t>(), codebook_);
    const auto codes = hn::TableLookupBytes(table, hn::BitCast(I8(), indices));
#endif
    return hn::Mul(FromI8(codes), scale_);
  }

 private:
  const std::int8_t* codebook_;
  Floats scale_;
#endif
};

// ---- Formats
// --------------------------------------------------------------------------------------

// d:f16  q:i8[32]
class Q8_0 {
 public:
  static constexpr std::size_t kElements = 32;
  static constexpr std::size_t kBytes = 34;
  HWY_INLINE explicit Q8_0(const std::byte* block)
      : scale_(BroadcastHalf(block)), codes_(block + 2) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    return hn::Mul(FromI8(LoadBytes(I8(), codes_ + i)), scale_);
  }

 private:
  Floats scale_;
  const std::byte* codes_;
};

// d:f16  q[16], and a codebook: Q4_0 and IQ4_NL
template <const Codebook& kCodebook>
class Nibble32 {
 public:
  static constexpr std::size_t kElements = 32;
  static constexpr std::size_t kBytes = 18;
  HWY_INLINE explicit Nibble32(const std::byte* block)
      : values_(kCodebook, BroadcastHalf(block)), codes_(block + 2) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    return values_.At(HalfSplitNibbles<i, 16>(codes_));
  }

 private:
  ScaledCodebook values_;
  const std::byte* codes_;
};
using Q4_0 = Nibble32<kCentered>;
using IQ4_NL = Nibble32<kIq4>;

// e:u8  q[16]; the scale is 2^(e - 128), the two smallest are subnormal
class MXFP4 {
 public:
  static constexpr std::size_t kElements = 32;
  static constexpr std::size_t kBytes = 17;
  HWY_INLINE explicit MXFP4(const std::byte* block)
      : values_(kFp4, hn::Set(F32(), Scale(std::to_integer<std::uint32_t>(block[0])))),
        codes_(block + 1) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    return values_.At(HalfSplitNibbles<i, 16>(codes_));
  }

 private:
  static float Scale(std::uint32_t e) {
    return std::bit_cast<float>(e < 2 ? std::uint32_t{0x0020'0000} << e : (e - 1) << 23);
  }
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
#if HWY_MAX_BYTES == 64  // one vector takes both nibbles of the group's bytes
    const hn::Half<U8> half;
    const auto bytes = LoadBytes(half, codes);
    const auto low = hn::And(bytes, hn::Set(half, 15));
    return values.At(hn::Combine(U8(), hn::ShiftRight<4>(bytes), low));
#else
    return values.At(HalfSplitNibbles<i % 16, 8>(codes));
#endif
  }

 private:
  [[nodiscard]] HWY_INLINE std::size_t ByteAt(std::size_t i) const {
    return std::to_integer<std::size_t>(block_[i]);
  }
  const std::byte* block_;
};

// d:f16  high:u16  low[4]  q[128]: eight groups of 32 with 6-bit scales, less 32
class IQ4_XS {
 public:
  static constexpr std::size_t kElements = 256;
  static constexpr std::size_t kBytes = 136;
  HWY_INLINE explicit IQ4_XS(const std::byte* block)
      : scale_(LoadHalf(block)), high_(LoadU16(block + 2)), block_(block) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    constexpr std::size_t kGroup = i / 32;
    const int low = std::to_integer<int>(block_[4 + kGroup / 2]) >> (4 * (kGroup % 2)) & 15;
    const int scale = (low | (high_ >> (2 * kGroup) & 3) << 4) - 32;
    const Floats group_scale = hn::Set(F32(), scale_ * static_cast<float>(scale));
    return ScaledCodebook(kIq4, group_scale)
        .At(HalfSplitNibbles<i % 32, 16>(block_ + 8 + 16 * kGroup));
  }

 private:
  float scale_;
  int high_;
  const std::byte* block_;
};

// Scales and minima of the eight groups of a Q4_K or Q5_K block, from d:f16 dmin:f16 sc[12].
class AffineGroups {
 public:
  HWY_INLINE explicit AffineGroups(const std::byte* block) {
    std::array<std::uint32_t, 3> packed;
    std::memcpy(packed.data(), block + 4, sizeof packed);
    const auto [a, b, c] = packed;
    const std::array<std::uint32_t, 2> scales{a & 0x3F3F3F3F,
                                              (c & 0x0F0F0F0F) | (a >> 2 & 0x30303030)};
    const std::array<std::uint32_t, 2> minima{b & 0x3F3F3F3F,
                                              (c >> 4 & 0x0F0F0F0F) | (b >> 2 & 0x30303030)};
    Unpack(scales, LoadHalf(block), scales_);
    Unpack(minima, LoadHalf(block + 2), minima_);
  }
  [[nodiscard]] HWY_INLINE Floats Apply(std::size_t group, Bytes codes) const {
    return hn::MulSub(FromU8(codes), hn::Set(F32(), scales_[group]),
                      hn::Set(F32(), minima_[group]));
  }

 private:
  static HWY_INLINE void Unpack(const std::array<std::uint32_t, 2>& packed, float factor,
                                float* out) {
    const hn::CappedTag<float, 8> d;
    const hn::Rebind<std::uint8_t, decltype(d)> d8;
    const hn::RebindToSigned<decltype(d)> d32;
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(packed.data());
    for (std::size_t i = 0; i < 8; i += hn::Lanes(d)) {
      const auto values = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, bytes + i)));
      hn::StoreU(hn::Mul(values, hn::Set(d, factor)), d, out + i);
    }
  }
  float scales_[8];
  float minima_[8];
};

// AffineGroups  q[128]: byte 32 p + l holds element l of group 2 p (low) and of 2 p + 1 (high)
class Q4_K {
 public:
  static constexpr std::size_t kElements = 256;
  static constexpr std::size_t kBytes = 144;
  HWY_INLINE explicit Q4_K(const std::byte* block) : groups_(block), codes_(block + 16) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    return groups_.Apply(i / 32, HalfSplitNibbles<i % 64, 32>(codes_ + 32 * (i / 64)));
  }

 private:
  AffineGroups groups_;
  const std::byte* codes_;
};

// AffineGroups  h[32]  q[128]: as Q4_K, with bit g of h[l] on top of element l of group g
class Q5_K {
 public:
  static constexpr std::size_t kElements = 256;
  static constexpr std::size_t kBytes = 176;
  HWY_INLINE explicit Q5_K(const std::byte* block)
      : groups_(block), high_(block + 16), codes_(block + 48) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    constexpr std::size_t kGroup = i / 32;
    const Bytes low = HalfSplitNibbles<i % 64, 32>(codes_ + 32 * (i / 64));
    const Bytes bits = ShiftBytesRight<kGroup>(LoadBytes(U8(), high_ + i % 32));
    const Bytes top = hn::ShiftLeft<4>(hn::And(bits, hn::Set(U8(), 1)));
    return groups_.Apply(kGroup, hn::Or(low, top));
  }

 private:
  AffineGroups groups_;
  const std::byte* high_;
  const std::byte* codes_;
};

// ql[128]  qh[64]  sc:i8[16]  d:f16. Element 128 p + 32 k + l of the block: low four bits in
// ql[64 p + 32 (k & 1) + l], shifted by 4 (k / 2); high two in qh[32 p + l], shifted by 2 k.
class Q6_K {
 public:
  static constexpr std::size_t kElements = 256;
  static constexpr std::size_t kBytes = 210;
  HWY_INLINE explicit Q6_K(const std::byte* block) : scale_(LoadHalf(block + 208)), block_(block) {}
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    constexpr std::size_t kHalf = i / 128;
    constexpr std::size_t kQuarter = i / 32 % 4;
    constexpr std::size_t kAt = i % 32;
    const Bytes low =
        Nibbles<kQuarter / 2>(LoadBytes(U8(), block_ + 64 * kHalf + 32 * (kQuarter % 2) + kAt));
    const Bytes pairs =
        ShiftBytesRight<2 * kQuarter>(LoadBytes(U8(), block_ + 128 + 32 * kHalf + kAt));
    const Bytes high = hn::ShiftLeft<4>(hn::And(pairs, hn::Set(U8(), 3)));
    const auto code = hn::Sub(hn::BitCast(I8(), hn::Or(low, high)), hn::Set(I8(), 32));
    const auto group = static_cast<std::int8_t>(block_[192 + i / 16]);
    return hn::Mul(FromI8(code), hn::Set(F32(), scale_ * static_cast<float>(group)));
  }

 private:
  float scale_;
  const std::byte* block_;
};

}  // namespace sluice::runtime::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SLUICE_RUNTIME_BLOCK_FORMATS_INL_H_
