// Convert: the library's entry point. Plans a checkpoint's conversion and carries it out.
//
//   sluice::PlanOptions plan_options;
//   auto plan = sluice::MakePlan("checkpoint/", plan_options);
//   if (!plan) fail(plan.error().Format());
//   auto report = sluice::Convert(*plan, {"model.gguf"}, {});
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "pipeline/graph.h"
#include "pipeline/plan.h"
#include "stages/source_set.h"

namespace sluice {

inline constexpr std::uint64_t kDefaultMemoryBytes = std::uint64_t{1} << 30;

struct ConvertOptions {
  std::uint64_t memory_bytes = kDefaultMemoryBytes;  // bound on all buffers together
  int threads = 0;                                   // 0: the cores this process may use
  IoMode io = IoMode::kAuto;
  bool overwrite = false;       // replace outputs that exist
  bool replace_source = false;  // with `overwrite`, also one that is read; permissions stay
  bool sync = true;             // flush to the disk before an output gets its name
  const std::atomic<bool>* cancel = nullptr;  // see GraphOptions
  std::function<void(const Progress&)> on_progress;
  // Called when all data are written and before the first output gets its name.
  std::function<Status()> before_finish;
};

// What the graph takes of them.
[[nodiscard]] GraphOptions GraphOptionsOf(const ConvertOptions& options);

// A model that was written, in one file or several.
struct WrittenModel {
  std::string name;  // as its ModelOutput
  std::uint64_t bytes = 0;
  std::uint64_t tensors = 0;
};

struct ConvertReport {
  std::uint64_t bytes_read = 0;     // of the shards
  std::uint64_t bytes_written = 0;  // of all outputs
  std::uint64_t tensors = 0;
  std::vector<WrittenModel> models;  // in the given order
  double seconds = 0;
  std::uint64_t peak_resident_bytes = 0;
  std::vector<std::string> warnings;  // those of the plan, and what only the data showed
};

// Writes plan.files[i] to outputs[i]: a path, or "-" for standard output. Files appear under their
// names only when all of them are complete; pipes and devices are written directly.
// kUsage: an output exists, is one of the sources, or two outputs are the same. kResource: too
// little disk space, checked before the first byte. kCorrupt: a shard changed meanwhile. kIo,
// kCancelled. REQUIRES: outputs.size() == plan.files.size().
Result<ConvertReport> Convert(const Plan& plan, std::span<const std::string> outputs,
                              const ConvertOptions& options);

// One of several models that are made of the same source.
struct ModelOutput {
  std::string name;  // for people
  Plan plan;
  std::vector<std::string> paths;  // of its files, as `outputs` above
};

// Carries out several plans of one checkpoint in one flow graph: what they have in common is read,
// gathered and decoded once. Every file has the bytes that Convert gives it alone; none gets its
// name before all are complete. Where a model goes to a pipe, its tensors are made first. Errors as
// above, and kUsage: two models that go to pipes or devices; kCorrupt: the checkpoint changed
// between two plans. REQUIRES: at least one model.
Result<ConvertReport> ConvertTogether(std::vector<ModelOutput> models,
                                      const ConvertOptions& options);

}  // namespace sluice
