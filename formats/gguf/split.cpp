#include "formats/gguf/split.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <unordered_map>
#include <utility>

#include "core/mapped_file.h"

namespace sluice::gguf {
namespace {

constexpr std::string_view kExtension = ".gguf";
constexpr std::size_t kDigits = 5;
constexpr std::uint32_t kMaxShards = std::numeric_limits<std::uint16_t>::max();
constexpr std::uint64_t kMaxTensors = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kMaxProblems = 16;  // reported of the files that a first file promises

// Takes a number of exactly five digits from the end of `text`.
std::optional<std::uint32_t> TakeNumber(std::string_view& text) {
  if (text.size() < kDigits) return std::nullopt;
  const std::string_view digits = text.substr(text.size() - kDigits);
  if (digits.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  std::uint32_t number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  text.remove_suffix(kDigits);
  return number;
}

bool TakeSuffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// What a file says about the split it belongs to.
struct SplitKeys {
  std::uint16_t number = 0;
  std::uint16_t count = 1;
  std::int32_t num_tensors = 0;
};

template <typename T>
Status ReadKey(const Metadata& metadata, std::string_view key, T& out) {
  const Value* value = metadata.Find(key);
  if (value == nullptr) return Ok();
  const T* number = std::get_if<T>(value);
  if (number == nullptr || *number < T{0}) {
    return MakeError(ErrorCode::kCorrupt, fmt::format("key '{}' is unusable", key))
        .Expected(fmt::format("a {}", ValueTypeName(TypeOf(Value(T{})))))
        .Actual(fmt::format("{} {}", ValueTypeName(TypeOf(*value)), ToText(*value, 1, 40)));
  }
  out = *number;
  return Ok();
}

Result<SplitKeys> ReadKeys(const SplitFile& file) {
  SplitKeys keys;
  const auto read = [&]() -> Status {
    keys.num_tensors = static_cast<std::int32_t>(std::min(file.head.tensors.size(), kMaxTensors));
    SLUICE_TRY(ReadKey(file.head.metadata, kSplitNumberKey, keys.number));
    SLUICE_TRY(ReadKey(file.head.metadata, kSplitCountKey, keys.count));
    return ReadKey(file.head.metadata, kSplitTensorsKey, keys.num_tensors);
  };
  Status status = read();
  if (!status) return std::move(status).error().In(file.path);
  return keys;
}

Result<SplitFile> OpenFile(const std::string& path) {
  SLUICE_ASSIGN(const MappedFile mapped, MappedFile::Open(path));
  SplitFile file;
  file.path = path;
  file.file_bytes = mapped.bytes().size();
  SLUICE_ASSIGN(file.head, ReadHead(mapped));
  return file;
}

// The name of a first shard, as its keys promise it.
Result<ShardName> NameOfFirst(const std::string& path, const SplitKeys& keys) {
  std::optional<ShardName> name = ParseShardPath(path);
  if (keys.number != 0) {
    const std::string first = name ? ShardPath(name->prefix, 0, keys.count) : "its first file";
    return MakeError(ErrorCode::kUsage, "not the first file of a split model")
        .In(path)
        .Expected(first)
        .Actual(fmt::format("{} {}", kSplitNumberKey, keys.number));
  }
  if (!name || name->number != 0 || name->count != keys.count) {
    return MakeError(ErrorCode::kMismatch, "the name does not lead to the model's other files")
        .In(path)
        .Expected(ShardPath(name ? name->prefix : "NAME", 0, keys.count))
        .Advice("give the files of a split model the names they were made with");
  }
  return *std::move(name);
}

class SplitOpener {
 public:
  SplitOpener(SplitFile first, const SplitKeys& keys) : promised_(keys) {
    set_.files.push_back(std::move(first));
  }

  void OpenOthers(const ShardName& name) {
    for (std::uint32_t number = 1; number < promised_.count && problems_.size() < kMaxProblems;
         ++number) {
      const std::string path = ShardPath(name.prefix, number, promised_.count);
      Result<SplitFile> file = OpenFile(path);
      if (!file) {
        problems_.push_back(std::move(file).error());
        continue;
      }
      CheckKeys(*file, number);
      set_.files.push_back(*std::move(file));
    }
  }

  Result<SplitSet> Finish() {
    if (problems_.empty()) CheckTensors();
    if (!problems_.empty()) return JoinErrors(std::move(problems_));
    return std::move(set_);
  }

 private:
  void CheckKeys(const SplitFile& file, std::uint32_t number) {
    const Result<SplitKeys> keys = ReadKeys(file);
    if (!keys) {
      problems_.push_back(keys.error());
    } else if (keys->number != number || keys->count != promised_.count ||
               keys->num_tensors != promised_.num_tensors) {
      problems_.push_back(MakeError(ErrorCode::kMismatch, "this file belongs to another split")
                              .In(file.path)
                              .Expected(fmt::format("number {} of {} with {} tensors in all",
                                                    number, promised_.count, promised_.num_tensors))
                              .Actual(fmt::format("number {} of {} with {}", keys->number,
                                                  keys->count, keys->num_tensors)));
    }
  }

  void CheckTensors() {
    std::unordered_map<std::string_view, const SplitFile*> seen;
    for (const SplitFile& file : set_.files) {
      for (const TensorRecord& tensor : file.head.tensors) {
        const auto [first, is_new] = seen.emplace(tensor.name, &file);
        if (is_new) continue;
        problems_.push_back(MakeError(ErrorCode::kCorrupt, "the same tensor is in two files")
                                .In(file.path)
                                .At(tensor.name)
                                .Actual(fmt::format("also in {}", first->second->path)));
      }
    }
    if (!problems_.empty() || seen.size() == static_cast<std::size_t>(promised_.num_tensors))
      return;
    problems_.push_back(MakeError(ErrorCode::kMismatch, "tensors of the model are missing")
                            .In(set_.files.front().path)
                            .Expected(fmt::format("{} tensors", promised_.num_tensors))
                            .Actual(fmt::format("{} in all files", seen.size())));
  }

  SplitKeys promised_;  // by the first file
  SplitSet set_;
  std::vector<Error> problems_;
};

}  // namespace

std::string ShardPath(std::string_view path, std::uint32_t number, std::uint32_t count) {
  TakeSuffix(path, kExtension);
  return fmt::format("{}-{:05}-of-{:05}{}", path, number + 1, count, kExtension);
}

std::optional<ShardName> ParseShardPath(std::string_view path) {
  if (!TakeSuffix(path, kExtension)) return std::nullopt;
  const auto count = TakeNumber(path);
  if (!count || !TakeSuffix(path, "-of-")) return std::nullopt;
  const auto number = TakeNumber(path);
  if (!number || *number == 0 || *number > *count || !TakeSuffix(path, "-")) return std::nullopt;
  return ShardName{std::string(path), *number - 1, *count};
}

Result<std::vector<TensorRange>> GroupBySize(std::span<const TensorRecord> tensors,
                                             std::uint64_t max_bytes) {
  if (max_bytes == 0) {
    return MakeError(ErrorCode::kUsage, "no room in a shard").Expected("at least 1 byte");
  }
  std::vector<TensorRange> ranges(1);
  std::uint64_t bytes = 0;
  for (const TensorRecord& tensor : tensors) {
    TensorRange& last = ranges.back();
    const bool is_empty = last.begin == last.end;
    const bool fits = tensor.bytes <= max_bytes && bytes <= max_bytes - tensor.bytes;
    if (is_empty || fits) {
      ++last.end;
      bytes = is_empty ? tensor.bytes : bytes + tensor.bytes;
    } else {
      ranges.push_back({last.end, last.end + 1});
      bytes = tensor.bytes;
    }
  }
  if (ranges.size() <= kMaxShards && tensors.size() <= kMaxTensors) return ranges;
  return MakeError(ErrorCode::kUsage, "too many shards")
      .Expected(fmt::format("at most {}", kMaxShards))
      .Actual(fmt::format("{}", ranges.size()))
      .Advice("allow larger shards");
}

Metadata ShardMetadata(const Metadata& model, std::uint32_t number, std::uint32_t count,
                       std::uint64_t num_tensors) {
  Metadata metadata;
  if (number == 0) metadata = model;
  metadata.MoveToEnd(kSplitNumberKey, static_cast<std::uint16_t>(number));
  metadata.MoveToEnd(kSplitCountKey, static_cast<std::uint16_t>(count));
  metadata.MoveToEnd(kSplitTensorsKey, static_cast<std::int32_t>(num_tensors));
  return metadata;
}

Metadata SplitSet::ModelMetadata() const {
  Metadata metadata;
  for (const KeyValue& item : files.front().head.metadata.items()) {
    const bool of_split =
        item.key == kSplitNumberKey || item.key == kSplitCountKey || item.key == kSplitTensorsKey;
    if (!of_split) metadata.Append(item.key, item.value);
  }
  return metadata;
}

Result<SplitSet> OpenSplit(const std::string& path) {
  SLUICE_ASSIGN(SplitFile first, OpenFile(path));
  SLUICE_ASSIGN(const SplitKeys keys, ReadKeys(first));
  SplitOpener opener(std::move(first), keys);
  if (keys.count > 1 || keys.number > 0) {
    SLUICE_ASSIGN(const ShardName name, NameOfFirst(path, keys));
    opener.OpenOthers(name);
  }
  return opener.Finish();
}

std::vector<SplitTensor> TensorsOf(const SplitSet& set) {
  std::vector<SplitTensor> tensors;
  for (std::size_t i = 0; i < set.files.size(); ++i) {
    const Head& head = set.files[i].head;
    for (const TensorRecord& record : head.tensors) {
      tensors.push_back({i, &record, head.data_start + record.data_offset});
    }
  }
  return tensors;
}

}  // namespace sluice::gguf
