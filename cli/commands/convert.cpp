// sluice convert CHECKPOINT OUT.gguf
#include <memory>

#include "cli/command.h"
#include "cli/conversion_flags.h"
#include "pipeline/layout.h"

namespace sluice::cli {
namespace {

struct ConvertFlags {
  PlanFlags plan;
  std::string output;
  std::string projector;
  std::uint64_t max_shard_bytes = 0;
  ConversionFlags conversion;
};

Result<ConvertReport> Run(const ConvertFlags& flags, const Context& context,
                          const ConvertOptions& options) {
  SLUICE_TRY(CheckNotTerminal(flags.output));
  SLUICE_TRY(CheckNotTerminal(flags.projector));
  SLUICE_ASSIGN(PlanOptions plan_options, ToPlanOptions(flags.plan, !flags.projector.empty()));
  plan_options.max_shard_bytes = flags.max_shard_bytes;
  SLUICE_ASSIGN(Plan plan, MakePlan(flags.plan.checkpoint, plan_options));
  const bool quiet = context.quiet || flags.conversion.json_progress();
  SLUICE_TRY(QuantizeToTargetOf(flags.plan.quantize, options, quiet, options.overwrite, plan));
  SLUICE_ASSIGN(const auto outputs, OutputPaths(plan, flags.output, flags.projector));
  return Convert(plan, outputs, options);
}

void AddFlags(CLI::App& command, ConvertFlags& flags) {
  AddPlanFlags(command, flags.plan);
  RefuseEmpty(
      command.add_option("OUT", flags.output, "GGUF file to write; - writes to standard output"))
      ->type_name("")
      ->required();
  RefuseEmpty(
      command.add_option("--mmproj", flags.projector,
                         "Also write the vision part to this file (llama.cpp dialect of Llama 4); "
                         "default: leave it out"))
      ->type_name("FILE");
  AddMaxShardSize(command, flags.max_shard_bytes);
  AddConversionFlags(command, flags.conversion);
}

}  // namespace

void AddConvert(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("convert", "Convert a checkpoint folder to a GGUF file");
  auto flags = std::make_shared<ConvertFlags>();
  AddFlags(*command, *flags);
  command->callback([flags, &context] {
    RunWithProgress(flags->conversion, flags->output, context,
                    [&](const ConvertOptions& options) { return Run(*flags, context, options); });
  });
}

}  // namespace sluice::cli
