// Checkpoint folders with small shards, made for one test.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "safetensors/header_text.h"
#include "test_files.h"

namespace sluice::testing {

inline constexpr const char* kLfsPointer =
    "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 17\n";

// A shard with one-byte tensors of these names.
inline std::string ShardFile(std::initializer_list<std::string_view> names) {
  std::string text = "{";
  std::size_t at = 0;
  for (const std::string_view name : names) {
    if (at > 0) text += ',';
    text += Entry(name, "U8", "[1]", "[" + std::to_string(at) + "," + std::to_string(at + 1) + "]");
    ++at;
  }
  return SafetensorsFile(text + "}", std::string(at, 'x'));
}

// An index from (tensor, shard) pairs.
inline std::string IndexFile(
    std::initializer_list<std::pair<std::string_view, std::string_view>> entries) {
  std::string map;
  for (const auto& [tensor, shard] : entries) {
    if (!map.empty()) map += ',';
    map.append("\"").append(tensor).append("\":\"").append(shard).append("\"");
  }
  return R"({"metadata":{"total_size":1},"weight_map":{)" + map + "}}";
}

class CheckpointFolder : public TempFolder {
 public:
  using TempFolder::Write;

  void WriteShard(std::string_view name, std::initializer_list<std::string_view> tensors) const {
    std::filesystem::create_directories(std::filesystem::path(Path(name)).parent_path());
    Write(name, ShardFile(tensors));
  }
  void WriteIndex(
      std::initializer_list<std::pair<std::string_view, std::string_view>> entries) const {
    Write("model.safetensors.index.json", IndexFile(entries));
  }
  [[nodiscard]] std::string IndexPath() const { return Path("model.safetensors.index.json"); }
};

}  // namespace sluice::testing
