// sluice imatrix MODEL TEXT OUT.gguf
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <span>
#include <utility>

#include "cli/given_files.h"
#include "cli/window_flags.h"
#include "formats/imatrix/writer.h"
#include "runtime/importance_collector.h"
#include "runtime/logit_stream.h"
#include "stages/sink.h"

namespace sluice::cli {
namespace {

using runtime::ImportanceCollector;

struct ImatrixFlags {
  WindowFlags windows;
  std::string output;
  bool with_output = false;
  bool force = false;
};

// Runs all tokens of a window to the last layer, which leaves out those without logits.
Status RunWindow(runtime::Glm& model, std::span<const runtime::TokenId> window) {
  runtime::LogitStream stream(model, window);
  while (true) {
    SLUICE_ASSIGN(const std::span<const float> logits, stream.Next());
    if (logits.empty()) return Ok();
  }
}

Status Collect(const WindowedText& text, const std::string& path, bool quiet) {
  const std::atomic<bool>& cancel = CancelOnSignals();
  for (std::uint32_t i = 0; i < text.windows.count(); ++i) {
    Status ran = RunWindow(*text.model, text.windows.At(i));
    if (!ran) return std::move(ran).error().In(path);
    if (cancel.load()) return MakeError(ErrorCode::kCancelled, "cancelled");
    if (!quiet) Say("{} of {} windows\n", i + 1, text.windows.count());
  }
  return Ok();
}

Result<std::vector<std::byte>> Serialize(const imatrix::Collection& collection,
                                         const std::string& path) {
  const bool legacy = std::filesystem::path(path).extension() == ".dat";
  return legacy ? imatrix::ToLegacyForm(collection) : imatrix::ToGgufForm(collection);
}

Status Run(const ImatrixFlags& flags, const Context& context) {
  SLUICE_TRY(CheckNotInput(flags.output, {flags.windows.model.path, flags.windows.text}));
  // Opened first: an output that exists is found before the work, not after it.
  SLUICE_ASSIGN(const std::unique_ptr<Sink> sink,
                OpenFileSink(flags.output, 0, {flags.force, true}));
  const std::string& path = flags.windows.model.path;
  SLUICE_ASSIGN(const WindowedText text,
                OpenWindows(flags.windows, runtime::AttentionForm::kAbsorbed, context.quiet));
  ImportanceCollector collector(text.model->tensors(), flags.with_output);
  text.model->Observe(&collector);
  SLUICE_TRY(Collect(text, path, context.quiet));
  imatrix::Collection collection{
      {flags.windows.text}, text.windows.count(), text.windows.length(), {}};
  SLUICE_ASSIGN(collection.weights, collector.Collected());
  SLUICE_ASSIGN(const std::vector<std::byte> bytes, Serialize(collection, flags.output));
  const std::span<const std::byte> all(bytes);
  SLUICE_TRY(sink->Append({&all, 1}));
  SLUICE_TRY(sink->Finish());
  if (context.quiet) return Ok();
  if (collector.num_unused_experts() > 0) {
    Say("warning: {} experts met no token and are weighed evenly: give more text\n",
        collector.num_unused_experts());
  }
  Say("{}: {} tensors, {} windows of {} tokens\n", flags.output, collection.weights.size(),
      collection.num_chunks, collection.chunk_tokens);
  return Ok();
}

}  // namespace

void AddImatrix(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand(
      "imatrix",
      "Collect an importance matrix for convert --imatrix: what a model's weights meet "
      "when it reads a text");
  auto flags = std::make_shared<ImatrixFlags>();
  AddWindowFlags(*command, flags->windows);
  command
      ->add_option("OUT", flags->output, "GGUF file to write; one named *.dat gets the legacy form")
      ->type_name("")
      ->required();
  command->add_flag("--process-output", flags->with_output,
                    "Also collect for output.weight; default: for the blocks alone");
  command->add_flag("--force", flags->force, "Replace OUT if it exists; default: refuse");
  command->callback([flags, &context] {
    const Status status = Run(*flags, context);
    if (!status) Fail(status.error(), context);
  });
}

}  // namespace sluice::cli
