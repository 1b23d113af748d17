#include "runtime/kernels/multiply.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>

#include "formats/quant/codec.h"
#include "runtime/kernels/highway_targets.h"
#include "runtime/kernels/integer_dots.h"
#include "runtime/kernels/mlx_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/multiply.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "runtime/kernels/plain_formats-inl.h"
#include "runtime/kernels/small_blocks-inl.h"
#include "runtime/kernels/super_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::runtime::HWY_NAMESPACE {

// ---- Tiles of plain floats ----------------------------------------------------------------------

// A tile is kTileRows weight rows times up to kTileInputs inputs, with a sum for each pair: as many
// as fit the registers.
constexpr std::size_t kTileRows = 4;
constexpr std::size_t kTileInputs = (kLanes == 16 || HWY_ARCH_ARM) ? 6 : 2;

constexpr std::size_t kChains = 4;  // sums that are added to in turn, against their latency

HWY_INLINE float SumOfChains(const Floats (&sums)[kChains]) {
  return Sum(hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3])));
}

// Sums over the columns that fill no vector.
template <class Plain>
float TailSum(const std::byte* row, const float* input, std::size_t begin, std::size_t end) {
  float sum = 0;
  for (std::size_t k = begin; k < end; ++k) {
    sum += Plain::LoadOne(row + k * Plain::kBytes) * input[k];
  }
  return sum;
}

template <class Plain, std::size_t kRows, std::size_t kInputs>
HWY_INLINE void Tile(const Matrix& m, std::size_t first_row, const float* const* inputs, float* out,
                     std::size_t out_stride) {
  const std::byte* const rows = m.data + first_row * m.row_bytes;
  const std::size_t whole = m.columns / kLanes * kLanes;
  Floats sums[kInputs][kRows];
  for (auto& row : sums) {
    for (Floats& sum : row) sum = hn::Zero(F32());
  }
  for (std::size_t k = 0; k < whole; k += kLanes) {
    Floats weights[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      weights[r] = Plain::Load(rows + r * m.row_bytes + k * Plain::kBytes);
    }
    for (std::size_t i = 0; i < kInputs; ++i) {
      const Floats input = hn::LoadU(F32(), inputs[i] + k);
      for (std::size_t r = 0; r < kRows; ++r) {
        sums[i][r] = hn::MulAdd(weights[r], input, sums[i][r]);
      }
    }
  }
  for (std::size_t i = 0; i < kInputs; ++i) {
    for (std::size_t r = 0; r < kRows; ++r) {
      float sum = Sum(sums[i][r]);
      if (whole < m.columns) {
        sum += TailSum<Plain>(rows + r * m.row_bytes, inputs[i], whole, m.columns);
      }
      out[i * out_stride + first_row + r] = sum;
    }
  }
}

template <class Plain, std::size_t kInputs>
void TilesOf(const Matrix& m, const float* const* inputs, float* out, std::size_t out_stride) {
  std::size_t row = 0;
  for (; row + kTileRows <= m.rows; row += kTileRows) {
    Tile<Plain, kTileRows, kInputs>(m, row, inputs, out, out_stride);
  }
  for (; row < m.rows; ++row) Tile<Plain, 1, kInputs>(m, row, inputs, out, out_stride);
}

// Every row times one input, in the order in which the rows lie in memory: that is how memory gives
// them fastest. The CPU prefetches them well enough: doing more here costs.
template <class Plain>
void PlainDots(const Matrix& m, const float* input, float* out) {
  constexpr std::size_t kStep = kChains * kLanes;
  const std::size_t whole = m.columns / kLanes * kLanes;
  for (std::size_t r = 0; r < m.rows; ++r) {
    const std::byte* const row = m.data + r * m.row_bytes;
    Floats sums[kChains];
    for (Floats& sum : sums) sum = hn::Zero(F32());
    std::size_t k = 0;
    for (; k + kStep <= whole; k += kStep) {
      for (std::size_t c = 0; c < kChains; ++c) {
        const std::size_t at = k + c * kLanes;
        const Floats weights = Plain::Load(row + at * Plain::kBytes);
        sums[c] = hn::MulAdd(weights, hn::LoadU(F32(), input + at), sums[c]);
      }
    }
    for (; k < whole; k += kLanes) {
      const Floats weights = Plain::Load(row + k * Plain::kBytes);
      sums[0] = hn::MulAdd(weights, hn::LoadU(F32(), input + k), sums[0]);
    }
    out[r] = SumOfChains(sums);
    if (whole < m.columns) out[r] += TailSum<Plain>(row, input, whole, m.columns);
  }
}

// Two sums for pairs of BF16 elements, which become floats where they are.
struct PairSums {
  Floats even;
  Floats odd;

  HWY_INLINE PairSums() : even(hn::Zero(F32())), odd(hn::Zero(F32())) {}

  // `split`: the inputs of the even elements, then of the odd ones.
  HWY_INLINE void Add(const std::byte* pairs, const float* split) {
    const auto bits = LoadBytes(U32(), pairs);
    const auto upper = hn::And(bits, hn::Set(U32(), 0xFFFF'0000U));
    const Floats low = hn::BitCast(F32(), hn::ShiftLeft<16>(bits));
    even = hn::MulAdd(low, hn::LoadU(F32(), split), even);
    odd = hn::MulAdd(hn::BitCast(F32(), upper), hn::LoadU(F32(), split + kLanes), odd);
  }
  HWY_INLINE Floats Both() const { return hn::Add(even, odd); }
};

// PlainDots for BF16 with fewer instructions for each byte: the CPU sees further ahead in memory.
// `split`: memory for a row of floats.
void Bf16Dots(const Matrix& m, const float* input, float* split, float* out) {
  constexpr std::size_t kPair = 2 * kLanes;
  constexpr std::size_t kStep = kChains * kPair;
  const std::size_t whole = m.columns / kPair * kPair;
  for (std::size_t k = 0; k < whole; k += kPair) {
    Floats even, odd;
    hn::LoadInterleaved2(F32(), input + k, even, odd);
    hn::StoreU(even, F32(), split + k);
    hn::StoreU(odd, F32(), split + k + kLanes);
  }
  for (std::size_t r = 0; r < m.rows; ++r) {
    const std::byte* const row = m.data + r * m.row_bytes;
    PairSums sums[kChains];
    std::size_t k = 0;
    for (; k + kStep <= whole; k += kStep) {
      for (std::size_t c = 0; c < kChains; ++c) {
        const std::size_t at = k + c * kPair;
        sums[c].Add(row + at * PlainBf16::kBytes, split + at);
      }
    }
    for (; k < whole; k += kPair) sums[0].Add(row + k * PlainBf16::kBytes, split + k);
    const Floats of_chains[kChains] = {sums[0].Both(), sums[1].Both(), sums[2].Both(),
                                       sums[3].Both()};
    out[r] = SumOfChains(of_chains);
    if (whole < m.columns) out[r] += TailSum<PlainBf16>(row, input, whole, m.columns);
  }
}

// All rows times `count` inputs.
template <class Plain>
void Tiles(const Matrix& m, const float* const* inputs, std::size_t count, float* out,
           std::size_t out_stride) {
  if (count == 1) return PlainDots<Plain>(m, inputs[0], out);
  for (; count >= kTileInputs; count -= kTileInputs, inputs += kTileInputs) {
    TilesOf<Plain, kTileInputs>(m, inputs, out, out_stride);
    out += kTileInputs * out_stride;
  }
  [&]<std::size_t... kFewer>(std::index_sequence<kFewer...>) {
    (void)((count == kFewer + 1 &&
            (TilesOf<Plain, kFewer + 1>(m, inputs, out, out_stride), true)) ||
           ...);
  }
  (std::make_index_sequence<kTileInputs - 1>());
}

void PlainTiles(const Matrix& m, const float* const* inputs, std::size_t count, float* out,
                std::size_t out_stride) {
  WithPlainFormat(m.type, [&]<class Plain>() { Tiles<Plain>(m, inputs, count, out, out_stride); });
}

// ---- Block formats ------------------------------------------------------------------------------

// Calls `visit` with the element offset of each vector of a block, as a compile-time constant.
template <class Format, class Visit>
HWY_INLINE void ForEachVector(const Visit& visit) {
  [&]<std::size_t... kVector>(std::index_sequence<kVector...>) HWY_ATTR {
    (visit(std::integral_constant<std::size_t, kVector * kLanes>()), ...);
  }
  (std::make_index_sequence<Format::kElements / kLanes>());
}

// Adds the products of one block to `sums`, one of which is the block's turn.
template <class Format>
HWY_INLINE void AddBlock(const std::byte* block, const float* input, std::size_t turn,
                         Floats (&sums)[kChains]) {
  const Format decoder(block);
  if constexpr (requires { decoder.scale(); }) {  // one scale: for the sum, not each element
    Floats sum = hn::Zero(F32());
    ForEachVector<Format>([&](auto at) HWY_ATTR {
      constexpr std::size_t kAt = decltype(at)::value;
      sum = hn::MulAdd(decoder.template Code<kAt>(), hn::LoadU(F32(), input + kAt), sum);
    });
    sums[turn] = hn::MulAdd(sum, decoder.scale(), sums[turn]);
  } else {
    ForEachVector<Format>([&](auto at) HWY_ATTR {
      constexpr std::size_t kAt = decltype(at)::value;
      Floats& sum = sums[kAt / kLanes % kChains];
      sum = hn::MulAdd(decoder.template Get<kAt>(), hn::LoadU(F32(), input + kAt), sum);
    });
  }
}

constexpr std::size_t kPrefetchBytes = 2048;  // measured; half and twice as much are worse
constexpr std::size_t kCacheLine = 64;

// Every row times one input, in the order in which the rows lie in memory.
template <class Format>
void Dots(const Matrix& m, const float* input, float* out) {
  constexpr std::size_t kStep = Format::kElements == 32 ? 2 : 1;  // small blocks take turns
  const std::size_t blocks = m.columns / Format::kElements;
  const std::size_t even = blocks / kStep * kStep;
  for (std::size_t r = 0; r < m.rows; ++r) {
    const std::byte* block = m.data + r * m.row_bytes;
    const float* part = input;
    Floats sums[kChains];
    for (Floats& sum : sums) sum = hn::Zero(F32());
    for (std::size_t i = 0; i < even; i += kStep) {
      // There is too much to do here to wait for memory at the start of each page.
      for (std::size_t line = 0; line < kStep * Format::kBytes; line += kCacheLine) {
        hwy::Prefetch(block + kPrefetchBytes + line);
      }
      for (std::size_t turn = 0; turn < kStep; ++turn) {
        AddBlock<Format>(block, part, turn, sums);
        block += Format::kBytes;
        part += Format::kElements;
      }
    }
    if (even < blocks) AddBlock<Format>(block, part, 0, sums);
    out[r] = SumOfChains(sums);
  }
}

template <class Format>
void Decode(const std::byte* block, std::size_t columns, float* out) {
  for (std::size_t k = 0; k < columns; k += Format::kElements, block += Format::kBytes) {
    const Format decoder(block);
    ForEachVector<Format>([&](auto at) HWY_ATTR {
      constexpr std::size_t kAt = decltype(at)::value;
      hn::StoreU(decoder.template Get<kAt>(), F32(), out + k + kAt);
    });
  }
}

// Calls `visit` with the decoder of a type; false when it has none here.
#if HWY_TARGET == HWY_SCALAR
template <class Visit>
bool WithFormat(gguf::TensorType, const Visit&) {
  return false;
}
#else
template <class Visit>
bool WithFormat(gguf::TensorType type, const Visit& visit) {
  using enum gguf::TensorType;
  switch (type) {
    case kQ8_0:
      return visit.template operator()<Q8_0>();
    case kQ4_0:
      return visit.template operator()<Q4_0>();
    case kQ4_1:
      return visit.template operator()<Q4_1>();
    case kQ5_0:
      return visit.template operator()<Q5_0>();
    case kQ5_1:
      return visit.template operator()<Q5_1>();
    case kIQ4_NL:
      return visit.template operator()<IQ4_NL>();
    case kMXFP4:
      return visit.template operator()<MXFP4>();
    case kNVFP4:
      return visit.template operator()<NVFP4>();
    case kIQ4_XS:
      return visit.template operator()<IQ4_XS>();
    case kQ4_K:
      return visit.template operator()<Q4_K>();
    case kQ5_K:
      return visit.template operator()<Q5_K>();
    case kQ6_K:
      return visit.template operator()<Q6_K>();
    default:
      return false;
  }
}
#endif

// False when the type has no kernel of its own.
bool BlockDots(const Matrix& m, const float* input, float* out) {
  return WithFormat(m.type, [&]<class Format>() {
    Dots<Format>(m, input, out);
    return true;
  });
}

bool BlockDecode(const Matrix& m, float* out) {
  return WithFormat(m.type, [&]<class Format>() {
    for (std::size_t r = 0; r < m.rows; ++r) {
      Decode<Format>(m.data + r * m.row_bytes, m.columns, out + r * m.columns);
    }
    return true;
  });
}

// Whether the target has the vectors that IntegerDots needs. (The tests choose narrower ones.)
bool IsWide() { return HWY_TARGET == HWY_AVX3; }

}  // namespace sluice::runtime::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::runtime {
namespace {

HWY_EXPORT(PlainTiles);
HWY_EXPORT(Bf16Dots);
HWY_EXPORT(BlockDots);
HWY_EXPORT(BlockDecode);
HWY_EXPORT(IsWide);

// What one call of the tile kernel works on should stay in the second-level cache: some weight rows
// and the inputs they are multiplied with.
constexpr std::size_t kInputBytes = std::size_t{384} << 10;
constexpr std::size_t kRowsBytes = std::size_t{256} << 10;
constexpr std::size_t kMaxInputs = 64;

Matrix RowsOf(const Matrix& m, RowRange rows) {
  Matrix part = m;
  part.data += rows.begin * m.row_bytes;
  part.rows = rows.size();
  return part;
}

// How many rows of floats fit `bytes`.
std::size_t RowsThatFit(std::size_t bytes, std::size_t columns) {
  return std::max<std::size_t>(1, bytes / (columns * sizeof(float)));
}

// Plain weights times all inputs, some inputs at a time.
void MultiplyPlain(const Matrix& m, const FloatRows& inputs, float* out, std::size_t out_stride) {
  const std::size_t step = std::min(kMaxInputs, RowsThatFit(kInputBytes, m.columns));
  std::array<const float*, kMaxInputs> pointers;
  for (std::size_t first = 0; first < inputs.count; first += step) {
    const std::size_t count = std::min(step, inputs.count - first);
    for (std::size_t i = 0; i < count; ++i) pointers[i] = inputs[first + i];
    HWY_DYNAMIC_DISPATCH(PlainTiles)
    (m, pointers.data(), count, out + first * out_stride, out_stride);
  }
}

void DecodeAll(const Matrix& m, float* out) {
  if (m.mlx != nullptr) return DecodeMlx(m, out);
  if (HWY_DYNAMIC_DISPATCH(BlockDecode)(m, out)) return;
  const quant::Codec& codec = *quant::FindCodec(m.type);
  for (std::size_t r = 0; r < m.rows; ++r) {
    codec.decode(m.data + r * m.row_bytes, {out + r * m.columns, m.columns});
  }
}

}  // namespace

bool CanMultiply(gguf::TensorType type) { return quant::FindCodec(type) != nullptr; }

bool CanMultiply(const Matrix& matrix) { return matrix.mlx != nullptr || CanMultiply(matrix.type); }

void Multiply(const Matrix& weights, RowRange rows, const FloatRows& inputs, float* out,
              std::size_t out_stride, Buffer& panel) {
  if (weights.mlx != nullptr && inputs.count == 1) {
    return DotsMlx(RowsOf(weights, rows), inputs[0], out, panel);
  }
  if (weights.type == gguf::TensorType::kBF16 && inputs.count == 1) {
    const auto split = panel.Reserve(weights.columns * sizeof(float));
    return HWY_DYNAMIC_DISPATCH(Bf16Dots)(RowsOf(weights, rows), inputs[0],
                                          reinterpret_cast<float*>(split.data()), out);
  }
  const bool plain = IsPlain(weights.type);
  if (!plain && inputs.count == 1) {
    const Matrix part = RowsOf(weights, rows);
    if (HWY_DYNAMIC_DISPATCH(IsWide)() && IntegerDots(part, inputs[0], out, panel)) return;
    if (HWY_DYNAMIC_DISPATCH(BlockDots)(part, inputs[0], out)) return;
  }
  // At least the rows of a tile, whatever their length.
  const std::size_t step = std::max<std::size_t>(4, RowsThatFit(kRowsBytes, weights.columns));
  for (std::uint64_t begin = rows.begin; begin < rows.end; begin += step) {
    Matrix part = RowsOf(weights, {begin, std::min<std::uint64_t>(begin + step, rows.end)});
    if (!plain) {
      const auto decoded = panel.Reserve(part.rows * part.columns * sizeof(float));
      DecodeAll(part, reinterpret_cast<float*>(decoded.data()));
      part.type = gguf::TensorType::kF32;
      part.data = decoded.data();
      part.row_bytes = part.columns * sizeof(float);
    }
    MultiplyPlain(part, inputs, out + (begin - rows.begin), out_stride);
  }
}

void DecodeRows(const Matrix& weights, RowRange rows, float* out) {
  DecodeAll(RowsOf(weights, rows), out);
}

}  // namespace sluice::runtime
#endif  // HWY_ONCE
