// sluice verify CHECKPOINT OUT.gguf
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "cli/command.h"
#include "cli/conversion_flags.h"
#include "cli/metadata_text.h"
#include "cli/verify_logits.h"
#include "core/utf8.h"
#include "pipeline/verify.h"

namespace sluice::cli {
namespace {

struct VerifyFlags {
  PlanFlags plan;
  std::string model;
  std::string projector;
  bool json = false;
  ConversionFlags stream;
  VerifyLogitsFlags logits;
};

Result<VerifyReport> Run(const VerifyFlags& flags, const ConvertOptions& options) {
  SLUICE_ASSIGN(const PlanOptions plan_options,
                ToPlanOptions(flags.plan, !flags.projector.empty()));
  SLUICE_ASSIGN(Plan plan, MakePlan(flags.plan.checkpoint, plan_options));
  QuantizeFlags quantize = flags.plan.quantize;
  if (quantize.has_target()) quantize.save_types.clear();  // that file has been written
  SLUICE_TRY(QuantizeToTargetOf(quantize, options, /*quiet=*/true, /*overwrite=*/false, plan));
  std::vector<std::string> files{flags.model};
  if (!flags.projector.empty()) files.push_back(flags.projector);
  return Verify(plan, files, options);
}

void PrintJson(const VerifyReport& report) {
  nlohmann::ordered_json differences = nlohmann::ordered_json::array();
  for (const Error& difference : report.differences) {
    nlohmann::ordered_json entry{{"file", difference.file},
                                 {"tensor", difference.tensor},
                                 {"offset", nullptr},
                                 {"what", difference.what},
                                 {"expected", difference.expected},
                                 {"actual", difference.actual}};
    if (difference.offset) entry["offset"] = *difference.offset;
    differences.push_back(std::move(entry));
  }
  fmt::print("{}\n", DumpJson({{"format", 1},
                               {"equal", report.differences.empty()},
                               {"keys", report.key_values},
                               {"tensors", report.tensors},
                               {"bytes", report.bytes},
                               {"differences", std::move(differences)}}));
}

void Print(const VerifyReport& report, const std::string& model) {
  for (const Error& difference : report.differences) {
    fmt::print("{}\n", Printable(difference.Format()));
  }
  if (!report.differences.empty()) return;
  fmt::print("{}: equal: {} key-values, {} tensors, {}\n", model, report.key_values, report.tensors,
             HumanBytes(report.bytes));
}

void RunBytes(const VerifyFlags& flags, Context& context) {
  ProgressPrinter progress = MakeProgressPrinter(flags.stream, context);
  ConvertOptions options = ToConvertOptions(flags.stream);
  options.on_progress = [&](const Progress& now) { progress.Update(now); };
  const Result<VerifyReport> report = Run(flags, options);
  progress.Finish();
  if (!report) return Fail(report.error(), context);
  if (!context.quiet) PrintWarnings(report->warnings);
  if (!report->differences.empty()) context.exit_code = kDifferent;
  flags.json ? PrintJson(*report) : Print(*report, flags.model);
}

// The flags of a conversion say nothing about two models that are run.
Status CheckFlagsOfLogits(const CLI::App& command) {
  static constexpr std::array<std::string_view, 11> kUsed{
      "CHECKPOINT", "OUT",      "--logits",  "--tokens",        "--text", "--context",
      "--max-diff", "--max-kl", "--threads", "--min-agreement", "--json"};
  for (const CLI::Option* const option : command.get_options()) {
    const std::string name = option->get_name();
    if (option->empty() || std::find(kUsed.begin(), kUsed.end(), name) != kUsed.end()) continue;
    return MakeError(ErrorCode::kUsage, fmt::format("{} does not apply to --logits", name));
  }
  return Ok();
}

void RunLogits(const VerifyFlags& flags, const CLI::App& command, Context& context) {
  const Status usable = CheckFlagsOfLogits(command);
  if (!usable) return Fail(usable.error(), context);
  const Result<bool> within = VerifyLogits(
      flags.logits,
      {flags.plan.checkpoint, flags.model, flags.stream.threads, flags.json, context.quiet});
  if (!within) return Fail(within.error(), context);
  if (!*within) context.exit_code = kDifferent;
}

}  // namespace

void AddVerify(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand(
      "verify",
      "Prove that a GGUF file is what convert makes of a checkpoint, given the same "
      "flags; exit code 1 when it is not");
  auto flags = std::make_shared<VerifyFlags>();
  AddPlanFlags(*command, flags->plan);
  command->add_option("OUT", flags->model, "GGUF file to verify; of a split model the first file")
      ->type_name("")
      ->required();
  command
      ->add_option("--mmproj", flags->projector,
                   "Also verify this file with the vision part; default: the model alone")
      ->type_name("FILE");
  AddVerifyLogitsFlags(*command, flags->logits);
  command->add_flag("--json", flags->json, "Print JSON (docs/json.md); default: text");
  AddStreamFlags(*command, flags->stream);
  command->callback([flags, command, &context] {
    flags->logits.enabled ? RunLogits(*flags, *command, context) : RunBytes(*flags, context);
  });
}

}  // namespace sluice::cli
