// sluice quantize IN.gguf OUT.gguf --type TYPE
#include <memory>

#include "cli/command.h"
#include "cli/conversion_flags.h"
#include "cli/given_files.h"
#include "pipeline/check_output.h"
#include "pipeline/gguf_plan.h"
#include "pipeline/layout.h"

namespace sluice::cli {
namespace {

struct QuantizeCommandFlags {
  std::string input;
  std::string output;
  QuantizeFlags quantize;
  std::uint64_t max_shard_bytes = 0;
  ConversionFlags conversion;
};

Result<ConvertReport> Run(const QuantizeCommandFlags& flags, const Context& context,
                          const ConvertOptions& options) {
  SLUICE_TRY(CheckNotTerminal(flags.output));
  SLUICE_TRY(CheckNotGiven(flags.output, flags.quantize));
  const bool has_target = flags.quantize.has_target();
  if (flags.quantize.type.empty() && !has_target) {
    return MakeError(ErrorCode::kUsage, "no type to quantize to")
        .Expected("--type, --target-size or --target-bpw");
  }
  GgufPlanOptions plan_options;
  if (!has_target) {
    SLUICE_ASSIGN(plan_options.quantize, ToQuantizeRequest(flags.quantize));
  }
  plan_options.max_shard_bytes = flags.max_shard_bytes;
  SLUICE_ASSIGN(const gguf::SplitSet set, gguf::OpenSplit(flags.input));
  SLUICE_ASSIGN(Plan plan, MakeGgufPlan(set, plan_options));
  if (has_target) SLUICE_TRY(CheckOutputOpens(flags.output, plan, options));
  const bool quiet = context.quiet || flags.conversion.json_progress();
  Status chosen = QuantizeToTargetOf(flags.quantize, options, quiet, options.overwrite, plan);
  if (!chosen) return std::move(chosen).error().In(flags.input);
  SLUICE_ASSIGN(const auto outputs, OutputPaths(plan, flags.output, ""));
  return Convert(plan, outputs, options);
}

void AddFlags(CLI::App& command, QuantizeCommandFlags& flags) {
  command.add_option("IN", flags.input, "GGUF file to quantize; of a split model the first file")
      ->type_name("")
      ->required();
  command.add_option("OUT", flags.output, "GGUF file to write; - writes to standard output")
      ->type_name("")
      ->required();
  AddQuantizeFlags(command, flags.quantize);
  command.get_option("--type")->description(
      "Recipe of llama-quantize: Q4_K_M, Q8_0, IQ4_XS, MXFP4_MOE, COPY ..., or NVFP4; no default, "
      "needed without a target");
  command.add_flag("--allow-requantize", flags.quantize.allow_requantize,
                   "Also quantize tensors that are quantized already, which loses more than their "
                   "original would; default: refuse");
  AddMaxShardSize(command, flags.max_shard_bytes);
  AddConversionFlags(command, flags.conversion);
}

}  // namespace

void AddQuantize(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("quantize", "Quantize a GGUF file");
  auto flags = std::make_shared<QuantizeCommandFlags>();
  AddFlags(*command, *flags);
  command->callback([flags, &context] {
    RunWithProgress(flags->conversion, flags->output, context,
                    [&](const ConvertOptions& options) { return Run(*flags, context, options); });
  });
}

}  // namespace sluice::cli
