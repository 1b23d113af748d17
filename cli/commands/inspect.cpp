// sluice inspect FILE.gguf|FILE.safetensors|FOLDER
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <memory>

#include "cli/command.h"
#include "cli/metadata_text.h"
#include "core/shape.h"
#include "core/utf8.h"
#include "pipeline/inspect.h"

namespace sluice::cli {
namespace {

struct InspectFlags {
  std::string path;
  std::string key;
  std::string tensor;
  bool json = false;
};

void PrintInspection(const std::string& path, const Inspection& inspection) {
  fmt::print("{}: {}, {}, {} tensors\n", Printable(path), inspection.kind,
             HumanBytes(inspection.bytes), inspection.tensors.size());
  if (!inspection.metadata.items().empty()) fmt::print("\n");
  PrintMetadata(inspection.metadata);
  fmt::print("\n{:<56} {:>8} {:>24} {:>16} {:>16}\n", "tensor", "type", "shape", "offset", "bytes");
  for (const TensorEntry& tensor : inspection.tensors) {
    fmt::print("{:<56} {:>8} {:>24} {:>16} {:>16}{}{}\n", Printable(tensor.name), tensor.type,
               ShapeText(tensor.shape), tensor.offset, tensor.bytes,
               tensor.file.empty() ? "" : "  ", Printable(tensor.file));
  }
}

void PrintInspectionJson(const std::string& path, const Inspection& inspection) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const TensorEntry& tensor : inspection.tensors) {
    nlohmann::ordered_json entry{{"name", tensor.name},
                                 {"type", tensor.type},
                                 {"shape", tensor.shape},
                                 {"offset", tensor.offset},
                                 {"bytes", tensor.bytes}};
    if (!tensor.file.empty()) entry["file"] = tensor.file;
    tensors.push_back(std::move(entry));
  }
  const nlohmann::ordered_json json{{"format", 1},
                                    {"path", path},
                                    {"kind", inspection.kind},
                                    {"bytes", inspection.bytes},
                                    {"warnings", inspection.warnings},
                                    {"key_values", MetadataJson(inspection.metadata)},
                                    {"tensors", std::move(tensors)}};
  fmt::print("{}\n", DumpJson(json));
}

// The bare value: nothing shortened, nothing quoted but the strings of an array.
void PrintKey(const InspectFlags& flags, const Inspection& inspection, Context& context) {
  const gguf::Value* value = inspection.metadata.Find(flags.key);
  if (value == nullptr) {
    return Fail(
        MakeError(ErrorCode::kMissing, fmt::format("no key '{}'", flags.key)).In(flags.path),
        context);
  }
  if (flags.json) {
    fmt::print("{}\n", DumpJson({{"format", 1}, {"key", flags.key}, {"value", ValueJson(*value)}}));
  } else {
    fmt::print("{}\n", gguf::ToText(*value, 0, 0));
  }
}

void PrintStatistics(const InspectFlags& flags, const TensorStatistics& statistics) {
  if (flags.json) {
    fmt::print("{}\n", DumpJson({{"format", 1},
                                 {"tensor", flags.tensor},
                                 {"elements", statistics.elements},
                                 {"min", statistics.min},
                                 {"max", statistics.max},
                                 {"mean", statistics.mean},
                                 {"standard_deviation", statistics.standard_deviation},
                                 {"zeros", statistics.zeros},
                                 {"nans", statistics.nans},
                                 {"infinities", statistics.infinities}}));
    return;
  }
  fmt::print("{}: {} elements\nmin {:.6g}, max {:.6g}, mean {:.6g}, standard deviation {:.6g}\n",
             Printable(flags.tensor), statistics.elements, statistics.min, statistics.max,
             statistics.mean, statistics.standard_deviation);
  fmt::print("zeros {}, NaNs {}, infinities {}\nfirst values: {:.6g}\n", statistics.zeros,
             statistics.nans, statistics.infinities, fmt::join(statistics.first, ", "));
}

void Run(const InspectFlags& flags, Context& context) {
  if (!flags.key.empty() && !flags.tensor.empty()) {
    return Fail(MakeError(ErrorCode::kUsage, "--kv and --tensor exclude each other"), context);
  }
  if (!flags.tensor.empty()) {
    const Result<TensorStatistics> statistics = Measure(flags.path, flags.tensor);
    if (!statistics) return Fail(statistics.error(), context);
    return PrintStatistics(flags, *statistics);
  }
  const Result<Inspection> inspection = InspectPath(flags.path);
  if (!inspection) return Fail(inspection.error(), context);
  if (!flags.key.empty()) return PrintKey(flags, *inspection, context);
  if (!context.quiet) PrintWarnings(inspection->warnings);
  flags.json ? PrintInspectionJson(flags.path, *inspection)
             : PrintInspection(flags.path, *inspection);
}

}  // namespace

void AddInspect(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("inspect", "Show key-values and tensors of a GGUF or safetensors file");
  auto flags = std::make_shared<InspectFlags>();
  const auto add = [&](const char* name, std::string& target, const char* help, const char* type) {
    return RefuseEmpty(command->add_option(name, target, help)->type_name(type));
  };
  add("FILE", flags->path, "A .gguf or .safetensors file, or a checkpoint folder", "")->required();
  add("--kv", flags->key, "Print one value, whole; default: all, shortened", "KEY");
  add("--tensor", flags->tensor,
      "Print statistics of one tensor's values; default: list all tensors", "NAME");
  command->add_flag("--json", flags->json, "Print JSON (docs/json.md); default: text");
  command->callback([flags, &context] { Run(*flags, context); });
}

}  // namespace sluice::cli
