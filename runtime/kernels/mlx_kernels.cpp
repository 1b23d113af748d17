#include "runtime/kernels/mlx_kernels.h"

#include <array>

#include "formats/mlx/codec.h"
#include "runtime/kernels/highway_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/mlx_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "runtime/kernels/plain_formats-inl.h"

// Scales of one byte, the same for all targets.
#ifndef SLUICE_RUNTIME_KERNELS_MLX_KERNELS_CPP_
#define SLUICE_RUNTIME_KERNELS_MLX_KERNELS_CPP_
namespace sluice::runtime {
namespace {

using ScaleTable = std::array<float, 256>;

ScaleTable MakeScales(mlx::Mode mode) {
  ScaleTable values;
  for (std::size_t code = 0; code < values.size(); ++code) {
    const auto stored = static_cast<std::byte>(code);
    values[code] = mlx::ScaleValue(*mlx::EncodingOf(mode), &stored);
  }
  return values;
}

const ScaleTable& ScalesOf(mlx::Mode mode) {
  static const ScaleTable nvfp4 = MakeScales(mlx::Mode::kNvfp4);
  static const ScaleTable powers = MakeScales(mlx::Mode::kMxfp4);
  return mode == mlx::Mode::kNvfp4 ? nvfp4 : powers;
}

}  // namespace
}  // namespace sluice::runtime
#endif

HWY_BEFORE_NAMESPACE();
namespace sluice::runtime::HWY_NAMESPACE {

using Words = hn::Vec<U32>;

// ---- Codes: a vector of their values before they are scaled
// -----------------

// Codes [k, k + lanes) of a group: byte j holds code 2 j in its low and 2 j + 1 in its high bits.
HWY_INLINE Words FourBits(const std::byte* codes, std::size_t k) {
  codes += k / 2;
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(U32(), std::to_integer<std::uint32_t>(*codes) >> (4 * (k % 2)) & 15);
#else
  const hn::Half<U8> half;
  const auto bytes = LoadBytes(half, codes);
  const auto low = hn::And(bytes, hn::Set(half, 15));
  const auto high = hn::ShiftRight<4>(bytes);
  const auto all =
      hn::InterleaveLower(U8(), hn::ZeroExtendVector(U8(), low), hn::ZeroExtendVector(U8(), high));
  return hn::PromoteTo(U32(), all);
#endif
}

HWY_INLINE Words EightBits(const std::byte* codes, std::size_t k) {
  return hn::PromoteTo(U32(), LoadBytes(U8(), codes + k));
}

HWY_INLINE Floats FromWords(Words words) { return hn::ConvertTo(F32(), hn::BitCast(I32(), words)); }

struct Unsigned4 {
  static HWY_INLINE Floats Load(const std::byte* codes, std::size_t k) {
    return FromWords(FourBits(codes, k));
  }
};
struct Unsigned8 {
  static HWY_INLINE Floats Load(const std::byte* codes, std::size_t k) {
    return FromWords(EightBits(codes, k));
  }
};

// A small float whose sign is bit kSign: exponent and mantissa become those of an F32 that is too
// small by 2^(127 - kBias). Adding the difference to the exponent puts that right, but for codes
// below kOne, which have no leading 1: they get one that is subtracted again. No F32 on the way is
// subnormal.
template <int kSign, int kMantissaBits, int kBias>
HWY_INLINE Floats FromSmallFloat(Words codes) {
  constexpr std::uint32_t kOne = 1U << kMantissaBits;
  const Words sign = hn::ShiftLeft<31 - kSign>(hn::And(codes, hn::Set(U32(), 1U << kSign)));
  const Words magnitude = hn::And(codes, hn::Set(U32(), (1U << kSign) - 1));
  const Words rebased =
      hn::Add(hn::ShiftLeft<23 - kMantissaBits>(magnitude), hn::Set(U32(), (127U - kBias) << 23));
  const Floats normal = hn::BitCast(F32(), rebased);
  const Floats leading = hn::BitCast(F32(), hn::Set(U32(), (127U - kBias) << 23));
  const Floats excess = hn::Sub(normal, leading);
  const auto is_small = hn::Lt(hn::BitCast(I32(), magnitude), hn::Set(I32(), kOne));
  const Floats value =
      hn::IfThenElse(hn::RebindMask(F32(), is_small), hn::Add(excess, excess), normal);
  return hn::BitCast(F32(), hn::Or(hn::BitCast(U32(), value), sign));
}

struct E2M1 {
  static HWY_INLINE Floats Load(const std::byte* codes, std::size_t k) {
    return FromSmallFloat<3, 1, 1>(FourBits(codes, k));
  }
};
struct E4M3 {
  static HWY_INLINE Floats Load(const std::byte* codes, std::size_t k) {
    const Words words = EightBits(codes, k);
    const Floats values = FromSmallFloat<7, 3, 7>(words);
    const auto is_nan = hn::Eq(hn::And(words, hn::Set(U32(), 0x7F)), hn::Set(U32(), 0x7F));
    return hn::IfThenElse(hn::RebindMask(F32(), is_nan), hn::NaN(F32()), values);
  }
};

// Calls `visit.operator()<Codes>()` for the codes of an encoding.
template <class Visit>
void WithCodes(const mlx::Encoding& encoding, const Visit& visit) {
  switch (encoding.mode) {
    case mlx::Mode::kAffine:
      return encoding.bits == 4 ? visit.template operator()<Unsigned4>()
                                : visit.template operator()<Unsigned8>();
    case mlx::Mode::kMxfp8:
      return visit.template operator()<E4M3>();
    default:
      return visit.template operator()<E2M1>();
  }
}

// ---- Scales
// ---------------------------------------------------------------------------------------

HWY_INLINE float LoadScale(Dtype dtype, const std::byte* at) {
  if (dtype == Dtype::kBF16) return PlainBf16::LoadOne(at);
  return dtype == Dtype::kF16 ? PlainF16::LoadOne(at) : PlainF32::LoadOne(at);
}

// The groups of one row.
class Row {
 public:
  Row(const Matrix& m, std::uint64_t row) : mlx_(*m.mlx) {
    const std::uint64_t first = static_cast<std::uint64_t>(m.data - mlx_.codes) / m.row_bytes + row;
    const std::uint64_t groups = m.columns / mlx_.encoding.group;
    scale_bytes_ = DtypeBytes(mlx_.encoding.scale_dtype);
    codes_ = mlx_.codes + first * m.row_bytes;
    scales_ = mlx_.scales + first * groups * scale_bytes_;
    if (!mlx_.encoding.has_biases()) table_ = &ScalesOf(mlx_.encoding.mode);
    if (mlx_.biases != nullptr) biases_ = mlx_.biases + first * groups * scale_bytes_;
    if (mlx_.factors != nullptr) {
      factor_ = PlainF32::LoadOne(mlx_.factors + first / mlx_.rows_of_factor * sizeof(float));
    }
  }

  [[nodiscard]] HWY_INLINE const std::byte* codes(std::size_t group) const {
    return codes_ + group * mlx_.encoding.group_code_bytes();
  }
  [[nodiscard]] HWY_INLINE float scale(std::size_t group) const {
    const std::byte* const at = scales_ + group * scale_bytes_;
    if (biases_ != nullptr) return LoadScale(mlx_.encoding.scale_dtype, at);
    return (*table_)[std::to_integer<std::size_t>(*at)] * factor_;
  }
  [[nodiscard]] HWY_INLINE float bias(std::size_t group) const {
    return LoadScale(mlx_.encoding.scale_dtype, biases_ + group * scale_bytes_);
  }

 private:
  const MlxMatrix& mlx_;
  const std::byte* codes_ = nullptr;
  const std::byte* scales_ = nullptr;
  const std::byte* biases_ = nullptr;
  const ScaleTable* table_ = nullptr;
  std::uint64_t scale_bytes_ = 0;
  float factor_ = 1;
};

// ---- Products
// -------------------------------------------------------------------------------------

// Sum of codes times inputs of one group: lanes of it.
template <class Codes>
HWY_INLINE Floats GroupProducts(const std::byte* codes, const float* input, std::size_t group) {
  Floats even = hn::Zero(F32());
  Floats odd = hn::Zero(F32());
  std::size_t k = 0;
  for (; k + 2 * kLanes <= group; k += 2 * kLanes) {
    even = hn::MulAdd(Codes::Load(codes, k), hn::LoadU(F32(), input + k), even);
    odd = hn::MulAdd(Codes::Load(codes, k + kLanes), hn::LoadU(F32(), input + k + kLanes), odd);
  }
  if (k < group) {
    even = hn::MulAdd(Codes::Load(codes, k), hn::LoadU(F32(), input + k), even);
  }
  return hn::Add(even, odd);
}

// The bias of an affine group meets the sum of the group's inputs, which all rows share.
void GroupSums(const float* input, std::size_t columns, std::size_t group, float* sums) {
  for (std::size_t at = 0; at < columns; at += group) {
    Floats sum = hn::Zero(F32());
    for (std::size_t k = 0; k < group; k += kLanes) {
      sum = hn::Add(sum, hn::LoadU(F32(), input + at + k));
    }
    *sums++ = Sum(sum);
  }
}

void Dots(const Matrix& m, const float* input, float* sums, float* out) {
  const mlx::Encoding& encoding = m.mlx->encoding;
  const std::size_t groups = m.columns / encoding.group;
  if (encoding.has_biases()) GroupSums(input, m.columns, encoding.group, sums);
  WithCodes(encoding, [&]<class Codes>() {
    for (std::size_t r = 0; r < m.rows; ++r) {
      const Row row(m, r);
      Floats total = hn::Zero(F32());
      float biases = 0;
      for (std::size_t g = 0; g < groups; ++g) {
        const Floats products =
            GroupProducts<Codes>(row.codes(g), input + g * encoding.group, encoding.group);
        total = hn::MulAdd(products, hn::Set(F32(), row.scale(g)), total);
        if (encoding.has_biases()) biases += row.bias(g) * sums[g];
      }
      out[r] = Sum(total) + biases;
    }
  });
}

void Decode(const Matrix& m, float* out) {
  const mlx::Encoding& encoding = m.mlx->encoding;
  const std::size_t groups = m.columns / encoding.group;
  WithCodes(encoding, [&]<class Codes>() {
    for (std::size_t r = 0; r < m.rows; ++r) {
      const Row row(m, r);
      for (std::size_t g = 0; g < groups; ++g) {
        const Floats scale = hn::Set(F32(), row.scale(g));
        const Floats bias = hn::Set(F32(), encoding.has_biases() ? row.bias(g) : 0.0F);
        for (std::size_t k = 0; k < encoding.group; k += kLanes, out += kLanes) {
          const Floats codes = Codes::Load(row.codes(g), k);
          hn::StoreU(hn::MulAdd(codes, scale, bias), F32(), out);
        }
      }
    }
  });
}

}  // namespace sluice::runtime::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::runtime {

HWY_EXPORT(Dots);
HWY_EXPORT(Decode);

void DotsMlx(const Matrix& m, const float* input, float* out, Buffer& sums) {
  const std::size_t groups = m.columns / m.mlx->encoding.group;
  const auto memory = sums.Reserve(groups * sizeof(float));
  HWY_DYNAMIC_DISPATCH(Dots)(m, input, reinterpret_cast<float*>(memory.data()), out);
}

void DecodeMlx(const Matrix& m, float* out) { HWY_DYNAMIC_DISPATCH(Decode)(m, out); }

}  // namespace sluice::runtime
#endif  // HWY_ONCE
