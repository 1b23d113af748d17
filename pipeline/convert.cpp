#include "pipeline/convert.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string_view>
#include <utility>

#include "core/machine.h"
#include "core/path.h"
#include "pipeline/check_output.h"
#include "pipeline/guarded.h"
#include "pipeline/join.h"
#include "stages/sink.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStandardOutput = "-";

// A model of a run, as the caller gave it.
struct Model {
  const Plan* plan = nullptr;
  std::span<const std::string> paths;
  std::size_t number = 0;  // among those given
};

// A file that can be replaced by renaming; pipes and devices cannot.
bool IsRegularOutput(const std::string& path) {
  struct stat info {};
  return path != kStandardOutput && (::stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode));
}

Status CheckOutputs(std::span<const Model> models, const ConvertOptions& options) {
  std::vector<std::string> seen;
  for (const Model& model : models) {
    for (const std::string& path : model.paths) {
      if (!options.replace_source) SLUICE_TRY(CheckOutput(path, *model.plan));
      std::string place = path == kStandardOutput ? path : PlaceOf(path);
      if (std::ranges::find(seen, place) != seen.end()) {
        return MakeError(ErrorCode::kUsage, "two outputs are the same").In(path);
      }
      seen.push_back(std::move(place));
    }
  }
  return Ok();
}

bool IsStream(const Model& model) { return !std::ranges::all_of(model.paths, IsRegularOutput); }

// A pipe takes its bytes in order: the model that goes there leads.
Status PutStreamFirst(std::span<Model> models) {
  const auto streams = std::ranges::count_if(models, IsStream);
  if (models.size() > 1 && streams > 1) {
    return MakeError(ErrorCode::kUsage, "two outputs are pipes or devices")
        .Expected("at most one of several; the others need files");
  }
  std::ranges::stable_partition(models, IsStream);
  return Ok();
}

Result<std::unique_ptr<Sink>> OpenSink(const std::string& path, const FilePlan& file,
                                       const ConvertOptions& options) {
  if (path == kStandardOutput) {
    return OpenStreamSink(File::Borrow(STDOUT_FILENO, "standard output"), options.cancel);
  }
  if (IsRegularOutput(path)) {
    return OpenFileSink(path, file.file_bytes(),
                        {options.overwrite, options.sync, options.replace_source, options.cancel});
  }
  SLUICE_ASSIGN(File device, File::Open(path, O_WRONLY));
  return OpenStreamSink(std::move(device), options.cancel);
}

// What only the data showed.
void WarnOfCounts(const FilePlan& file, std::span<const TensorCounts> counts,
                  std::uint64_t& corrected, std::vector<std::string>& warnings) {
  for (std::size_t i = 0; i < file.tensors.size(); ++i) {
    const gguf::TensorRecord& record = file.tensors[i].record;
    const TensorExpr& expr = file.tensors[i].expr;
    const auto& part = expr.mlx_part;
    if (part && part->part != mlx::Part::kCodes) continue;  // of the same values
    if (counts[i].overflowed > 0) {
      const auto type = expr.quantizing ? expr.quantizing->rounded : record.type;
      warnings.push_back(fmt::format("tensor '{}': {} finite values became infinite in {}",
                                     record.name, counts[i].overflowed, gguf::InfoOf(type).name));
    }
    if (counts[i].zeroed > 0) {
      warnings.push_back(fmt::format("tensor '{}': {} values that are not finite became 0",
                                     record.name, counts[i].zeroed));
    }
    corrected += counts[i].corrected;
  }
}

// The outputs of one run: opened, then filled, then finished together.
class Outputs {
 public:
  Status Open(std::span<const Model> models, const ConvertOptions& options) {
    for (const Model& model : models) {
      for (std::size_t i = 0; i < model.paths.size(); ++i) {
        const FilePlan& file = model.plan->files[i];
        SLUICE_ASSIGN(std::unique_ptr<Sink> sink, OpenSink(model.paths[i], file, options));
        graph_outputs_.push_back({&file, sink.get(), model.number});
        sinks_.push_back(std::move(sink));
      }
    }
    return Ok();
  }

  // None gets its name before the bytes of all are safe.
  Status Flush() {
    for (const std::unique_ptr<Sink>& sink : sinks_) SLUICE_TRY(sink->Flush());
    return Ok();
  }
  Status Finish() {
    for (const std::unique_ptr<Sink>& sink : sinks_) SLUICE_TRY(sink->Finish());
    return Ok();
  }

  void Report(const GraphReport& graph, ConvertReport& report) const {
    std::uint64_t corrected = 0;
    bool exact = false;
    for (std::size_t i = 0; i < graph_outputs_.size(); ++i) {
      const FilePlan& file = *graph_outputs_[i].plan;
      WrittenModel& model = report.models[graph_outputs_[i].model];
      model.bytes += file.file_bytes();
      model.tensors += file.tensors.size();
      report.bytes_written += file.file_bytes();
      report.tensors += file.tensors.size();
      WarnOfCounts(file, graph.counts[i], corrected, report.warnings);
      exact = exact || std::ranges::any_of(file.tensors, [](const PlannedTensor& tensor) {
                return tensor.expr.quantizing && tensor.expr.quantizing->exact;
              });
    }
    if (corrected == 0) return;
    const std::string_view what =
        exact ? "wrong, as llama-quantize writes them (without --bit-exact they are right)"
              : "right where llama-quantize writes wrong ones (--bit-exact writes those)";
    report.warnings.push_back(fmt::format("{} blocks are {}", corrected, what));
  }

  [[nodiscard]] std::span<const GraphOutput> graph_outputs() const { return graph_outputs_; }

 private:
  std::vector<std::unique_ptr<Sink>> sinks_;
  std::vector<GraphOutput> graph_outputs_;
};

// Several plans say much of the same.
void DropRepetitions(std::vector<std::string>& texts) {
  std::vector<std::string> kept;
  for (std::string& text : texts) {
    if (std::ranges::find(kept, text) == kept.end()) kept.push_back(std::move(text));
  }
  texts = std::move(kept);
}

Result<ConvertReport> Run(std::vector<Model> models,
                          std::span<const std::vector<std::byte>> generated,
                          const ConvertOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  SLUICE_TRY(CheckOutputs(models, options));
  SLUICE_TRY(PutStreamFirst(models));
  const Plan& first = *models.front().plan;
  SLUICE_ASSIGN(const SourceSet sources,
                SourceSet::Open(first.shards, options.io, {generated.begin(), generated.end()}));
  Outputs outputs;
  SLUICE_TRY(outputs.Open(models, options));
  SLUICE_ASSIGN(const GraphReport graph,
                RunGraph(sources, outputs.graph_outputs(), GraphOptionsOf(options)));
  SLUICE_TRY(sources.CheckUnchanged());
  SLUICE_TRY(outputs.Flush());
  if (options.before_finish) SLUICE_TRY(options.before_finish());
  SLUICE_TRY(outputs.Finish());
  ConvertReport report;
  report.bytes_read = first.source_bytes();
  report.models.resize(models.size());
  for (const Model& model : models) {
    const std::vector<std::string>& warnings = model.plan->warnings;
    report.warnings.insert(report.warnings.end(), warnings.begin(), warnings.end());
  }
  outputs.Report(graph, report);
  if (models.size() > 1) DropRepetitions(report.warnings);
  report.peak_resident_bytes = CurrentMemoryUse().peak_resident_bytes;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace

Status CheckOutput(const std::string& path, const Plan& plan) {
  if (path.empty()) return MakeError(ErrorCode::kUsage, "output has no name");
  std::error_code error;
  if (fs::is_directory(path, error)) {
    return MakeError(ErrorCode::kUsage, "output is a folder")
        .In(path)
        .Expected("the name of a file");
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

Status CheckOutputOpens(const std::string& path, const Plan& plan, const ConvertOptions& options) {
  if (path == kStandardOutput) return Ok();
  SLUICE_TRY(CheckOutput(path, plan));
  if (!IsRegularOutput(path)) return Ok();
  const auto opened = OpenFileSink(path, 0, {options.overwrite, options.sync});  // and removed
  if (!opened) return opened.error();
  return Ok();
}

GraphOptions GraphOptionsOf(const ConvertOptions& options) {
  const int threads = options.threads > 0 ? options.threads : AllowedCores();
  return {threads, options.memory_bytes, options.cancel, options.on_progress};
}

Result<ConvertReport> Convert(const Plan& plan, std::span<const std::string> outputs,
                              const ConvertOptions& options) {
  return Guarded([&]() -> Result<ConvertReport> {
    SLUICE_ASSIGN(ConvertReport report, Run({{&plan, outputs, 0}}, plan.generated, options));
    if (!outputs.empty()) report.models.front().name = outputs.front();
    return report;
  });
}

Result<ConvertReport> ConvertTogether(std::vector<ModelOutput> models,
                                      const ConvertOptions& options) {
  return Guarded([&]() -> Result<ConvertReport> {
    std::vector<Model> run;
    std::vector<Plan*> plans;
    for (ModelOutput& model : models) {
      run.push_back({&model.plan, model.paths, run.size()});
      plans.push_back(&model.plan);
    }
    SLUICE_ASSIGN(const std::vector<std::vector<std::byte>> generated, JoinSources(plans));
    SLUICE_ASSIGN(ConvertReport report, Run(std::move(run), generated, options));
    for (std::size_t i = 0; i < models.size(); ++i) report.models[i].name = models[i].name;
    return report;
  });
}

}  // namespace sluice
