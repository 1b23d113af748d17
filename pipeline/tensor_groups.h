// Which tensors of several models are made together: those of the same source.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "pipeline/graph.h"
#include "stages/tensor_expr.h"

namespace sluice {

// A tensor of one of the outputs.
struct TensorPlace {
  std::size_t output = 0;
  std::size_t tensor = 0;
  bool operator==(const TensorPlace&) const = default;
};

// At least one tensor, at most one of each model.
using PlaceGroup = std::vector<TensorPlace>;

// All tensors of all outputs in groups. The first model's stand at the head of their groups, in
// file order; groups that it has no part in follow, in the order of the next model, and so on.
[[nodiscard]] std::vector<PlaceGroup> GroupTensors(std::span<const GraphOutput> outputs);

[[nodiscard]] const PlannedTensor& TensorAt(std::span<const GraphOutput> outputs,
                                            const TensorPlace& place);

// The expressions of a group's tensors, in its order.
[[nodiscard]] ExprGroup ExprsOf(std::span<const GraphOutput> outputs, const PlaceGroup& group);

}  // namespace sluice
