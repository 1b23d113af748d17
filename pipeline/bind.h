// Applies a family's tensor rules to a checkpoint: which source tensors become which targets.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/spec.h"
#include "core/error.h"
#include "pipeline/tensor_index.h"
#include "stages/view.h"

namespace sluice {

// Stand for the number of a block and of an expert in the names that rules give.
inline constexpr std::string_view kBlockToken = "{bid}";
inline constexpr std::string_view kExpertToken = "{xid}";

struct BoundSource {
  std::uint32_t position = 0;  // in the TensorIndex
  StridedView view;
};

// A target whose sources are known; its element type is not decided yet.
struct BoundTensor {
  std::string name;
  std::vector<std::uint64_t> shape;        // outermost dimension first
  const arch::TensorRule* rule = nullptr;  // nullptr for generated tensors
  std::vector<BoundSource> sources;        // in target order; one for each expert of a stack
  std::vector<float> generated;            // values of a generated tensor
  // llama.cpp's converter writes a tensor when it has met the last source of it (of a stack: of all
  // stacks of the block), in rule order where that is the same.
  std::uint64_t order = 0;
  std::size_t rule_order = 0;
};

// Collects every problem instead of stopping at the first. One binder sees all files that one
// conversion writes, so that it knows which source tensors no file uses.
class TensorBinder {
 public:
  TensorBinder(const TensorIndex& index, const arch::HParams& hparams,
               std::vector<Error>& problems);

  // The targets of one file in rule order, then those that are computed, unless there are problems:
  // a required tensor that is missing, a shape that does not fit, expert numbers with gaps, a dtype
  // that holds no numbers.
  std::vector<BoundTensor> Bind(const arch::FileSpec& file);

  // Problems for every source tensor that no rule took, with the nearest rule; notes about those
  // that a file drops on purpose.
  void ReportUnused(std::span<const arch::FileSpec* const> files, std::vector<std::string>& notes);

 private:
  friend class GroupBinder;
  bool BlockCountsAreSane(const arch::FileSpec& file);

  const TensorIndex& index_;
  const arch::HParams& hparams_;
  std::vector<Error>& problems_;
  std::vector<bool> used_;
};

// The view words of a rule for people: "split axis 0 into 4, take 0..24 of axis 1, swap axes 1, 2".
[[nodiscard]] std::string DescribeViews(const arch::TensorRule& rule, const arch::HParams& hparams);

}  // namespace sluice
