// Collects an importance matrix: how strong the activations are that meet each column of a weight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "core/result.h"
#include "formats/imatrix/writer.h"
#include "runtime/model/weights.h"
#include "runtime/parallel/activation_observer.h"

namespace sluice::runtime {

// For each tensor of the model's blocks the sums of squared activations, column by column, of each
// of its matrices (experts, heads), and how many rows of activations each met. Sums are those of
// single-precision floats, row after row.
class ImportanceCollector final : public ActivationObserver {
 public:
  // Collects for tensors named blk.*, and for output.weight too `with_output`.
  // REQUIRES: the matrices stay where they are as long as they are observed.
  ImportanceCollector(const std::vector<WeightTensor>& tensors, bool with_output);

  void OnProduct(const Matrix& weights, const FloatRows& inputs) override;

  // Experts that no token went to: they cannot be weighed.
  [[nodiscard]] std::uint64_t num_unused_experts() const;

  // What was collected, in the form that convert --imatrix takes; tensors that met nothing are left
  // out. kCorrupt when activations were too large to be squared.
  [[nodiscard]] Result<std::vector<imatrix::Collected>> Collected() const;

 private:
  struct Place {
    std::size_t weight = 0;  // index into weights_
    std::size_t matrix = 0;  // of that tensor
  };

  std::vector<imatrix::Collected> weights_;  // with a count for each matrix
  std::unordered_map<const std::byte*, Place> places_;
};

}  // namespace sluice::runtime
