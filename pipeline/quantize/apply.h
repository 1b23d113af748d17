// Turns the plan of a converted file into the plan of a quantized one.
#pragma once

#include <string>

#include "core/result.h"
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

// Gives every tensor of the plan's first file the type that the recipe chooses, the order and the
// key-values that llama-quantize writes (in the Ollama dialect order and sorted keys stay), and
// adds warnings. The offsets are not valid afterwards. Errors of imatrix::Reader::Open,
// ModelFactsOf, ChooseTypes and PlanImportance.
Status QuantizeModel(const QuantizeRequest& request, Plan& plan);

}  // namespace sluice
