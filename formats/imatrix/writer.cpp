#include "formats/imatrix/writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/checked.h"
#include "formats/gguf/writer.h"
#include "formats/imatrix/forms.h"

namespace sluice::imatrix {
namespace {

using gguf::TensorRecord;

gguf::Metadata MetadataOf(const Collection& collection) {
  gguf::Metadata metadata;
  metadata.Append("general.type", std::string(kType));
  metadata.Append(kDatasetsKey, gguf::Array::OfStrings(collection.datasets));
  metadata.Append(kChunkCountKey, collection.num_chunks);
  metadata.Append(kChunkSizeKey, collection.chunk_tokens);
  return metadata;
}

std::vector<const Collected*> SortedByName(const Collection& collection) {
  std::vector<const Collected*> sorted;
  sorted.reserve(collection.weights.size());
  for (const Collected& weight : collection.weights) sorted.push_back(&weight);
  std::sort(sorted.begin(), sorted.end(),
            [](const Collected* a, const Collected* b) { return a->name < b->name; });
  return sorted;
}

Status AddRecords(const Collected& weight, std::vector<TensorRecord>& records) {
  const std::uint64_t num_matrices = weight.counts.size();
  const std::uint64_t num_sums = weight.sums.size();
  if (num_matrices == 0 || num_sums == 0 || num_sums % num_matrices != 0) {
    return MakeError(ErrorCode::kUsage, "sums and counts do not fit together")
        .At(weight.name)
        .Expected("as many sums for each count")
        .Actual(fmt::format("{} sums, {} counts", num_sums, num_matrices));
  }
  TensorRecord sums;
  sums.name = weight.name + std::string(kSumsSuffix);
  sums.shape = {num_matrices, num_sums / num_matrices};
  TensorRecord counts;
  counts.name = weight.name + std::string(kCountsSuffix);
  counts.shape = {num_matrices, 1};
  records.push_back(std::move(sums));
  records.push_back(std::move(counts));
  return Ok();
}

Status WritePadded(File& file, std::span<const float> values) {
  constexpr std::array<std::byte, gguf::kDefaultAlignment> kZeros{};
  const std::uint64_t bytes = values.size_bytes();
  SLUICE_TRY(file.Write(std::as_bytes(values)));
  return file.Write(std::span(kZeros).first(RoundUp(bytes, kZeros.size()) - bytes));
}

}  // namespace

Status Write(const Collection& collection, File& file) {
  const std::vector<const Collected*> weights = SortedByName(collection);
  std::vector<TensorRecord> records;
  for (const Collected* weight : weights) SLUICE_TRY(AddRecords(*weight, records));
  SLUICE_TRY(gguf::AssignOffsets(records, gguf::kDefaultAlignment, true));
  SLUICE_TRY(
      file.Write(gguf::SerializeHead(MetadataOf(collection), records, gguf::kDefaultAlignment)));
  for (const Collected* weight : weights) {
    SLUICE_TRY(WritePadded(file, weight->sums));
    SLUICE_TRY(WritePadded(file, weight->counts));
  }
  return Ok();
}

}  // namespace sluice::imatrix
