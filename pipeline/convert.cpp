#include "pipeline/convert.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <utility>

#include "core/machine.h"
#include "stages/sink.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStandardOutput = "-";

// A file that can be replaced by renaming; pipes and devices cannot.
bool IsRegularOutput(const std::string& path) {
  struct stat info {};
  return path != kStandardOutput && (::stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode));
}

Status CheckOutput(const std::string& path, const Plan& plan) {
  if (path.empty()) return MakeError(ErrorCode::kUsage, "output has no name");
  std::error_code error;
  if (fs::is_directory(path, error)) {
    return MakeError(ErrorCode::kUsage, "output is a folder")
        .In(path)
        .Expected("the name of the GGUF file");
  }
  // Weights, wherever they lie, and the other files of the checkpoint folder.
  bool is_source = std::any_of(plan.shards.begin(), plan.shards.end(), [&](const ShardFile& shard) {
    return fs::equivalent(path, shard.path, error);
  });
  if (fs::exists(path, error) && fs::path(path).extension() != ".gguf") {
    const fs::path parent = fs::absolute(path, error).parent_path();
    is_source = is_source || fs::equivalent(parent, plan.folder, error);
  }
  if (is_source) return MakeError(ErrorCode::kUsage, "output is one of the sources").In(path);
  return Ok();
}

Status CheckOutputs(const Plan& plan, std::span<const std::string> outputs,
                    const ConvertOptions& options) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!options.replace_source) SLUICE_TRY(CheckOutput(outputs[i], plan));
    for (std::size_t j = 0; j < i; ++j) {
      std::error_code error;
      const bool same =
          fs::weakly_canonical(outputs[i], error) == fs::weakly_canonical(outputs[j], error);
      if (same) return MakeError(ErrorCode::kUsage, "two outputs are the same").In(outputs[i]);
    }
  }
  return Ok();
}

Result<std::unique_ptr<Sink>> OpenSink(const std::string& path, const FilePlan& file,
                                       const ConvertOptions& options) {
  if (path == kStandardOutput) {
    return OpenStreamSink(File::Borrow(STDOUT_FILENO, "standard output"), options.cancel);
  }
  if (IsRegularOutput(path)) {
    return OpenFileSink(path, file.file_bytes(), {options.overwrite, options.sync});
  }
  SLUICE_ASSIGN(File device, File::Open(path, O_WRONLY));
  return OpenStreamSink(std::move(device), options.cancel);
}

// What only the data showed.
void WarnOfCounts(const Plan& plan, const GraphReport& graph, std::vector<std::string>& warnings) {
  std::uint64_t corrected = 0;
  for (std::size_t output = 0; output < plan.files.size(); ++output) {
    for (std::size_t i = 0; i < plan.files[output].tensors.size(); ++i) {
      const TensorCounts& counts = graph.counts[output][i];
      const gguf::TensorRecord& record = plan.files[output].tensors[i].record;
      if (counts.overflowed > 0) {
        warnings.push_back(fmt::format("tensor '{}': {} finite values became infinite in {}",
                                       record.name, counts.overflowed,
                                       gguf::InfoOf(record.type).name));
      }
      if (counts.zeroed > 0) {
        warnings.push_back(fmt::format("tensor '{}': {} values that are not finite became 0",
                                       record.name, counts.zeroed));
      }
      corrected += counts.corrected;
    }
  }
  if (corrected > 0) {
    warnings.push_back(fmt::format(
        "{} blocks are right where llama-quantize writes wrong ones (--bit-exact writes those)",
        corrected));
  }
}

}  // namespace

GraphOptions GraphOptionsOf(const ConvertOptions& options) {
  const int threads = options.threads > 0 ? options.threads : AllowedCores();
  return {threads, options.memory_bytes, options.cancel, options.on_progress};
}

Result<ConvertReport> Convert(const Plan& plan, std::span<const std::string> outputs,
                              const ConvertOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  SLUICE_TRY(CheckOutputs(plan, outputs, options));
  SLUICE_ASSIGN(const SourceSet sources, SourceSet::Open(plan.shards, options.io, plan.generated));
  std::vector<std::unique_ptr<Sink>> sinks;
  std::vector<GraphOutput> graph_outputs;
  ConvertReport report;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    SLUICE_ASSIGN(std::unique_ptr<Sink> sink, OpenSink(outputs[i], plan.files[i], options));
    graph_outputs.push_back({&plan.files[i], sink.get()});
    sinks.push_back(std::move(sink));
    report.bytes_written += plan.files[i].file_bytes();
    report.tensors += plan.files[i].tensors.size();
  }
  SLUICE_ASSIGN(const GraphReport graph, RunGraph(sources, graph_outputs, GraphOptionsOf(options)));
  SLUICE_TRY(sources.CheckUnchanged());
  for (const std::unique_ptr<Sink>& sink : sinks) SLUICE_TRY(sink->Finish());
  report.bytes_read = plan.source_bytes();
  report.warnings = plan.warnings;
  WarnOfCounts(plan, graph, report.warnings);
  report.peak_resident_bytes = CurrentMemoryUse().peak_resident_bytes;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace sluice
