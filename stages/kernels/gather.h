// Copies the elements of a strided box into a contiguous buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "stages/view.h"

namespace sluice::kernels {

// Writes the box's elements in order to `out`. `source` is the address of source element
// `box.source`; elements are `element_bytes` wide (1, 2, 4 or 8) at any alignment.
// REQUIRES: out.size() == box.elements * element_bytes.
void GatherBox(const Box& box, std::size_t element_bytes, const std::byte* source,
               std::span<std::byte> out);

}  // namespace sluice::kernels
