#include "cli/window_flags.h"

#include <utility>
#include <vector>

#include "core/file.h"
#include "runtime/model/load.h"

namespace sluice::cli {
namespace {

constexpr std::uint64_t kMaxTextBytes = std::uint64_t{1} << 30;
constexpr std::uint32_t kMinContext = 4;

}  // namespace

void AddWindowFlags(CLI::App& command, WindowFlags& flags) {
  AddModelFlags(command, flags.model);
  command.add_option("TEXT", flags.text, "A text file, UTF-8")->type_name("")->required();
  command.add_option("--context", flags.context, "Tokens of a window; default 512")
      ->type_name("NUMBER")
      ->check(CLI::Range(kMinContext, std::uint32_t{1} << 24).description(""));
  command.add_option("--chunks", flags.chunks, "How many windows, from the first on; default: all")
      ->type_name("NUMBER")
      ->check(CLI::PositiveNumber.description(""));
}

Result<WindowedText> OpenWindows(const WindowFlags& flags, runtime::AttentionForm form,
                                 bool quiet) {
  SLUICE_ASSIGN(const std::string text, ReadWholeFile(flags.text, kMaxTextBytes));
  runtime::LoadOptions options = LoadOptionsOf(flags.model);
  options.model.form = form;
  SLUICE_ASSIGN(runtime::LoadedModel loaded, runtime::LoadModel(flags.model.path, options));
  SLUICE_ASSIGN(const runtime::Tokenizer tokenizer, runtime::TokenizerOf(flags.model.path, loaded));
  if (!quiet) PrintWarnings(loaded.warnings);
  Result<std::vector<runtime::TokenId>> tokens = tokenizer.Encode(text);
  if (!tokens) return std::move(tokens).error().In(flags.text);
  Result<runtime::Windows> windows =
      runtime::Windows::Cut(*std::move(tokens), loaded.metadata, flags.context, flags.chunks);
  if (!windows) return std::move(windows).error().In(flags.text);
  return WindowedText{std::move(loaded.model), *std::move(windows)};
}

}  // namespace sluice::cli
