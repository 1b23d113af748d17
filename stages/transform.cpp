#include "stages/transform.h"

#include "stages/kernels/gather.h"

namespace sluice {

Status Transform(const SourceSet& sources, Slab& slab) {
  std::uint64_t bytes = 0;
  for (const Piece& piece : slab.pieces) {
    if (piece.raw.empty()) bytes += SourceBytes(*piece.segment, piece.elements);
  }
  std::span<std::byte> out = slab.buffers->Take(bytes);
  for (Piece& piece : slab.pieces) {
    if (!piece.raw.empty()) continue;
    const std::uint64_t width = DtypeBytes(piece.segment->dtype);
    const auto gathered = out.first(piece.elements * width);
    out = out.subspan(gathered.size());
    for (const PlacedBox& placed : piece.boxes) {
      kernels::GatherBox(
          placed.box, width, placed.source,
          gathered.subspan(placed.box.position * width, placed.box.elements * width));
    }
    piece.raw = gathered;
    SLUICE_TRY(sources.CheckIntact(piece.segment->shard));
  }
  return Ok();
}

}  // namespace sluice
