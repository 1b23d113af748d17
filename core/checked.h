// Overflow-checked arithmetic for counts, sizes and offsets that come from files.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace sluice {

[[nodiscard]] inline std::optional<std::uint64_t> CheckedMul(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

[[nodiscard]] inline std::optional<std::uint64_t> CheckedAdd(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

// The number of elements of a shape; 1 for rank 0. nullopt when the product overflows.
[[nodiscard]] inline std::optional<std::uint64_t> CheckedProduct(
    std::span<const std::uint64_t> shape) {
  std::uint64_t product = 1;
  for (const std::uint64_t extent : shape) {
    if (__builtin_mul_overflow(product, extent, &product)) return std::nullopt;
  }
  return product;
}

// `value` rounded up to a multiple of `alignment`. REQUIRES: alignment > 0, no overflow.
[[nodiscard]] constexpr std::uint64_t RoundUp(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

}  // namespace sluice
