#include "formats/quant/packing.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kHalf = kSuperBlock / 2;
constexpr std::size_t kLane = 32;

}  // namespace

void PackTwoBits(std::span<const std::uint8_t> codes, std::byte* out) {
  for (std::size_t half = 0; half < 2; ++half) {
    for (std::size_t l = 0; l < kLane; ++l) {
      const std::uint8_t* const c = codes.data() + half * kHalf + l;
      out[half * kLane + l] = static_cast<std::byte>(
          (c[0] & 3) | (c[kLane] & 3) << 2 | (c[2 * kLane] & 3) << 4 | (c[3 * kLane] & 3) << 6);
    }
  }
}

void UnpackTwoBits(const std::byte* in, std::span<std::uint8_t> codes) {
  for (std::size_t i = 0; i < kSuperBlock; ++i) {
    const std::size_t half = i / kHalf;
    const std::size_t shift = 2 * (i % kHalf / kLane);
    codes[i] = static_cast<std::uint8_t>((Byte(in[half * kLane + i % kLane]) >> shift) & 3);
  }
}

void PackSixBitPairs(const SixBitPairs& pairs, std::byte* out) {
  for (std::size_t j = 0; j < 4; ++j) {
    const std::uint32_t scale = pairs.scales[j + 4];
    const std::uint32_t minimum = pairs.mins[j + 4];
    out[j] = static_cast<std::byte>(Low8(static_cast<int>(pairs.scales[j] | (scale >> 4) << 6)));
    out[j + 4] =
        static_cast<std::byte>(Low8(static_cast<int>(pairs.mins[j] | (minimum >> 4) << 6)));
    out[j + 8] = static_cast<std::byte>((scale & 15) | (minimum & 15) << 4);
  }
}

SixBitPairs UnpackSixBitPairs(const std::byte* in) {
  SixBitPairs pairs;
  for (std::size_t j = 0; j < 4; ++j) {
    pairs.scales[j] = static_cast<std::uint8_t>(Byte(in[j]) & 63);
    pairs.mins[j] = static_cast<std::uint8_t>(Byte(in[j + 4]) & 63);
    pairs.scales[j + 4] =
        static_cast<std::uint8_t>((Byte(in[j + 8]) & 15) | (Byte(in[j]) >> 6) << 4);
    pairs.mins[j + 4] =
        static_cast<std::uint8_t>((Byte(in[j + 8]) >> 4) | (Byte(in[j + 4]) >> 6) << 4);
  }
  return pairs;
}

}  // namespace sluice::quant
