// Finds the tensors of a checkpoint by name, by block and by expert.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/safetensors/shards.h"
#include "pipeline/prequantized/packed_tensors.h"
#include "stages/tensor_expr.h"

namespace sluice {

struct SourceTensor {
  const safetensors::TensorInfo* info = nullptr;  // of a packed tensor: as if it were not packed
  std::uint32_t shard = 0;
  const PackedTensor* packed = nullptr;

  // The elements in the order of info->shape, as the file stores them.
  [[nodiscard]] StridedView View() const;
  // A run of target elements that ends before `end`: those of a view of this tensor.
  [[nodiscard]] Segment SegmentOf(const StridedView& view, std::uint64_t end) const;
};

// A tensor name with its decimal components (those between dots that are canonical decimal numbers)
// taken out: "model.layers.3.mlp.experts.7.w1" is pattern "model.layers.{}.mlp.experts.{}.w1" with
// the numbers 3 and 7.
struct NamePattern {
  std::string text;
  std::vector<std::uint64_t> numbers;
};
[[nodiscard]] NamePattern PatternOf(std::string_view name);

// All tensors of a shard set, numbered by shard and then by name: the order in which llama.cpp's
// converter meets them. Packed tensors stand in place of what they are made of. Both arguments must
// outlive the index and stay where they are.
class TensorIndex {
 public:
  explicit TensorIndex(const safetensors::ShardSet& shards, const PackedTensors& packed = {});

  [[nodiscard]] std::size_t size() const { return tensors_.size(); }
  [[nodiscard]] const SourceTensor& operator[](std::uint32_t position) const {
    return tensors_[position];
  }
  [[nodiscard]] std::optional<std::uint32_t> Find(std::string_view name) const;

  // Positions by expert number of all tensors named `before` + number + `after`, ascending.
  [[nodiscard]] std::vector<std::pair<std::uint64_t, std::uint32_t>> FindExperts(
      std::string_view before, std::string_view after) const;

 private:
  std::vector<SourceTensor> tensors_;
  std::unordered_map<std::string_view, std::uint32_t> by_name_;
  // Names with a block and an expert number: pattern -> (block, expert) -> position.
  using Experts = std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t>;
  std::unordered_map<std::string, Experts> experts_;
};

}  // namespace sluice
