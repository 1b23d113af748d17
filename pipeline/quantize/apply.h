// Turns the plan of a converted file into the plan of a quantized one.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

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

// What the choice of types depends on, for the tensors of one file in llama-quantize's order.
struct RecipeInput {
  ModelFacts model;
  std::vector<std::size_t> order;           // positions in the file
  std::vector<gguf::TensorRecord> records;  // in that order
};
// Errors of ModelFactsOf.
Result<RecipeInput> RecipeInputOf(const FilePlan& file);

// The importance matrix of a request, or nullptr. Errors of imatrix::Reader::Open.
Result<std::shared_ptr<const imatrix::Reader>> OpenImportance(const std::string& path);

// The request's options with what the planner sets. `importance` may be nullptr.
[[nodiscard]] QuantizeOptions RecipeOptions(const QuantizeRequest& request, const FilePlan& file,
                                            const imatrix::Reader* importance);

// Whether the request asks for llama-quantize's layout of a file, which is that of the default
// alignment even where the file names another one.
[[nodiscard]] bool IgnoresAlignmentKey(const QuantizeRequest& request, const FilePlan& file);

// How the values of a tensor are quantized that is `record` before. Reader and entry may be
// nullptr; they outlive the result.
[[nodiscard]] Quantizing QuantizingOf(const QuantizeRequest& request,
                                      const gguf::TensorRecord& record,
                                      const imatrix::Reader* importance,
                                      const imatrix::Entry* entry);

// Gives every tensor of the plan's first file the type that the recipe chooses, the order and the
// key-values that llama-quantize writes (in the Ollama dialect order and sorted keys stay), and
// adds warnings. The offsets are not valid afterwards. Errors of imatrix::Reader::Open,
// ModelFactsOf, ChooseTypes, PlanImportance and gguf::AlignmentOf.
Status QuantizeModel(const QuantizeRequest& request, Plan& plan);

}  // namespace sluice
