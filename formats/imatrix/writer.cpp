#include "formats/imatrix/writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

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

Status Check(const Collected& weight) {
  const std::uint64_t num_matrices = weight.counts.size();
  const std::uint64_t num_sums = weight.sums.size();
  if (num_matrices > 0 && num_sums > 0 && num_sums % num_matrices == 0) return Ok();
  return MakeError(ErrorCode::kUsage, "sums and counts do not fit together")
      .At(weight.name)
      .Expected("as many sums for each count")
      .Actual(fmt::format("{} sums, {} counts", num_sums, num_matrices));
}

void AddRecords(const Collected& weight, std::vector<TensorRecord>& records) {
  const std::uint64_t num_matrices = weight.counts.size();
  TensorRecord sums;
  sums.name = weight.name + std::string(kSumsSuffix);
  sums.shape = {num_matrices, weight.sums.size() / num_matrices};
  TensorRecord counts;
  counts.name = weight.name + std::string(kCountsSuffix);
  counts.shape = {num_matrices, 1};
  records.push_back(std::move(sums));
  records.push_back(std::move(counts));
}

void Append(std::span<const std::byte> added, std::vector<std::byte>& bytes) {
  bytes.insert(bytes.end(), added.begin(), added.end());
}

// Numbers of the legacy form.
Status AppendNumber(std::uint64_t number, std::vector<std::byte>& bytes) {
  if (number > std::numeric_limits<std::int32_t>::max()) {
    return MakeError(ErrorCode::kUsage, "too much for the legacy form of an importance matrix")
        .Actual(fmt::format("{}", number))
        .Advice("write the GGUF form");
  }
  const auto narrow = static_cast<std::int32_t>(number);
  Append(std::as_bytes(std::span(&narrow, 1)), bytes);
  return Ok();
}

Status AppendText(std::string_view text, std::vector<std::byte>& bytes) {
  SLUICE_TRY(AppendNumber(text.size(), bytes));
  Append(std::as_bytes(std::span(text)), bytes);
  return Ok();
}

// The tensor's only divisor: how many chunks the matrix that met most has met.
std::uint64_t CallsOf(const Collected& weight, std::uint32_t chunk_tokens) {
  const float most = *std::max_element(weight.counts.begin(), weight.counts.end());
  return static_cast<std::uint64_t>(std::ceil(static_cast<double>(most) / chunk_tokens));
}

Status AppendEntry(const Collected& weight, std::uint64_t calls, std::vector<std::byte>& bytes) {
  SLUICE_TRY(AppendText(weight.name, bytes));
  SLUICE_TRY(AppendNumber(calls, bytes));
  SLUICE_TRY(AppendNumber(weight.sums.size(), bytes));
  const std::size_t columns = weight.sums.size() / weight.counts.size();
  std::vector<float> values;
  values.reserve(weight.sums.size());
  for (std::size_t i = 0; i < weight.sums.size(); ++i) {
    const float count = weight.counts[i / columns];
    const float mean = count > 0 ? weight.sums[i] / count : 1.0F;
    values.push_back(mean * static_cast<float>(calls));
  }
  Append(std::as_bytes(std::span(values)), bytes);
  return Ok();
}

}  // namespace

Result<std::vector<std::byte>> ToGgufForm(const Collection& collection) {
  const std::vector<const Collected*> weights = SortedByName(collection);
  std::vector<TensorRecord> records;
  for (const Collected* weight : weights) {
    SLUICE_TRY(Check(*weight));
    AddRecords(*weight, records);
  }
  SLUICE_TRY(gguf::AssignOffsets(records, gguf::kDefaultAlignment, true));
  std::vector<std::byte> bytes =
      gguf::SerializeHead(MetadataOf(collection), records, gguf::kDefaultAlignment);
  for (const Collected* weight : weights) {
    for (const std::vector<float>* values : {&weight->sums, &weight->counts}) {
      Append(std::as_bytes(std::span(*values)), bytes);
      bytes.resize(RoundUp(bytes.size(), gguf::kDefaultAlignment));
    }
  }
  return bytes;
}

Result<std::vector<std::byte>> ToLegacyForm(const Collection& collection) {
  std::vector<const Collected*> weights = SortedByName(collection);
  for (const Collected* weight : weights) SLUICE_TRY(Check(*weight));
  std::erase_if(weights, [&](const Collected* weight) {
    return CallsOf(*weight, collection.chunk_tokens) == 0;  // it met nothing
  });
  std::vector<std::byte> bytes;
  SLUICE_TRY(AppendNumber(weights.size(), bytes));
  for (const Collected* weight : weights) {
    SLUICE_TRY(AppendEntry(*weight, CallsOf(*weight, collection.chunk_tokens), bytes));
  }
  SLUICE_TRY(AppendNumber(collection.num_chunks, bytes));
  SLUICE_TRY(AppendText(collection.datasets.empty() ? "" : collection.datasets.front(), bytes));
  return bytes;
}

}  // namespace sluice::imatrix
