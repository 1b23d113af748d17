#include "stages/read.h"

#include <algorithm>
#include <limits>

namespace sluice {
namespace {

// Calls `visit(segment, first, count)` for each part of the slab, with positions in the segment.
template <class Visit>
Status ForEachPart(const Slab& slab, const Visit& visit) {
  const std::vector<Segment>& segments = slab.expr->segments;
  auto segment = std::upper_bound(
      segments.begin(), segments.end(), slab.first,
      [](std::uint64_t value, const Segment& candidate) { return value < candidate.end; });
  std::uint64_t element = slab.first;
  const std::uint64_t end = slab.first + slab.count;
  for (; element < end; ++segment) {
    const std::uint64_t begin = segment->end - segment->view.elements();
    const std::uint64_t count = std::min(end, segment->end) - element;
    SLUICE_TRY(visit(*segment, element - begin, count));
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
ReleaseRange Behind(const Segment& segment, std::uint64_t first, std::uint64_t count) {
  const std::uint64_t lowest = segment.view.LowestFrom(first);
  std::uint64_t next = segment.view.LowestFrom(first + count);
  if (next == std::numeric_limits<std::uint64_t>::max()) {
    next =
        SourceRange(
            {{segment.view.axes().begin(), segment.view.axes().end()}, segment.view.offset(), 0, 0})
            .end;
  }
  const std::uint64_t bytes = next > lowest ? SourceBytes(segment, next - lowest) : 0;
  return {segment.shard, segment.byte_offset + SourceBytes(segment, lowest), bytes};
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
  StagingReader(const SourceSet& sources, const Segment& segment, std::span<std::byte> out)
      : sources_(sources), segment_(segment), out_(out) {}

  // Reads the odometer `axes` (in storage order) from source element `source` on, back to back.
  Status Run(std::span<const Axis> axes, std::uint64_t source) {
    if (axes.empty() || axes.front().stride == 1) {
      return ReadRun(source, axes.empty() ? 1 : axes.front().extent);
    }
    for (std::uint64_t i = 0; i < axes.front().extent; ++i) {
      SLUICE_TRY(Run(axes.subspan(1), source + i * axes.front().stride));
    }
    return Ok();
  }

 private:
  Status ReadRun(std::uint64_t source, std::uint64_t elements) {
    const auto target = out_.first(SourceBytes(segment_, elements));
    out_ = out_.subspan(target.size());
    const std::uint64_t offset = segment_.byte_offset + SourceBytes(segment_, source);
    return sources_.ReadAt(segment_.shard, offset, target);
  }

  const SourceSet& sources_;
  const Segment& segment_;
  std::span<std::byte> out_;
};

Status PlaceMapped(const SourceSet& sources, Piece& piece) {
  const Segment& segment = *piece.segment;
  const std::byte* const base = sources.Bytes(segment.shard).data() + segment.byte_offset;
  for (PlacedBox& placed : piece.boxes) {
    const ElementRange range = ByteRange(segment, placed.box);
    SLUICE_TRY(sources.Populate(segment.shard, range.begin, range.end - range.begin));
    placed.source = base + SourceBytes(segment, placed.box.source);
  }
  return Ok();
}

Status PlaceStaged(const SourceSet& sources, Piece& piece, std::span<std::byte> staging) {
  for (PlacedBox& placed : piece.boxes) {
    const auto bytes = staging.first(SourceBytes(*piece.segment, placed.box.elements));
    staging = staging.subspan(bytes.size());
    StagingReader reader(sources, *piece.segment, bytes);
    SLUICE_TRY(reader.Run(StorageOrder(placed.box), placed.box.source));
    const Box original = placed.box;
    for (Axis& axis : placed.box.axes) axis.stride = CompactStride(original, axis);
    placed.source = bytes.data();
  }
  return Ok();
}

// A piece whose elements already lie one after the other needs no gathering.
void FindContiguous(Piece& piece) {
  if (piece.boxes.size() != 1) return;
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
        slab.behind.push_back(Behind(segment, first, count));
        return Ok();
      }));
  std::uint64_t staged = 0;
  for (const Piece& piece : slab.pieces) {
    if (sources.MustRead(piece.segment->shard)) {
      staged += SourceBytes(*piece.segment, piece.elements);
    }
  }
  slab.buffers->Start(slab.buffer_bytes);
  std::span<std::byte> staging = slab.buffers->Take(staged);
  for (Piece& piece : slab.pieces) {
    if (sources.MustRead(piece.segment->shard)) {
      const std::uint64_t bytes = SourceBytes(*piece.segment, piece.elements);
      SLUICE_TRY(PlaceStaged(sources, piece, staging.first(bytes)));
      staging = staging.subspan(bytes);
    } else {
      SLUICE_TRY(PlaceMapped(sources, piece));
    }
    FindContiguous(piece);
  }
  return Ok();
}

void Prefetch(const SourceSet& sources, const Slab& slab) {
  static_cast<void>(ForEachPart(
      slab, [&](const Segment& segment, std::uint64_t first, std::uint64_t count) -> Status {
        for (const Box& box : CutBoxes(segment.view, first, count)) {
          const ElementRange range = ByteRange(segment, box);
          sources.Prefetch(segment.shard, range.begin, range.end - range.begin);
        }
        return Ok();
      }));
}

}  // namespace sluice
