// sluice tokenize MODEL -p TEXT
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/metadata_text.h"
#include "cli/prompt.h"
#include "runtime/model/ollama_model.h"
#include "runtime/text/open_tokenizer.h"

namespace sluice::cli {
namespace {

struct TokenizeFlags {
  std::string model;
  PromptFlags prompt;
  bool json = false;
};

void PrintTokens(const runtime::Tokenizer& tokenizer, const std::vector<runtime::TokenId>& ids,
                 bool as_json) {
  nlohmann::ordered_json tokens = nlohmann::ordered_json::array();
  for (const runtime::TokenId id : ids) {
    const std::string bytes(tokenizer.BytesOf(id));
    if (as_json) {
      tokens.push_back({{"id", id}, {"text", bytes}});
    } else {
      const nlohmann::json text(bytes);  // quoted, with line breaks and the like escaped
      fmt::print("{:>7}  {}\n", id,
                 text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    }
  }
  if (as_json) fmt::print("{}\n", DumpJson({{"format", 1}, {"tokens", std::move(tokens)}}));
}

Result<runtime::Tokenizer> OpenTokenizer(const std::string& model,
                                         std::vector<std::string>& warnings) {
  if (!runtime::OllamaModel::IsManifest(model)) return runtime::OpenTokenizer(model, warnings);
  SLUICE_ASSIGN(const runtime::OllamaModel blobs, runtime::OllamaModel::Open(model));
  Result<runtime::Tokenizer> tokenizer = runtime::OpenTokenizer(blobs.folder(), warnings);
  if (!tokenizer) return blobs.WithRealNames(std::move(tokenizer).error());
  return tokenizer;
}

void Run(const TokenizeFlags& flags, Context& context) {
  std::vector<std::string> warnings;
  const Result<runtime::Tokenizer> tokenizer = OpenTokenizer(flags.model, warnings);
  if (!tokenizer) return Fail(tokenizer.error(), context);
  if (!context.quiet) PrintWarnings(warnings);
  const Result<std::string> text = ReadPrompt(flags.prompt);
  if (!text) return Fail(text.error(), context);
  const auto ids = tokenizer->Encode(*text);
  if (!ids) return Fail(ids.error(), context);
  PrintTokens(*tokenizer, *ids, flags.json);
}

}  // namespace

void AddTokenize(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("tokenize", "Show the tokens that a model reads a text as");
  auto flags = std::make_shared<TokenizeFlags>();
  command
      ->add_option("MODEL", flags->model,
                   "A .gguf file, a checkpoint folder or a manifest of Ollama's")
      ->type_name("")
      ->required();
  AddPromptFlags(*command, flags->prompt);
  command->add_flag("--json", flags->json, "Print JSON (docs/json.md); default: text");
  command->callback([flags, &context] { Run(*flags, context); });
}

}  // namespace sluice::cli
