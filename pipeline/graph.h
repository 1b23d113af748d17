// The flow graph of one conversion: the only place that knows oneTBB's flow graph.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "pipeline/plan.h"
#include "stages/sink.h"
#include "stages/source_set.h"

namespace sluice {

struct Progress {
  std::uint64_t bytes_done = 0;  // of all output files
  std::uint64_t bytes_total = 0;
  std::string_view tensor;  // written last
};

struct GraphOptions {
  int threads = 1;
  // Bound on the bytes that all slabs in flight hold in buffers.
  std::uint64_t memory_bytes = 0;
  // Set by the caller, from a signal handler if need be, to stop the run with kCancelled.
  const std::atomic<bool>* cancel = nullptr;
  // Called from one thread at a time, after each slab.
  std::function<void(const Progress&)> on_progress;
};

// One output file and where it goes.
struct GraphOutput {
  const FilePlan* plan = nullptr;
  Sink* sink = nullptr;
  // Number of the model that the file is a part of. Tensors of different models with the same
  // source are made together; those of the first model with an output go in file order.
  std::size_t model = 0;
};

// What encoding did to a tensor's values.
struct TensorCounts {
  std::uint64_t overflowed = 0;  // finite values that became infinite
  std::uint64_t zeroed = 0;      // values that were not finite and became zero
  std::uint64_t corrected = 0;   // blocks written right where the reference encoder is defective

  bool operator==(const TensorCounts&) const = default;
};

struct GraphReport {
  std::uint64_t slabs = 0;
  std::uint64_t source_bytes = 0;    // gathered, each once for all models that are made of it
  std::uint64_t decoded_values = 0;  // likewise
  std::vector<std::vector<TensorCounts>> counts;  // of each output's tensors
};

// The smallest memory budget that RunGraph accepts.
inline constexpr std::uint64_t kMinMemoryBytes = std::uint64_t{8} << 20;

// Writes head and data of every output. The files of one model, or of the first of several, are
// written in order, one after the other; those of further models too, as far as their tensors stand
// in the same order, otherwise by Sink::Seek. The sinks are not finished. The first error cancels
// what is under way and is returned. Output bytes do not depend on any option. REQUIRES: threads >=
// 1, memory_bytes >= kMinMemoryBytes.
Result<GraphReport> RunGraph(const SourceSet& sources, std::span<const GraphOutput> outputs,
                             const GraphOptions& options);

}  // namespace sluice
