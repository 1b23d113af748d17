// sluice merge IN-00001-of-0000N.gguf OUT.gguf
#include <memory>

#include "cli/command.h"
#include "cli/conversion_flags.h"
#include "pipeline/gguf_plan.h"

namespace sluice::cli {
namespace {

struct MergeFlags {
  std::string input;
  std::string output;
  ConversionFlags conversion;
};

Result<ConvertReport> Run(const MergeFlags& flags, const ConvertOptions& options) {
  SLUICE_TRY(CheckNotTerminal(flags.output));
  SLUICE_ASSIGN(const gguf::SplitSet set, gguf::OpenSplit(flags.input));
  if (set.files.size() == 1) {
    return MakeError(ErrorCode::kUsage, "the model is in one file already")
        .In(flags.input)
        .Expected("the first file of a split model");
  }
  SLUICE_ASSIGN(const Plan plan, MakeGgufPlan(set, {}));
  return Convert(plan, std::span(&flags.output, 1), options);
}

}  // namespace

void AddMerge(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("merge", "Make one GGUF file of a split model");
  auto flags = std::make_shared<MergeFlags>();
  command->add_option("IN", flags->input, "First file of the model: NAME-00001-of-0000N.gguf")
      ->type_name("")
      ->required();
  command->add_option("OUT", flags->output, "GGUF file to write; - writes to standard output")
      ->type_name("")
      ->required();
  AddConversionFlags(*command, flags->conversion);
  command->callback([flags, &context] {
    RunWithProgress(flags->conversion, flags->output, context,
                    [&](const ConvertOptions& options) { return Run(*flags, options); });
  });
}

}  // namespace sluice::cli
