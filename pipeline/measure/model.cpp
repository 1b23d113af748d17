#include "pipeline/measure/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "formats/quant/codec.h"
#include "pipeline/measure/run.h"
#include "pipeline/quantize/apply.h"
#include "pipeline/quantize/importance.h"

namespace sluice {
namespace {

using gguf::TensorRecord;
using gguf::TensorType;

// Why a matrix cannot have a type; empty if it can.
std::string WhyNot(const TensorRecord& tensor, TensorType type, bool has_importance) {
  const gguf::TensorTypeInfo& info = gguf::InfoOf(type);
  const std::uint64_t row = tensor.shape.back();
  if (row % info.block_elements != 0) {
    return fmt::format("rows of {} elements do not fill blocks of {}", row, info.block_elements);
  }
  const bool required = quant::FindCodec(type)->importance == quant::Importance::kRequired;
  return required && !has_importance ? "needs importance data" : "";
}

// Square roots of quotients of sums: 0 where nothing is lost.
double Relative(double error, double of) { return error == 0 ? 0 : std::sqrt(error / of); }

class ModelMeasurer {
 public:
  ModelMeasurer(const Plan& plan, const MeasureRequest& request)
      : plan_(plan), file_(plan.files.front()), request_(request) {}

  Result<ErrorReport> Run(const ConvertOptions& run) {
    SLUICE_ASSIGN(importance_, OpenImportance(request_.importance_path));
    SLUICE_ASSIGN(input_, RecipeInputOf(file_));
    SLUICE_TRY(FindMatrices());
    report_.kinds = request_.kinds;
    report_.has_importance = importance_ != nullptr;
    for (const MeasuredKind& kind : request_.kinds) SLUICE_TRY(AddKind(kind));
    SLUICE_TRY(Measure(run));
    AddTotals();
    return std::move(report_);
  }

 private:
  // The types of all tensors by one recipe.
  Result<Recipe> TypesBy(FileType file_type) const {
    QuantizeRequest request;
    request.recipe.file_type = file_type;
    request.recipe.allow_requantize = true;
    return ChooseTypes(input_.model, input_.records,
                       RecipeOptions(request, file_, importance_.get()));
  }

  // Every matrix that a recipe may quantize becomes a job and a tensor of the report.
  Status FindMatrices() {
    SLUICE_ASSIGN(const Recipe recipe, TypesBy(FileType::kF16));
    std::vector<TensorRecord> records;
    for (std::size_t i = 0; i < input_.records.size(); ++i) {
      if (recipe.choices[i].by == ChosenBy::kKept) continue;
      positions_.push_back(i);
      records.push_back(input_.records[i]);
    }
    report_.kept_tensors = input_.records.size() - positions_.size();
    SLUICE_ASSIGN(ImportancePlan weights, FindImportance(records, importance_.get()));
    report_.warnings = std::move(weights.warnings);
    QuantizeRequest how;
    how.zero_non_finite = request_.zero_non_finite;
    for (std::size_t i = 0; i < records.size(); ++i) {
      const TensorRecord& record = records[i];
      MeasureJob& job = jobs_.emplace_back();
      job.name = record.name;
      job.expr = file_.tensors[input_.order[positions_[i]]].expr;
      job.expr.quantizing = QuantizingOf(how, record, importance_.get(), weights.entries[i]);
      report_.tensors.push_back(
          {record.name, record.type, record.shape, weights.entries[i] != nullptr, {}, {}});
    }
    return Ok();
  }

  Status AddKind(const MeasuredKind& kind) {
    Recipe recipe;
    if (!kind.type) {
      SLUICE_ASSIGN(recipe, TypesBy(kind.recipe));
    }
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      MeasuredTensor& tensor = report_.tensors[i];
      KindErrors& errors = tensor.kinds.emplace_back();
      errors.type = kind.type ? *kind.type : recipe.choices[positions_[i]].type;
      errors.why = WhyNot(input_.records[positions_[i]], errors.type, tensor.has_importance);
      if (!errors.why.empty()) continue;
      errors.bytes = *gguf::TensorBytes(errors.type, jobs_[i].expr.elements);
      std::vector<TensorType>& types = jobs_[i].types;
      const bool is_new = std::find(types.begin(), types.end(), errors.type) == types.end();
      if (is_new) types.push_back(errors.type);
    }
    return Ok();
  }

  Status Measure(const ConvertOptions& run) {
    SLUICE_ASSIGN(const SourceSet sources, SourceSet::Open(plan_.shards, run.io, plan_.generated));
    SLUICE_ASSIGN(const std::vector<TensorErrors> measured,
                  MeasureErrors(sources, jobs_, 0, GraphOptionsOf(run)));
    SLUICE_TRY(sources.CheckUnchanged());
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      report_.tensors[i].values = measured[i].values;
      for (KindErrors& errors : report_.tensors[i].kinds) {
        const auto& types = jobs_[i].types;
        if (!errors.why.empty()) continue;
        const auto found = std::find(types.begin(), types.end(), errors.type) - types.begin();
        errors.errors = measured[i].types[static_cast<std::size_t>(found)];
      }
    }
    return Ok();
  }

  void AddTotals() {
    report_.totals.resize(report_.kinds.size());
    for (const MeasuredTensor& tensor : report_.tensors) {
      for (std::size_t k = 0; k < tensor.kinds.size(); ++k) {
        if (!tensor.kinds[k].errors) continue;
        KindTotals& totals = report_.totals[k];
        ++totals.tensors;
        totals.bytes += tensor.kinds[k].bytes;
        totals.values.Add(tensor.values);
        totals.errors.Add(*tensor.kinds[k].errors);
      }
    }
  }

  const Plan& plan_;
  const FilePlan& file_;
  const MeasureRequest& request_;
  std::shared_ptr<const imatrix::Reader> importance_;
  RecipeInput input_;
  std::vector<std::size_t> positions_;  // of the matrices in input_
  std::vector<MeasureJob> jobs_;        // of the matrices
  ErrorReport report_;
};

}  // namespace

Result<MeasuredKind> ParseMeasuredKind(std::string_view name) {
  const gguf::TensorTypeInfo* info = gguf::FindTensorType(name);
  if (info != nullptr && quant::FindCodec(info->type) != nullptr) {
    return MeasuredKind{std::string(info->name), info->type, FileType::kCopy};
  }
  SLUICE_ASSIGN(const FileType recipe, ParseFileType(name));
  return MeasuredKind{std::string(InfoOf(recipe).name), std::nullopt, recipe};
}

double RelativeRmse(const ErrorSums& errors, const ValueSums& values) {
  return Relative(errors.squared_error, values.squares);
}

double WeightedRelativeRmse(const ErrorSums& errors, const ValueSums& values) {
  return Relative(errors.weighted_error, values.weighted_squares);
}

double Cosine(const ErrorSums& errors, const ValueSums& values) {
  if (errors.squared_error == 0) return 1;
  const double lengths = std::sqrt(values.squares) * std::sqrt(errors.squares);
  return lengths == 0 ? 0 : errors.products / lengths;
}

double BitsPerWeight(std::uint64_t bytes, std::uint64_t elements) {
  return elements == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
}

Result<ErrorReport> MeasureModel(const Plan& plan, const MeasureRequest& request,
                                 const ConvertOptions& run) {
  return ModelMeasurer(plan, request).Run(run);
}

}  // namespace sluice
