#include "pipeline/tensor_index.h"

#include <algorithm>
#include <charconv>
#include <tuple>
#include <utility>

namespace sluice {
namespace {

// "0", "17", but not "007", "-1", "w1" or anything past 64 bits.
std::optional<std::uint64_t> CanonicalNumber(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  return number;
}

}  // namespace

NamePattern PatternOf(std::string_view name) {
  NamePattern pattern;
  pattern.text.reserve(name.size());
  while (true) {
    const std::size_t dot = name.find('.');
    const std::string_view component = name.substr(0, dot);
    if (const auto number = CanonicalNumber(component)) {
      pattern.numbers.push_back(*number);
      pattern.text += "{}";
    } else {
      pattern.text += component;
    }
    if (dot == std::string_view::npos) return pattern;
    pattern.text += '.';
    name.remove_prefix(dot + 1);
  }
}

StridedView SourceTensor::View() const {
  if (packed == nullptr || !packed->transposed) return StridedView::Whole(info->shape);
  std::vector<std::uint64_t> stored = info->shape;
  const std::size_t last = stored.size() - 1;
  std::swap(stored[last], stored[last - 1]);
  StridedView view = StridedView::Whole(stored);
  view.Swap(last - 1, last);
  return view;
}

Segment SourceTensor::SegmentOf(const StridedView& view, std::uint64_t end) const {
  Segment segment{shard, info->offset, info->dtype, view, end};
  if (packed != nullptr) {
    segment.dtype = Dtype::kF32;
    segment.packed = packed->source;
  }
  segment.name = info->name;
  return segment;
}

TensorIndex::TensorIndex(const safetensors::ShardSet& shards, const PackedTensors& packed) {
  for (std::size_t shard = 0; shard < shards.shards.size(); ++shard) {
    for (const safetensors::TensorInfo& info : shards.shards[shard].header.tensors) {
      if (packed.parts.contains(info.name)) continue;
      tensors_.push_back({&info, static_cast<std::uint32_t>(shard)});
    }
  }
  for (const PackedTensor& tensor : packed.tensors) {
    tensors_.push_back({&tensor.info, tensor.source->codes.shard, &tensor});
  }
  std::sort(tensors_.begin(), tensors_.end(), [](const SourceTensor& a, const SourceTensor& b) {
    return std::tie(a.shard, a.info->name) < std::tie(b.shard, b.info->name);
  });
  by_name_.reserve(tensors_.size());
  for (std::uint32_t position = 0; position < tensors_.size(); ++position) {
    const std::string_view name = tensors_[position].info->name;
    by_name_.emplace(name, position);
    const NamePattern pattern = PatternOf(name);
    if (pattern.numbers.size() != 2) continue;
    experts_[pattern.text].emplace(std::pair(pattern.numbers[0], pattern.numbers[1]), position);
  }
}

std::optional<std::uint32_t> TensorIndex::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return std::nullopt;
  return found->second;
}

std::vector<std::pair<std::uint64_t, std::uint32_t>> TensorIndex::FindExperts(
    std::string_view before, std::string_view after) const {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> found;
  const NamePattern block = PatternOf(before);
  if (block.numbers.size() != 1) return found;
  const auto experts = experts_.find(block.text + "{}" + std::string(after));
  if (experts == experts_.end()) return found;
  const std::uint64_t bid = block.numbers.front();
  for (auto entry = experts->second.lower_bound({bid, 0});
       entry != experts->second.end() && entry->first.first == bid; ++entry) {
    found.emplace_back(entry->first.second, entry->second);
  }
  return found;
}

}  // namespace sluice
