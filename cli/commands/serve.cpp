// sluice serve MODEL
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "cli/command.h"
#include "cli/generation_flags.h"
#include "core/utf8.h"
#include "server/server.h"

namespace sluice::cli {
namespace {

struct ServeFlags {
  ModelFlags model;
  GenerationFlags generation;
  server::ServerOptions server;
};

Status Run(const ServeFlags& flags, const Context& context) {
  SLUICE_ASSIGN(const runtime::ChatModel model, OpenModel(flags.model));
  if (!context.quiet) PrintWarnings(model.warnings);
  server::ServerOptions options = flags.server;
  options.defaults = OptionsOf(flags.generation, model.sampling);
  SLUICE_TRY(runtime::CheckSampling(options.defaults.sampling));
  const std::atomic<bool>& cancel = CancelOnSignals();
  SLUICE_ASSIGN(const std::unique_ptr<server::Server> server,
                server::Server::Start(model, options));
  const bool is_ipv6 = options.host.find(':') != std::string::npos;
  fmt::print(stderr, "{}: listening on http://{}{}{}:{}/\n", Printable(model.name),
             is_ipv6 ? "[" : "", options.host, is_ipv6 ? "]" : "", server->port());
  while (!cancel.load()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return Ok();
}

void AddServerFlags(CLI::App& command, server::ServerOptions& options) {
  command.add_option("--port", options.port, "Port; 0: any free one; default 8080")
      ->type_name("NUMBER")
      ->check(CLI::Range(0, 65535).description(""));
  command
      .add_option("--host", options.host,
                  "Address to listen on; default 127.0.0.1: only programs of this machine. "
                  "There is no password: whoever can connect can use the model")
      ->type_name("ADDRESS");
  command
      .add_option("--parallel", options.parallel,
                  "Answers made at once, in one batch; the others wait; default 1")
      ->type_name("NUMBER")
      ->check(CLI::Range(1, 256).description(""));
  command
      .add_option("--max-waiting", options.max_waiting,
                  "Requests that may wait; further ones are refused; default 32")
      ->type_name("NUMBER")
      ->check(CLI::Range(0, 1000).description(""));
  AddByteSize(
      *command.add_option("--max-body", options.max_body_bytes, "Largest request; default 16M"), 1);
}

}  // namespace

void AddServe(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand(
      "serve", "Serve a model over HTTP: the OpenAI interface, a page to chat in");
  auto flags = std::make_shared<ServeFlags>();
  AddModelFlags(*command, flags->model);
  AddServerFlags(*command, flags->server);
  AddGenerationFlags(*command, flags->generation);
  command->callback([flags, &context] {
    const Status status = Run(*flags, context);
    if (!status) Fail(status.error(), context);
  });
}

}  // namespace sluice::cli
