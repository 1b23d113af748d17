// One pass through the layers: which tokens of which sequences, and whose output is wanted.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/kernels/matrix.h"
#include "runtime/model/kv_cache.h"

namespace sluice::runtime {

// The new tokens of one sequence: rows [first, first + count) of the pass, at positions from `past`
// on. Their room in the cache is there already.
struct Slice {
  KvCache::Sequence* sequence = nullptr;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::uint32_t past = 0;

  [[nodiscard]] std::uint32_t PositionOf(std::size_t row) const {
    return past + static_cast<std::uint32_t>(row - first);
  }
};

// A batch [B, L] is B slices of L tokens, one after the other; slices may also differ in length.
struct Pass {
  std::vector<Slice> slices;
  std::uint32_t num_rows = 0;
  std::vector<std::uint32_t> slice_of;  // of each row
  std::vector<float> angles;            // [num_rows, dr], see Rope::Angles

  [[nodiscard]] const Slice& SliceOf(std::size_t row) const { return slices[slice_of[row]]; }
  [[nodiscard]] std::span<const float> AnglesOf(std::size_t row) const {
    const std::size_t width = angles.size() / num_rows;
    return {angles.data() + row * width, width};
  }
};

// The rows of a pass whose output a layer computes: of each slice some of its last, maybe none.
struct Queries {
  std::vector<std::uint32_t> rows;  // ascending
  std::vector<RowRange> of_slice;   // in `rows`
};

}  // namespace sluice::runtime
