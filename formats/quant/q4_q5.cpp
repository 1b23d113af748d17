// Q4_0, Q4_1, Q5_0, Q5_1: 32 elements with one scale, and for the _1 types a minimum.
//
//   Q4_0 (18 bytes)  d:f16               q[16]     x = d * (q - 8)
//   Q4_1 (20 bytes)  d:f16 m:f16         q[16]     x = d * q + m
//   Q5_0 (22 bytes)  d:f16       h:u32   q[16]     x = d * (q - 16)
//   Q5_1 (24 bytes)  d:f16 m:f16 h:u32   q[16]     x = d * q + m
//
// Byte j of q holds the low four bits of element j (low nibble) and of element j + 16 (high
// nibble); bit j of h is bit 4 of element j.
#include <algorithm>
#include <array>
#include <limits>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kHalfBlock = kBlock / 2;

using Codes = std::array<std::uint8_t, kBlock>;

// Writes the codes behind the scale fields. `bits` is 4 or 5.
void PackCodes(int bits, const Codes& codes, std::byte* out) {
  if (bits == 5) {
    std::uint32_t high = 0;
    for (std::size_t j = 0; j < kBlock; ++j) {
      high |= static_cast<std::uint32_t>((codes[j] >> 4) & 1) << j;
    }
    Store(out, high);
    out += sizeof high;
  }
  for (std::size_t j = 0; j < kHalfBlock; ++j) {
    out[j] = static_cast<std::byte>((codes[j] & 15) | (codes[j + kHalfBlock] & 15) << 4);
  }
}

Codes UnpackCodes(int bits, const std::byte* in) {
  std::uint32_t high = 0;
  if (bits == 5) {
    high = Load<std::uint32_t>(in);
    in += sizeof high;
  }
  Codes codes;
  for (std::size_t j = 0; j < kHalfBlock; ++j) {
    codes[j] = static_cast<std::uint8_t>((Byte(in[j]) & 15) | ((high >> j) & 1) << 4);
    codes[j + kHalfBlock] =
        static_cast<std::uint8_t>((Byte(in[j]) >> 4) | ((high >> (j + kHalfBlock)) & 1) << 4);
  }
  return codes;
}

constexpr std::size_t BlockBytes(int bits, bool has_min) {
  return (has_min ? 4 : 2) + (bits == 5 ? 4 : 0) + kHalfBlock;
}

// ---- _0: symmetric -----------------------------------------------------------------------------

template <int kBits>
void EncodeSymmetricBlock(std::span<const float> x, std::span<const float> weights,
                          std::byte* out) {
  constexpr int kZero = 1 << (kBits - 1);
  Codes codes;
  if (!weights.empty()) {
    StoreF16(out, SearchSymmetric(kZero, x, weights, codes));
  } else {
    const float scale = LargestMagnitude(x) / static_cast<float>(-kZero);
    const float inverse = Reciprocal(scale);
    StoreF16(out, scale);
    for (std::size_t j = 0; j < kBlock; ++j) {
      const float shifted = x[j] * inverse + (static_cast<float>(kZero) + 0.5F);
      const int code = LowInt8(TruncateToInt(shifted));
      codes[j] = static_cast<std::uint8_t>(std::min(2 * kZero - 1, code));
    }
  }
  PackCodes(kBits, codes, out + 2);
}

template <int kBits>
void DecodeSymmetric(const std::byte* in, std::span<float> out) {
  constexpr int kZero = 1 << (kBits - 1);
  for (std::size_t at = 0; at < out.size(); at += kBlock, in += BlockBytes(kBits, false)) {
    const float scale = LoadF16(in);
    const Codes codes = UnpackCodes(kBits, in + 2);
    for (std::size_t j = 0; j < kBlock; ++j) {
      out[at + j] = static_cast<float>(codes[j] - kZero) * scale;
    }
  }
}

// ---- _1: with a minimum ------------------------------------------------------------------------

constexpr AffineSearch kWeighted4{15, -0.9F, 0.05F, 36, ErrorMeasure::kSquared};
constexpr AffineSearch kWeighted5{31, -0.9F, 0.05F, 36, ErrorMeasure::kSquared};

template <int kBits>
void EncodeAffineBlock(std::span<const float> x, std::span<const float> weights, std::byte* out) {
  Codes codes;
  if (!weights.empty()) {
    const Affine affine = SearchAffine(kBits == 4 ? kWeighted4 : kWeighted5, x, weights, codes);
    StoreF16(out, affine.scale);
    StoreF16(out + 2, -affine.neg_min);
  } else {
    float low = std::numeric_limits<float>::max();
    float high = std::numeric_limits<float>::lowest();
    for (const float value : x) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const float scale = (high - low) / static_cast<float>((1 << kBits) - 1);
    const float inverse = Reciprocal(scale);
    StoreF16(out, scale);
    StoreF16(out + 2, low);
    for (std::size_t j = 0; j < kBlock; ++j) {
      const std::int32_t code = TruncateToInt((x[j] - low) * inverse + 0.5F);
      codes[j] =
          kBits == 4 ? static_cast<std::uint8_t>(std::min<int>(15, LowInt8(code))) : Low8(code);
    }
  }
  PackCodes(kBits, codes, out + 4);
}

template <int kBits>
void DecodeAffine(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kBlock, in += BlockBytes(kBits, true)) {
    const float scale = LoadF16(in);
    const float minimum = LoadF16(in + 2);
    const Codes codes = UnpackCodes(kBits, in + 4);
    for (std::size_t j = 0; j < kBlock; ++j) {
      out[at + j] = static_cast<float>(codes[j]) * scale + minimum;
    }
  }
}

// ---- Rows --------------------------------------------------------------------------------------

using EncodeBlock = void (*)(std::span<const float>, std::span<const float>, std::byte*);

template <EncodeBlock kEncode, std::size_t kBytes>
std::uint64_t EncodeBlocks(std::span<const float> row, std::span<const float> importance, bool,
                           std::byte* out) {
  // The variance is that of the whole row, unlike in the K types.
  const float sigma2 = importance.empty() ? 0 : SumOfSquares(row) / static_cast<float>(row.size());
  std::array<float, kBlock> weights;
  for (std::size_t at = 0; at < row.size(); at += kBlock, out += kBytes) {
    const auto x = row.subspan(at, kBlock);
    if (importance.empty()) {
      kEncode(x, {}, out);
    } else {
      ImportanceWeights(x, importance.subspan(at, kBlock), sigma2, weights);
      kEncode(x, weights, out);
    }
  }
  return 0;
}

}  // namespace

const Codec kCodecQ4_0{gguf::TensorType::kQ4_0, Importance::kUsed,
                       EncodeBlocks<EncodeSymmetricBlock<4>, BlockBytes(4, false)>,
                       DecodeSymmetric<4>};
const Codec kCodecQ4_1{gguf::TensorType::kQ4_1, Importance::kUsed,
                       EncodeBlocks<EncodeAffineBlock<4>, BlockBytes(4, true)>, DecodeAffine<4>};
const Codec kCodecQ5_0{gguf::TensorType::kQ5_0, Importance::kUsed,
                       EncodeBlocks<EncodeSymmetricBlock<5>, BlockBytes(5, false)>,
                       DecodeSymmetric<5>};
const Codec kCodecQ5_1{gguf::TensorType::kQ5_1, Importance::kUsed,
                       EncodeBlocks<EncodeAffineBlock<5>, BlockBytes(5, true)>, DecodeAffine<5>};

}  // namespace sluice::quant
