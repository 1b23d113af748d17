#include "pipeline/tensor_groups.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

namespace sluice {
namespace {

// Where an expression begins in the source: few share it.
using SourceKey = std::pair<std::uint32_t, std::uint64_t>;

SourceKey KeyOf(const TensorExpr& expr) {
  const Segment& segment = expr.segments.front();
  return {segment.shard, segment.byte_offset};
}

class Grouper {
 public:
  explicit Grouper(std::span<const GraphOutput> outputs) : outputs_(outputs) {}

  void Add(const TensorPlace& place) {
    const TensorExpr& expr = TensorAt(outputs_, place).expr;
    std::vector<std::size_t>& candidates = by_source_[KeyOf(expr)];
    const auto found = std::ranges::find_if(candidates, [&](std::size_t group) {
      return IsSameSource(TensorAt(outputs_, groups_[group].front()).expr, expr) &&
             !HasPartIn(groups_[group], outputs_[place.output].model);
    });
    if (found != candidates.end()) {
      groups_[*found].push_back(place);
    } else {
      candidates.push_back(groups_.size());
      groups_.push_back({place});
    }
  }

  std::vector<PlaceGroup> Take() { return std::move(groups_); }

 private:
  // A tensor that one model has twice is made twice, each time in its place.
  [[nodiscard]] bool HasPartIn(const PlaceGroup& group, std::size_t model) const {
    return std::ranges::any_of(
        group, [&](const TensorPlace& place) { return outputs_[place.output].model == model; });
  }

  std::span<const GraphOutput> outputs_;
  std::vector<PlaceGroup> groups_;
  std::map<SourceKey, std::vector<std::size_t>> by_source_;
};

}  // namespace

const PlannedTensor& TensorAt(std::span<const GraphOutput> outputs, const TensorPlace& place) {
  return outputs[place.output].plan->tensors[place.tensor];
}

std::vector<PlaceGroup> GroupTensors(std::span<const GraphOutput> outputs) {
  Grouper grouper(outputs);
  for (std::size_t output = 0; output < outputs.size(); ++output) {
    for (std::size_t tensor = 0; tensor < outputs[output].plan->tensors.size(); ++tensor) {
      grouper.Add({output, tensor});
    }
  }
  return grouper.Take();
}

ExprGroup ExprsOf(std::span<const GraphOutput> outputs, const PlaceGroup& group) {
  std::vector<const TensorExpr*> exprs;
  for (const TensorPlace& place : group) exprs.push_back(&TensorAt(outputs, place).expr);
  return ExprGroup(std::move(exprs));
}

}  // namespace sluice
