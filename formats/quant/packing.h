// Bit layouts that several 256-element types share.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/quant/arithmetic.h"
#include "formats/quant/search.h"

namespace sluice::quant {

inline constexpr std::size_t kSuperBlock = 256;

// Calls `encode(x, importance)` for each 256 elements of a row; importance stays empty if it is.
template <class Encode>
void ForEachSuperBlock(std::span<const float> row, std::span<const float> importance,
                       const Encode& encode) {
  for (std::size_t at = 0; at < row.size(); at += kSuperBlock) {
    encode(row.subspan(at, kSuperBlock), PartOf(importance, at, kSuperBlock));
  }
}

// The low two bits of 256 codes in 64 bytes: see q2_k.cpp for the order.
void PackTwoBits(std::span<const std::uint8_t> codes, std::byte* out);
void UnpackTwoBits(const std::byte* in, std::span<std::uint8_t> codes);

// Eight 6-bit scales and eight 6-bit minima in 12 bytes: bytes 0-3 the low scales, 4-7 the low
// minima, 8-11 the low nibbles of the others, whose top two bits lie on top of bytes 0-7.
struct SixBitPairs {
  std::array<std::uint8_t, 8> scales;
  std::array<std::uint8_t, 8> mins;
};
void PackSixBitPairs(const SixBitPairs& pairs, std::byte* out);
SixBitPairs UnpackSixBitPairs(const std::byte* in);

}  // namespace sluice::quant
