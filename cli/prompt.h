// The text that a command is given: as an argument, in a file or on standard input.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "core/result.h"

namespace sluice::cli {

struct PromptFlags {
  std::string text;
  std::string file;
  CLI::Option* text_option = nullptr;
};

// -p TEXT and --file FILE, of which one may be given.
void AddPromptFlags(CLI::App& command, PromptFlags& flags);

// The text of the flag that was given, else all of standard input. kMissing, kIo.
Result<std::string> ReadPrompt(const PromptFlags& flags);

}  // namespace sluice::cli
