// sluice convert CHECKPOINT OUT.gguf, sluice convert CHECKPOINT FOLDER --format safetensors
#include <array>
#include <memory>

#include "cli/command.h"
#include "cli/conversion_flags.h"
#include "pipeline/layout.h"
#include "pipeline/mlx/folder_plan.h"

namespace sluice::cli {
namespace {

struct ConvertFlags {
  PlanFlags plan;
  std::string output;
  std::string projector;
  std::string format = "gguf";
  std::uint32_t group_size = 64;
  std::uint64_t max_shard_bytes = 0;
  ConversionFlags conversion;
};

Result<ConvertReport> ToGguf(const ConvertFlags& flags, const ConvertOptions& options) {
  SLUICE_TRY(CheckNotTerminal(flags.output));
  SLUICE_TRY(CheckNotTerminal(flags.projector));
  SLUICE_ASSIGN(PlanOptions plan_options, ToPlanOptions(flags.plan, !flags.projector.empty()));
  plan_options.max_shard_bytes = flags.max_shard_bytes;
  SLUICE_ASSIGN(const Plan plan, MakePlan(flags.plan.checkpoint, plan_options));
  SLUICE_ASSIGN(const auto outputs, OutputPaths(plan, flags.output, flags.projector));
  return Convert(plan, outputs, options);
}

Result<ConvertReport> ToFolder(const ConvertFlags& flags, const ConvertOptions& options) {
  const std::string& type = flags.plan.quantize.type;
  const std::optional<MlxType> mlx_type = ParseMlxType(type);
  if (!mlx_type) {
    return MakeError(ErrorCode::kUsage, "--format safetensors needs a --type of its own")
        .Expected("int4, int8, nvfp4, mxfp4 or mxfp8")
        .Actual(type.empty() ? "none" : type);
  }
  SLUICE_ASSIGN(const FolderPlan plan,
                PlanMlxFolder(flags.plan.checkpoint,
                              {*mlx_type, flags.group_size, !flags.plan.no_mtp,
                               flags.plan.quantize.non_finite == "zero", flags.max_shard_bytes}));
  return ConvertToFolder(plan, flags.output, options);
}

// Flags that mean nothing for the chosen format.
Status CheckFlagsOfFormat(const ConvertFlags& flags, const CLI::App& command) {
  static constexpr std::array kOnlyGguf{
      "--dialect",     "--outtype",       "--pre",
      "--mmproj",      "--chat-template", "--model-name",
      "--set",         "--pure",          "--leave-output-tensor",
      "--imatrix",     "--bit-exact",     "--output-tensor-type",
      "--tensor-type", "--tensor-types",  "--token-embedding-type"};
  static constexpr std::array kOnlyFolder{"--group-size"};
  const bool gguf = flags.format == "gguf";
  const auto check = [&](const auto& names) -> Status {
    for (const char* const name : names) {
      if (command.get_option(name)->empty()) continue;
      return MakeError(ErrorCode::kUsage,
                       fmt::format("{} does not apply to --format {}", name, flags.format));
    }
    return Ok();
  };
  return gguf ? check(kOnlyFolder) : check(kOnlyGguf);
}

void AddFlags(CLI::App& command, ConvertFlags& flags) {
  AddPlanFlags(command, flags.plan);
  command
      .add_option("OUT", flags.output,
                  "GGUF file to write, - writes to standard output; with --format safetensors a "
                  "folder")
      ->type_name("")
      ->required();
  AddChoices(*command.add_option("--format", flags.format,
                                 "gguf, or a folder of safetensors that are quantized in the MLX "
                                 "layout (--type int4, int8, nvfp4, mxfp4 or mxfp8); default gguf"),
             {"gguf", "safetensors"});
  command
      .add_option("--group-size", flags.group_size,
                  "Elements that share a scale in int4 and int8 safetensors; default 64")
      ->type_name("32|64|128")
      ->check(CLI::IsMember({32, 64, 128}).description(""));
  command
      .add_option(
          "--mmproj", flags.projector,
          "Also write the vision part to this file (llama.cpp dialect of Llama 4); default: "
          "leave it out")
      ->type_name("FILE");
  AddMaxShardSize(command, flags.max_shard_bytes);
  AddConversionFlags(command, flags.conversion);
}

}  // namespace

void AddConvert(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("convert", "Convert a checkpoint folder to GGUF or quantized safetensors");
  auto flags = std::make_shared<ConvertFlags>();
  AddFlags(*command, *flags);
  command->callback([flags, command, &context] {
    RunWithProgress(flags->conversion, flags->output, context,
                    [&](const ConvertOptions& options) -> Result<ConvertReport> {
                      SLUICE_TRY(CheckFlagsOfFormat(*flags, *command));
                      return flags->format == "gguf" ? ToGguf(*flags, options)
                                                     : ToFolder(*flags, options);
                    });
  });
}

}  // namespace sluice::cli
