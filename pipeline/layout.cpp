#include "pipeline/layout.h"

#include <filesystem>
#include <iterator>
#include <system_error>
#include <utility>

#include "formats/gguf/split.h"

namespace sluice {
namespace {

std::vector<gguf::TensorRecord> RecordsOf(const FilePlan& file) {
  std::vector<gguf::TensorRecord> records;
  records.reserve(file.tensors.size());
  for (const PlannedTensor& tensor : file.tensors) records.push_back(tensor.record);
  return records;
}

// The stages cut tensors into slabs and rows of at least one element.
Status CheckNotEmpty(const FilePlan& file) {
  for (const PlannedTensor& tensor : file.tensors) {
    if (tensor.expr.elements > 0) continue;
    return MakeError(ErrorCode::kUnsupported, "a tensor without elements").At(tensor.record.name);
  }
  return Ok();
}

// Whether something has the name and is no file.
bool IsNoFile(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error);
}

Status LayOutFile(FilePlan& file) {
  SLUICE_TRY(CheckNotEmpty(file));
  SLUICE_ASSIGN(file.alignment, gguf::AlignmentOf(file.metadata));
  if (file.ignores_alignment_key) file.alignment = gguf::kDefaultAlignment;
  std::vector<gguf::TensorRecord> records = RecordsOf(file);
  const bool pad_last = !file.is_ollama();
  SLUICE_ASSIGN(file.data_bytes, gguf::AssignOffsets(records, file.alignment, pad_last));
  file.head = gguf::SerializeHead(file.metadata, records, file.alignment);
  for (std::size_t i = 0; i < records.size(); ++i) file.tensors[i].record = std::move(records[i]);
  return Ok();
}

}  // namespace

Status SplitModel(std::uint64_t max_bytes, Plan& plan) {
  if (max_bytes == 0) return Ok();
  FilePlan& model = plan.files.front();
  std::vector<gguf::TensorRecord> records = RecordsOf(model);
  SLUICE_TRY(gguf::AssignOffsets(records, gguf::kDefaultAlignment, true));  // for the sizes
  SLUICE_ASSIGN(const std::vector<gguf::TensorRange> ranges, gguf::GroupBySize(records, max_bytes));
  if (ranges.size() == 1) return Ok();
  std::vector<FilePlan> files(ranges.size());
  const auto count = static_cast<std::uint32_t>(ranges.size());
  for (std::uint32_t number = 0; number < count; ++number) {
    const auto tensor = [&](std::size_t index) {
      return std::make_move_iterator(model.tensors.begin() + static_cast<std::ptrdiff_t>(index));
    };
    files[number].spec = model.spec;
    files[number].ignores_alignment_key = model.ignores_alignment_key;
    files[number].metadata = gguf::ShardMetadata(model.metadata, number, count, records.size());
    files[number].tensors.assign(tensor(ranges[number].begin), tensor(ranges[number].end));
  }
  plan.files.erase(plan.files.begin());
  plan.files.insert(plan.files.begin(), std::make_move_iterator(files.begin()),
                    std::make_move_iterator(files.end()));
  return Ok();
}

Status LayOut(Plan& plan) {
  for (FilePlan& file : plan.files) SLUICE_TRY(LayOutFile(file));
  return Ok();
}

Result<std::vector<std::string>> OutputPaths(const Plan& plan, const std::string& model,
                                             const std::string& projector) {
  const std::size_t num_shards = plan.files.size() - (projector.empty() ? 0 : 1);
  std::vector<std::string> paths;
  if (num_shards == 1) {
    paths.push_back(model);
  } else if (model == "-" || IsNoFile(model)) {
    return MakeError(ErrorCode::kUsage, model == "-" ? "standard output takes one file"
                                                     : "pipes, devices and folders take no files")
        .In(model == "-" ? "" : model)
        .Advice("name a file, or leave --max-shard-size out");
  } else {
    const auto count = static_cast<std::uint32_t>(num_shards);
    for (std::uint32_t i = 0; i < count; ++i) paths.push_back(gguf::ShardPath(model, i, count));
  }
  if (!projector.empty()) paths.push_back(projector);
  return paths;
}

}  // namespace sluice
