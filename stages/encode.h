// The encode stage: source elements in target order become target bytes.
#pragma once

#include "core/result.h"
#include "stages/slab.h"
#include "stages/source_set.h"

namespace sluice {

// Fills payload and counts of each of the slab's targets. Pieces that are already in the target's
// encoding pass through, straight from the mapping where they lie in one; others are decoded, once
// for all targets, taken through the pointwise steps and encoded tile by tile into slab.buffers.
// kCorrupt when a mapped shard shrank meanwhile. REQUIRES: Transform succeeded.
Status Encode(const SourceSet& sources, Slab& slab);

}  // namespace sluice
