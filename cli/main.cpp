// sluice: the command line.
#include <fmt/format.h>
#include <sys/resource.h>

#include <cstdio>
#include <exception>

#include "cli/command.h"
#include "sluice_version.h"

namespace {

// A checkpoint may have more shards than the default limit on open files.
void RaiseFileLimit() {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

int Run(int argc, char** argv) {
  using namespace sluice::cli;
  Context context;
  CLI::App app("Hugging Face checkpoints to GGUF, in one pass and a fixed amount of memory",
               "sluice");
  app.set_version_flag("--version", std::string("sluice ") + SLUICE_VERSION,
                       "Print the version and exit");
  app.add_flag("-q,--quiet", context.quiet, "Print results and errors only");
  app.require_subcommand(1);
  app.fallthrough();
  AddConvert(app, context);
  AddPlan(app, context);
  AddInspect(app, context);
  AddDiff(app, context);
  AddReference(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kSuccess : kUsage;
  }
  return context.exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  RaiseFileLimit();
  try {
    return Run(argc, argv);
  } catch (const std::exception& exception) {
    fmt::print(stderr, "error: unexpected exception: {}\n", exception.what());
    return sluice::cli::kBug;
  }
}
