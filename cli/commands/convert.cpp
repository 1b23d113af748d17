// sluice convert CHECKPOINT OUT.gguf
// sluice convert CHECKPOINT --to OUT.gguf:TYPE --to OUT2.gguf:TYPE ...
// sluice convert CHECKPOINT FOLDER --format safetensors --type TYPE
#include <fmt/format.h>

#include <memory>

#include "cli/command.h"
#include "cli/conversion_flags.h"
#include "cli/given_files.h"
#include "cli/safetensors_flags.h"
#include "pipeline/check_output.h"
#include "pipeline/layout.h"
#include "pipeline/quantize/file_type.h"

namespace sluice::cli {
namespace {

struct ConvertFlags {
  PlanFlags plan;
  std::string output;
  std::vector<std::string> to;
  std::string projector;
  SafetensorsFlags safetensors;
  std::uint64_t max_shard_bytes = 0;
  ConversionFlags conversion;
};

// ---- --to PATH:TYPE[:DIALECT] -------------------------------------------------------------------

struct Target {
  std::string path;
  std::string type;
  std::string dialect;  // empty: that of --dialect
};

bool IsDialect(std::string_view word) {
  return word == arch::DialectName(arch::Dialect::kLlamaCpp) ||
         word == arch::DialectName(arch::Dialect::kOllama);
}

// Takes the last word off `text`; nullopt where no colon is left.
std::optional<std::string> TakeLastWord(std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  std::string word = text.substr(colon + 1);
  text.resize(colon);
  return word;
}

// Paths may hold colons: only the last ones count.
Result<Target> ParseTarget(const std::string& text) {
  Target target;
  target.path = text;
  std::optional<std::string> word = TakeLastWord(target.path);
  if (word && IsDialect(*word)) {
    target.dialect = *word;
    word = TakeLastWord(target.path);
  }
  if (!word || word->empty() || target.path.empty()) {
    return MakeError(ErrorCode::kUsage, "--to wants PATH:TYPE or PATH:TYPE:DIALECT").Actual(text);
  }
  target.type = *word;
  // A type in front of an unknown last word: that was meant to be a dialect.
  std::string rest = target.path;
  const std::optional<std::string> before = TakeLastWord(rest);
  if (target.dialect.empty() && !ParseFileType(target.type) && before && ParseFileType(*before)) {
    return MakeError(ErrorCode::kUsage, "--to names an unknown dialect")
        .Expected("llama.cpp or ollama")
        .Actual(target.type);
  }
  return target;
}

Status CheckFlags(const ConvertFlags& flags) {
  const auto refuse = [](std::string_view what, std::string_view advice) {
    return MakeError(ErrorCode::kUsage, what).Advice(advice);
  };
  if (flags.to.empty()) {
    if (!flags.output.empty()) return Ok();
    return refuse("no output", "'sluice convert --help' explains the flags")
        .Expected("OUT or --to PATH:TYPE");
  }
  if (!flags.output.empty()) {
    return refuse("OUT and --to exclude each other", "name every output with --to PATH:TYPE");
  }
  if (!flags.plan.quantize.type.empty()) {
    return refuse("--type and --to exclude each other", "each --to names its own type");
  }
  if (flags.plan.quantize.has_target() || !flags.plan.quantize.save_types.empty()) {
    return refuse("--to excludes --target-size, --target-bpw and --save-types",
                  "a target is that of one file: give each a conversion of its own");
  }
  if (!flags.projector.empty()) {
    return refuse("--mmproj and --to exclude each other",
                  "write the vision part with a conversion of its own");
  }
  return Ok();
}

// ---- Running ------------------------------------------------------------------------------------

Result<ConvertReport> RunOne(const ConvertFlags& flags, const Context& context,
                             const ConvertOptions& options) {
  for (const std::string& output : {flags.output, flags.projector}) {
    SLUICE_TRY(CheckNotTerminal(output));
    SLUICE_TRY(CheckNotGiven(output, flags.plan.quantize, flags.plan.chat_template));
  }
  SLUICE_ASSIGN(PlanOptions plan_options, ToPlanOptions(flags.plan, !flags.projector.empty()));
  plan_options.max_shard_bytes = flags.max_shard_bytes;
  SLUICE_ASSIGN(Plan plan, MakePlan(flags.plan.checkpoint, plan_options));
  for (const std::string& output : {flags.output, flags.projector}) {
    if (flags.plan.quantize.has_target() && !output.empty()) {
      SLUICE_TRY(CheckOutputOpens(output, plan, options));
    }
  }
  const bool quiet = context.quiet || flags.conversion.json_progress();
  SLUICE_TRY(QuantizeToTargetOf(flags.plan.quantize, options, quiet, options.overwrite, plan));
  SLUICE_ASSIGN(const auto outputs, OutputPaths(plan, flags.output, flags.projector));
  return Convert(plan, outputs, options);
}

Result<ModelOutput> PlanTarget(const ConvertFlags& flags, const Target& target) {
  PlanFlags plan_flags = flags.plan;
  plan_flags.quantize.type = target.type;
  if (!target.dialect.empty()) plan_flags.dialect = target.dialect;
  SLUICE_ASSIGN(PlanOptions plan_options, ToPlanOptions(plan_flags, false));
  plan_options.max_shard_bytes = flags.max_shard_bytes;
  SLUICE_ASSIGN(Plan plan, MakePlan(plan_flags.checkpoint, plan_options));
  SLUICE_ASSIGN(std::vector<std::string> paths, OutputPaths(plan, target.path, ""));
  return ModelOutput{target.path, std::move(plan), std::move(paths)};
}

Result<ConvertReport> RunSeveral(const ConvertFlags& flags, const ConvertOptions& options) {
  std::vector<Target> targets;
  for (const std::string& text : flags.to) {
    SLUICE_ASSIGN(Target target, ParseTarget(text));
    SLUICE_TRY(CheckNotTerminal(target.path));
    SLUICE_TRY(CheckNotGiven(target.path, flags.plan.quantize, flags.plan.chat_template));
    targets.push_back(std::move(target));
  }
  std::vector<ModelOutput> models;
  for (const Target& target : targets) {
    SLUICE_ASSIGN(ModelOutput model, PlanTarget(flags, target));
    models.push_back(std::move(model));
  }
  return ConvertTogether(std::move(models), options);
}

Result<ConvertReport> Run(const ConvertFlags& flags, const CLI::App& command,
                          const Context& context, const ConvertOptions& options) {
  SLUICE_TRY(CheckFlagsOfFormat(flags.safetensors, command));
  SLUICE_TRY(CheckFlags(flags));
  if (flags.safetensors.chosen()) {
    return ConvertToSafetensors(flags.safetensors, flags.plan, flags.output, flags.max_shard_bytes,
                                options);
  }
  return flags.to.empty() ? RunOne(flags, context, options) : RunSeveral(flags, options);
}

void AddFlags(CLI::App& command, ConvertFlags& flags) {
  AddPlanFlags(command, flags.plan);
  RefuseEmpty(command.add_option("OUT", flags.output,
                                 "GGUF file to write, - writes to standard output; with --format "
                                 "safetensors a folder; required without --to"))
      ->type_name("");
  AddSafetensorsFlags(command, flags.safetensors);
  command
      .add_option("--to", flags.to,
                  "Instead of OUT and --type, once for each output: writes several files from one "
                  "read of the checkpoint; default: one file, OUT")
      ->type_name("PATH:TYPE[:DIALECT]")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  RefuseEmpty(
      command.add_option("--mmproj", flags.projector,
                         "Also write the vision part to this file (llama.cpp dialect of Llama 4); "
                         "default: leave it out"))
      ->type_name("FILE");
  AddMaxShardSize(command, flags.max_shard_bytes);
  AddConversionFlags(command, flags.conversion);
}

// What the closing summary calls the whole.
std::string NameOf(const ConvertFlags& flags) {
  if (flags.to.empty()) return flags.output;
  if (flags.to.size() > 1) return fmt::format("{} outputs", flags.to.size());
  const Result<Target> only = ParseTarget(flags.to.front());
  return only ? only->path : flags.to.front();
}

}  // namespace

void AddConvert(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("convert", "Convert a checkpoint folder to GGUF or quantized safetensors");
  auto flags = std::make_shared<ConvertFlags>();
  AddFlags(*command, *flags);
  command->callback([flags, command, &context] {
    RunWithProgress(flags->conversion, NameOf(*flags), context, [&](const ConvertOptions& options) {
      return Run(*flags, *command, context, options);
    });
  });
}

}  // namespace sluice::cli
