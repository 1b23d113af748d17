// The safetensors files of a checkpoint folder: which they are, and what they hold together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "formats/safetensors/header.h"

namespace sluice::safetensors {

struct Shard {
  std::string path;
  std::uint64_t file_bytes = 0;
  Header header;
};

struct ShardSet {
  std::vector<Shard> shards;  // in name order
  std::vector<std::string> warnings;
};

inline constexpr std::string_view kIndexName = "model.safetensors.index.json";

// Reads the headers of a checkpoint's shards: those that `model.safetensors.index.json` names if
// there is one (with a warning about other safetensors files), else every `*.safetensors` in the
// folder. kMissing: no folder, no shards, a shard or tensor that the index names. kCorrupt: a shard
// path that leaves the folder, the same tensor in two shards. kMismatch: index and shard disagree.
// All such problems are reported together.
Result<ShardSet> OpenShards(const std::string& folder);

}  // namespace sluice::safetensors
