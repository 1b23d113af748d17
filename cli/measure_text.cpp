#include "cli/measure_text.h"

#include <fmt/format.h>

#include "cli/metadata_text.h"
#include "core/utf8.h"

namespace sluice::cli {
namespace {

std::string_view TypeName(gguf::TensorType type) { return gguf::InfoOf(type).name; }

// Name, type and sums of a line.
void PrintLine(std::string_view name, std::string_view kind, std::string_view type,
               std::uint64_t bytes, const ValueSums& values, const ErrorSums& errors,
               bool weighted) {
  fmt::print("{:<40} {:>9} {:>8} {:>11.4f} {:>13.6g}", Printable(name), kind, type,
             BitsPerWeight(bytes, values.elements), RelativeRmse(errors, values));
  if (weighted) fmt::print(" {:>13.6g}", WeightedRelativeRmse(errors, values));
  fmt::print(" {:>13.6g} {:>12.9f}\n", errors.largest_error, Cosine(errors, values));
}

// JSON has no infinity; it becomes a string as elsewhere.
nlohmann::ordered_json Number(double value) { return ValueJson(gguf::Value(value)); }

void AddMetrics(std::uint64_t bytes, const ValueSums& values, const ErrorSums& errors,
                bool weighted, nlohmann::ordered_json& json) {
  json["bytes"] = bytes;
  json["bits_per_weight"] = BitsPerWeight(bytes, values.elements);
  json["relative_rmse"] = Number(RelativeRmse(errors, values));
  json["weighted_relative_rmse"] = nullptr;
  if (weighted) json["weighted_relative_rmse"] = Number(WeightedRelativeRmse(errors, values));
  json["largest_error"] = Number(errors.largest_error);
  json["cosine"] = Number(Cosine(errors, values));
}

nlohmann::ordered_json TensorJson(const MeasuredTensor& tensor, const ErrorReport& report) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (std::size_t k = 0; k < tensor.kinds.size(); ++k) {
    const KindErrors& kind = tensor.kinds[k];
    nlohmann::ordered_json entry{{"kind", report.kinds[k].name}, {"type", TypeName(kind.type)}};
    if (kind.errors) {
      AddMetrics(kind.bytes, tensor.values, *kind.errors, report.has_importance, entry);
    } else {
      entry["why_not"] = kind.why;
    }
    list.push_back(std::move(entry));
  }
  return {{"name", tensor.name},
          {"shape", tensor.shape},
          {"source_type", TypeName(tensor.source)},
          {"elements", tensor.values.elements},
          {"has_importance", tensor.has_importance},
          {"errors", std::move(list)}};
}

}  // namespace

void PrintErrors(const ErrorReport& report) {
  fmt::print("{:<40} {:>9} {:>8} {:>11} {:>13}", "tensor", "kind", "type", "bits/weight",
             "relative RMSE");
  if (report.has_importance) fmt::print(" {:>13}", "weighted");
  fmt::print(" {:>13} {:>12}\n", "largest error", "cosine");
  for (const MeasuredTensor& tensor : report.tensors) {
    for (std::size_t k = 0; k < tensor.kinds.size(); ++k) {
      const KindErrors& kind = tensor.kinds[k];
      if (kind.errors) {
        PrintLine(tensor.name, report.kinds[k].name, TypeName(kind.type), kind.bytes, tensor.values,
                  *kind.errors, report.has_importance);
      } else {
        fmt::print("{:<40} {:>9} {:>8}  {}\n", Printable(tensor.name), report.kinds[k].name,
                   TypeName(kind.type), kind.why);
      }
    }
  }
  fmt::print("\n");
  for (std::size_t k = 0; k < report.kinds.size(); ++k) {
    const KindTotals& totals = report.totals[k];
    PrintLine(fmt::format("total of {} of {} matrices", totals.tensors, report.tensors.size()),
              report.kinds[k].name, "", totals.bytes, totals.values, totals.errors,
              report.has_importance);
  }
}

nlohmann::ordered_json ErrorsJson(const ErrorReport& report, const std::string& source) {
  nlohmann::ordered_json kinds = nlohmann::ordered_json::array();
  for (std::size_t k = 0; k < report.kinds.size(); ++k) {
    const KindTotals& totals = report.totals[k];
    nlohmann::ordered_json entry{{"kind", report.kinds[k].name},
                                 {"recipe", !report.kinds[k].type},
                                 {"tensors", totals.tensors},
                                 {"elements", totals.values.elements}};
    AddMetrics(totals.bytes, totals.values, totals.errors, report.has_importance, entry);
    kinds.push_back(std::move(entry));
  }
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const MeasuredTensor& tensor : report.tensors) tensors.push_back(TensorJson(tensor, report));
  return {{"format", 1},
          {"source", source},
          {"kept_tensors", report.kept_tensors},
          {"warnings", report.warnings},
          {"totals", std::move(kinds)},
          {"tensors", std::move(tensors)}};
}

}  // namespace sluice::cli
