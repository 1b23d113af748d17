// Requests of the OpenAI interface: /v1/chat/completions and /v1/completions.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "core/result.h"
#include "runtime/generation.h"
#include "runtime/text/chat.h"

namespace sluice::server {

struct Request {
  std::variant<runtime::Chat, std::string> prompt;  // a text for /v1/completions
  runtime::GenerationOptions options;
  bool stream = false;
  bool include_usage = false;  // of a stream, in a chunk of its own
};

// Reads a request's body. Fields that are absent are taken from `defaults`; unknown ones are
// ignored. kUsage, naming the field, for values that make no sense and for what is not supported.
Result<Request> ParseChatRequest(const std::string& body,
                                 const runtime::GenerationOptions& defaults);
Result<Request> ParseCompletionRequest(const std::string& body,
                                       const runtime::GenerationOptions& defaults);

}  // namespace sluice::server
