// sluice edit FILE.gguf --set KEY=TYPE:VALUE
#include <memory>

#include "cli/command.h"
#include "cli/conversion_flags.h"
#include "core/utf8.h"
#include "pipeline/edit.h"

namespace sluice::cli {
namespace {

struct EditFlags {
  std::string file;
  std::vector<std::string> settings;
  bool no_sync = false;
};

Result<EditReport> Run(const EditFlags& flags) {
  SLUICE_ASSIGN(const auto settings, ParseSettings(flags.settings));
  ConversionFlags conversion;
  conversion.no_sync = flags.no_sync;
  return EditKeys(flags.file, settings, ToConvertOptions(conversion));
}

}  // namespace

void AddEdit(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("edit", "Set key-values of a GGUF file");
  auto flags = std::make_shared<EditFlags>();
  command->add_option("FILE", flags->file, "GGUF file to change")->type_name("")->required();
  command
      ->add_option("--set", flags->settings,
                   "Sets a key-value; TYPE is one of u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool "
                   "str; repeatable; no default")
      ->type_name("KEY=TYPE:VALUE")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->required();
  command->add_flag("--no-sync", flags->no_sync,
                    "Do not flush the change to the disk; default: flush");
  command->callback([flags, &context] {
    const Result<EditReport> report = Run(*flags);
    if (!report) return Fail(report.error(), context);
    if (context.quiet) return;
    Say("{}: {}\n", Printable(flags->file), report->in_place ? "changed in place" : "written anew");
  });
}

}  // namespace sluice::cli
