// sluice reference man|bash|zsh|fish: the man page and shell completions, made from the definitions
// that --help prints.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "sluice_version.h"

namespace sluice::cli {
namespace {

std::vector<CLI::App*> Verbs(CLI::App& app) {
  return app.get_subcommands([](const CLI::App* verb) { return !verb->get_group().empty(); });
}

std::vector<const CLI::Option*> Options(const CLI::App& app, bool positional) {
  return app.get_options([&](const CLI::Option* option) {
    return option->get_positional() == positional && !option->get_group().empty();
  });
}

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// ---- man ----------------------------------------------------------------------------------------

// Text that troff must not take for requests or hyphens.
std::string Roff(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else if ((c == '.' || c == '\'') && (escaped.empty() || escaped.back() == '\n')) {
      escaped += fmt::format("\\&{}", c);
    } else {
      escaped += c;
    }
  }
  return escaped;
}

void PrintManOptions(const CLI::App& app) {
  for (const bool positional : {true, false}) {
    for (const CLI::Option* option : Options(app, positional)) {
      const bool takes_value = !positional && TakesValue(*option);
      fmt::print(".TP\n.B {}{}\n{}\n", Roff(option->get_name(positional, !positional)),
                 takes_value ? " " + Roff(option->get_type_name()) : "",
                 Roff(option->get_description()));
    }
  }
}

void PrintMan(CLI::App& app) {
  fmt::print(".TH SLUICE 1 \"\" \"sluice {}\" \"User Commands\"\n", SLUICE_VERSION);
  fmt::print(".SH NAME\nsluice \\- {}\n", Roff(app.get_description()));
  fmt::print(".SH SYNOPSIS\n.B sluice\n[\\fIOPTIONS\\fR] \\fIVERB\\fR ...\n.SH OPTIONS\n");
  PrintManOptions(app);
  for (const CLI::App* verb : Verbs(app)) {
    std::string arguments;
    for (const CLI::Option* option : Options(*verb, true)) {
      const std::string name = option->get_name(true);
      arguments += option->get_required() ? " " + name : " [" + name + "]";
    }
    fmt::print(".SH SLUICE {}\n.B sluice {}\n[\\fIOPTIONS\\fR]{}\n.PP\n{}.\n",
               CLI::detail::to_lower(verb->get_name()), verb->get_name(), arguments,
               Roff(verb->get_description()));
    PrintManOptions(*verb);
  }
  fmt::print(
      ".SH EXIT STATUS\n0 success; 1 compared things differ; 2 usage; 3 bad input; 4 known but "
      "unsupported; 5 input or output failed; 6 cancelled; 70 internal bug.\n");
}

// ---- Completions --------------------------------------------------------------------------------

// The flags of a verb, and those that every verb takes.
std::vector<const CLI::Option*> Flags(CLI::App& app, const CLI::App& verb) {
  std::vector<const CLI::Option*> flags = Options(verb, false);
  for (const CLI::Option* option : Options(app, false)) {
    if (option != app.get_help_ptr()) flags.push_back(option);
  }
  return flags;
}

// What a completion offers after a flag.
enum class ValueKind { kNone, kFile, kChoice, kOther };
ValueKind ValueKindOf(const CLI::Option& option) {
  if (!TakesValue(option)) return ValueKind::kNone;
  const std::string type = option.get_type_name();
  if (type == "FILE") return ValueKind::kFile;
  return type.find('|') == std::string::npos ? ValueKind::kOther : ValueKind::kChoice;
}

// "auto|f32" -> "auto f32"
std::string Choices(const CLI::Option& option) {
  std::string words = option.get_type_name();
  std::replace(words.begin(), words.end(), '|', ' ');
  return words;
}

std::vector<std::string> LongNames(const std::vector<const CLI::Option*>& flags) {
  std::vector<std::string> names;
  for (const CLI::Option* option : flags) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

void PrintBash(CLI::App& app) {
  std::vector<std::string> verbs;
  for (const CLI::App* verb : Verbs(app)) verbs.push_back(verb->get_name());
  fmt::print("_sluice() {{\n  local word=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}}\n");
  fmt::print("  local options=\"{}\"\n  case $verb in\n",
             fmt::join(LongNames(Options(app, false)), " "));
  for (const CLI::App* verb : Verbs(app)) {
    fmt::print("    {}) options=\"{}\" ;;\n", verb->get_name(),
               fmt::join(LongNames(Flags(app, *verb)), " "));
  }
  fmt::print(
      "  esac\n  if [[ $word == -* ]]; then\n    COMPREPLY=($(compgen -W \"$options\" -- "
      "\"$word\"))\n  elif ((COMP_CWORD == 1)); then\n    COMPREPLY=($(compgen -W \"{}\" -- "
      "\"$word\"))\n  else\n    COMPREPLY=($(compgen -f -- \"$word\"))\n  fi\n}}\n"
      "complete -o filenames -F _sluice sluice\n",
      fmt::join(verbs, " "));
}

// Text inside single quotes and brackets of a zsh or fish specification.
std::string Quoted(const std::string& text) {
  std::string quoted;
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else if (c == '[' || c == ']' || c == ':') {
      quoted += fmt::format("\\{}", c);
    } else {
      quoted += c;
    }
  }
  return quoted;
}

std::string ZshValue(const CLI::Option& option) {
  switch (ValueKindOf(option)) {
    case ValueKind::kNone:
      return "";
    case ValueKind::kFile:
      return ":file:_files";
    case ValueKind::kChoice:
      return fmt::format(":value:({})", Choices(option));
    case ValueKind::kOther:
      return ":value: ";
  }
  return "";
}

void PrintZsh(CLI::App& app) {
  fmt::print("#compdef sluice\n_sluice() {{\n  local -a verbs\n  verbs=(\n");
  for (const CLI::App* verb : Verbs(app)) {
    fmt::print("    '{}:{}'\n", verb->get_name(), Quoted(verb->get_description()));
  }
  fmt::print("  )\n  if ((CURRENT == 2)); then\n    _describe verb verbs\n    return\n  fi\n");
  fmt::print("  case $words[2] in\n");
  for (const CLI::App* verb : Verbs(app)) {
    fmt::print("    {})\n      _arguments", verb->get_name());
    for (const CLI::Option* option : Flags(app, *verb)) {
      for (const std::string& name : option->get_lnames()) {
        fmt::print(" \\\n        '--{}[{}]{}'", name, Quoted(option->get_description()),
                   ZshValue(*option));
      }
    }
    fmt::print(" \\\n        '*:file:_files'\n      ;;\n");
  }
  fmt::print("  esac\n}}\n_sluice \"$@\"\n");
}

std::string FishQuoted(const std::string& text) {
  std::string quoted;
  for (const char c : text) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted;
}

std::string FishValue(const CLI::Option& option) {
  switch (ValueKindOf(option)) {
    case ValueKind::kNone:
      return "";
    case ValueKind::kFile:
      return " -r";
    case ValueKind::kChoice:
      return fmt::format(" -x -a '{}'", Choices(option));
    case ValueKind::kOther:
      return " -x";
  }
  return "";
}

void PrintFish(CLI::App& app) {
  for (const CLI::App* verb : Verbs(app)) {
    fmt::print("complete -c sluice -n __fish_use_subcommand -a {} -d '{}'\n", verb->get_name(),
               FishQuoted(verb->get_description()));
    for (const CLI::Option* option : Flags(app, *verb)) {
      for (const std::string& name : option->get_lnames()) {
        fmt::print("complete -c sluice -n '__fish_seen_subcommand_from {}' -l {}{} -d '{}'\n",
                   verb->get_name(), name, FishValue(*option),
                   FishQuoted(option->get_description()));
      }
    }
  }
}

}  // namespace

void AddReference(CLI::App& app, Context&) {
  CLI::App* command = app.add_subcommand("reference", "Print the man page or a shell completion");
  command->group("");  // used by the build, not shown by --help
  auto kind = std::make_shared<std::string>();
  command->add_option("KIND", *kind, "man, bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"man", "bash", "zsh", "fish"}));
  command->callback([kind, &app] {
    if (*kind == "man") PrintMan(app);
    if (*kind == "bash") PrintBash(app);
    if (*kind == "zsh") PrintZsh(app);
    if (*kind == "fish") PrintFish(app);
  });
}

}  // namespace sluice::cli
