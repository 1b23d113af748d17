// Quantizes a checkpoint to another checkpoint: a folder of safetensors in the MLX layout.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "pipeline/convert.h"
#include "pipeline/mlx/policy.h"
#include "pipeline/plan.h"

namespace sluice {

struct MlxOptions {
  MlxType type = MlxType::kInt4;
  std::uint32_t affine_group = 64;    // 32, 64 or 128
  bool keep_mtp = true;               // multi-token-prediction layers
  bool zero_non_finite = false;       // NaN and infinity become 0; else they are errors
  std::uint64_t max_shard_bytes = 0;  // of the tensors in one file; 0: all
};

// What Convert writes, and under which names in the folder: shards, their index if there are
// several, tokenizer and other text files, last config.json, without which no program takes the
// folder for a checkpoint.
struct FolderPlan {
  Plan plan;
  std::vector<std::string> names;  // of plan.files
};

// Decides every byte of the folder but the tensors' data. Tensors keep the names of the checkpoint;
// experts of a layer are stacked as `mlp.switch_mlp.*`. Errors of MakePlan, which checks the
// checkpoint first. kUnsupported: a family other than GLM-4 MoE Lite.
Result<FolderPlan> PlanMlxFolder(const std::string& checkpoint, const MlxOptions& options);

// Writes the folder, which is made if there is none. Errors of Convert. kUsage also when `folder`
// is a file, or holds weights that this conversion would not replace.
Result<ConvertReport> ConvertToFolder(const FolderPlan& folder_plan, const std::string& folder,
                                      const ConvertOptions& options);

}  // namespace sluice
