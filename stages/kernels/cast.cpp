#include "stages/kernels/cast.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include <hwy/cache_control.h>

#include "formats/quant/float_formats.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/cast.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using U32 = hn::Repartition<std::uint32_t, F32>;
using U16 = hn::Rebind<std::uint16_t, F32>;

// Elements at unaligned addresses are loaded as bytes of the same vector.
template <class D>
hn::Vec<D> LoadBytes(D d, const std::byte* from) {
  return hn::LoadU(d, reinterpret_cast<const hn::TFromD<D>*>(from));
}
template <class D>
void StoreBytes(hn::Vec<D> v, D d, std::byte* to) {
  hn::StoreU(v, d, reinterpret_cast<hn::TFromD<D>*>(to));
}

// Calls `full(i)` for each whole vector and `one(i)` for each element that is left.
template <class Full, class One>
void ForEachVector(std::size_t count, Full full, One one) {
  const std::size_t lanes = hn::Lanes(F32());
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) full(i);
  for (; i < count; ++i) one(i);
}

std::uint16_t LoadU16(const std::byte* from) {
  std::uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

// Sources stream through memory, and the CPU's own prefetching ends with each page. Measured.
constexpr std::size_t kPrefetchBytes = 2048;

void DecodeBf16(const std::byte* in, float* out, std::size_t count) {
  ForEachVector(
      count,
      [&](std::size_t i) {
        hwy::Prefetch(in + 2 * i + kPrefetchBytes);
        const auto wide = hn::PromoteTo(U32(), LoadBytes(U16(), in + 2 * i));
        hn::StoreU(hn::BitCast(F32(), hn::ShiftLeft<16>(wide)), F32(), out + i);
      },
      [&](std::size_t i) { out[i] = quant::Bf16ToF32(LoadU16(in + 2 * i)); });
}

// The algorithm of quant::F16ToF32.
void DecodeF16(const std::byte* in, float* out, std::size_t count) {
  const U32 du;
  const auto infinity = hn::Set(du, quant::kF32Infinity);
  ForEachVector(
      count,
      [&](std::size_t i) {
        const auto wide = hn::PromoteTo(du, LoadBytes(U16(), in + 2 * i));
        const auto sign = hn::ShiftLeft<16>(hn::And(wide, hn::Set(du, 0x8000)));
        const auto magnitude = hn::ShiftLeft<13>(hn::And(wide, hn::Set(du, 0x7FFF)));
        const auto scaled =
            hn::BitCast(du, hn::Mul(hn::BitCast(F32(), magnitude), hn::Set(F32(), 0x1p112F)));
        const auto finite = hn::Lt(magnitude, hn::Set(du, 0x0F80'0000));
        const auto value = hn::IfThenElse(finite, scaled, hn::Or(magnitude, infinity));
        hn::StoreU(hn::BitCast(F32(), hn::Or(sign, value)), F32(), out + i);
      },
      [&](std::size_t i) { out[i] = quant::F16ToF32(LoadU16(in + 2 * i)); });
}

// The low 16 bits of each lane.
hn::Vec<U16> Narrow(hn::Vec<U32> bits) { return hn::TruncateTo(U16(), bits); }

bool BecameInfinite(float value, std::uint32_t limit) {
  const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(value) & ~quant::kF32SignMask;
  return magnitude >= limit && magnitude < quant::kF32Infinity;
}

// Lanes with bits >= limit; Highway compares integers only with > and <. REQUIRES: limit > 0.
hn::Mask<U32> AtLeast(hn::Vec<U32> bits, std::uint32_t limit) {
  return hn::Gt(bits, hn::Set(U32(), limit - 1));
}

// Counts lanes whose magnitude bits lie in [limit, infinity).
std::size_t CountOverflow(hn::Vec<U32> magnitude, std::uint32_t limit) {
  const U32 du;
  const auto large = AtLeast(magnitude, limit);
  const auto finite = hn::Lt(magnitude, hn::Set(du, quant::kF32Infinity));
  return hn::CountTrue(du, hn::And(large, finite));
}

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)
// The CPU's own conversion rounds to nearest even. It keeps some bits of a NaN, so vectors with a
// NaN are left to the reference: false.
bool NarrowToF16(hn::Vec<F32> values, hn::Vec<U32> magnitude, std::byte* out) {
  if (!hn::AllFalse(U32(), hn::Gt(magnitude, hn::Set(U32(), quant::kF32Infinity)))) return false;
  const hn::Rebind<hwy::float16_t, F32> dh;
  StoreBytes(hn::BitCast(U16(), hn::DemoteTo(dh, values)), U16(), out);
  return true;
}
#else
// The algorithm of quant::F32ToF16.
bool NarrowToF16(hn::Vec<F32> values, hn::Vec<U32> magnitude, std::byte* out) {
  const U32 du;
  const auto bits = hn::BitCast(du, values);
  const auto sign = hn::ShiftRight<16>(hn::And(bits, hn::Set(du, quant::kF32SignMask)));
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 1));
  const auto rounded = hn::Add(magnitude, hn::Add(odd, hn::Set(du, 0xFFF)));
  const auto normal = hn::ShiftRight<13>(hn::Sub(rounded, hn::Set(du, 0x3800'0000)));
  const auto sum = hn::Add(hn::BitCast(F32(), magnitude), hn::Set(F32(), 0.5F));
  const auto subnormal = hn::Sub(hn::BitCast(du, sum), hn::Set(du, 0x3F00'0000));
  auto half = hn::IfThenElse(hn::Lt(magnitude, hn::Set(du, 0x3880'0000)), subnormal, normal);
  half = hn::IfThenElse(AtLeast(magnitude, 0x4780'0000), hn::Set(du, 0x7C00), half);
  half = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, quant::kF32Infinity)), hn::Set(du, 0x7E00),
                        half);
  StoreBytes(Narrow(hn::Or(sign, half)), U16(), out);
  return true;
}
#endif

void EncodeOneF16(float value, std::byte* out) {
  const std::uint16_t half = quant::F32ToF16(value);
  std::memcpy(out, &half, sizeof half);
}

std::uint64_t EncodeF16(const float* in, std::byte* out, std::size_t count) {
  constexpr std::uint32_t kRoundsToInfinity = 0x477F'F000;  // 65520
  const U32 du;
  std::uint64_t overflowed = 0;
  ForEachVector(
      count,
      [&](std::size_t i) {
        const auto values = hn::LoadU(F32(), in + i);
        const auto magnitude = hn::And(hn::BitCast(du, values), hn::Set(du, ~quant::kF32SignMask));
        overflowed += CountOverflow(magnitude, kRoundsToInfinity);
        if (NarrowToF16(values, magnitude, out + 2 * i)) return;
        for (std::size_t j = i; j < i + hn::Lanes(du); ++j) EncodeOneF16(in[j], out + 2 * j);
      },
      [&](std::size_t i) {
        EncodeOneF16(in[i], out + 2 * i);
        overflowed += BecameInfinite(in[i], kRoundsToInfinity) ? 1 : 0;
      });
  return overflowed;
}

// The algorithm of quant::F32ToBf16.
std::uint64_t EncodeBf16(const float* in, std::byte* out, std::size_t count) {
  constexpr std::uint32_t kRoundsToInfinity = 0x7F7F'8000;
  const U32 du;
  std::uint64_t overflowed = 0;
  ForEachVector(
      count,
      [&](std::size_t i) {
        const auto bits = hn::BitCast(du, hn::LoadU(F32(), in + i));
        const auto magnitude = hn::And(bits, hn::Set(du, ~quant::kF32SignMask));
        const auto upper = hn::ShiftRight<16>(bits);
        const auto odd = hn::And(upper, hn::Set(du, 1));
        const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF))));
        const auto is_nan = hn::Gt(magnitude, hn::Set(du, quant::kF32Infinity));
        const auto value = hn::IfThenElse(is_nan, hn::Or(upper, hn::Set(du, 0x40)), rounded);
        StoreBytes(Narrow(value), U16(), out + 2 * i);
        overflowed += CountOverflow(magnitude, kRoundsToInfinity);
      },
      [&](std::size_t i) {
        const std::uint16_t upper = quant::F32ToBf16(in[i]);
        std::memcpy(out + 2 * i, &upper, sizeof upper);
        overflowed += BecameInfinite(in[i], kRoundsToInfinity) ? 1 : 0;
      });
  return overflowed;
}

bool HasNonFinite(const float* in, std::size_t count) {
  const U32 du;
  auto largest = hn::Zero(du);
  std::uint32_t rest = 0;
  ForEachVector(
      count,
      [&](std::size_t i) {
        const auto bits = hn::BitCast(du, hn::LoadU(F32(), in + i));
        largest = hn::Max(largest, hn::And(bits, hn::Set(du, ~quant::kF32SignMask)));
      },
      [&](std::size_t i) {
        rest = std::max(rest, std::bit_cast<std::uint32_t>(in[i]) & ~quant::kF32SignMask);
      });
  return rest >= quant::kF32Infinity || !hn::AllFalse(du, AtLeast(largest, quant::kF32Infinity));
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {
namespace {

HWY_EXPORT(DecodeBf16);
HWY_EXPORT(DecodeF16);
HWY_EXPORT(EncodeF16);
HWY_EXPORT(EncodeBf16);
HWY_EXPORT(HasNonFinite);

constexpr std::size_t kByteValues = 256;

template <float (*kConvert)(std::uint8_t)>
void DecodeF8(const std::byte* in, std::span<float> out) {
  static const std::array<float, kByteValues> kTable = [] {
    std::array<float, kByteValues> table;
    for (std::size_t i = 0; i < table.size(); ++i) {
      table[i] = kConvert(static_cast<std::uint8_t>(i));
    }
    return table;
  }();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = kTable[std::to_integer<std::size_t>(in[i])];
}

void DecodeF64(const std::byte* in, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    double value;
    std::memcpy(&value, in + i * sizeof value, sizeof value);
    out[i] = static_cast<float>(value);
  }
}

}  // namespace

void DecodeToF32(Dtype dtype, const std::byte* in, std::span<float> out) {
  switch (dtype) {
    case Dtype::kBF16:
      return HWY_DYNAMIC_DISPATCH(DecodeBf16)(in, out.data(), out.size());
    case Dtype::kF16:
      return HWY_DYNAMIC_DISPATCH(DecodeF16)(in, out.data(), out.size());
    case Dtype::kF8E4M3:
      return DecodeF8<quant::F8E4M3ToF32>(in, out);
    case Dtype::kF8E5M2:
      return DecodeF8<quant::F8E5M2ToF32>(in, out);
    case Dtype::kF64:
      return DecodeF64(in, out);
    default:
      std::memcpy(out.data(), in, out.size_bytes());  // F32
  }
}

std::uint64_t EncodeF16(std::span<const float> in, std::byte* out) {
  return HWY_DYNAMIC_DISPATCH(EncodeF16)(in.data(), out, in.size());
}

std::uint64_t EncodeBf16(std::span<const float> in, std::byte* out) {
  return HWY_DYNAMIC_DISPATCH(EncodeBf16)(in.data(), out, in.size());
}

bool HasNonFinite(std::span<const float> values) {
  return HWY_DYNAMIC_DISPATCH(HasNonFinite)(values.data(), values.size());
}

}  // namespace sluice::kernels
#endif  // HWY_ONCE
