// The unit of work: a range of elements of one output tensor on its way through the stages.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

#include "core/buffer.h"
#include "stages/source_set.h"
#include "stages/tensor_expr.h"

namespace sluice {

// The memory of one slab in flight: one block, from which the stages take their buffers. Owned by a
// token of the pipeline's budget and reused from slab to slab; a slab keeps spans into it until the
// sink has written them.
class SlabBuffers {
 public:
  // Makes room for a slab's `bytes`; what was taken before becomes invalid.
  void Start(std::uint64_t bytes) { free_ = memory_.Reserve(bytes + kMaxTakes * kAlignment); }
  // Aligned for the widest vector. Throws when a stage takes more than was announced, a bug.
  std::span<std::byte> Take(std::uint64_t bytes) {
    if (bytes > free_.size()) throw std::logic_error("a stage takes more memory than announced");
    const std::span<std::byte> taken = free_.first(bytes);
    free_ = free_.subspan(std::min<std::uint64_t>(RoundUp(bytes, kAlignment), free_.size()));
    return taken;
  }

 private:
  static constexpr std::uint64_t kAlignment = 64;
  static constexpr std::uint64_t kMaxTakes = 4;

  Buffer memory_;
  std::span<std::byte> free_;
};

// A box of a segment whose first element is at `source`.
struct PlacedBox {
  Box box;
  const std::byte* source = nullptr;
};

// The part of a slab that comes from one segment.
struct Piece {
  const Segment* segment = nullptr;
  std::uint64_t elements = 0;
  std::vector<PlacedBox> boxes;    // filled by Read
  std::span<const std::byte> raw;  // source elements in target order, once they are contiguous
};

// Source bytes that no later slab of the tensor needs.
struct ReleaseRange {
  std::uint32_t shard = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

// What a slab becomes in one output.
struct SlabTarget {
  std::size_t output = 0;  // index of the output file
  std::size_t tensor = 0;  // index of the tensor in it
  const TensorExpr* expr = nullptr;
  std::uint64_t padding = 0;  // zero bytes after the slab's own

  std::vector<std::span<const std::byte>> payload;  // target bytes in order, filled by Encode
  std::uint64_t overflowed = 0;                     // finite values that became infinite
  std::uint64_t zeroed = 0;                         // values that were not finite and became zero
  std::uint64_t corrected = 0;  // blocks that differ from the reference's defective ones
};

// The first target stands in the slab itself.
struct Slab : SlabTarget {
  std::vector<SlabTarget> twins;  // the same elements in further outputs

  std::uint64_t index = 0;  // in the order in which the first output's tensors stand
  std::uint64_t first = 0;  // target elements [first, first + count)
  std::uint64_t count = 0;
  std::uint64_t buffer_bytes = 0;  // SlabBytes() of it
  SlabBuffers* buffers = nullptr;

  std::vector<Piece> pieces;
  std::vector<ReleaseRange> behind;
  std::uint64_t source_bytes = 0;    // of the elements, however many outputs take them
  std::uint64_t decoded_values = 0;  // likewise

  // All targets, the first one included.
  [[nodiscard]] std::vector<SlabTarget*> Targets() {
    std::vector<SlabTarget*> targets{this};
    for (SlabTarget& twin : twins) targets.push_back(&twin);
    return targets;
  }
};

// Index of the segment that holds a target element. REQUIRES: element < expr.elements.
[[nodiscard]] std::size_t SegmentAt(const TensorExpr& expr, std::uint64_t element);
// Whether the elements are put into the slab's buffers when they are read.
[[nodiscard]] bool IsStaged(const SourceSet& sources, const Segment& segment);
// Whether the elements are in the target's encoding already.
[[nodiscard]] bool Passes(const TensorExpr& expr, const Segment& segment);

// How a slab of expressions with one source uses memory.
struct SlabCost {
  std::uint64_t staging_bytes = 0;   // for one target element
  std::uint64_t gathered_bytes = 0;  // for one target element
  bool encodes = false;              // whether target bytes are made in a buffer
  // Whatever the number of elements: of the encoders, and of the reader besides SlabBuffers.
  std::uint64_t scratch_bytes = 0;
  std::uint64_t reader_bytes = 0;

  [[nodiscard]] std::uint64_t fixed_bytes() const { return scratch_bytes + reader_bytes; }
};
[[nodiscard]] SlabCost CostOf(const ExprGroup& group, const SourceSet& sources);
// Bytes that `count` elements need.
[[nodiscard]] std::uint64_t SlabBytes(const ExprGroup& group, const SlabCost& cost,
                                      std::uint64_t count);

// Elements of the next slab of `group` from element `first` on: whole rows where one fits
// `max_bytes`, and always where they are quantized; otherwise at most `max_bytes`; no more than one
// segment unless the segment is small.
// REQUIRES: one block of each target type fits `max_bytes`.
[[nodiscard]] std::uint64_t NextSlabElements(const ExprGroup& group, const SlabCost& cost,
                                             std::uint64_t first, std::uint64_t max_bytes);

}  // namespace sluice
