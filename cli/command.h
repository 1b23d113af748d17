// What the verbs of the command line share: exit codes, error output, option parsing.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "pipeline/convert.h"
#include "pipeline/plan.h"

namespace sluice::cli {

// See docs/exit-codes.md.
enum ExitCode : int {
  kSuccess = 0,
  kDifferent = 1,
  kUsage = 2,
  kBadInput = 3,
  kUnsupported = 4,
  kIo = 5,
  kCancelled = 6,
  kBug = 70,
};
[[nodiscard]] ExitCode ExitCodeOf(ErrorCode code);

// What a command leaves behind for main.
struct Context {
  bool quiet = false;
  int exit_code = kSuccess;
};

// Each adds one verb, which runs as soon as its options are parsed.
void AddConvert(CLI::App& app, Context& context);
void AddPlan(CLI::App& app, Context& context);
void AddQuantize(CLI::App& app, Context& context);
void AddMeasure(CLI::App& app, Context& context);
void AddMerge(CLI::App& app, Context& context);
void AddEdit(CLI::App& app, Context& context);
void AddInspect(CLI::App& app, Context& context);
void AddDiff(CLI::App& app, Context& context);
void AddVerify(CLI::App& app, Context& context);
void AddLogits(CLI::App& app, Context& context);
void AddPerplexity(CLI::App& app, Context& context);
void AddImatrix(CLI::App& app, Context& context);
void AddTokenize(CLI::App& app, Context& context);
void AddRun(CLI::App& app, Context& context);
void AddChat(CLI::App& app, Context& context);
void AddServe(CLI::App& app, Context& context);
// The hidden verb that writes the man page and the shell completions from the same definitions.
void AddReference(CLI::App& app, Context& context);

// Prints to stderr. One that takes nothing (a full disk, a closed terminal) fails no conversion.
template <typename... T>
void Say(fmt::format_string<T...> format, T&&... arguments) {
  std::fputs(fmt::format(format, std::forward<T>(arguments)...).c_str(), stderr);
}

// Prints an error to stderr and sets the exit code.
void Fail(const Error& error, Context& context);
// Prints "warning: ..." lines to stderr.
void PrintWarnings(const std::vector<std::string>& warnings);

// Sizes for people: "2.64 GB".
[[nodiscard]] std::string HumanBytes(std::uint64_t bytes);

// Makes an option a number of bytes: K M G T are powers of 1024, KB MB GB TB powers of 1000.
void AddByteSize(CLI::Option& option, std::uint64_t least);

// Makes an option refuse the empty text, which is what a script passes whose variable is unset.
CLI::Option* RefuseEmpty(CLI::Option* option);

// Adds --threads; 0 stays for all allowed cores.
void AddThreads(CLI::App& command, int& threads);

// Restricts an option to these words and shows them in its help.
void AddChoices(CLI::Option& option, const std::vector<std::string>& choices);

// What --type and its companions say; see cli/quantize_flags.cpp.
struct QuantizeFlags {
  std::string type;
  bool pure = false;
  bool leave_output = false;
  std::string output_type;
  std::string embedding_type;
  std::vector<std::string> tensor_types;
  std::string tensor_types_file;
  std::string imatrix;
  std::string non_finite = "error";
  bool bit_exact = false;
  bool allow_requantize = false;  // only where sources can be quantized
  std::uint64_t target_bytes = 0;
  double target_bits = 0;
  std::string save_types;

  [[nodiscard]] bool has_target() const { return target_bytes > 0 || target_bits != 0; }
};
void AddQuantizeFlags(CLI::App& command, QuantizeFlags& flags);
// nullptr without --type and without a target; kUsage for names nobody knows and for companions
// without --type.
Result<std::shared_ptr<const QuantizeRequest>> ToQuantizeRequest(const QuantizeFlags& flags);

// With --target-size or --target-bpw: quantizes the model of `plan`, which was planned without, and
// prints the chosen types to stderr unless `quiet`, or writes them to --save-types, replacing a
// file if `overwrite`. Errors of QuantizeToTarget and OpenFileSink.
Status QuantizeToTargetOf(const QuantizeFlags& flags, const ConvertOptions& run, bool quiet,
                          bool overwrite, Plan& plan);

// What --set says, as key and value. kUsage for one that is not KEY=TYPE:VALUE.
Result<Settings> ParseSettings(const std::vector<std::string>& settings);

// Options that convert and plan share. The object must live until the command has run.
struct PlanFlags {
  std::string checkpoint;
  std::string dialect;
  std::string outtype = "auto";
  bool no_mtp = false;
  std::string pre;
  std::string chat_template;
  std::string model_name;
  std::vector<std::string> set;
  QuantizeFlags quantize;
};
void AddPlanFlags(CLI::App& command, PlanFlags& flags);
// Those of them that the tensors depend on.
void AddTensorFlags(CLI::App& command, PlanFlags& flags);
// Leaves quantization out where there is a target. kUsage for a --set that is not KEY=TYPE:VALUE
// and for text that is not UTF-8.
Result<PlanOptions> ToPlanOptions(const PlanFlags& flags, bool with_projector);

// A flag that SIGINT, SIGTERM and (unless nohup runs the program) SIGHUP set. A second one of the
// first two ends the process at once. From then on a pipe whose reader has gone is a write error,
// not a signal.
const std::atomic<bool>& CancelOnSignals();

}  // namespace sluice::cli
