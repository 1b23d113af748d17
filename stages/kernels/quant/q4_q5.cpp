// Q4_0, Q4_1, Q5_0, Q5_1: blocks of 32. Without importance the range of a block decides its scale;
// with it there is a search, a lane for each block. For the blocks' layout see
// formats/quant/q4_q5.cpp.
#include <limits>
#include <vector>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/search.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/q4_q5.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/affine-inl.h"
#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/coding-inl.h"
#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/range-inl.h"
#include "stages/kernels/quant/symmetric-inl.h"
#include "stages/kernels/quant/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kHalfBlock = kBlock / 2;

constexpr std::size_t BlockBytes(int bits, bool has_min) {
  return (has_min ? 4 : 2) + (bits == 5 ? 4 : 0) + kHalfBlock;
}

// Writes the codes behind the scale fields; `codes(at)` gives a vector of them.
template <int kBits, class Codes>
HWY_INLINE void PackCodes(const Codes& codes, std::byte* out) {
  const VecI low_bits = hn::Set(I32(), 15);
  std::uint32_t high = 0;
  std::byte* const low = kBits == 5 ? out + sizeof high : out;
  for (std::size_t j = 0; j < kHalfBlock; j += kLanes) {
    VecI first = codes(j);
    VecI second = codes(kHalfBlock + j);
    if constexpr (kBits == 5) {
      high |= BitsOf(hn::Gt(first, low_bits)) << j;
      high |= BitsOf(hn::Gt(second, low_bits)) << (kHalfBlock + j);
      first = hn::And(first, low_bits);
      second = hn::And(second, low_bits);
    }
    StoreLowBytes(hn::Or(first, hn::ShiftLeft<4>(second)), low + j);
  }
  if constexpr (kBits == 5) quant::Store(out, high);
}

// ---- Without importance -------------------------------------------------------------------------

// Truncated values; 0 where they are not finite, as the low byte of INT_MIN.
HWY_INLINE VecI TruncateSmall(Vec v) {
  const Mask small = hn::Lt(hn::Abs(v), SetAll(kRoundLimit));
  return hn::ConvertTo(I32(), hn::IfThenElseZero(small, v));
}

using Ranges = BlockRanges<kBlock>;

// value = scale * (code - kZero)
template <int kBits>
struct Symmetric {
  static constexpr int kZero = 1 << (kBits - 1);
  BlockNumbers scale;
  Lanes<1> inverse;

  HWY_INLINE explicit Symmetric(const Ranges& ranges)
      : scale(hn::Div(ranges.LargestMagnitude(), SetAll(static_cast<float>(-kZero)))) {
    inverse.Set(0, Reciprocals(scale.values.Get(0)));
  }
};

template <int kBits>
bool EncodeSymmetric(const float* x, const Symmetric<kBits>& scales, std::size_t block,
                     std::byte* out) {
  constexpr int kZero = Symmetric<kBits>::kZero;
  const Vec inverse = SetAll(scales.inverse.at[block]);
  const Vec offset = SetAll(static_cast<float>(kZero) + 0.5F);
  scales.scale.StoreF16(block, out);
  PackCodes<kBits>(
      [&](std::size_t at) {
        const Vec v = hn::Add(hn::Mul(hn::LoadU(F32(), x + at), inverse), offset);
        return hn::Min(TruncateSmall(v), hn::Set(I32(), 2 * kZero - 1));
      },
      out + 2);
  return true;
}

// value = scale * code + low
template <int kBits>
struct Affine {
  static constexpr int kLevels = (1 << kBits) - 1;
  BlockNumbers low;
  BlockNumbers scale;
  Lanes<1> inverse;

  HWY_INLINE explicit Affine(const Ranges& ranges)
      : low(ranges.Low()),
        scale(hn::Div(hn::Sub(ranges.High(), low.values.Get(0)),
                      SetAll(static_cast<float>(kLevels)))) {
    inverse.Set(0, Reciprocals(scale.values.Get(0)));
  }
};

template <int kBits>
bool EncodeAffine(const float* x, const Affine<kBits>& scales, std::size_t block, std::byte* out) {
  const Vec low = SetAll(scales.low.values.at[block]);
  const Vec inverse = SetAll(scales.inverse.at[block]);
  scales.scale.StoreF16(block, out);
  scales.low.StoreF16(block, out + 2);
  PackCodes<kBits>(
      [&](std::size_t at) {
        const Vec above = hn::Sub(hn::LoadU(F32(), x + at), low);
        const VecI code = TruncateSmall(hn::Add(hn::Mul(above, inverse), SetAll(0.5F)));
        return hn::Min(code, hn::Set(I32(), Affine<kBits>::kLevels));
      },
      out + 4);
  return true;
}

template <class Scales>
Scales Prepare(const Ranges& ranges) {
  return Scales(ranges);
}

// ---- With importance ----------------------------------------------------------------------------

// The mean squares of the rows, each summed up in order.
std::vector<float> MeanSquares(const EncodeJob& job) {
  std::vector<float> means(job.num_rows);
  for (std::size_t first = 0; first < job.num_rows; first += kLanes) {
    const std::size_t count = std::min(kLanes, job.num_rows - first);
    Lanes<kBlock> x;
    Lanes<1> sums;
    Vec sum = hn::Zero(F32());
    for (std::size_t at = 0; at < job.row_length; at += kBlock) {
      std::array<const float*, kLanes> rows;
      for (std::size_t j = 0; j < kLanes; ++j) {
        rows[j] = job.rows + (first + (j < count ? j : 0)) * job.row_length + at;
      }
      Transpose(rows, x);
      for (std::size_t i = 0; i < kBlock; ++i) {
        sum = hn::Add(sum, hn::Mul(x.Get(i), x.Get(i)));
      }
    }
    sums.Set(0, hn::Div(sum, SetAll(static_cast<float>(job.row_length))));
    std::copy_n(sums.at, count, means.begin() + static_cast<std::ptrdiff_t>(first));
  }
  return means;
}

// Values and weights of kWide vectors of blocks.
template <std::size_t kWide>
struct Weighted {
  Lanes<kWide * kBlock> x;
  Lanes<kWide * kBlock> w;

  Weighted(const Batch<kWide>& batch, const std::vector<float>& mean_squares) {
    Lanes<kBlock> importance;
    Lanes<1> sigma2;
    for (std::size_t k = 0; k < kWide; ++k) {
      const std::size_t at = k * kBlock * kLanes;
      Transpose<kBlock>(&batch.x[k * kLanes], x.at + at);
      Transpose<kBlock>(&batch.importance[k * kLanes], importance.at);
      for (std::size_t j = 0; j < kLanes; ++j) {
        sigma2.at[j] = mean_squares[batch.row[k * kLanes + j]];
      }
      ImportanceWeights(x.at + at, importance.at, kBlock, sigma2.Get(0), w.at + at);
    }
  }
};

template <int kBits>
BadBlocks<> EncodeWeightedSymmetric(const Batch<>& batch, const std::vector<float>& mean_squares) {
  constexpr int kZero = 1 << (kBits - 1);
  const Weighted<1> blocks(batch, mean_squares);
  SymmetricFits<1> fits;
  Mask bad = NoLanes();
  SymmetricLanes<kZero, kBlock>(blocks.x.at, blocks.w.at).Search(0, fits, bad);
  for (std::size_t j = 0; j < batch.count; ++j) {
    std::byte* const out = batch.out + j * BlockBytes(kBits, false);
    const SymmetricCoding coding = SymmetricCoding::OfSearch(fits.inverse.at[j]);
    quant::StoreF16(out, fits.scale.at[j]);
    PackCodes<kBits>([&](std::size_t at) { return CodesOf<kZero>(coding, batch.x[j] + at); },
                     out + 2);
  }
  return ToBadBlocks(bad);
}

constexpr std::size_t kAffineWide = 2;

template <int kBits>
BadBlocks<kAffineWide> EncodeWeightedAffine(const Batch<kAffineWide>& batch,
                                            const std::vector<float>& mean_squares) {
  constexpr quant::AffineSearch kSearch{(1 << kBits) - 1, -0.9F, 0.05F, 36,
                                        quant::ErrorMeasure::kSquared};
  const Weighted<kAffineWide> blocks(batch, mean_squares);
  AffineFits<kAffineWide> fits;
  AffineLanes<kAffineWide, kBlock, kSearch.measure> lanes(blocks.x.at, blocks.w.at);
  lanes.Search(kSearch, 0, fits);
  for (std::size_t j = 0; j < batch.count; ++j) {
    std::byte* const out = batch.out + j * BlockBytes(kBits, true);
    const AffineCoding coding = AffineCoding::OfSearch(fits.inverse.at[j], fits.low.at[j]);
    quant::StoreF16(out, fits.scale.at[j]);
    quant::StoreF16(out + 2, -fits.neg_min.at[j]);
    PackCodes<kBits>(
        [&](std::size_t at) { return CodesOf(kSearch.levels, coding, batch.x[j] + at); }, out + 4);
  }
  BadBlocks<kAffineWide> bad{};
  for (std::size_t k = 0; k < kAffineWide; ++k) SetBad(lanes.Bad(k), k, bad);
  return bad;
}

// ---- Types --------------------------------------------------------------------------------------

template <int kBits>
std::uint64_t EncodeType0(const EncodeJob& job, const quant::Codec& codec) {
  constexpr std::size_t kBytes = BlockBytes(kBits, false);
  if (!job.importance) {
    return EncodeRanges<kBlock, kBytes>(job, codec, Prepare<Symmetric<kBits>>,
                                        EncodeSymmetric<kBits>);
  }
  const std::vector<float> mean_squares = MeanSquares(job);
  return EncodeBatches<kBlock, kBytes, 1>(
      job, codec, job.row_length / kBlock,
      [&](const Batch<>& batch) { return EncodeWeightedSymmetric<kBits>(batch, mean_squares); });
}

template <int kBits>
std::uint64_t EncodeType1(const EncodeJob& job, const quant::Codec& codec) {
  constexpr std::size_t kBytes = BlockBytes(kBits, true);
  if (!job.importance) {
    return EncodeRanges<kBlock, kBytes>(job, codec, Prepare<Affine<kBits>>, EncodeAffine<kBits>);
  }
  const std::vector<float> mean_squares = MeanSquares(job);
  return EncodeBatches<kBlock, kBytes, kAffineWide>(
      job, codec, job.row_length / kBlock, [&](const Batch<kAffineWide>& batch) {
        return EncodeWeightedAffine<kBits>(batch, mean_squares);
      });
}

std::uint64_t EncodeQ4_0(const EncodeJob& job) { return EncodeType0<4>(job, quant::kCodecQ4_0); }
std::uint64_t EncodeQ4_1(const EncodeJob& job) { return EncodeType1<4>(job, quant::kCodecQ4_1); }
std::uint64_t EncodeQ5_0(const EncodeJob& job) { return EncodeType0<5>(job, quant::kCodecQ5_0); }
std::uint64_t EncodeQ5_1(const EncodeJob& job) { return EncodeType1<5>(job, quant::kCodecQ5_1); }

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeQ4_0);
HWY_EXPORT(EncodeQ4_1);
HWY_EXPORT(EncodeQ5_0);
HWY_EXPORT(EncodeQ5_1);

std::uint64_t EncodeQ4_0(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ4_0)(job); }
std::uint64_t EncodeQ4_1(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ4_1)(job); }
std::uint64_t EncodeQ5_0(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ5_0)(job); }
std::uint64_t EncodeQ5_1(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeQ5_1)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
