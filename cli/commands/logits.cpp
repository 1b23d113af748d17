// sluice logits MODEL --tokens 5,17,200 --output FILE.f32
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <span>

#include "cli/command.h"
#include "cli/generation_flags.h"
#include "cli/given_files.h"
#include "core/checked.h"
#include "runtime/model/load.h"
#include "stages/sink.h"

namespace sluice::cli {
namespace {

using runtime::AttentionForm;

struct LogitsFlags {
  ModelFlags model;
  std::vector<runtime::TokenId> tokens;
  std::string output;
  float latent_eps = 0;  // 0: the model's own
  std::uint32_t chunk = 0;
  std::string attention = "auto";
  bool force = false;
};

const std::map<std::string, AttentionForm> kForms{{"auto", AttentionForm::kCheaper},
                                                  {"naive", AttentionForm::kNaive},
                                                  {"absorbed", AttentionForm::kAbsorbed}};

Result<std::vector<float>> Compute(const LogitsFlags& flags, runtime::Glm& model) {
  const std::span<const runtime::TokenId> tokens(flags.tokens);
  const std::size_t vocab = model.vocab_size();
  const auto floats = CheckedMul(tokens.size(), vocab);
  if (!floats) return MakeError(ErrorCode::kResource, "too many logits");
  std::vector<float> logits(*floats);
  SLUICE_ASSIGN(const runtime::SequenceId sequence, model.CreateSequence());
  const std::size_t chunk = flags.chunk == 0 ? tokens.size() : flags.chunk;
  for (std::size_t first = 0; first < tokens.size(); first += chunk) {
    const std::size_t count = std::min(chunk, tokens.size() - first);
    SLUICE_TRY(model.ForwardAll(sequence, tokens.subspan(first, count),
                                std::span(logits).subspan(first * vocab, count * vocab)));
  }
  return logits;
}

Status Run(const LogitsFlags& flags, const Context& context) {
  SLUICE_TRY(CheckNotInput(flags.output, {flags.model.path}));
  // Opened first: an output that exists is found before the work, not after it.
  SLUICE_ASSIGN(const std::unique_ptr<Sink> sink,
                OpenFileSink(flags.output, 0, {flags.force, false}));
  runtime::LoadOptions options = LoadOptionsOf(flags.model);
  options.model.form = kForms.at(flags.attention);
  if (flags.latent_eps > 0) options.latent_eps = flags.latent_eps;
  SLUICE_ASSIGN(const runtime::LoadedModel loaded, runtime::LoadModel(flags.model.path, options));
  if (!context.quiet) PrintWarnings(loaded.warnings);
  Result<std::vector<float>> logits = Compute(flags, *loaded.model);
  if (!logits) return std::move(logits).error().In(flags.model.path);
  const auto bytes = std::as_bytes(std::span(*logits));
  SLUICE_TRY(sink->Append({&bytes, 1}));
  return sink->Finish();
}

std::string CheckEpsilon(const std::string& text) {
  float value = 0;
  const bool fits = CLI::detail::lexical_cast(text, value) && value > 0 && value <= 1;
  return fits ? "" : fmt::format("expected a number above 0, at most 1, got {}", text);
}

void AddFlags(CLI::App& command, LogitsFlags& flags) {
  AddModelFlags(command, flags.model);
  RefuseEmpty(command.add_option("--tokens", flags.tokens, "Token ids, separated by commas"))
      ->type_name("ID,ID,...")
      ->delimiter(',')
      ->required();
  command
      .add_option("--output", flags.output,
                  "File for the logits: float32, a row of vocab_size for each token")
      ->type_name("FILE")
      ->required();
  command
      .add_option("--latent-eps", flags.latent_eps,
                  "Epsilon of the norms inside attention (transformers: 1e-6); default: "
                  "rms_norm_eps")
      ->type_name("NUMBER")
      ->check(CLI::Validator(CheckEpsilon, ""));
  command
      .add_option("--chunk", flags.chunk,
                  "Tokens that go through the model at once, the others wait; default: all")
      ->type_name("NUMBER")
      ->check(CLI::PositiveNumber.description(""));
  AddChoices(*command.add_option("--attention", flags.attention,
                                 "Form of latent attention; default auto: the cheaper one"),
             {"auto", "naive", "absorbed"});
  command.add_flag("--force", flags.force, "Replace FILE if it exists; default: refuse");
}

}  // namespace

void AddLogits(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("logits", "Run a model on token ids and write its logits");
  auto flags = std::make_shared<LogitsFlags>();
  AddFlags(*command, *flags);
  command->callback([flags, &context] {
    const Status status = Run(*flags, context);
    if (!status) Fail(status.error(), context);
  });
}

}  // namespace sluice::cli
