// What to say about a command line that cannot be parsed.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace sluice::cli {

// "error: ..." and a line of advice: the flag or command that was probably meant, else where help
// is.
[[nodiscard]] std::string UsageMessage(const CLI::App* app, const CLI::Error& error);

}  // namespace sluice::cli
