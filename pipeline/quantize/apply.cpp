#include "pipeline/quantize/apply.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "pipeline/quantize/importance.h"
#include "pipeline/quantize/repack.h"
#include "pipeline/quantize/tensor_class.h"

namespace sluice {
namespace {

constexpr std::uint32_t kQuantizationVersion = 2;  // ggml.h: GGML_QNT_VERSION

// Positions of the tensors in llama-quantize's order, on which recipes depend.
std::vector<std::size_t> QuantizedOrderIn(const FilePlan& file) {
  std::vector<std::size_t> order(file.tensors.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return QuantizedOrderOf(file.tensors[a].record.name) <
           QuantizedOrderOf(file.tensors[b].record.name);
  });
  return order;
}

void SortAs(const std::vector<std::size_t>& order, std::vector<PlannedTensor>& tensors) {
  std::vector<PlannedTensor> sorted;
  sorted.reserve(tensors.size());
  for (const std::size_t position : order) sorted.push_back(std::move(tensors[position]));
  tensors = std::move(sorted);
}

void SetType(const QuantizeRequest& request, const TypeChoice& choice,
             const imatrix::Reader* importance, const imatrix::Entry* entry, bool ollama,
             PlannedTensor& tensor) {
  tensor.reason = choice.reason;
  if (choice.type == tensor.record.type) return;
  if (Repack(choice.type, ollama, tensor)) return;
  tensor.expr.quantizing = QuantizingOf(request, tensor.record, importance, entry);
  tensor.record.type = choice.type;
  tensor.expr.type = choice.type;
}

void SetKeys(std::uint32_t file_type, const imatrix::Reader* importance, gguf::Metadata& metadata) {
  metadata.MoveToEnd("general.quantization_version", kQuantizationVersion);
  metadata.MoveToEnd("general.file_type", file_type);
  if (importance != nullptr) AddImportanceKeys(*importance, metadata);
}

Status SetAlignment(const QuantizeRequest& request, FilePlan& file,
                    std::vector<std::string>& warnings) {
  SLUICE_ASSIGN(const std::uint32_t alignment, gguf::AlignmentOf(file.metadata));
  file.ignores_alignment_key = IgnoresAlignmentKey(request, file);
  if (alignment == gguf::kDefaultAlignment || file.is_ollama()) return Ok();
  warnings.push_back(
      file.ignores_alignment_key
          ? fmt::format(
                "{} tensors are laid out by alignment {}, as llama-quantize does it, though "
                "the file says {}: loaders may refuse it or take wrong values",
                file.tensors.size(), gguf::kDefaultAlignment, alignment)
          : fmt::format("{} tensors are laid out by alignment {}, as the file says, where "
                        "llama-quantize takes {} (--bit-exact does that)",
                        file.tensors.size(), alignment, gguf::kDefaultAlignment));
  return Ok();
}

// `importance` may be nullptr and outlives the plan.
Status QuantizeFile(const QuantizeRequest& request, const imatrix::Reader* importance,
                    FilePlan& file, std::vector<std::string>& warnings) {
  const QuantizeOptions options = RecipeOptions(request, file, importance);
  SLUICE_ASSIGN(const RecipeInput input, RecipeInputOf(file));
  SLUICE_ASSIGN(const Recipe recipe, ChooseTypes(input.model, input.records, options));
  SLUICE_ASSIGN(const ImportancePlan weights,
                PlanImportance(input.records, recipe, options.file_type, importance));
  for (std::size_t i = 0; i < input.order.size(); ++i) {
    SetType(request, recipe.choices[i], importance, weights.entries[i], options.ollama,
            file.tensors[input.order[i]]);
  }
  SetKeys(recipe.file_type, importance, file.metadata);
  if (file.is_ollama()) {
    file.metadata.SortByKey();
  } else {
    SortAs(input.order, file.tensors);
  }
  AddScales(file.tensors);
  SLUICE_TRY(SetAlignment(request, file, warnings));
  warnings.insert(warnings.end(), recipe.warnings.begin(), recipe.warnings.end());
  warnings.insert(warnings.end(), weights.warnings.begin(), weights.warnings.end());
  return Ok();
}

}  // namespace

Result<RecipeInput> RecipeInputOf(const FilePlan& file) {
  RecipeInput input;
  SLUICE_ASSIGN(input.model, ModelFactsOf(file.metadata));
  input.order = QuantizedOrderIn(file);
  for (const std::size_t position : input.order) {
    input.records.push_back(file.tensors[position].record);
  }
  return input;
}

Result<std::shared_ptr<const imatrix::Reader>> OpenImportance(const std::string& path) {
  if (path.empty()) return std::shared_ptr<const imatrix::Reader>();
  SLUICE_ASSIGN(imatrix::Reader reader, imatrix::Reader::Open(path));
  return std::make_shared<const imatrix::Reader>(std::move(reader));
}

QuantizeOptions RecipeOptions(const QuantizeRequest& request, const FilePlan& file,
                              const imatrix::Reader* importance) {
  QuantizeOptions options = request.recipe;
  options.ollama = file.is_ollama();
  options.has_importance = importance != nullptr;
  return options;
}

bool IgnoresAlignmentKey(const QuantizeRequest& request, const FilePlan& file) {
  return request.exact && !file.is_ollama();
}

Quantizing QuantizingOf(const QuantizeRequest& request, const gguf::TensorRecord& record,
                        const imatrix::Reader* importance, const imatrix::Entry* entry) {
  Quantizing how;
  how.rounded = record.type;
  how.exact = request.exact;
  how.zero_non_finite = request.zero_non_finite;
  if (entry != nullptr) {
    how.importance_file = importance;
    how.importance = entry;
    how.matrix_rows = record.shape.size() < 2 ? 1 : record.shape[record.shape.size() - 2];
  }
  return how;
}

Status QuantizeModel(const QuantizeRequest& request, Plan& plan) {
  SLUICE_ASSIGN(plan.importance, OpenImportance(request.importance_path));
  return QuantizeFile(request, plan.importance.get(), plan.files.front(), plan.warnings);
}

}  // namespace sluice
