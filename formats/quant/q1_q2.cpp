// Q1_0 and Q2_0: one or two bits an element and one scale.
//
//   Q1_0 (18 bytes)  128 elements  d:f16  q[16]     x = bit ? d : -d
//   Q2_0 (18 bytes)   64 elements  d:f16  q[16]     x = d * (c - 1)
//
// Element j is bit j % 8 of byte j / 8, or bits 2 (j % 4) of byte j / 4.
#include <algorithm>
#include <cmath>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kBlockBytes = 18;
constexpr std::size_t kCodeBytes = 16;
constexpr std::size_t kQ1Block = 128;
constexpr std::size_t kQ2Block = 64;

std::uint64_t EncodeQ1(std::span<const float> row, std::span<const float>, bool, std::byte* out) {
  for (std::size_t at = 0; at < row.size(); at += kQ1Block, out += kBlockBytes) {
    const auto x = row.subspan(at, kQ1Block);
    float sum = 0;
    for (const float value : x) sum += std::abs(value);
    StoreF16(out, sum / static_cast<float>(kQ1Block));
    std::fill_n(out + 2, kCodeBytes, std::byte{0});
    for (std::size_t j = 0; j < kQ1Block; ++j) {
      if (x[j] >= 0) out[2 + j / 8] |= static_cast<std::byte>(1U << (j % 8));
    }
  }
  return 0;
}

void DecodeQ1(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kQ1Block, in += kBlockBytes) {
    const float scale = LoadF16(in);
    for (std::size_t j = 0; j < kQ1Block; ++j) {
      const bool positive = (Byte(in[2 + j / 8]) >> (j % 8) & 1) != 0;
      out[at + j] = positive ? scale : -scale;
    }
  }
}

std::uint64_t EncodeQ2(std::span<const float> row, std::span<const float>, bool, std::byte* out) {
  for (std::size_t at = 0; at < row.size(); at += kQ2Block, out += kBlockBytes) {
    const auto x = row.subspan(at, kQ2Block);
    const float scale = MaxMagnitude(x);
    const float inverse = scale > 0 ? 1 / scale : 0;
    StoreF16(out, scale);
    std::fill_n(out + 2, kCodeBytes, std::byte{0});
    for (std::size_t j = 0; j < kQ2Block; ++j) {
      const std::int32_t rounded = TruncateToInt(std::round(x[j] * inverse));
      const int code = std::clamp(rounded + 1, 0, 3);
      out[2 + j / 4] |= static_cast<std::byte>(code << (2 * (j % 4)));
    }
  }
  return 0;
}

void DecodeQ2(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kQ2Block, in += kBlockBytes) {
    const float scale = LoadF16(in);
    for (std::size_t j = 0; j < kQ2Block; ++j) {
      const int code = static_cast<int>(Byte(in[2 + j / 4]) >> (2 * (j % 4)) & 3);
      out[at + j] = static_cast<float>(code - 1) * scale;
    }
  }
}

}  // namespace

const Codec kCodecQ1_0{gguf::TensorType::kQ1_0, Importance::kIgnored, EncodeQ1, DecodeQ1};
const Codec kCodecQ2_0{gguf::TensorType::kQ2_0, Importance::kIgnored, EncodeQ2, DecodeQ2};

}  // namespace sluice::quant
