// Checkpoints in memory: names, dtypes and shapes without data.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "formats/safetensors/shards.h"

namespace sluice::testing {

struct Tensor {
  std::string name;
  std::vector<std::uint64_t> shape;
  Dtype dtype = Dtype::kBF16;
};

// One shard for each list, with tensors in byte order of their names as headers have them.
inline safetensors::ShardSet MakeShards(std::vector<std::vector<Tensor>> shards) {
  safetensors::ShardSet set;
  for (std::vector<Tensor>& tensors : shards) {
    std::sort(tensors.begin(), tensors.end(),
              [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
    safetensors::Shard& shard = set.shards.emplace_back();
    for (Tensor& tensor : tensors) {
      std::uint64_t bytes = DtypeBytes(tensor.dtype);
      for (const std::uint64_t extent : tensor.shape) bytes *= extent;
      shard.header.tensors.push_back(
          {std::move(tensor.name), tensor.dtype, std::move(tensor.shape), shard.file_bytes, bytes});
      shard.file_bytes += bytes;
    }
  }
  return set;
}

}  // namespace sluice::testing
