#include "stages/slab.h"

#include <limits>

#include "stages/quantize.h"

namespace sluice {
namespace {

// Output bytes of a slab when memory is plentiful. Measured with bench/convert: smaller slabs pay
// for more hand-overs, larger ones leave the cache.
constexpr std::uint64_t kPreferredBytes = std::uint64_t{4} << 20;
// Slabs that are transposed live in two buffers at once, so they are smaller. Still each should
// take a few cache lines from every source row it touches.
constexpr std::uint64_t kPreferredTransposedBytes = std::uint64_t{2} << 20;
constexpr std::uint64_t kPreferredRunBytes = 512;
// Quantizing takes long: small slabs keep all cores busy to the end.
constexpr std::uint64_t kPreferredQuantizedElements = std::uint64_t{1} << 19;

std::size_t SegmentAt(const TensorExpr& expr, std::uint64_t element) {
  const auto found = std::upper_bound(
      expr.segments.begin(), expr.segments.end(), element,
      [](std::uint64_t value, const Segment& segment) { return value < segment.end; });
  return static_cast<std::size_t>(found - expr.segments.begin());
}

bool IsTransposed(const StridedView& view) {
  return !view.axes().empty() && view.axes().back().stride != 1;
}

std::uint64_t PreferredElements(const TensorExpr& expr, const Segment& segment) {
  const BlockSize block = expr.block();
  const auto in_bytes = [&](std::uint64_t bytes) {
    return std::max<std::uint64_t>(1, bytes / block.bytes) * block.elements;
  };
  if (expr.quantizing) return kPreferredQuantizedElements;
  if (!IsTransposed(segment.view)) return in_bytes(kPreferredBytes);
  return std::max(in_bytes(kPreferredTransposedBytes),
                  kPreferredRunBytes / MaxElementBytes(segment) * expr.row_elements);
}

bool IsQuantized(const ExprGroup& group) {
  return std::ranges::any_of(group.exprs,
                             [](const TensorExpr* expr) { return expr->quantizing.has_value(); });
}

// Whether any of the target bytes are not the source's.
bool Encodes(const TensorExpr& expr) {
  return expr.quantizing || !expr.steps.empty() ||
         std::ranges::any_of(expr.segments, [&](const Segment& segment) {
           return !IsSameEncoding(segment, expr.type);
         });
}

// Elements of whole blocks in every target: block sizes divide each other.
std::uint64_t BlockElements(const ExprGroup& group) {
  std::uint64_t elements = 1;
  for (const TensorExpr* expr : group.exprs) {
    elements = std::max(elements, expr->block().elements);
  }
  return elements;
}

// Quantized tensors go in whole rows: some encoders look at all of a row.
std::uint64_t AlignedDown(const ExprGroup& group, std::uint64_t elements) {
  const std::uint64_t row = group.front().row_elements;
  if (IsQuantized(group)) elements = std::max(elements, row);
  if (elements >= row) return elements / row * row;
  const std::uint64_t block = BlockElements(group);
  return std::max(block, elements / block * block);
}

}  // namespace

SlabCost CostOf(const ExprGroup& group, const SourceSet& sources) {
  SlabCost cost;
  for (const Segment& segment : group.front().segments) {
    const std::uint64_t bytes = MaxElementBytes(segment);
    if (segment.packed != nullptr || sources.MustRead(segment.shard)) {
      cost.staging_bytes = std::max(cost.staging_bytes, bytes);
    }
    if (!segment.view.IsContiguous()) cost.gathered_bytes = std::max(cost.gathered_bytes, bytes);
  }
  cost.encodes =
      std::ranges::any_of(group.exprs, [](const TensorExpr* expr) { return Encodes(*expr); });
  if (IsQuantized(group)) {
    cost.scratch_bytes = QuantizeScratch::Bytes(group.front(), group.exprs.size());
  }
  return cost;
}

std::uint64_t SlabBytes(const ExprGroup& group, const SlabCost& cost, std::uint64_t count) {
  std::uint64_t bytes = cost.scratch_bytes + count * (cost.staging_bytes + cost.gathered_bytes);
  if (!cost.encodes) return bytes;
  for (const TensorExpr* expr : group.exprs) {
    const BlockSize block = expr->block();
    const std::uint64_t blocks = (count + block.elements - 1) / block.elements;
    if (Encodes(*expr)) bytes += blocks * block.bytes;
  }
  return bytes;
}

std::uint64_t NextSlabElements(const ExprGroup& group, const SlabCost& cost, std::uint64_t first,
                               std::uint64_t max_bytes) {
  const TensorExpr& common = group.front();
  const Segment& segment = common.segments[SegmentAt(common, first)];
  std::uint64_t elements = std::numeric_limits<std::uint64_t>::max();
  for (const TensorExpr* expr : group.exprs) {
    elements = std::min(elements, PreferredElements(*expr, segment));
  }
  const std::uint64_t block = BlockElements(group);
  const std::uint64_t block_cost = SlabBytes(group, cost, block) - cost.scratch_bytes;
  const std::uint64_t left = max_bytes - std::min(max_bytes, cost.scratch_bytes);
  if (block_cost > 0) elements = std::min(elements, left / block_cost * block);
  elements = AlignedDown(group, elements);
  const std::uint64_t segment_elements = segment.view.elements();
  const std::uint64_t limit = segment_elements >= elements ? segment.end : common.elements;
  return std::min(elements, limit - first);
}

}  // namespace sluice
