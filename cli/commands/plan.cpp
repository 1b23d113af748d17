// sluice plan CHECKPOINT
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/conversion_flags.h"
#include "cli/given_files.h"
#include "cli/metadata_text.h"
#include "cli/progress.h"
#include "core/machine.h"
#include "core/shape.h"
#include "core/utf8.h"
#include "pipeline/convert.h"
#include "pipeline/measure/model.h"

namespace sluice::cli {
namespace {

struct PlanCommandFlags {
  PlanFlags plan;
  bool with_projector = false;
  bool json = false;
  bool force = false;
  std::uint64_t memory = kDefaultMemoryBytes;
  std::string output = ".";
};

std::uint64_t TotalBytes(const Plan& plan) {
  std::uint64_t bytes = 0;
  for (const FilePlan& file : plan.files) bytes += file.file_bytes();
  return bytes;
}

std::string SourceText(const PlannedTensor& tensor) {
  std::string text = tensor.source.empty() ? tensor.views : tensor.source;
  if (!tensor.source.empty() && !tensor.views.empty()) text += ": " + tensor.views;
  if (!tensor.reason.empty()) text += fmt::format(" [{}]", tensor.reason);
  return text;
}

// Of the tensors' data.
double BitsPerWeightOf(const FilePlan& file) {
  std::uint64_t bytes = 0;
  std::uint64_t weights = 0;
  for (const PlannedTensor& tensor : file.tensors) {
    bytes += tensor.record.bytes;
    weights += tensor.expr.elements;
  }
  return BitsPerWeight(bytes, weights);
}

void PrintFile(const FilePlan& file) {
  fmt::print("\n{} file: {} in {} tensors, {:.2f} bits per weight, alignment {}\n",
             file.spec->role == arch::Role::kModel ? "model" : "projector",
             HumanBytes(file.file_bytes()), file.tensors.size(), BitsPerWeightOf(file),
             file.alignment);
  fmt::print("loaded by: {}\n\n", file.spec->loaded_by);
  PrintMetadata(file.metadata);
  fmt::print("\n{:<44} {:>6} {:>24} {:>16} {:>16}  source\n", "tensor", "type", "shape", "offset",
             "bytes");
  for (const PlannedTensor& tensor : file.tensors) {
    fmt::print("{:<44} {:>6} {:>24} {:>16} {:>16}  {}\n", tensor.record.name,
               gguf::InfoOf(tensor.record.type).name, ShapeText(tensor.record.shape),
               file.head.size() + tensor.record.data_offset, tensor.record.bytes,
               Printable(SourceText(tensor)));
  }
}

void PrintPlan(const Plan& plan, std::optional<std::uint64_t> free_bytes, std::uint64_t memory) {
  fmt::print("{}: {}, {} dialect\n", Printable(plan.folder), plan.family->name,
             arch::DialectName(plan.dialect));
  fmt::print("source: {} in {} shards, {} tensors\n", HumanBytes(plan.source_bytes()),
             plan.shards.size(), plan.source_tensors);
  fmt::print("output: {}; free space: {}; memory for buffers: {}\n", HumanBytes(TotalBytes(plan)),
             free_bytes ? HumanBytes(*free_bytes) : "unknown", HumanBytes(memory));
  for (const FilePlan& file : plan.files) PrintFile(file);
}

nlohmann::ordered_json ToJson(const FilePlan& file) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const PlannedTensor& tensor : file.tensors) {
    tensors.push_back({{"name", tensor.record.name},
                       {"type", gguf::InfoOf(tensor.record.type).name},
                       {"shape", tensor.record.shape},
                       {"offset", file.head.size() + tensor.record.data_offset},
                       {"bytes", tensor.record.bytes},
                       {"source", tensor.source},
                       {"views", tensor.views},
                       {"reason", tensor.reason}});
  }
  return {{"role", file.spec->role == arch::Role::kModel ? "model" : "projector"},
          {"loaded_by", file.spec->loaded_by},
          {"bytes", file.file_bytes()},
          {"alignment", file.alignment},
          {"bits_per_weight", BitsPerWeightOf(file)},
          {"key_values", MetadataJson(file.metadata)},
          {"tensors", std::move(tensors)}};
}

void PrintPlanJson(const Plan& plan, std::optional<std::uint64_t> free_bytes,
                   std::uint64_t memory) {
  nlohmann::ordered_json json{{"format", 1},
                              {"checkpoint", plan.folder},
                              {"family", plan.family->name},
                              {"dialect", arch::DialectName(plan.dialect)},
                              {"source_bytes", plan.source_bytes()},
                              {"source_tensors", plan.source_tensors},
                              {"bytes", TotalBytes(plan)},
                              {"free_bytes", nullptr},
                              {"memory_bytes", memory},
                              {"warnings", plan.warnings},
                              {"files", nlohmann::ordered_json::array()}};
  if (free_bytes) json["free_bytes"] = *free_bytes;
  for (const FilePlan& file : plan.files) json["files"].push_back(ToJson(file));
  fmt::print("{}\n", DumpJson(json));
}

Result<Plan> Run(const PlanCommandFlags& flags, const Context& context) {
  SLUICE_TRY(CheckNotGiven("", flags.plan.quantize, flags.plan.chat_template));
  SLUICE_ASSIGN(const PlanOptions options, ToPlanOptions(flags.plan, flags.with_projector));
  SLUICE_ASSIGN(Plan plan, MakePlan(flags.plan.checkpoint, options));
  ProgressPrinter progress(context.quiet ? ProgressMode::kNone : ProgressMode::kAuto);
  ConvertOptions run;  // the values are read where a target asks for the least error
  run.memory_bytes = flags.memory;
  run.on_progress = [&](const Progress& now) { progress.Update(now); };
  const Status chosen =
      QuantizeToTargetOf(flags.plan.quantize, run, context.quiet, flags.force, plan);
  progress.Finish();
  SLUICE_TRY(chosen);
  return plan;
}

}  // namespace

void AddPlan(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("plan", "Show what convert would write, without writing a model");
  auto flags = std::make_shared<PlanCommandFlags>();
  AddPlanFlags(*command, flags->plan);
  command
      ->add_option("OUT", flags->output,
                   "Where the output would go, for the free space; default: here")
      ->type_name("");
  command->add_flag("--mmproj", flags->with_projector,
                    "Also plan the separate vision file; default: the model alone");
  AddMemory(*command, flags->memory);
  command->add_flag("--force", flags->force,
                    "Replace a file of --save-types that exists; default: refuse");
  command->add_flag("--json", flags->json, "Print JSON (docs/json.md); default: text");
  command->callback([flags, &context] {
    const Result<Plan> plan = Run(*flags, context);
    if (!plan) return Fail(plan.error(), context);
    if (!context.quiet) PrintWarnings(plan->warnings);
    std::error_code error;
    std::filesystem::path folder = flags->output;
    if (!std::filesystem::is_directory(folder, error)) folder = folder.parent_path();
    const auto free_bytes = FreeDiskBytes(folder.empty() ? "." : folder.string());
    flags->json ? PrintPlanJson(*plan, free_bytes, flags->memory)
                : PrintPlan(*plan, free_bytes, flags->memory);
  });
}

}  // namespace sluice::cli
