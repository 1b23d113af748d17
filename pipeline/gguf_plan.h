// The plan of a GGUF file that is made from GGUF files: quantized, merged, split, edited.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/result.h"
#include "formats/gguf/split.h"
#include "pipeline/plan.h"

namespace sluice {

struct GgufPlanOptions {
  std::shared_ptr<const QuantizeRequest> quantize;  // nullptr: types, order and keys stay
  std::uint64_t max_shard_bytes = 0;                // see PlanOptions
};

// The description of a model file with these key-values; nullptr for an architecture that is not
// known.
[[nodiscard]] const arch::FileSpec* DescriptionOf(const gguf::Metadata& metadata);

// Plans one model from the files of `set`, without the keys of a split. Tensors that keep their
// type are copied as they are. kUnsupported: a tensor without elements. Errors of QuantizeModel,
// SplitModel and LayOut, which name the first file.
Result<Plan> MakeGgufPlan(const gguf::SplitSet& set, const GgufPlanOptions& options);

}  // namespace sluice
