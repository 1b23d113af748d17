// Turns the plan of a converted file into the plan of a quantized one.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "formats/imatrix/reader.h"
#include "pipeline/plan.h"
#include "pipeline/quantize/recipe.h"

namespace sluice {

// What --type and the flags beside it ask for.
struct QuantizeRequest {
  QuantizeOptions recipe;        // has_importance and ollama are set by the planner
  std::string importance_path;   // of an importance matrix; empty: none
  bool exact = false;            // reproduce known defects of llama-quantize
  bool zero_non_finite = false;  // else NaN and infinity are errors
};

// Gives every tensor of `file` the type that the recipe chooses, the order and the key-values that
// llama-quantize writes (in the Ollama dialect order and sorted keys stay), and warnings to
// `warnings`. The offsets are not valid afterwards. `importance` may be nullptr and outlives the
// plan. Errors of ModelFactsOf, ChooseTypes and PlanImportance.
Status QuantizeFile(const QuantizeRequest& request, const imatrix::Reader* importance,
                    FilePlan& file, std::vector<std::string>& warnings);

}  // namespace sluice
