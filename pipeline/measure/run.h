// The errors that tensor types would make, in one pass over the source tensors.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "pipeline/graph.h"
#include "stages/measure.h"
#include "stages/source_set.h"

namespace sluice {

// One tensor to measure.
struct MeasureJob {
  std::string name;
  TensorExpr expr;                      // with `quantizing`; its type counts for nothing
  std::vector<gguf::TensorType> types;  // see MeasureSlab
};

// The errors of each job. Sums are made over units of a fixed number of rows and added in their
// order, so they do not depend on `options`. Of a tensor with more than `max_units` of them that
// many are taken, at equal distances; 0: all. `options.memory_bytes` bounds all buffers, as far as
// a single unit fits it. Progress counts source bytes. The error of the first unit that fails is
// returned. REQUIRES: options.threads >= 1.
Result<std::vector<TensorErrors>> MeasureErrors(const SourceSet& sources,
                                                std::span<const MeasureJob> jobs,
                                                std::uint64_t max_units,
                                                const GraphOptions& options);

}  // namespace sluice
