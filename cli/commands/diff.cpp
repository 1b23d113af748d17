// sluice diff A.gguf B.gguf
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <memory>

#include "cli/command.h"
#include "cli/metadata_text.h"
#include "core/utf8.h"
#include "pipeline/diff.h"

namespace sluice::cli {
namespace {

struct DiffFlags {
  std::string a;
  std::string b;
  bool json = false;
};

std::string_view KindName(Difference::Kind kind) {
  switch (kind) {
    case Difference::Kind::kKeyValue:
      return "key";
    case Difference::Kind::kTensor:
      return "tensor";
    case Difference::Kind::kOrder:
      return "order";
  }
  return "";
}

void Print(const Difference& difference) {
  fmt::print("{} {}{}{}", KindName(difference.kind), Printable(difference.name),
             difference.name.empty() ? "" : ": ", difference.what);
  if (!difference.a.empty()) fmt::print(", A {}", Printable(difference.a));
  if (!difference.b.empty()) fmt::print(", B {}", Printable(difference.b));
  if (difference.largest) fmt::print(", largest difference {:.6g}", *difference.largest);
  fmt::print("\n");
}

void PrintJson(const std::vector<Difference>& differences) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Difference& difference : differences) {
    nlohmann::ordered_json entry{{"kind", KindName(difference.kind)},
                                 {"name", difference.name},
                                 {"what", difference.what},
                                 {"a", difference.a},
                                 {"b", difference.b}};
    if (difference.largest && std::isfinite(*difference.largest)) {
      entry["largest_difference"] = *difference.largest;
    } else if (difference.largest) {
      entry["largest_difference"] = "inf";  // JSON has no such number
    }
    list.push_back(std::move(entry));
  }
  fmt::print("{}\n", DumpJson({{"format", 1}, {"differences", std::move(list)}}));
}

// As diff -q does: a line for files that differ, none for files that do not.
void PrintWhetherDifferent(const DiffFlags& flags, bool different) {
  if (different) fmt::print("Files {} and {} differ\n", Printable(flags.a), Printable(flags.b));
}

}  // namespace

void AddDiff(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("diff",
                         "Compare two GGUF files; exit code 1 when they differ; with -q say only "
                         "whether they do");
  auto flags = std::make_shared<DiffFlags>();
  RefuseEmpty(command->add_option("A", flags->a, "A GGUF file"))->type_name("")->required();
  RefuseEmpty(command->add_option("B", flags->b, "The GGUF file to compare it with"))
      ->type_name("")
      ->required();
  command->add_flag("--json", flags->json, "Print JSON (docs/json.md); default: text");
  command->callback([flags, &context] {
    const Result<std::vector<Difference>> differences = DiffGguf(flags->a, flags->b);
    if (!differences) return Fail(differences.error(), context);
    if (!differences->empty()) context.exit_code = kDifferent;
    if (flags->json) return PrintJson(*differences);
    if (context.quiet) return PrintWhetherDifferent(*flags, !differences->empty());
    for (const Difference& difference : *differences) Print(difference);
  });
}

}  // namespace sluice::cli
