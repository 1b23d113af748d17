// sluice perplexity MODEL TEXT
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/metadata_text.h"
#include "cli/window_flags.h"
#include "runtime/perplexity.h"

namespace sluice::cli {
namespace {

using runtime::Perplexity;

struct PerplexityFlags {
  WindowFlags windows;
  bool json = false;
};

nlohmann::ordered_json ToJson(const Perplexity& perplexity) {
  return {{"perplexity", perplexity.value()},
          {"standard_error", perplexity.standard_error()},
          {"tokens", perplexity.count()}};
}

Status Run(const PerplexityFlags& flags, const Context& context) {
  const std::string& path = flags.windows.model.path;
  SLUICE_ASSIGN(const WindowedText text,
                OpenWindows(flags.windows, runtime::AttentionForm::kCheaper, context.quiet));
  const std::atomic<bool>& cancel = CancelOnSignals();
  Perplexity perplexity;
  nlohmann::ordered_json running = nlohmann::ordered_json::array();
  for (std::uint32_t i = 0; i < text.windows.count(); ++i) {
    Status scored = ScoreWindow(*text.model, text.windows.At(i), perplexity);
    if (!scored) return std::move(scored).error().In(path);
    if (cancel.load()) return MakeError(ErrorCode::kCancelled, "cancelled");
    running.push_back(ToJson(perplexity));
    if (flags.json || context.quiet) continue;
    fmt::print("{:>6} of {}: {:.4f}\n", i + 1, text.windows.count(), perplexity.value());
    std::fflush(stdout);
  }
  if (!flags.json) {
    fmt::print("perplexity {:.4f} +/- {:.5f}, {} tokens\n", perplexity.value(),
               perplexity.standard_error(), perplexity.count());
    return Ok();
  }
  nlohmann::ordered_json json{{"format", 1}};
  json.update(ToJson(perplexity));
  json["context"] = text.windows.length();
  json["running"] = std::move(running);
  fmt::print("{}\n", DumpJson(json));
  return Ok();
}

}  // namespace

void AddPerplexity(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand(
      "perplexity", "Measure how well a model predicts the second half of each window of a text");
  auto flags = std::make_shared<PerplexityFlags>();
  AddWindowFlags(*command, flags->windows);
  command->add_flag("--json", flags->json, "Print JSON (docs/json.md); default: text");
  command->callback([flags, &context] {
    const Status status = Run(*flags, context);
    if (!status) Fail(status.error(), context);
  });
}

}  // namespace sluice::cli
