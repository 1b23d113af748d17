#include "pipeline/quantize/importance.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "core/checked.h"
#include "core/utf8.h"
#include "formats/quant/codec.h"
#include "pipeline/quantize/tensor_class.h"

namespace sluice {
namespace {

using gguf::TensorRecord;
using gguf::TensorType;

// Output and embeddings: collectors leave them out by default.
bool IsOftenUncollected(std::string_view name) {
  return name == kOutputName || name == kEmbeddingName || name == kLayerEmbeddingName;
}

quant::Importance ImportanceOf(TensorType type) {
  const quant::Codec* codec = quant::FindCodec(type);
  return codec == nullptr ? quant::Importance::kIgnored : codec->importance;
}

// llama-quantize refuses these types without data, because the result is useless.
bool IsUselessWithout(TensorType type, FileType file_type) {
  switch (type) {
    case TensorType::kIQ1_S:
    case TensorType::kIQ1_M:
    case TensorType::kIQ2_XXS:
    case TensorType::kIQ2_XS:
    case TensorType::kIQ2_S:
    case TensorType::kIQ3_XXS:
      return true;
    case TensorType::kQ2_K:
      return file_type == FileType::kQ2_K_S;
    default:
      return false;
  }
}

// Columns times matrices; nullopt on overflow.
std::optional<std::uint64_t> NumWeights(const TensorRecord& tensor) {
  const auto& shape = tensor.shape;
  const std::uint64_t columns = shape.empty() ? 1 : shape.back();
  return CheckedMul(columns, shape.size() < 3 ? 1 : shape[shape.size() - 3]);
}

class ImportancePlanner {
 public:
  ImportancePlanner(FileType file_type, const imatrix::Reader* reader)
      : file_type_(file_type), reader_(reader) {}

  // nullptr where the tensor goes without.
  const imatrix::Entry* Find(const TensorRecord& tensor, TensorType type) {
    const imatrix::Entry* entry = reader_ == nullptr ? nullptr : reader_->Find(tensor.name);
    if (entry != nullptr && NumWeights(tensor) != entry->values) {
      entry = ReportSize(tensor, *entry);
    } else if (entry != nullptr) {
      ++num_found_;
    }
    if (entry == nullptr) ReportAbsent(tensor, type);
    return entry;
  }

  Result<std::vector<std::string>> TakeWarnings() {
    if (!problems_.empty()) return JoinErrors(std::move(problems_));
    if (reader_ != nullptr && num_found_ == 0) {
      warnings_.push_back(
          fmt::format("{} has data for none of the tensors to quantize: it belongs "
                      "to another model",
                      reader_->path()));
    } else if (reader_ != nullptr && num_without_ > 0) {
      warnings_.push_back(fmt::format("{} has no data for {} of the tensors to quantize, first {}",
                                      reader_->path(), num_without_, first_without_));
    }
    return std::move(warnings_);
  }

 private:
  const imatrix::Entry* ReportSize(const TensorRecord& tensor, const imatrix::Entry& entry) {
    if (ClassOf(tensor.name) == TensorClass::kEmbedding) {
      warnings_.push_back(
          fmt::format("{}: its importance data has another size and is ignored", tensor.name));
      return nullptr;
    }
    problems_.push_back(MakeError(ErrorCode::kMismatch, "importance data of another size")
                            .In(reader_->path())
                            .At(tensor.name)
                            .AtOffset(entry.offset)
                            .Expected(fmt::format("{} values", NumWeights(tensor).value_or(0)))
                            .Actual(fmt::format("{}", entry.values))
                            .Advice("the imatrix belongs to another model"));
    return &entry;
  }

  void ReportAbsent(const TensorRecord& tensor, TensorType type) {
    const bool often = IsOftenUncollected(tensor.name);
    if (NeedsImportance(tensor.name, type, file_type_)) {
      problems_.push_back(
          MakeError(ErrorCode::kMissing,
                    fmt::format("{} needs importance data", gguf::InfoOf(type).name))
              .In(reader_ == nullptr ? "" : reader_->path())
              .At(tensor.name)
              .Advice(reader_ == nullptr ? "give an importance matrix: --imatrix FILE"
                                         : "give this tensor another type: --tensor-type "
                                           "NAME=TYPE"));
    } else if (ImportanceOf(type) == quant::Importance::kUsed && !often) {
      if (num_without_++ == 0) first_without_ = tensor.name;
    }
  }

  FileType file_type_;
  const imatrix::Reader* reader_;
  std::size_t num_found_ = 0;
  std::size_t num_without_ = 0;  // of those that would use data
  std::string first_without_;
  std::vector<Error> problems_;
  std::vector<std::string> warnings_;
};

// As text of a GGUF file, which is UTF-8, and at most what llama-quantize has room for, without
// cutting a character apart.
std::string ShortText(std::string_view bytes) {
  constexpr std::size_t kMaxBytes = 127;
  Utf8Stream stream;
  std::string text = stream.Push(bytes);
  text += stream.Finish();
  if (text.size() <= kMaxBytes) return text;
  std::size_t end = kMaxBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace

Result<ImportancePlan> PlanImportance(std::span<const TensorRecord> tensors, const Recipe& recipe,
                                      FileType file_type, const imatrix::Reader* reader) {
  ImportancePlan plan;
  ImportancePlanner planner(file_type, reader);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorType type = recipe.choices[i].type;
    plan.entries.push_back(type == tensors[i].type ? nullptr : planner.Find(tensors[i], type));
  }
  SLUICE_ASSIGN(plan.warnings, planner.TakeWarnings());
  return plan;
}

Result<ImportancePlan> FindImportance(std::span<const TensorRecord> tensors,
                                      const imatrix::Reader* reader) {
  ImportancePlan plan;
  ImportancePlanner planner(FileType::kQ4_K_M, reader);
  for (const TensorRecord& tensor : tensors) {
    // A type that uses data where there is some, and is good without.
    plan.entries.push_back(planner.Find(tensor, TensorType::kQ4_K));
  }
  SLUICE_ASSIGN(plan.warnings, planner.TakeWarnings());
  return plan;
}

bool NeedsImportance(std::string_view tensor, TensorType type, FileType file_type) {
  return ImportanceOf(type) == quant::Importance::kRequired ||
         (!IsOftenUncollected(tensor) && IsUselessWithout(type, file_type));
}

void AddImportanceKeys(const imatrix::Reader& reader, gguf::Metadata& metadata) {
  metadata.MoveToEnd("quantize.imatrix.file", ShortText(reader.path()));
  if (!reader.datasets().empty()) {
    metadata.MoveToEnd("quantize.imatrix.dataset", ShortText(reader.datasets().front()));
  }
  metadata.MoveToEnd("quantize.imatrix.entries_count",
                     static_cast<std::uint32_t>(reader.entries().size()));
  if (reader.num_chunks() > 0) {
    metadata.MoveToEnd("quantize.imatrix.chunks_count", reader.num_chunks());
  }
}

}  // namespace sluice
