// The transform stage: brings a slab's source elements into target order.
#pragma once

#include "core/result.h"
#include "stages/slab.h"
#include "stages/source_set.h"

namespace sluice {

// Gathers every piece that is not contiguous yet into slab.buffers, still in the source
// dtype: moving narrow elements is cheaper than moving floats, and Encode decodes in cache-sized
// tiles. kCorrupt when a mapped shard shrank meanwhile. REQUIRES: Read succeeded.
Status Transform(const SourceSet& sources, Slab& slab);

}  // namespace sluice
