#include "runtime/importance_collector.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

#include "runtime/kernels/vector_ops.h"

namespace sluice::runtime {
namespace {

// The matrices of other stacks, the heads of latent attention, meet every token.
bool IsRouted(std::string_view name) { return name.ends_with("_exps.weight"); }

bool MetNothing(const imatrix::Collected& weight) {
  return std::all_of(weight.counts.begin(), weight.counts.end(),
                     [](float count) { return count == 0; });
}

}  // namespace

ImportanceCollector::ImportanceCollector(const std::vector<WeightTensor>& tensors,
                                         bool with_output) {
  for (const WeightTensor& tensor : tensors) {
    const bool is_output = with_output && tensor.name == "output.weight";
    if (!tensor.name.starts_with("blk.") && !is_output) continue;
    for (std::size_t m = 0; m < tensor.matrices.size(); ++m) {
      places_.emplace(tensor.matrices[m].data, Place{weights_.size(), m});
    }
    const std::size_t columns = tensor.matrices.front().columns;
    weights_.push_back({tensor.name, std::vector<float>(tensor.matrices.size() * columns),
                        std::vector<float>(tensor.matrices.size())});
  }
}

void ImportanceCollector::OnProduct(const Matrix& weights, const FloatRows& inputs) {
  const auto found = places_.find(weights.data);
  if (found == places_.end()) return;
  imatrix::Collected& weight = weights_[found->second.weight];
  float* const sums = weight.sums.data() + found->second.matrix * weights.columns;
  for (std::size_t i = 0; i < inputs.count; ++i) AddSquares({inputs[i], weights.columns}, sums);
  weight.counts[found->second.matrix] += static_cast<float>(inputs.count);
}

std::uint64_t ImportanceCollector::num_unused_experts() const {
  std::uint64_t unused = 0;
  for (const imatrix::Collected& weight : weights_) {
    if (!weight.name.ends_with("ffn_gate_exps.weight")) continue;
    unused +=
        static_cast<std::uint64_t>(std::count(weight.counts.begin(), weight.counts.end(), 0.0F));
  }
  return unused;
}

Result<std::vector<imatrix::Collected>> ImportanceCollector::Collected() const {
  std::vector<imatrix::Collected> collected;
  for (const imatrix::Collected& weight : weights_) {
    if (MetNothing(weight)) continue;
    if (!AllFinite(weight.sums)) {
      return MakeError(ErrorCode::kCorrupt, "activations are too large to be squared")
          .At(weight.name);
    }
    imatrix::Collected& copy = collected.emplace_back(weight);
    if (!IsRouted(copy.name)) copy.counts.resize(1);
  }
  return collected;
}

}  // namespace sluice::runtime
