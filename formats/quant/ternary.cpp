// TQ1_0 and TQ2_0: 256 elements of -1, 0, 1 with one scale.
//
//   TQ1_0 (54 bytes)  q[48]  qh[4]  d:f16     five digits of base 3 a byte
//   TQ2_0 (66 bytes)  q[64]  d:f16            four codes of two bits a byte
//   x = d * (trit - 1)
//
// TQ1_0: byte m of q, m < 32, has elements m + 32k, k = 0 .. 4; byte 32 + m, m < 16, elements 160 +
// m + 16k; qh[j] elements 240 + j + 4k, k = 0 .. 3, and a fifth digit 0. With v the number whose
// most significant base-3 digit is k = 0, the byte is ceil(v * 256 / 243): digit k is then the top
// of (byte * 3^k mod 256) * 3. TQ2_0: bits 2k of byte 32p + m hold element 128p + 32k + m.
#include <array>
#include <cmath>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

// lround and + 1, keeping the low 32 bits: what is not finite gives the middle trit.
std::uint32_t Trit(float value) {
  const std::int32_t rounded = std::isfinite(value) ? TruncateToInt(std::round(value)) : 0;
  return static_cast<std::uint32_t>(rounded + 1);
}

// ---- TQ1_0 -------------------------------------------------------------------------------------

constexpr std::size_t kTq1ScaleAt = 52;
constexpr std::size_t kTq1Bytes = 54;

// A run of bytes whose digit k belongs to element first + byte + k * stride.
struct TritRun {
  std::size_t byte;
  std::size_t bytes;
  std::size_t first;
  std::size_t stride;
  std::size_t digits;
};
constexpr std::array kTritRuns{TritRun{0, 32, 0, 32, 5}, TritRun{32, 16, 160, 16, 5},
                               TritRun{48, 4, 240, 4, 4}};

std::uint64_t EncodeTq1(std::span<const float> row, std::span<const float>, bool, std::byte* out) {
  ForEachSuperBlock(row, {}, [&](auto x, auto) {
    const float scale = MaxMagnitude(x);
    const float inverse = Reciprocal(scale);
    StoreF16(out + kTq1ScaleAt, scale);
    for (const TritRun& run : kTritRuns) {
      for (std::size_t m = 0; m < run.bytes; ++m) {
        std::uint32_t value = 0;
        for (std::size_t k = 0; k < run.digits; ++k) {
          value = (value * 3 + Trit(x[run.first + m + k * run.stride] * inverse)) & 0xFF;
        }
        if (run.digits == 4) value = (value * 3) & 0xFF;
        out[run.byte + m] = static_cast<std::byte>((value * 256 + 242) / 243);
      }
    }
    out += kTq1Bytes;
  });
  return 0;
}

void DecodeTq1(const std::byte* in, std::span<float> out) {
  constexpr std::array<std::uint32_t, 5> kPowers{1, 3, 9, 27, 81};
  for (std::size_t at = 0; at < out.size(); at += kSuperBlock, in += kTq1Bytes) {
    const float scale = LoadF16(in + kTq1ScaleAt);
    for (const TritRun& run : kTritRuns) {
      for (std::size_t m = 0; m < run.bytes; ++m) {
        for (std::size_t k = 0; k < run.digits; ++k) {
          const std::uint32_t shifted = (Byte(in[run.byte + m]) * kPowers[k]) & 0xFF;
          const int trit = static_cast<int>(shifted * 3 >> 8);
          out[at + run.first + m + k * run.stride] = static_cast<float>(trit - 1) * scale;
        }
      }
    }
  }
}

// ---- TQ2_0 -------------------------------------------------------------------------------------

constexpr std::size_t kTq2ScaleAt = 64;
constexpr std::size_t kTq2Bytes = 66;

std::uint64_t EncodeTq2(std::span<const float> row, std::span<const float>, bool, std::byte* out) {
  std::array<std::uint8_t, kSuperBlock> codes;
  ForEachSuperBlock(row, {}, [&](auto x, auto) {
    const float scale = MaxMagnitude(x);
    const float inverse = Reciprocal(scale);
    StoreF16(out + kTq2ScaleAt, scale);
    for (std::size_t i = 0; i < kSuperBlock; ++i) {
      codes[i] = static_cast<std::uint8_t>(Trit(x[i] * inverse) & 3);
    }
    PackTwoBits(codes, out);
    out += kTq2Bytes;
  });
  return 0;
}

void DecodeTq2(const std::byte* in, std::span<float> out) {
  std::array<std::uint8_t, kSuperBlock> codes;
  for (std::size_t at = 0; at < out.size(); at += kSuperBlock, in += kTq2Bytes) {
    const float scale = LoadF16(in + kTq2ScaleAt);
    UnpackTwoBits(in, codes);
    for (std::size_t i = 0; i < kSuperBlock; ++i) {
      out[at + i] = static_cast<float>(codes[i] - 1) * scale;
    }
  }
}

}  // namespace

const Codec kCodecTQ1_0{gguf::TensorType::kTQ1_0, Importance::kIgnored, EncodeTq1, DecodeTq1};
const Codec kCodecTQ2_0{gguf::TensorType::kTQ2_0, Importance::kIgnored, EncodeTq2, DecodeTq2};

}  // namespace sluice::quant
