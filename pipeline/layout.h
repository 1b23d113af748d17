// Where everything stands in a plan's files, and models in several files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "pipeline/plan.h"

namespace sluice {

// Distributes the plan's only model file over files of at most `max_bytes` of tensor bytes, as
// gguf::GroupBySize and gguf::ShardMetadata say. A model that fits one file, and any with a limit
// of 0, stays as it is. Offsets are not valid afterwards. Errors of gguf::AssignOffsets and
// gguf::GroupBySize.
Status SplitModel(std::uint64_t max_bytes, Plan& plan);

// Fills offsets, sizes, alignment and head of every file. kUnsupported: a tensor without elements,
// which the stages need not know. Errors of gguf::AlignmentOf and gguf::AssignOffsets.
Status LayOut(Plan& plan);

// The paths of the plan's files: `model` itself, or the names of its shards, then `projector`
// unless it is empty. kUsage when a model in several files would go to standard output ("-"), a
// pipe, a device or a folder.
Result<std::vector<std::string>> OutputPaths(const Plan& plan, const std::string& model,
                                             const std::string& projector);

}  // namespace sluice
