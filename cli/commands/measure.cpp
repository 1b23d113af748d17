// sluice measure CHECKPOINT|GGUF --type TYPE...
#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>

#include "cli/command.h"
#include "cli/conversion_flags.h"
#include "cli/given_files.h"
#include "cli/measure_text.h"
#include "cli/metadata_text.h"
#include "formats/gguf/split.h"
#include "pipeline/check_output.h"
#include "pipeline/gguf_plan.h"
#include "pipeline/measure/model.h"
#include "stages/sink.h"

namespace sluice::cli {
namespace {

struct MeasureFlags {
  PlanFlags plan;  // of a checkpoint
  std::vector<std::string> types;
  std::string imatrix;
  std::string non_finite = "error";
  bool json = false;
  std::string page;
  ConversionFlags conversion;
};

Result<Plan> PlanSource(const MeasureFlags& flags) {
  const std::string& source = flags.plan.checkpoint;
  std::error_code error;
  if (std::filesystem::is_directory(source, error)) {
    SLUICE_ASSIGN(PlanOptions options, ToPlanOptions(flags.plan, false));
    options.with_tokenizer = false;
    options.zero_non_finite = flags.non_finite == "zero";
    return MakePlan(source, options);
  }
  const bool has_checkpoint_flags =
      !flags.plan.dialect.empty() || flags.plan.outtype != "auto" || flags.plan.no_mtp;
  if (has_checkpoint_flags) {
    return MakeError(ErrorCode::kUsage, "--dialect, --outtype and --no-mtp need a checkpoint")
        .In(source);
  }
  SLUICE_ASSIGN(const gguf::SplitSet set, gguf::OpenSplit(source));
  return MakeGgufPlan(set, {});
}

struct Measured {
  ErrorReport report;
  std::unique_ptr<Sink> page;  // opened before the values are read, which takes long
};

Result<std::unique_ptr<Sink>> OpenPage(const MeasureFlags& flags, const Plan& plan) {
  if (flags.page.empty()) return std::unique_ptr<Sink>();
  SLUICE_TRY(CheckOutput(flags.page, plan));
  QuantizeFlags inputs;
  inputs.imatrix = flags.imatrix;
  SLUICE_TRY(CheckNotGiven(flags.page, inputs));
  return OpenFileSink(flags.page, 0, {flags.conversion.force, !flags.conversion.no_sync});
}

Result<Measured> Measure(const MeasureFlags& flags, const ConvertOptions& run) {
  MeasureRequest request;
  for (const std::string& name : flags.types) {
    SLUICE_ASSIGN(MeasuredKind kind, ParseMeasuredKind(name));
    request.kinds.push_back(std::move(kind));
  }
  request.importance_path = flags.imatrix;
  request.zero_non_finite = flags.non_finite == "zero";
  SLUICE_ASSIGN(const Plan plan, PlanSource(flags));
  SLUICE_ASSIGN(std::unique_ptr<Sink> page, OpenPage(flags, plan));
  SLUICE_ASSIGN(ErrorReport report, MeasureModel(plan, request, run));
  report.warnings.insert(report.warnings.begin(), plan.warnings.begin(), plan.warnings.end());
  return Measured{std::move(report), std::move(page)};
}

Status WritePage(const MeasureFlags& flags, const ErrorReport& report, Sink& sink) {
  const std::string page = ErrorsPage(report, flags.plan.checkpoint);
  const auto bytes = std::as_bytes(std::span(page));
  SLUICE_TRY(sink.Append(std::span(&bytes, 1)));
  return sink.Finish();
}

void Run(const MeasureFlags& flags, Context& context) {
  ProgressPrinter progress = MakeProgressPrinter(flags.conversion, context);
  ConvertOptions run = ToConvertOptions(flags.conversion);
  run.on_progress = [&](const Progress& now) { progress.Update(now); };
  const Result<Measured> measured = Measure(flags, run);
  progress.Finish();
  if (!measured) return Fail(measured.error(), context);
  const ErrorReport& report = measured->report;
  if (!context.quiet) PrintWarnings(report.warnings);
  if (measured->page != nullptr) {
    const Status written = WritePage(flags, report, *measured->page);
    if (!written) return Fail(written.error(), context);
  }
  ::signal(SIGPIPE, SIG_DFL);  // a reader that has seen enough ends it silently
  if (flags.json) {
    fmt::print("{}\n", DumpJson(ErrorsJson(report, flags.plan.checkpoint)));
  } else {
    PrintErrors(report);
  }
}

void AddFlags(CLI::App& command, MeasureFlags& flags) {
  command
      .add_option("SOURCE", flags.plan.checkpoint,
                  "Checkpoint folder or GGUF file, of a split model the first")
      ->type_name("")
      ->required();
  command
      .add_option("--type", flags.types,
                  "Tensor type (for every matrix), or another recipe of llama-quantize (what it "
                  "gives each); repeatable; no default")
      ->type_name("TYPE")
      ->expected(1)
      ->take_all()
      ->required();
  AddTensorFlags(command, flags.plan);
  RefuseEmpty(
      command.add_option("--imatrix", flags.imatrix,
                         "Importance matrix, as GGUF or in the legacy format; default: none"))
      ->type_name("FILE");
  AddChoices(
      *command.add_option("--nan", flags.non_finite, "NaN and infinity in a matrix; default error"),
      {"error", "zero"});
  command.add_flag("--json", flags.json, "Print JSON (docs/json.md); default: a table");
  RefuseEmpty(
      command.add_option("--html", flags.page,
                         "Also write a page with plots, which needs nothing else; default: none"))
      ->type_name("FILE");
  AddConversionFlags(command, flags.conversion);
}

}  // namespace

void AddMeasure(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("measure", "Measure the errors that tensor types would make");
  auto flags = std::make_shared<MeasureFlags>();
  AddFlags(*command, *flags);
  command->callback([flags, &context] { Run(*flags, context); });
}

}  // namespace sluice::cli
