#include "formats/quant/scales.h"

#include <array>
#include <cstring>

namespace sluice::quant {
namespace {

using gguf::TensorType;

// Where a block has F16 numbers that every value is computed with.
struct F16Places {
  TensorType type;
  std::array<std::uint8_t, 2> at;  // twice the same for a block with one
};

// The pictures of the blocks stand in the files of their types.
constexpr std::array kF16Places{
    F16Places{TensorType::kQ4_0, {0, 0}},     F16Places{TensorType::kQ4_1, {0, 2}},
    F16Places{TensorType::kQ5_0, {0, 0}},     F16Places{TensorType::kQ5_1, {0, 2}},
    F16Places{TensorType::kQ8_0, {0, 0}},     F16Places{TensorType::kQ2_K, {80, 82}},
    F16Places{TensorType::kQ3_K, {108, 108}}, F16Places{TensorType::kQ4_K, {0, 2}},
    F16Places{TensorType::kQ5_K, {0, 2}},     F16Places{TensorType::kQ6_K, {208, 208}},
    F16Places{TensorType::kIQ4_NL, {0, 0}},   F16Places{TensorType::kIQ4_XS, {0, 0}},
    F16Places{TensorType::kIQ1_S, {0, 0}},    F16Places{TensorType::kIQ2_XXS, {0, 0}},
    F16Places{TensorType::kIQ2_XS, {0, 0}},   F16Places{TensorType::kIQ2_S, {0, 0}},
    F16Places{TensorType::kIQ3_XXS, {0, 0}},  F16Places{TensorType::kIQ3_S, {0, 0}},
    F16Places{TensorType::kTQ1_0, {52, 52}},  F16Places{TensorType::kTQ2_0, {64, 64}},
    F16Places{TensorType::kQ1_0, {0, 0}},     F16Places{TensorType::kQ2_0, {0, 0}},
};

std::uint32_t LoadU16(const std::byte* from) {
  return std::to_integer<std::uint32_t>(from[0]) | std::to_integer<std::uint32_t>(from[1]) << 8;
}

bool IsFiniteF16(std::uint32_t bits) { return (bits & 0x7C00) != 0x7C00; }

// The scale of an IQ1_M block: a nibble at the top of each of its last four words.
std::uint32_t ScaleOfIQ1_M(const std::byte* block) {
  constexpr std::size_t kScalesAt = 48;
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    bits |= LoadU16(block + kScalesAt + 2 * i) >> 12 << (4 * i);
  }
  return bits;
}

template <class IsUsable>
std::optional<std::uint64_t> FindBlock(std::span<const std::byte> blocks, std::size_t block_bytes,
                                       const IsUsable& is_usable) {
  for (std::size_t at = 0; at < blocks.size(); at += block_bytes) {
    if (!is_usable(blocks.data() + at)) return at / block_bytes;
  }
  return std::nullopt;
}

// The first number of 16 bits whose exponent has all bits set.
std::optional<std::uint64_t> FindInfinite(std::uint32_t exponent,
                                          std::span<const std::byte> numbers) {
  std::uint32_t found = 0;  // over all, so that the compiler makes vectors of it
  for (std::size_t at = 0; at < numbers.size(); at += 2) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, numbers.data() + at, sizeof bits);
    found |= (bits & exponent) == exponent ? 1U : 0U;
  }
  if (found == 0) return std::nullopt;
  return FindBlock(numbers, 2, [&](const std::byte* number) {
    return (LoadU16(number) & exponent) != exponent;
  });
}

}  // namespace

std::optional<std::uint64_t> FindUnusableBlock(TensorType type, std::span<const std::byte> blocks) {
  const std::size_t bytes = gguf::InfoOf(type).block_bytes;
  if (type == TensorType::kF16 || type == TensorType::kBF16) {
    return FindInfinite(type == TensorType::kF16 ? 0x7C00 : 0x7F80, blocks);
  }
  if (type == TensorType::kIQ1_M) {
    return FindBlock(blocks, bytes,
                     [](const std::byte* block) { return IsFiniteF16(ScaleOfIQ1_M(block)); });
  }
  if (type == TensorType::kMXFP4) {
    return FindBlock(blocks, bytes,
                     [](const std::byte* block) { return *block != std::byte{255}; });
  }
  for (const F16Places& places : kF16Places) {
    if (places.type != type) continue;
    return FindBlock(blocks, bytes, [&](const std::byte* block) {
      return IsFiniteF16(LoadU16(block + places.at[0])) &&
             IsFiniteF16(LoadU16(block + places.at[1]));
    });
  }
  return std::nullopt;
}

}  // namespace sluice::quant
