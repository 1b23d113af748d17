#include "pipeline/quantize/apply.h"

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
  Quantizing how;
  how.rounded = tensor.record.type;
  how.exact = request.exact;
  how.zero_non_finite = request.zero_non_finite;
  if (entry != nullptr) {
    const std::vector<std::uint64_t>& shape = tensor.record.shape;
    how.importance_file = importance;
    how.importance = entry;
    how.matrix_rows = shape.size() < 2 ? 1 : shape[shape.size() - 2];
  }
  tensor.record.type = choice.type;
  tensor.expr.type = choice.type;
  tensor.expr.quantizing = how;
}

void SetKeys(std::uint32_t file_type, const imatrix::Reader* importance, gguf::Metadata& metadata) {
  metadata.MoveToEnd("general.quantization_version", kQuantizationVersion);
  metadata.MoveToEnd("general.file_type", file_type);
  if (importance != nullptr) AddImportanceKeys(*importance, metadata);
}

// `importance` may be nullptr and outlives the plan.
Status QuantizeFile(const QuantizeRequest& request, const imatrix::Reader* importance,
                    FilePlan& file, std::vector<std::string>& warnings) {
  QuantizeOptions options = request.recipe;
  options.ollama = file.is_ollama();
  if (importance != nullptr && importance->entries().empty()) importance = nullptr;
  options.has_importance = importance != nullptr;

  std::vector<std::size_t> order = QuantizedOrderIn(file);
  std::vector<gguf::TensorRecord> records;
  for (const std::size_t position : order) records.push_back(file.tensors[position].record);
  SLUICE_ASSIGN(const ModelFacts model, ModelFactsOf(file.metadata));
  SLUICE_ASSIGN(const Recipe recipe, ChooseTypes(model, records, options));
  SLUICE_ASSIGN(const ImportancePlan weights,
                PlanImportance(records, recipe, options.file_type, importance));
  for (std::size_t i = 0; i < order.size(); ++i) {
    SetType(request, recipe.choices[i], importance, weights.entries[i], options.ollama,
            file.tensors[order[i]]);
  }
  SetKeys(recipe.file_type, importance, file.metadata);
  if (file.is_ollama()) {
    file.metadata.SortByKey();
  } else {
    SortAs(order, file.tensors);
  }
  AddScales(file.tensors);
  warnings.insert(warnings.end(), recipe.warnings.begin(), recipe.warnings.end());
  warnings.insert(warnings.end(), weights.warnings.begin(), weights.warnings.end());
  return Ok();
}

}  // namespace

Status QuantizeModel(const QuantizeRequest& request, Plan& plan) {
  if (!request.importance_path.empty()) {
    SLUICE_ASSIGN(imatrix::Reader reader, imatrix::Reader::Open(request.importance_path));
    plan.importance = std::make_shared<const imatrix::Reader>(std::move(reader));
  }
  return QuantizeFile(request, plan.importance.get(), plan.files.front(), plan.warnings);
}

}  // namespace sluice
