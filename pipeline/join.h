// Several plans of one checkpoint, to be carried out together.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/result.h"
#include "pipeline/plan.h"

namespace sluice {

// Gives the plans one set of sources: their shards, which must be the same files, and the returned
// generated tensors, to which all expressions then refer. kCorrupt: a shard changed from one plan
// to the next. REQUIRES: at least one plan.
Result<std::vector<std::vector<std::byte>>> JoinSources(std::span<Plan* const> plans);

}  // namespace sluice
