#include "cli/usage.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <string_view>
#include <vector>

#include "core/utf8.h"

namespace sluice::cli {
namespace {

// Levenshtein's distance: insertions, deletions and replacements of one character.
std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

// The candidate that `word` begins, or else the nearest one, if it is near enough to be meant.
std::optional<std::string> Nearest(std::string_view word, const std::vector<std::string>& names) {
  constexpr std::size_t kNear = 2;
  std::optional<std::string> nearest;
  std::size_t least = kNear + 1;
  for (const std::string& name : names) {
    const std::size_t distance = name.starts_with(word) ? 0 : EditDistance(word, name);
    if (distance < least) least = distance, nearest = name;
  }
  return nearest;
}

std::vector<std::string> FlagNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!command->get_group().empty()) names.push_back(command->get_name());
  }
  return names;
}

std::string Unknown(std::string_view kind, const std::string& word,
                    const std::vector<std::string>& names, const std::string& help) {
  const std::optional<std::string> meant = Nearest(word, names);
  return fmt::format("error: unknown {} '{}'\n  {}\n", kind, Printable(word),
                     meant ? fmt::format("did you mean '{}'?", *meant) : help);
}

}  // namespace

std::string UsageMessage(const CLI::App* app, const CLI::Error& error) {
  const std::vector<CLI::App*> commands = app->get_subcommands();
  const std::vector<std::string> extras = app->remaining(true);
  std::string help = "'sluice --help' lists the commands";
  std::vector<std::string> flags = FlagNames(*app);
  if (!commands.empty()) {
    const std::vector<std::string> own = FlagNames(*commands.front());
    flags.insert(flags.end(), own.begin(), own.end());
    help = fmt::format("'sluice {} --help' explains the flags", commands.front()->get_name());
  }
  const auto flag = std::find_if(extras.begin(), extras.end(), [](const std::string& extra) {
    return extra.starts_with("-") && extra != "-";
  });
  if (flag != extras.end()) {
    return Unknown("flag", flag->substr(0, flag->find('=')), flags, help);
  }
  if (commands.empty() && !extras.empty()) {
    return Unknown("command", extras.front(), CommandNames(*app), help);
  }
  if (commands.empty()) return fmt::format("error: no command\n  {}\n", help);
  return fmt::format("error: {}\n  {}\n", Printable(error.what()), help);
}

}  // namespace sluice::cli
