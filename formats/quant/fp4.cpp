// MXFP4 and NVFP4: 4-bit floats (E2M1) with a scale for each 32 or 16 elements.
//
//   MXFP4 (17 bytes)  32 elements  e:u8  q[16]         x = T[c] * 2^(e - 128)
//   NVFP4 (36 bytes)  64 elements  e:u8[4]  q[32]      x = T[c] * V(e)
//
// T holds twice the E2M1 values, so the scales are halves: e is an exponent (E8M0), V(e) half of an
// unsigned E4M3. Byte j of a group of 16 (NVFP4: 8) holds its elements j and j + 16 (j + 8).
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::array<std::int8_t, 16> kTable{0, 1,  2,  3,  4,  6,  8,  12,
                                             0, -1, -2, -3, -4, -6, -8, -12};

// The code whose value is nearest; of equally near ones the first.
std::uint32_t NearestCode(float x, float scale) {
  std::uint32_t best = 0;
  float least = std::abs(static_cast<float>(kTable[0]) * scale - x);
  for (std::uint32_t code = 1; code < kTable.size(); ++code) {
    const float distance = std::abs(static_cast<float>(kTable[code]) * scale - x);
    if (distance < least) {
      least = distance;
      best = code;
    }
  }
  return best;
}

void PackGroup(std::span<const float> x, float scale, std::byte* out) {
  const std::size_t half = x.size() / 2;
  for (std::size_t j = 0; j < half; ++j) {
    out[j] =
        static_cast<std::byte>(NearestCode(x[j], scale) | NearestCode(x[j + half], scale) << 4);
  }
}

void UnpackGroup(const std::byte* in, float scale, std::span<float> out) {
  const std::size_t half = out.size() / 2;
  for (std::size_t j = 0; j < half; ++j) {
    out[j] = static_cast<float>(kTable[Byte(in[j]) & 15]) * scale;
    out[j + half] = static_cast<float>(kTable[Byte(in[j]) >> 4]) * scale;
  }
}

// ---- MXFP4 -------------------------------------------------------------------------------------

constexpr std::size_t kMxBlock = 32;
constexpr std::size_t kMxBytes = 17;

// floor(log2f(a)) as glibc has it, whose log2f gives exactly k for floats just below 2^k: it rounds
// correctly there, and so does this wherever log2 of doubles is any good. `a` is positive and
// finite.
int FloorLog2(float a) {
  return static_cast<int>(std::floor(static_cast<float>(std::log2(static_cast<double>(a)))));
}

// 2^(e - 128); the two smallest are subnormal.
float MxScale(std::uint32_t e) {
  if (e < 2) return std::bit_cast<float>(std::uint32_t{0x0020'0000} << e);
  return std::bit_cast<float>((e - 1) << 23);
}

std::uint64_t EncodeMx(std::span<const float> row, std::span<const float>, bool, std::byte* out) {
  for (std::size_t at = 0; at < row.size(); at += kMxBlock, out += kMxBytes) {
    const auto x = row.subspan(at, kMxBlock);
    const float largest = MaxMagnitude(x);
    const bool finite = largest > 0 && largest <= std::numeric_limits<float>::max();
    const std::uint8_t e = finite ? Low8(FloorLog2(largest) - 2 + 127) : std::uint8_t{0};
    out[0] = static_cast<std::byte>(e);
    PackGroup(x, MxScale(e), out + 1);
  }
  return 0;
}

void DecodeMx(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kMxBlock, in += kMxBytes) {
    UnpackGroup(in + 1, MxScale(Byte(in[0])), out.subspan(at, kMxBlock));
  }
}

// ---- NVFP4 -------------------------------------------------------------------------------------

constexpr std::size_t kNvBlock = 64;
constexpr std::size_t kNvGroup = 16;
constexpr std::size_t kNvGroups = kNvBlock / kNvGroup;
constexpr std::size_t kNvBytes = 36;
constexpr int kE4M3Bias = 7;

float NvScale(std::uint32_t e) {
  if (e == 0 || e == 0x7F) return 0;
  const int exponent = static_cast<int>(e >> 3 & 15);
  const auto mantissa = static_cast<float>(e & 7);
  const float value = exponent == 0 ? std::ldexp(mantissa, -9)
                                    : std::ldexp(1.0F + mantissa / 8.0F, exponent - kE4M3Bias);
  return value * 0.5F;
}

// To unsigned E4M3: half up on the next mantissa bit alone; everything from 256 on becomes 448.
std::uint8_t ToE4M3(float x) {
  constexpr std::uint8_t kLargest = 0x7E;
  if (!(x > 0)) return 0;
  const auto bits = std::bit_cast<std::uint32_t>(std::min(x, 448.0F));
  int exponent = static_cast<int>(bits >> 23 & 0xFF) - 127 + kE4M3Bias;
  std::uint32_t mantissa = bits >> 20 & 7;
  if (exponent <= 0) {
    const std::int32_t man = TruncateToInt(x * 512.0F + 0.5F);
    return man > 7 ? std::uint8_t{7} : man < 1 ? std::uint8_t{0} : static_cast<std::uint8_t>(man);
  }
  if (exponent >= 15) return kLargest;
  mantissa += bits >> 19 & 1;
  if (mantissa > 7) {
    mantissa = 0;
    if (++exponent >= 15) return kLargest;
  }
  return static_cast<std::uint8_t>(static_cast<std::uint32_t>(exponent) << 3 | mantissa);
}

std::uint64_t EncodeNv(std::span<const float> row, std::span<const float>, bool, std::byte* out) {
  for (std::size_t at = 0; at < row.size(); at += kNvBlock, out += kNvBytes) {
    for (std::size_t s = 0; s < kNvGroups; ++s) {
      const auto x = row.subspan(at + s * kNvGroup, kNvGroup);
      const std::uint8_t e = ToE4M3(MaxMagnitude(x) / 6.0F);
      out[s] = static_cast<std::byte>(e);
      PackGroup(x, NvScale(e), out + kNvGroups + s * kNvGroup / 2);
    }
  }
  return 0;
}

void DecodeNv(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kNvBlock, in += kNvBytes) {
    for (std::size_t s = 0; s < kNvGroups; ++s) {
      UnpackGroup(in + kNvGroups + s * kNvGroup / 2, NvScale(Byte(in[s])),
                  out.subspan(at + s * kNvGroup, kNvGroup));
    }
  }
}

}  // namespace

const Codec kCodecMXFP4{gguf::TensorType::kMXFP4, Importance::kIgnored, EncodeMx, DecodeMx};
const Codec kCodecNVFP4{gguf::TensorType::kNVFP4, Importance::kIgnored, EncodeNv, DecodeNv};

}  // namespace sluice::quant
