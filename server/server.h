// An HTTP server that speaks the OpenAI interface, with a page to chat in.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/result.h"
#include "runtime/chat_model.h"
#include "runtime/generation.h"

namespace sluice::server {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8080;               // 0: any free one
  std::uint32_t parallel = 1;    // answers made at once
  std::size_t max_waiting = 32;  // further requests that may wait; more are refused
  std::size_t max_body_bytes = std::size_t{16} << 20;
  std::chrono::milliseconds request_patience{30'000};  // from a request's first byte to its last
  runtime::GenerationOptions defaults;                 // for what a request does not say
};

// POST /v1/chat/completions and /v1/completions, streamed or whole; GET /v1/models, /health and the
// page at /. A client that goes away ends its answer.
class Server {
 public:
  // Listens and serves until it is destroyed. The model must outlive the server and be used by
  // nobody else. kIo when the port cannot be had.
  static Result<std::unique_ptr<Server>> Start(const runtime::ChatModel& model,
                                               const ServerOptions& options);
  // Ends every answer and connection.
  virtual ~Server() = default;

  [[nodiscard]] virtual int port() const = 0;
};

}  // namespace sluice::server
