// Shapes of tensors for people.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace sluice {

// "[2, 3]": the extents in the given order.
[[nodiscard]] inline std::string ShapeText(std::span<const std::uint64_t> shape) {
  std::string text = "[";
  for (const std::uint64_t extent : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(extent);
  }
  return text + "]";
}

}  // namespace sluice
