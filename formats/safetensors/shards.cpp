#include "formats/safetensors/shards.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "core/path.h"
#include "formats/json/json.h"

namespace sluice::safetensors {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".safetensors";

using ShardNames = std::set<std::string>;
// Tensor name -> shard name, as the index has it.
using WeightMap = std::map<std::string, std::string, std::less<>>;

Result<ShardNames> ListFolder(const std::string& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return MakeError(fs::exists(folder, error) ? ErrorCode::kCorrupt : ErrorCode::kMissing,
                     "not a checkpoint folder")
        .In(folder)
        .Expected("a folder with config.json and *.safetensors");
  }
  ShardNames names;
  bool has_torch_files = false;
  for (auto entry = fs::directory_iterator(folder, error); !error && entry != fs::end(entry);
       entry.increment(error)) {
    const fs::path name = entry->path().filename();
    const bool hidden = name.string().starts_with('.');  // such as macOS's ._model.safetensors
    if (name.extension() == kExtension && !hidden) names.insert(name.string());
    if (name.extension() == ".bin" || name.extension() == ".pth") has_torch_files = true;
  }
  if (error) return ErrnoError("cannot list folder", folder, error.value());
  if (!names.empty() || IsPresent((fs::path(folder) / kIndexName).string())) return names;
  if (has_torch_files) {
    return MakeError(ErrorCode::kUnsupported, "only PyTorch weights (.bin, .pth) are here")
        .In(folder)
        .Expected("*.safetensors")
        .Advice("save the checkpoint as safetensors first: save_pretrained() of transformers does");
  }
  return MakeError(ErrorCode::kMissing, "no weights in this folder")
      .In(folder)
      .Expected("*.safetensors");
}

// The folder itself, or the blobs of a Hugging Face cache whose snapshot the folder is: there each
// file is a link to ../../blobs/<hash>.
bool IsInside(const fs::path& file, const fs::path& folder) {
  const auto begins_with = [&](const fs::path& parent) {
    const auto [in_parent, in_file] =
        std::mismatch(parent.begin(), parent.end(), file.begin(), file.end());
    return in_parent == parent.end() && in_file != file.end();
  };
  if (begins_with(folder)) return true;
  const fs::path snapshots = folder.parent_path();
  return snapshots.filename() == "snapshots" && begins_with(snapshots.parent_path() / "blobs");
}

// The path of a shard that the index names, once it is known to stay inside the folder.
Result<std::string> ResolveShard(const std::string& folder, const std::string& name) {
  const fs::path relative(name);
  const auto outside = [&](const fs::path& where) {
    return MakeError(ErrorCode::kCorrupt, "the index names a file outside the checkpoint folder")
        .In((fs::path(folder) / kIndexName).string())
        .Expected("a file name inside the folder")
        .Actual(where.string());
  };
  if (relative.empty() || relative.is_absolute() ||
      std::find(relative.begin(), relative.end(), "..") != relative.end()) {
    return outside(relative);
  }
  const fs::path path = fs::path(folder) / relative;
  std::error_code error;
  if (!fs::exists(path, error)) {
    return MakeError(ErrorCode::kMissing, "a shard that the index names is missing")
        .In(path.string())
        .Advice("download it, or finish the interrupted download");
  }
  const fs::path real = fs::canonical(path, error);
  if (error || !IsInside(real, fs::canonical(folder, error))) return outside(real);
  return path.string();
}

Result<WeightMap> ReadIndex(const std::string& path) {
  SLUICE_ASSIGN(const json::Document index, json::Document::Load(path, kMaxHeaderBytes));
  const auto map = json::AsObject(json::Find(index.root(), "weight_map"));
  if (!map) {
    return MakeError(ErrorCode::kCorrupt, "weight_map is missing or no object").In(path);
  }
  WeightMap weights;
  for (const auto [tensor, shard] : *map) {
    const auto name = json::AsString(shard);
    if (!name) {
      return MakeError(ErrorCode::kCorrupt, "weight_map has a shard that is no string")
          .In(path)
          .At(tensor)
          .Actual(json::TypeName(shard));
    }
    weights.emplace(tensor, *name);
  }
  if (weights.empty()) return MakeError(ErrorCode::kCorrupt, "weight_map is empty").In(path);
  return weights;
}

class ShardOpener {
 public:
  explicit ShardOpener(std::string folder) : folder_(std::move(folder)) {}

  void Open(const std::string& name, const std::string& path) {
    Result<File> file = File::OpenForReading(path);
    if (!file) return Report(std::move(file).error());
    Result<std::uint64_t> bytes = file->Size();
    if (!bytes) return Report(std::move(bytes).error());
    Result<Header> header = ReadHeader(*file);
    if (!header) return Report(std::move(header).error());
    // Blobs of older Ollama versions hold one tensor each, whose name is that of the blob.
    std::vector<TensorInfo>& tensors = header->tensors;
    if (tensors.size() == 1 && tensors.front().name == "data") {
      tensors.front().name = fs::path(name).stem().string();
    }
    names_.push_back(name);
    set_.shards.push_back({path, *bytes, *std::move(header)});
  }

  void Report(Error error) { problems_.push_back(std::move(error)); }
  void Warn(std::string text) { set_.warnings.push_back(std::move(text)); }

  void CheckNoTensorTwice() {
    std::unordered_map<std::string_view, const Shard*> seen;
    for (const Shard& shard : set_.shards) {
      for (const TensorInfo& tensor : shard.header.tensors) {
        const auto [first, is_new] = seen.emplace(tensor.name, &shard);
        if (is_new) continue;
        Report(MakeError(ErrorCode::kCorrupt, "the same tensor is in two shards")
                   .In(shard.path)
                   .At(tensor.name)
                   .Actual(fmt::format("also in {}", first->second->path)));
      }
    }
  }

  // Every tensor of the index is in its shard and the other way round.
  void CheckIndex(const WeightMap& weights, const std::string& index_path) {
    std::unordered_set<std::string_view> found;
    const std::unordered_set<std::string_view> read(names_.begin(), names_.end());
    for (std::size_t i = 0; i < set_.shards.size(); ++i) {
      for (const TensorInfo& tensor : set_.shards[i].header.tensors) {
        const auto listed = weights.find(tensor.name);
        if (listed != weights.end() && listed->second == names_[i]) {
          found.insert(tensor.name);
          continue;
        }
        Report(MakeError(ErrorCode::kMismatch, "the index does not list this tensor here")
                   .In(set_.shards[i].path)
                   .At(tensor.name)
                   .Expected(listed == weights.end() ? "an entry in the index" : listed->second)
                   .Advice("remove the stale index or the stale shard"));
      }
    }
    for (const auto& [tensor, shard] : weights) {
      if (!read.contains(shard) || found.contains(tensor)) continue;
      Report(MakeError(ErrorCode::kMissing, "the shard lacks a tensor that the index lists")
                 .In((fs::path(folder_) / shard).string())
                 .At(tensor)
                 .Advice(fmt::format("{} and the shards belong to different downloads",
                                     fs::path(index_path).filename().string())));
    }
  }

  Result<ShardSet> Take() {
    if (!problems_.empty()) return JoinErrors(std::move(problems_));
    return std::move(set_);
  }

 private:
  std::string folder_;
  std::vector<std::string> names_;  // of the shards that were read
  ShardSet set_;
  std::vector<Error> problems_;
};

}  // namespace

Result<ShardSet> OpenShards(const std::string& folder) {
  SLUICE_ASSIGN(const ShardNames in_folder, ListFolder(folder));
  ShardOpener opener(folder);
  const std::string index_path = (fs::path(folder) / kIndexName).string();
  if (!IsPresent(index_path)) {
    for (const std::string& name : in_folder) {
      opener.Open(name, (fs::path(folder) / name).string());
    }
    opener.CheckNoTensorTwice();
    return opener.Take();
  }
  SLUICE_ASSIGN(const WeightMap weights, ReadIndex(index_path));
  ShardNames named;
  for (const auto& [tensor, shard] : weights) named.insert(shard);
  for (const std::string& name : named) {
    Result<std::string> path = ResolveShard(folder, name);
    if (path) {
      opener.Open(name, *path);
    } else {
      opener.Report(std::move(path).error());
    }
  }
  for (const std::string& name : in_folder) {
    if (!named.contains(name)) {
      opener.Warn(fmt::format("{}: not named by {}, left out", name, kIndexName));
    }
  }
  opener.CheckNoTensorTwice();
  opener.CheckIndex(weights, index_path);
  return opener.Take();
}

}  // namespace sluice::safetensors
