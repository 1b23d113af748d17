// Vector decoders of the formats with blocks of 256 elements: included once for each SIMD target.
// See small_blocks-inl.h.
#if defined(SLUICE_RUNTIME_SUPER_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_RUNTIME_SUPER_BLOCKS_INL_H_
#undef SLUICE_RUNTIME_SUPER_BLOCKS_INL_H_
#else
#define SLUICE_RUNTIME_SUPER_BLOCKS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

#include "runtime/kernels/codes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::runtime::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR  // which leaves block formats to their codecs

// Calls `make(d, lanes from 0 on)` for as many vectors as hold kCount floats and stores them.
template <std::size_t kCount, class Make>
HWY_INLINE void FillFloats(float* out, const Make& make) {
  const hn::CappedTag<float, kCount> d;
  for (std::size_t i = 0; i < kCount; i += hn::Lanes(d)) hn::StoreU(make(d, i), d, out + i);
  // Keeps the compiler from shuffling single floats out of the vectors: to load them is for free.
  asm volatile("" : : "r"(out) : "memory");
}

// The scales of the eight groups of an IQ4_XS block, from d:f16 high:u16 low[4]: six bits each, of
// which 32 is zero.
HWY_INLINE void FillIq4XsScales(const std::byte* block, float* scales) {
  std::uint32_t low;
  std::memcpy(&low, block + 4, sizeof low);
  const std::uint32_t high = LoadU16(block + 2);
  const float scale = LoadHalf(block);
  FillFloats<8>(scales, [&](auto d, std::size_t i) HWY_ATTR {
    const hn::RebindToUnsigned<decltype(d)> du;
    const auto group = hn::Iota(du, static_cast<std::uint32_t>(i));
    const auto lows = hn::And(hn::Shr(hn::Set(du, low), hn::ShiftLeft<2>(group)), hn::Set(du, 15));
    const auto highs = hn::And(hn::Shr(hn::Set(du, high), hn::ShiftLeft<1>(group)), hn::Set(du, 3));
    const auto codes =
        hn::BitCast(hn::RebindToSigned<decltype(d)>(), hn::Or(lows, hn::ShiftLeft<4>(highs)));
    return hn::Mul(hn::Sub(hn::ConvertTo(d, codes), hn::Set(d, 32)), hn::Set(d, scale));
  });
}

// FillIq4XsScales  q[128]: eight groups of 32 codes of a codebook
class IQ4_XS {
 public:
  static constexpr std::size_t kElements = 256;
  static constexpr std::size_t kBytes = 136;
  HWY_INLINE explicit IQ4_XS(const std::byte* block) : codes_(block + 8) {
    FillIq4XsScales(block, scales_);
  }
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    constexpr std::size_t kGroup = i / 32;
    return ScaledCodebook(kIq4, hn::Set(F32(), scales_[kGroup]))
        .At<i % 32, 16>(codes_ + 16 * kGroup);
  }

 private:
  const std::byte* codes_;
  float scales_[8];
};

// Scales and minima of the eight groups of a Q4_K or Q5_K block, from d:f16 dmin:f16 a b c, each of
// four bytes: six bits of the first four scales in a, of the first four minima in b. Of the others,
// the low four bits are in c and the high two on top of a and b.
class AffineGroups {
 public:
  HWY_INLINE explicit AffineGroups(const std::byte* block) {
    const hn::Full128<std::uint32_t> d;
    const auto header = LoadBytes(d, block);
    const auto ab = hn::ShiftRightLanes<1>(d, header);
    const auto c = hn::Broadcast<3>(header);
    const auto nibbles = hn::Set(d, 0x0F0F0F0F);
    const auto low_of_others =
        hn::InterleaveLower(d, hn::And(c, nibbles), hn::And(hn::ShiftRight<4>(c), nibbles));
    const auto first = hn::And(ab, hn::Set(d, 0x3F3F3F3F));
    const auto others = hn::OrAnd(low_of_others, hn::ShiftRight<2>(ab), hn::Set(d, 0x30303030));
    alignas(16) std::uint8_t codes[16];  // scales, then minima
    hn::Store(hn::InterleaveLower(d, first, others), d, reinterpret_cast<std::uint32_t*>(codes));
    Fill(codes, LoadHalf(block), scales_);
    Fill(codes + 8, LoadHalf(block + 2), minima_);
  }
  [[nodiscard]] HWY_INLINE Floats Apply(std::size_t group, Floats codes) const {
    return hn::MulSub(codes, hn::Set(F32(), scales_[group]), hn::Set(F32(), minima_[group]));
  }
  [[nodiscard]] HWY_INLINE const float* scales() const { return scales_; }
  [[nodiscard]] HWY_INLINE const float* minima() const { return minima_; }

 private:
  static HWY_INLINE void Fill(const std::uint8_t* codes, float factor, float* out) {
    FillFloats<8>(out, [&](auto d, std::size_t i) HWY_ATTR {
      const hn::Rebind<std::uint8_t, decltype(d)> d8;
      const hn::RebindToSigned<decltype(d)> d32;
      const auto values = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, codes + i)));
      return hn::Mul(values, hn::Set(d, factor));
    });
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
    const std::byte* const codes = codes_ + 32 * (i / 64);
#if HWY_MAX_BYTES == 64
    const Floats values = groups_.Apply(i / 32, hn::Iota(F32(), 0));
    return ScaledCodebook(values).At<i % 64, 32>(codes);
#else
    return groups_.Apply(i / 32, HalfSplitCodes<i % 64, 32>(codes).Minus(0));
#endif
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
    constexpr int kGroup = i / 32;
    constexpr int kTopBit = i % 64 < 32 ? 4 : 8;
    const Words top = ShiftWordsLeft<kTopBit - kGroup>(LoadWords(high_ + i % 32));
    auto codes = HalfSplitCodes<i % 64, 32>(codes_ + 32 * (i / 64));
    return groups_.Apply(kGroup, codes.Add(top, 1U << kTopBit).Minus(0));
  }

 private:
  AffineGroups groups_;
  const std::byte* high_;
  const std::byte* codes_;
};

// The scales of the 16 groups of a Q6_K block.
HWY_INLINE void FillQ6Scales(const std::byte* block, float* scales) {
  const float scale = LoadHalf(block + 208);
  const auto* const factors = reinterpret_cast<const std::int8_t*>(block + 192);
  FillFloats<16>(scales, [&](auto d, std::size_t i) HWY_ATTR {
    const hn::Rebind<std::int8_t, decltype(d)> d8;
    const hn::RebindToSigned<decltype(d)> d32;
    const auto values = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, factors + i)));
    return hn::Mul(values, hn::Set(d, scale));
  });
}

// ql[128]  qh[64]  sc:i8[16]  d:f16. Element 128 p + 32 k + l of the block: low four bits in
// ql[64 p + 32 (k & 1) + l], shifted by 4 (k / 2); high two in qh[32 p + l], shifted by 2 k. The
// code 32 is zero; a scale serves 16 elements.
class Q6_K {
 public:
  static constexpr std::size_t kElements = 256;
  static constexpr std::size_t kBytes = 210;
  HWY_INLINE explicit Q6_K(const std::byte* block) : block_(block) { FillQ6Scales(block, scales_); }
  template <std::size_t i>
  [[nodiscard]] HWY_INLINE Floats Get() const {
    constexpr std::size_t kQuarter = i / 32 % 4;
    constexpr int kBit = kQuarter < 2 ? 0 : 4;
    const std::byte* const low = block_ + 64 * (i / 128) + 32 * (kQuarter % 2);
    const std::byte* const high = block_ + 128 + 32 * (i / 128);
    const Words top = ShiftWordsLeft < kQuarter % 2 == 0 ? 4 : 2 > (LoadWords(high + i % 32));
    CodeFloats<kBit> codes(LoadWords(low + i % 32), 15U << kBit);
    return hn::Mul(codes.Add(top, 0x30U << kBit).Minus(32), hn::Set(F32(), scales_[i / 16]));
  }

 private:
  const std::byte* block_;
  float scales_[16];
};

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace sluice::runtime::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SLUICE_RUNTIME_SUPER_BLOCKS_INL_H_
