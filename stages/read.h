// The read stage: finds out where a slab's source elements are and makes them resident.
#pragma once

#include "core/result.h"
#include "stages/slab.h"
#include "stages/source_set.h"

namespace sluice {

// Fills slab.pieces, slab.behind and slab.source_bytes. Mapped shards are made resident in place;
// others are read into slab.buffers, compactly, with as few and as large reads as the view allows.
// Packed segments are dequantised or repacked into slab.buffers.
// kCorrupt or kIo, with the shard as `file`.
Status Read(const SourceSet& sources, Slab& slab);

// Lets go of slab.behind, once nothing reads the slab's mapped bytes any more.
void ReleaseBehind(const SourceSet& sources, const Slab& slab);

}  // namespace sluice
