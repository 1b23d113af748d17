#include "cli/safetensors_flags.h"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "pipeline/mlx/folder_plan.h"

namespace sluice::cli {

void AddSafetensorsFlags(CLI::App& command, SafetensorsFlags& flags) {
  AddChoices(*command.add_option("--format", flags.format,
                                 "gguf, or a folder of safetensors that are quantized in the MLX "
                                 "layout (--type int4, int8, nvfp4, mxfp4 or mxfp8); default gguf"),
             {"gguf", "safetensors"});
  command
      .add_option("--group-size", flags.group_size,
                  "Elements that share a scale in int4 and int8 safetensors; default 64")
      ->type_name("32|64|128")
      ->check(CLI::IsMember({32, 64, 128}).description(""));
}

Status CheckFlagsOfFormat(const SafetensorsFlags& flags, const CLI::App& command) {
  static constexpr std::array kOnlyGguf{"--dialect",     "--outtype",     "--pre",
                                        "--mmproj",      "--to",          "--chat-template",
                                        "--model-name",  "--set",         "--pure",
                                        "--bit-exact",   "--imatrix",     "--leave-output-tensor",
                                        "--save-types",  "--target-size", "--output-tensor-type",
                                        "--target-bpw",  "--tensor-type", "--token-embedding-type",
                                        "--tensor-types"};
  static constexpr std::array kOnlyFolder{"--group-size"};
  const auto check = [&](const auto& names) -> Status {
    for (const char* const name : names) {
      if (command.get_option(name)->empty()) continue;
      return MakeError(ErrorCode::kUsage,
                       fmt::format("{} does not apply to --format {}", name, flags.format));
    }
    return Ok();
  };
  return flags.chosen() ? check(kOnlyGguf) : check(kOnlyFolder);
}

Result<ConvertReport> ConvertToSafetensors(const SafetensorsFlags& flags, const PlanFlags& plan,
                                           const std::string& folder, std::uint64_t max_shard_bytes,
                                           const ConvertOptions& options) {
  const std::string& type = plan.quantize.type;
  const std::optional<MlxType> mlx_type = ParseMlxType(type);
  if (!mlx_type) {
    return MakeError(ErrorCode::kUsage, "--format safetensors needs a --type of its own")
        .Expected("int4, int8, nvfp4, mxfp4 or mxfp8")
        .Actual(type.empty() ? "none" : type);
  }
  SLUICE_ASSIGN(
      const FolderPlan folder_plan,
      PlanMlxFolder(plan.checkpoint, {*mlx_type, flags.group_size, !plan.no_mtp,
                                      plan.quantize.non_finite == "zero", max_shard_bytes}));
  return ConvertToFolder(folder_plan, folder, options);
}

}  // namespace sluice::cli
