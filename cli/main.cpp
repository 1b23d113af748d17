// sluice: the command line.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <sstream>
#include <system_error>

#include "cli/command.h"
#include "cli/usage.h"
#include "core/utf8.h"
#include "sluice_version.h"

namespace {

// The first files that are opened would take the place of closed standard streams, and messages
// would end in a model. Standard output stays unwritable: what is lost there is an error.
void OpenStandardStreams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) != -1) continue;
    ::open("/dev/null", descriptor == STDERR_FILENO ? O_WRONLY : O_RDONLY);
  }
}

// A checkpoint may have more shards than the default limit on open files.
void RaiseFileLimit() {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Prints what the parser wants to say; its own stream would lose the errors of standard output.
void PrintEnd(const CLI::App& app, const CLI::ParseError& error, sluice::cli::Context& context) {
  std::ostringstream output;
  std::ostringstream errors;
  if (app.exit(error, output, errors) != 0) context.exit_code = sluice::cli::kUsage;
  fmt::print("{}", output.str());
  sluice::cli::Say("{}", errors.str());
}

int Run(int argc, char** argv) {
  using namespace sluice::cli;
  Context context;
  CLI::App app("Hugging Face checkpoints to GGUF, in one pass and a fixed amount of memory",
               "sluice");
  app.set_version_flag("--version", std::string("sluice ") + SLUICE_VERSION,
                       "Print the version and exit");
  app.add_flag("-q,--quiet", context.quiet,
               "Print results and errors only; default: warnings and a summary too");
  app.failure_message(UsageMessage);
  app.require_subcommand(1);
  app.fallthrough();
  AddConvert(app, context);
  AddPlan(app, context);
  AddQuantize(app, context);
  AddMeasure(app, context);
  AddMerge(app, context);
  AddEdit(app, context);
  AddInspect(app, context);
  AddDiff(app, context);
  AddVerify(app, context);
  AddLogits(app, context);
  AddPerplexity(app, context);
  AddImatrix(app, context);
  AddTokenize(app, context);
  AddRun(app, context);
  AddChat(app, context);
  AddServe(app, context);
  AddReference(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    PrintEnd(app, error, context);
  }
  if (std::fflush(stdout) != 0) throw std::system_error(errno, std::generic_category());
  return context.exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  OpenStandardStreams();
  // A file that reaches the size limit of the process (ulimit -f) is a write error, too.
  ::signal(SIGXFSZ, SIG_IGN);
  RaiseFileLimit();
  try {
    return Run(argc, argv);
  } catch (const std::filesystem::filesystem_error& error) {
    sluice::cli::Say("error: {}\n", sluice::Printable(error.what()));
    return sluice::cli::kIo;
  } catch (const std::system_error& error) {
    // The only other one that is expected: fmt::print to standard output.
    sluice::cli::Say("error: standard output: cannot write: got {}\n", error.code().message());
    return sluice::cli::kIo;
  } catch (const std::exception& exception) {
    sluice::cli::Say("error: unexpected exception: {}\n", sluice::Printable(exception.what()));
    return sluice::cli::kBug;
  }
}
