// sluice convert CHECKPOINT OUT.gguf
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/progress.h"
#include "pipeline/convert.h"

namespace sluice::cli {
namespace {

struct ConvertFlags {
  PlanFlags plan;
  std::string output;
  std::string projector;
  std::uint64_t memory = kDefaultMemoryBytes;
  int threads = 0;
  std::string io = "auto";
  std::string progress = "auto";
  bool force = false;
  bool no_sync = false;
};

const std::map<std::string, IoMode> kIoModes{
    {"auto", IoMode::kAuto}, {"mmap", IoMode::kMmap}, {"read", IoMode::kRead}};
const std::map<std::string, ProgressMode> kProgressModes{{"auto", ProgressMode::kAuto},
                                                         {"plain", ProgressMode::kPlain},
                                                         {"json", ProgressMode::kJson},
                                                         {"none", ProgressMode::kNone}};

void PrintSummary(const ConvertFlags& flags, const ConvertReport& report) {
  const double speed =
      report.seconds > 0 ? static_cast<double>(report.bytes_written) / report.seconds : 0;
  if (flags.progress == "json") {
    const nlohmann::ordered_json line{{"format", 1},
                                      {"event", "done"},
                                      {"bytes_in", report.bytes_read},
                                      {"bytes_out", report.bytes_written},
                                      {"seconds", report.seconds},
                                      {"peak_memory_bytes", report.peak_resident_bytes},
                                      {"tensors", report.tensors},
                                      {"warnings", report.warnings}};
    Say("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  PrintWarnings(report.warnings);
  Say("{}: {} tensors, {} in, {} out, {:.2f} s, {}/s, peak memory {}, {} warning{}\n",
      flags.output == "-" ? "standard output" : flags.output, report.tensors,
      HumanBytes(report.bytes_read), HumanBytes(report.bytes_written), report.seconds,
      HumanBytes(static_cast<std::uint64_t>(speed)), HumanBytes(report.peak_resident_bytes),
      report.warnings.size(), report.warnings.size() == 1 ? "" : "s");
}

Result<ConvertReport> Run(const ConvertFlags& flags, ProgressPrinter& progress) {
  const std::atomic<bool>& cancel = CancelOnSignals();
  if ((flags.output == "-" || flags.projector == "-") && ::isatty(STDOUT_FILENO) == 1) {
    return MakeError(ErrorCode::kUsage, "standard output is a terminal")
        .Advice("redirect it, or name a file");
  }
  SLUICE_ASSIGN(const PlanOptions plan_options,
                ToPlanOptions(flags.plan, !flags.projector.empty()));
  SLUICE_ASSIGN(const Plan plan, MakePlan(flags.plan.checkpoint, plan_options));
  std::vector<std::string> outputs{flags.output};
  if (!flags.projector.empty()) outputs.push_back(flags.projector);
  ConvertOptions options;
  options.memory_bytes = flags.memory;
  options.threads = flags.threads;
  options.io = kIoModes.at(flags.io);
  options.overwrite = flags.force;
  options.sync = !flags.no_sync;
  options.cancel = &cancel;
  options.on_progress = [&](const Progress& now) { progress.Update(now); };
  return Convert(plan, outputs, options);
}

void AddFlags(CLI::App& command, ConvertFlags& flags) {
  AddPlanFlags(command, flags.plan);
  command.add_option("OUT", flags.output, "GGUF file to write; - writes to standard output")
      ->type_name("")
      ->required();
  command
      .add_option(
          "--mmproj", flags.projector,
          "Also write the vision part to this file (llama.cpp dialect of Llama 4); default: "
          "leave it out")
      ->type_name("FILE");
  AddByteSize(*command.add_option("--memory", flags.memory,
                                  "Bound on all buffers: K M G are powers of 1024, KB MB GB powers "
                                  "of 1000; at least 8M; default 1G"),
              kMinMemoryBytes);
  command
      .add_option("--threads", flags.threads,
                  "Threads; default: the cores that affinity and cgroup allow")
      ->type_name("NUMBER")
      ->check(CLI::Range(1, 1024).description(""));
  AddChoices(*command.add_option("--io", flags.io,
                                 "How shards are read; default auto: mapped, but "
                                 "read on network file systems"),
             {"auto", "mmap", "read"});
  AddChoices(*command.add_option("--progress", flags.progress,
                                 "Progress on stderr; default auto: a line on a terminal, else "
                                 "nothing"),
             {"auto", "plain", "json", "none"});
  command.add_flag("--force", flags.force, "Replace outputs that exist; default: refuse");
  command.add_flag("--no-sync", flags.no_sync,
                   "Do not flush the result to the disk before it gets its name; default: flush");
}

}  // namespace

void AddConvert(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("convert", "Convert a checkpoint folder to one GGUF file");
  auto flags = std::make_shared<ConvertFlags>();
  AddFlags(*command, *flags);
  command->callback([flags, &context] {
    ProgressPrinter progress(context.quiet ? ProgressMode::kNone
                                           : kProgressModes.at(flags->progress));
    const Result<ConvertReport> report = Run(*flags, progress);
    progress.Finish();
    if (!report) return Fail(report.error(), context);
    if (!context.quiet) PrintSummary(*flags, *report);
  });
}

}  // namespace sluice::cli
