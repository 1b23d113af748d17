// Where a model's weights lie: a GGUF file, or the shards of a checkpoint seen through its plan.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"
#include "pipeline/plan.h"
#include "runtime/kernels/matrix.h"

namespace sluice::runtime {

// Tensors by their GGUF names. Files stay mapped as long as the object lives; matrices point into
// the mappings wherever a tensor's elements lie there in order, else into memory of the source.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  [[nodiscard]] virtual const gguf::Metadata& metadata() const = 0;
  [[nodiscard]] virtual std::vector<std::string_view> names() const = 0;
  // Outermost first; nullptr when there is no such tensor.
  [[nodiscard]] virtual const std::vector<std::uint64_t>* ShapeOf(std::string_view name) const = 0;
  // The `index`-th of the [rows, columns] matrices that a tensor consists of. kMismatch when its
  // rows do not fill whole blocks. REQUIRES: the tensor exists and has so many elements.
  virtual Result<Matrix> At(std::string_view name, std::uint64_t index, std::uint64_t rows,
                            std::uint64_t columns) = 0;
  // kCorrupt once a mapped file has lost bytes: what was computed from them is wrong.
  [[nodiscard]] virtual Status CheckIntact() const = 0;
};

// kMissing, kCorrupt, kIo; see gguf::ReadHead. kUnsupported for one part of a split file.
Result<std::unique_ptr<WeightSource>> OpenGguf(const std::string& path);

// The plan's tensors in the source's own precision: nothing is converted but what no kernel reads
// (FP8, F64), nothing is copied but what is not in order (see Plan). kCorrupt when a shard is no
// longer what the plan saw.
Result<std::unique_ptr<WeightSource>> OpenPlanned(Plan plan);

}  // namespace sluice::runtime
