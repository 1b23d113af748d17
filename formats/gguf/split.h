// Models in several GGUF files: how llama.cpp names them, what each holds, and reading them as one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "formats/gguf/reader.h"
#include "formats/gguf/value.h"
#include "formats/gguf/writer.h"

namespace sluice::gguf {

inline constexpr std::string_view kSplitNumberKey = "split.no";              // u16, from 0
inline constexpr std::string_view kSplitCountKey = "split.count";            // u16
inline constexpr std::string_view kSplitTensorsKey = "split.tensors.count";  // i32, of all files

// PREFIX-00001-of-00003.gguf: numbers in names begin at 1, those in files and here at 0.
struct ShardName {
  std::string prefix;
  std::uint32_t number = 0;
  std::uint32_t count = 0;
};

// The path of one shard of the model that would be written to `path` in one file: a final ".gguf"
// of `path` is dropped first.
[[nodiscard]] std::string ShardPath(std::string_view path, std::uint32_t number,
                                    std::uint32_t count);
// nullopt for a path that is not named like a shard.
[[nodiscard]] std::optional<ShardName> ParseShardPath(std::string_view path);

// Tensors [begin, end) of a model, in its order.
struct TensorRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool operator==(const TensorRange&) const = default;
};

// Fills shards in order with at most `max_bytes` of tensor bytes (`bytes` of the records; padding
// and metadata are not counted); a larger tensor gets a shard of its own. At least one shard.
// kUsage for a limit of 0 and for more shards or tensors than the keys can count.
Result<std::vector<TensorRange>> GroupBySize(std::span<const TensorRecord> tensors,
                                             std::uint64_t max_bytes);

// The key-values of one shard: the first has all of the model's, each ends with the three of the
// split. So `general.alignment` counts for the first shard only, and the others have the default.
// REQUIRES: number < count <= 65535, num_tensors < 2^31.
Metadata ShardMetadata(const Metadata& model, std::uint32_t number, std::uint32_t count,
                       std::uint64_t num_tensors);

struct SplitFile {
  std::string path;
  std::uint64_t file_bytes = 0;
  Head head;
};

// All files of a model. A model in one file is a set of one.
struct SplitSet {
  std::vector<SplitFile> files;  // in order

  // Metadata of the model: of the first file, without the keys of the split.
  [[nodiscard]] Metadata ModelMetadata() const;
};

// One tensor of a set. Points into the set.
struct SplitTensor {
  std::size_t file = 0;  // index into SplitSet::files
  const TensorRecord* record = nullptr;
  std::uint64_t offset = 0;  // from the start of its file
};

// Reads the heads of a model's files, given the first of them or its only one. kUsage for a later
// one. kMissing: files that the first one promises. kMismatch: a file that belongs to another
// split, or counts that disagree. kCorrupt: a file, split.* keys of other types, a tensor in two
// files.
Result<SplitSet> OpenSplit(const std::string& path);

// The tensors of all files, in order.
[[nodiscard]] std::vector<SplitTensor> TensorsOf(const SplitSet& set);

}  // namespace sluice::gguf
