// Finds the weights that a checkpoint stores as several tensors of codes and scales, and makes one
// tensor of each that family rules can use under its ordinary name and shape.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/error.h"
#include "core/result.h"
#include "formats/json/json.h"
#include "formats/safetensors/shards.h"
#include "stages/packed.h"

namespace sluice {

struct PackedTensor {
  // Name and shape of the weight itself. Its dtype is BF16, to which the loaders of such
  // checkpoints dequantise.
  safetensors::TensorInfo info;
  bool transposed = false;  // the source's rows are the last axis of the shape but one
  std::shared_ptr<const PackedSource> source;
};

struct PackedTensors {
  std::deque<PackedTensor> tensors;            // which must stay where they are
  std::unordered_set<std::string_view> parts;  // tensors of the shards that are not weights
  std::vector<std::string> notes;              // for the user
};

// Those of a checkpoint folder; none where its configuration does not say that weights are
// quantized, which is a problem if it has codes with scales. Appends a problem, with the names of
// both tensors, for codes without scales, scales without codes, shapes that do not fit each other
// and dtypes that are no codes or scales. The shards must outlive the result. `zero_non_finite`:
// see PackedSource. Errors of ReadQuantizationConfig.
Result<PackedTensors> FindPackedTensors(const std::string& folder, const json::Document& config,
                                        const safetensors::ShardSet& shards, bool zero_non_finite,
                                        std::vector<Error>& problems);

}  // namespace sluice
