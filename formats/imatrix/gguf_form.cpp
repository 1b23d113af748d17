// The GGUF form: for the weight NAME the F32 tensors NAME.in_sum2, columns' sums of squares for
// each matrix, and NAME.counts, how many rows of activations each matrix met. A stack of matrices
// that always work together has one count for all.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <map>

#include "core/checked.h"
#include "formats/gguf/reader.h"
#include "formats/imatrix/forms.h"

namespace sluice::imatrix {
namespace {

using gguf::Head;
using gguf::TensorRecord;

Error NoKey(std::string_view key, std::string_view expected) {
  return MakeError(ErrorCode::kCorrupt, fmt::format("no importance matrix: key '{}'", key))
      .Expected(expected)
      .Actual("none");
}

Status ReadKeys(const Head& head, Contents& contents) {
  const auto* type = head.metadata.Get<std::string>("general.type");
  if (type != nullptr && *type != kType) {
    return MakeError(ErrorCode::kCorrupt, "no importance matrix: general.type")
        .Expected(kType)
        .Actual(*type);
  }
  const auto* datasets = head.metadata.Get<gguf::Array>(kDatasetsKey);
  if (datasets == nullptr || datasets->element_type() != gguf::ValueType::kString) {
    return NoKey(kDatasetsKey, "an array of strings");
  }
  for (std::size_t i = 0; i < datasets->size(); ++i) {
    contents.datasets.emplace_back(datasets->StringAt(i));
  }
  for (const std::string_view key : {kChunkCountKey, kChunkSizeKey}) {
    if (head.metadata.Get<std::uint32_t>(key) == nullptr) return NoKey(key, "a u32");
  }
  contents.num_chunks = *head.metadata.Get<std::uint32_t>(kChunkCountKey);
  return Ok();
}

// The two tensors of one weight.
struct Pair {
  const TensorRecord* sums = nullptr;
  const TensorRecord* counts = nullptr;
};

// By the weight's name; tensors of other names have nothing to do with importance.
std::map<std::string_view, Pair> PairTensors(const Head& head) {
  std::map<std::string_view, Pair> pairs;
  for (const TensorRecord& tensor : head.tensors) {
    const std::string_view name = tensor.name;
    if (name.ends_with(kSumsSuffix)) {
      pairs[name.substr(0, name.size() - kSumsSuffix.size())].sums = &tensor;
    } else if (name.ends_with(kCountsSuffix)) {
      pairs[name.substr(0, name.size() - kCountsSuffix.size())].counts = &tensor;
    }
  }
  return pairs;
}

class PairReader {
 public:
  PairReader(std::span<const std::byte> file, const Head& head) : file_(file), head_(head) {}

  Result<Entry> Read(std::string_view name, const Pair& pair) const {
    if (pair.sums == nullptr || pair.counts == nullptr) {
      const std::string_view missing = pair.sums == nullptr ? kSumsSuffix : kCountsSuffix;
      return MakeError(ErrorCode::kCorrupt, "half of an entry")
          .At(name)
          .Expected(fmt::format("a tensor {}{}", name, missing))
          .Actual("none");
    }
    SLUICE_ASSIGN(const std::uint64_t num_values, CountValues(*pair.sums));
    SLUICE_ASSIGN(const std::uint64_t num_matrices, CountValues(*pair.counts));
    if (num_values % num_matrices != 0) {
      return MakeError(ErrorCode::kCorrupt, "sums and counts do not fit together")
          .At(name)
          .AtOffset(OffsetOf(*pair.sums))
          .Expected(fmt::format("a multiple of {} sums", num_matrices))
          .Actual(fmt::format("{}", num_values));
    }
    Entry entry{std::string(name), OffsetOf(*pair.sums), num_values, {}};
    SLUICE_ASSIGN(entry.divisors, ReadCounts(*pair.counts, num_matrices));
    return entry;
  }

 private:
  [[nodiscard]] std::uint64_t OffsetOf(const TensorRecord& tensor) const {
    return head_.data_start + tensor.data_offset;
  }

  // The number of F32 values, at least one.
  [[nodiscard]] Result<std::uint64_t> CountValues(const TensorRecord& tensor) const {
    const std::uint64_t count = tensor.bytes / sizeof(float);
    if (tensor.type == gguf::TensorType::kF32 && count > 0) return count;
    return MakeError(ErrorCode::kCorrupt, "unusable importance")
        .At(tensor.name)
        .AtOffset(OffsetOf(tensor))
        .Expected("F32 values")
        .Actual(fmt::format("{} bytes of {}", tensor.bytes, gguf::InfoOf(tensor.type).name));
  }

  // Rounded to whole rows, halves away from zero, as llama-quantize rounds them.
  [[nodiscard]] Result<std::vector<float>> ReadCounts(const TensorRecord& tensor,
                                                      std::uint64_t num_matrices) const {
    std::vector<float> counts(num_matrices);
    std::memcpy(counts.data(), file_.data() + OffsetOf(tensor), tensor.bytes);
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (!std::isfinite(counts[i])) {
        return MakeError(ErrorCode::kCorrupt, "unusable count")
            .At(tensor.name)
            .AtOffset(OffsetOf(tensor) + i * sizeof(float))
            .Expected("a finite number of rows")
            .Actual(fmt::format("{}", counts[i]));
      }
      counts[i] = std::round(counts[i]);
    }
    return counts;
  }

  std::span<const std::byte> file_;
  const Head& head_;
};

}  // namespace

Result<Contents> ReadGgufForm(std::span<const std::byte> file, const std::string& path) {
  SLUICE_ASSIGN(const Head head, gguf::ReadHead(file, path));
  Contents contents;
  SLUICE_TRY(ReadKeys(head, contents));
  const PairReader reader(file, head);
  for (const auto& [name, pair] : PairTensors(head)) {
    SLUICE_ASSIGN(Entry entry, reader.Read(name, pair));
    contents.entries.push_back(std::move(entry));
  }
  return contents;
}

}  // namespace sluice::imatrix
