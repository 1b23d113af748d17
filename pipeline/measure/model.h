// `sluice measure`: what tensor types and recipes would leave of a model's values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "pipeline/convert.h"
#include "pipeline/plan.h"
#include "pipeline/quantize/file_type.h"
#include "stages/measure.h"

namespace sluice {

// One thing to measure: a tensor type for every matrix that a recipe may quantize, or a recipe,
// which gives each of them a type.
struct MeasuredKind {
  std::string name;
  std::optional<gguf::TensorType> type;
  FileType recipe = FileType::kCopy;  // without `type`
};
// A name that both have is that of the tensor type. kUsage for one that neither has.
Result<MeasuredKind> ParseMeasuredKind(std::string_view name);

// A matrix in one type.
struct KindErrors {
  gguf::TensorType type = gguf::TensorType::kF32;
  std::uint64_t bytes = 0;          // of the matrix in this type
  std::optional<ErrorSums> errors;  // nullopt: it cannot have the type
  std::string why;                  // it cannot
};

struct MeasuredTensor {
  std::string name;
  gguf::TensorType source = gguf::TensorType::kF32;  // type without quantization
  std::vector<std::uint64_t> shape;
  bool has_importance = false;
  ValueSums values;
  std::vector<KindErrors> kinds;  // in the order of ErrorReport::kinds
};

// Of all matrices that can have a kind's type.
struct KindTotals {
  std::uint64_t tensors = 0;
  std::uint64_t bytes = 0;
  ValueSums values;
  ErrorSums errors;
};

struct ErrorReport {
  std::vector<MeasuredKind> kinds;
  std::vector<MeasuredTensor> tensors;  // in llama-quantize's order
  std::vector<KindTotals> totals;       // of each kind
  std::size_t kept_tensors = 0;         // those that no recipe quantizes; they are not measured
  bool has_importance = false;          // an importance matrix was given
  std::vector<std::string> warnings;
};

// Errors as people compare them. Nothing lost is 0 and 1, also of a tensor of zeros.
[[nodiscard]] double RelativeRmse(const ErrorSums& errors, const ValueSums& values);
[[nodiscard]] double WeightedRelativeRmse(const ErrorSums& errors, const ValueSums& values);
[[nodiscard]] double Cosine(const ErrorSums& errors, const ValueSums& values);
[[nodiscard]] double BitsPerWeight(std::uint64_t bytes, std::uint64_t elements);

struct MeasureRequest {
  std::vector<MeasuredKind> kinds;
  std::string importance_path;   // empty: none
  bool zero_non_finite = false;  // else NaN and infinity are errors
};

// Measures the model of a plan without quantization against the values of that plan. Of `run`
// memory_bytes, threads, io, cancel and on_progress count. Errors of SourceSet::Open, of
// OpenImportance, FindImportance and ChooseTypes, and of MeasureErrors.
Result<ErrorReport> MeasureModel(const Plan& plan, const MeasureRequest& request,
                                 const ConvertOptions& run);

}  // namespace sluice
