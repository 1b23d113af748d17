// What the commands share that write or compare models: flags, progress, the closing summary.
#pragma once

#include <functional>
#include <string>

#include "cli/command.h"
#include "cli/progress.h"
#include "pipeline/convert.h"

namespace sluice::cli {

struct ConversionFlags {
  std::uint64_t memory = kDefaultMemoryBytes;
  int threads = 0;
  std::string io = "auto";
  std::string progress = "auto";
  bool force = false;
  bool no_sync = false;

  // Whether stderr takes nothing but JSON.
  [[nodiscard]] bool json_progress() const { return progress == "json"; }
};
// --memory alone.
void AddMemory(CLI::App& command, std::uint64_t& bytes);
// Those that say how the bytes flow: memory, threads, reading, progress.
void AddStreamFlags(CLI::App& command, ConversionFlags& flags);
// The same and those of an output.
void AddConversionFlags(CLI::App& command, ConversionFlags& flags);

// The limit of one file of the output, where a command can split it.
void AddMaxShardSize(CLI::App& command, std::uint64_t& bytes);

// The flags as options of Convert, cancelled by signals, without progress.
[[nodiscard]] ConvertOptions ToConvertOptions(const ConversionFlags& flags);
// Prints progress as the flags say. Used by one thread at a time.
[[nodiscard]] ProgressPrinter MakeProgressPrinter(const ConversionFlags& flags,
                                                  const Context& context);
// kUsage when `output` is "-" and that is a terminal.
Status CheckNotTerminal(const std::string& output);

// Runs `work` with the flags' options and prints progress, then the summary with the name `output`,
// or the error.
void RunWithProgress(const ConversionFlags& flags, const std::string& output, Context& context,
                     const std::function<Result<ConvertReport>(const ConvertOptions&)>& work);

}  // namespace sluice::cli
