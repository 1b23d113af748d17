#include "stages/read.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "stages/packed.h"

namespace sluice {
namespace {

// Calls `visit(segment, first, count)` for each part of the slab, with positions in the segment.
template <class Visit>
Status ForEachPart(const Slab& slab, const Visit& visit) {
  std::uint64_t element = slab.first;
  const std::uint64_t end = slab.first + slab.count;
  for (std::size_t i = SegmentAt(*slab.expr, element); element < end; ++i) {
    const Segment& segment = slab.expr->segments[i];
    const std::uint64_t begin = segment.end - segment.view.elements();
    const std::uint64_t count = std::min(end, segment.end) - element;
    SLUICE_TRY(visit(segment, element - begin, count));
    element += count;
  }
  return Ok();
}

// Bytes of the shard that a box touches, from its first to its last element.
ElementRange ByteRange(const Segment& segment, const Box& box) {
  const ElementRange elements = SourceRange(box);
  return {segment.byte_offset + SourceBytes(segment, elements.begin),
          segment.byte_offset + SourceBytes(segment, elements.end)};
}

// What lies between the lowest element this slab may touch and the lowest that the next one may.
void AddBehind(const Segment& segment, std::uint64_t first, std::uint64_t count,
               std::vector<ReleaseRange>& behind) {
  const std::uint64_t lowest = segment.view.LowestFrom(first);
  std::uint64_t next = segment.view.LowestFrom(first + count);
  if (next == std::numeric_limits<std::uint64_t>::max()) {
    next =
        SourceRange(
            {{segment.view.axes().begin(), segment.view.axes().end()}, segment.view.offset(), 0, 0})
            .end;
  }
  next = std::max(next, lowest);
  if (segment.packed == nullptr) {
    behind.push_back({segment.shard, segment.byte_offset + SourceBytes(segment, lowest),
                      SourceBytes(segment, next - lowest)});
    return;
  }
  for (const PackedField* field : WalkedFields(*segment.packed)) {
    const std::uint64_t begin = LowestByte(*segment.packed, *field, lowest);
    const std::uint64_t end = LowestByte(*segment.packed, *field, next);
    behind.push_back({field->shard, field->byte_offset + begin, end - begin});
  }
}

// The axes of a box by falling stride, merged where neighbours form one run: the order in which its
// elements lie in the file.
std::vector<Axis> StorageOrder(const Box& box) {
  std::vector<Axis> axes = box.axes;
  std::erase_if(axes, [](const Axis& axis) { return axis.extent == 1; });
  std::sort(axes.begin(), axes.end(),
            [](const Axis& a, const Axis& b) { return a.stride > b.stride; });
  std::vector<Axis> merged;
  for (const Axis& axis : axes) {
    if (!merged.empty() && merged.back().stride == axis.extent * axis.stride) {
      merged.back() = {merged.back().extent * axis.extent, axis.stride};
    } else {
      merged.push_back(axis);
    }
  }
  return merged;
}

// The stride of an axis once the box is stored without gaps: the number of its elements on all
// axes of smaller stride.
std::uint64_t CompactStride(const Box& box, const Axis& axis) {
  std::uint64_t stride = 1;
  for (const Axis& other : box.axes) {
    if (other.stride < axis.stride && other.extent > 1) stride *= other.extent;
  }
  return stride;
}

class StagingReader {
 public:
  StagingReader(const SourceSet& sources, const Segment& segment)
      : sources_(sources), segment_(segment) {
    if (segment.packed != nullptr) unpacker_.emplace(sources, *segment.packed);
  }

  // Reads the odometer `axes` from source element `source` on to `out`, back to back, and takes
  // what it filled from `out`. REQUIRES: no stride of 1 but the last.
  Status Run(std::span<const Axis> axes, std::uint64_t source, std::span<std::byte>& out) {
    if (axes.empty() || axes.front().stride == 1) {
      return ReadRun(source, axes.empty() ? 1 : axes.front().extent, out);
    }
    for (std::uint64_t i = 0; i < axes.front().extent; ++i) {
      SLUICE_TRY(Run(axes.subspan(1), source + i * axes.front().stride, out));
    }
    return Ok();
  }

  // Values that were read and became 0, because their scales were no numbers.
  [[nodiscard]] std::uint64_t zeroed() const { return zeroed_; }
  [[nodiscard]] Status CheckIntact() const { return unpacker_ ? unpacker_->CheckIntact() : Ok(); }

 private:
  Status ReadRun(std::uint64_t source, std::uint64_t elements, std::span<std::byte>& out) {
    const auto target = out.first(SourceBytes(segment_, elements));
    out = out.subspan(target.size());
    if (!unpacker_) {
      const std::uint64_t offset = segment_.byte_offset + SourceBytes(segment_, source);
      return sources_.ReadAt(segment_.shard, offset, target);
    }
    // Slab buffers are aligned, and every run of F32 is a multiple of its size.
    SLUICE_ASSIGN(
        const std::uint64_t zeroed,
        segment_.blocks
            ? unpacker_->Repack(source, elements, target)
            : unpacker_->Dequantize(source, {reinterpret_cast<float*>(target.data()), elements}));
    zeroed_ += zeroed;
    return Ok();
  }

  const SourceSet& sources_;
  const Segment& segment_;
  std::optional<Unpacker> unpacker_;
  std::uint64_t zeroed_ = 0;
};

// The bytes of a segment's shards that a box may touch, for `visit(shard, offset, bytes)`.
template <class Visit>
Status ForEachRange(const Segment& segment, const Box& box, const Visit& visit) {
  if (segment.packed == nullptr) {
    const ElementRange range = ByteRange(segment, box);
    return visit(segment.shard, range.begin, range.end - range.begin);
  }
  const ElementRange elements = SourceRange(box);
  for (const PackedField* field : WalkedFields(*segment.packed)) {
    const std::uint64_t begin = LowestByte(*segment.packed, *field, elements.begin);
    const std::uint64_t end = PastByte(*segment.packed, *field, elements.end);
    SLUICE_TRY(visit(field->shard, field->byte_offset + begin, end - begin));
  }
  return Ok();
}

Status PopulateBox(const SourceSet& sources, const Segment& segment, const Box& box) {
  return ForEachRange(segment, box,
                      [&](std::uint32_t shard, std::uint64_t offset, std::uint64_t bytes) {
                        return sources.Populate(shard, offset, bytes);
                      });
}

Status PlaceMapped(const SourceSet& sources, Piece& piece) {
  const Segment& segment = *piece.segment;
  const std::byte* const base = sources.Bytes(segment.shard).data() + segment.byte_offset;
  for (PlacedBox& placed : piece.boxes) {
    SLUICE_TRY(PopulateBox(sources, segment, placed.box));
    placed.source = base + SourceBytes(segment, placed.box.source);
  }
  return Ok();
}

// Whether every box walks along runs of the source, so that they can be staged one after the other
// as the target has them.
bool WalksAlongRuns(const Piece& piece) {
  return std::all_of(piece.boxes.begin(), piece.boxes.end(), [](const PlacedBox& placed) {
    return placed.box.axes.empty() || placed.box.axes.back().stride == 1;
  });
}

// Gives how many values became 0.
Result<std::uint64_t> PlaceStaged(const SourceSet& sources, Piece& piece,
                                  std::span<std::byte> staging) {
  StagingReader reader(sources, *piece.segment);
  const bool in_order = piece.segment->packed != nullptr && WalksAlongRuns(piece);
  if (in_order) piece.raw = staging;
  for (PlacedBox& placed : piece.boxes) {
    SLUICE_TRY(PopulateBox(sources, *piece.segment, placed.box));
    placed.source = staging.data();
    const std::vector<Axis> axes = in_order ? placed.box.axes : StorageOrder(placed.box);
    SLUICE_TRY(reader.Run(axes, placed.box.source, staging));
    const Box original = placed.box;
    for (Axis& axis : placed.box.axes) axis.stride = CompactStride(original, axis);
  }
  SLUICE_TRY(reader.CheckIntact());
  return reader.zeroed();
}

// A piece whose elements already lie one after the other needs no gathering.
void FindContiguous(Piece& piece) {
  if (piece.boxes.size() != 1 || !piece.raw.empty()) return;
  const PlacedBox& placed = piece.boxes.front();
  std::uint64_t expected = 1;
  for (std::size_t i = placed.box.axes.size(); i-- > 0;) {
    const Axis& axis = placed.box.axes[i];
    if (axis.extent != 1 && axis.stride != expected) return;
    expected *= axis.extent;
  }
  piece.raw = {placed.source, SourceBytes(*piece.segment, piece.elements)};
}

}  // namespace

Status Read(const SourceSet& sources, Slab& slab) {
  SLUICE_TRY(ForEachPart(
      slab, [&](const Segment& segment, std::uint64_t first, std::uint64_t count) -> Status {
        Piece& piece = slab.pieces.emplace_back();
        piece.segment = &segment;
        piece.elements = count;
        for (Box& box : CutBoxes(segment.view, first, count)) {
          piece.boxes.push_back({std::move(box), nullptr});
        }
        AddBehind(segment, first, count, slab.behind);
        return Ok();
      }));
  std::uint64_t staged = 0;
  for (const Piece& piece : slab.pieces) {
    const std::uint64_t bytes = SourceBytes(*piece.segment, piece.elements);
    slab.source_bytes += bytes;
    if (IsStaged(sources, *piece.segment)) staged += bytes;
  }
  slab.buffers->Start(slab.buffer_bytes);
  std::span<std::byte> staging = slab.buffers->Take(staged);
  // What is unpacked comes first: its floats must be aligned.
  for (const bool packed : {true, false}) {
    for (Piece& piece : slab.pieces) {
      const Segment& segment = *piece.segment;
      if (packed != (segment.packed != nullptr)) continue;
      if (IsStaged(sources, segment)) {
        const std::uint64_t bytes = SourceBytes(segment, piece.elements);
        SLUICE_ASSIGN(const std::uint64_t zeroed,
                      PlaceStaged(sources, piece, staging.first(bytes)));
        for (SlabTarget* const target : slab.Targets()) target->zeroed += zeroed;
        staging = staging.subspan(bytes);
      } else {
        SLUICE_TRY(PlaceMapped(sources, piece));
      }
      FindContiguous(piece);
    }
  }
  return Ok();
}

void ReleaseBehind(const SourceSet& sources, const Slab& slab) {
  for (const ReleaseRange& range : slab.behind) {
    if (range.bytes == 0) continue;
    sources.Release(range.shard, range.offset, range.bytes, slab.expr->read_again);
  }
}

}  // namespace sluice
