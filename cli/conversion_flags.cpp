#include "cli/conversion_flags.h"

#include <fmt/format.h>
#include <unistd.h>

#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "cli/progress.h"
#include "core/utf8.h"

namespace sluice::cli {
namespace {

const std::map<std::string, IoMode> kIoModes{
    {"auto", IoMode::kAuto}, {"mmap", IoMode::kMmap}, {"read", IoMode::kRead}};
const std::map<std::string, ProgressMode> kProgressModes{{"auto", ProgressMode::kAuto},
                                                         {"plain", ProgressMode::kPlain},
                                                         {"json", ProgressMode::kJson},
                                                         {"none", ProgressMode::kNone}};

std::string DisplayName(const std::string& output) {
  return output == "-" ? "standard output" : Printable(output);
}

// The models that have lines of their own: those that share a run.
std::span<const WrittenModel> Several(const ConvertReport& report) {
  if (report.models.size() < 2) return {};
  return report.models;
}

void PrintSummary(const ConversionFlags& flags, const std::string& output,
                  const ConvertReport& report) {
  const double speed =
      report.seconds > 0 ? static_cast<double>(report.bytes_written) / report.seconds : 0;
  if (flags.json_progress()) {
    nlohmann::ordered_json line{{"format", 1},
                                {"event", "done"},
                                {"bytes_in", report.bytes_read},
                                {"bytes_out", report.bytes_written},
                                {"seconds", report.seconds},
                                {"peak_memory_bytes", report.peak_resident_bytes},
                                {"tensors", report.tensors},
                                {"warnings", report.warnings}};
    for (const WrittenModel& model : Several(report)) {
      line["outputs"].push_back(
          {{"name", model.name}, {"bytes", model.bytes}, {"tensors", model.tensors}});
    }
    Say("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  PrintWarnings(report.warnings);
  for (const WrittenModel& model : Several(report)) {
    Say("{}: {} tensors, {}\n", DisplayName(model.name), model.tensors, HumanBytes(model.bytes));
  }
  Say("{}: {} tensors, {} in, {} out, {:.2f} s, {}/s, peak memory {}, {} warning{}\n",
      DisplayName(output), report.tensors, HumanBytes(report.bytes_read),
      HumanBytes(report.bytes_written), report.seconds,
      HumanBytes(static_cast<std::uint64_t>(speed)), HumanBytes(report.peak_resident_bytes),
      report.warnings.size(), report.warnings.size() == 1 ? "" : "s");
}

}  // namespace

void AddMemory(CLI::App& command, std::uint64_t& bytes) {
  AddByteSize(*command.add_option("--memory", bytes,
                                  "Bound on all buffers: K M G are powers of 1024, KB MB GB powers "
                                  "of 1000; at least 8M; default 1G"),
              kMinMemoryBytes);
}

void AddStreamFlags(CLI::App& command, ConversionFlags& flags) {
  AddMemory(command, flags.memory);
  AddThreads(command, flags.threads);
  AddChoices(*command.add_option("--io", flags.io,
                                 "How sources are read; default auto: mapped, but "
                                 "read on network file systems"),
             {"auto", "mmap", "read"});
  AddChoices(*command.add_option("--progress", flags.progress,
                                 "Progress on stderr; default auto: a line on a terminal, else "
                                 "nothing"),
             {"auto", "plain", "json", "none"});
}

void AddConversionFlags(CLI::App& command, ConversionFlags& flags) {
  AddStreamFlags(command, flags);
  command.add_flag("--force", flags.force, "Replace outputs that exist; default: refuse");
  command.add_flag("--no-sync", flags.no_sync,
                   "Do not flush the result to the disk before it gets its name; default: flush");
}

void AddMaxShardSize(CLI::App& command, std::uint64_t& bytes) {
  CLI::Option* option = command.add_option(
      "--max-shard-size", bytes,
      "Split the model into OUT-00001-of-0000N.gguf ... with at most this many tensor bytes each; "
      "default: one file");
  AddByteSize(*option, 1);
  // A target is that of one file.
  option->excludes("--target-size")->excludes("--target-bpw");
}

ConvertOptions ToConvertOptions(const ConversionFlags& flags) {
  ConvertOptions options;
  options.memory_bytes = flags.memory;
  options.threads = flags.threads;
  options.io = kIoModes.at(flags.io);
  options.overwrite = flags.force;
  options.sync = !flags.no_sync;
  options.cancel = &CancelOnSignals();
  return options;
}

ProgressPrinter MakeProgressPrinter(const ConversionFlags& flags, const Context& context) {
  return ProgressPrinter(context.quiet ? ProgressMode::kNone : kProgressModes.at(flags.progress));
}

Status CheckNotTerminal(const std::string& output) {
  if (output != "-" || ::isatty(STDOUT_FILENO) != 1) return Ok();
  return MakeError(ErrorCode::kUsage, "standard output is a terminal")
      .Advice("redirect it, or name a file");
}

void RunWithProgress(const ConversionFlags& flags, const std::string& output, Context& context,
                     const std::function<Result<ConvertReport>(const ConvertOptions&)>& work) {
  ProgressPrinter progress = MakeProgressPrinter(flags, context);
  ConvertOptions options = ToConvertOptions(flags);
  options.on_progress = [&](const Progress& now) { progress.Update(now); };
  const Result<ConvertReport> report = work(options);
  progress.Finish();
  if (!report) return Fail(report.error(), context);
  if (!context.quiet) PrintSummary(flags, output, *report);
}

}  // namespace sluice::cli
