#include "server/openai_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace sluice::server {
namespace {

using runtime::Json;
using runtime::Member;

Error Wrong(std::string_view field, std::string_view expected, const Json& actual) {
  return MakeError(ErrorCode::kUsage, fmt::format("'{}' is not usable", field))
      .Expected(expected)
      .Actual(actual.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 100));
}

// Each reads a field into `value` if it is there.
Status Read(const Json& body, const char* name, bool& value) {
  const Json* field = Member(body, name);
  if (field == nullptr) return Ok();
  if (!field->is_boolean()) return Wrong(name, "true or false", *field);
  value = field->get<bool>();
  return Ok();
}

Status Read(const Json& body, const char* name, float& value) {
  const Json* field = Member(body, name);
  if (field == nullptr) return Ok();
  if (!field->is_number()) return Wrong(name, "a number", *field);
  value = field->get<float>();
  return Ok();
}

// nlohmann::json gives larger numbers as negative ones.
bool IsInt64(const Json& value) {
  return value.is_number_integer() &&
         (!value.is_number_unsigned() ||
          value.get<std::uint64_t>() <= std::numeric_limits<std::int64_t>::max());
}

template <typename Integer>
Status ReadInteger(const Json& body, const char* name, std::int64_t least, Integer& value) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  const Json* field = Member(body, name);
  if (field == nullptr) return Ok();
  const bool fits =
      IsInt64(*field) && field->get<std::int64_t>() >= least && field->get<std::int64_t>() <= kMost;
  if (!fits) return Wrong(name, fmt::format("an integer from {} to {}", least, kMost), *field);
  value = static_cast<Integer>(field->get<std::int64_t>());
  return Ok();
}

// Fields of which only the value that changes nothing is supported.
Status RefuseUnsupported(const Json& body) {
  struct Fixed {
    const char* name;
    Json value;
  };
  const std::array fixed{Fixed{"n", 1},
                         Fixed{"best_of", 1},
                         Fixed{"logprobs", false},
                         Fixed{"echo", false},
                         Fixed{"suffix", ""},
                         Fixed{"top_logprobs", 0},
                         Fixed{"logit_bias", Json::object()}};
  for (const Fixed& each : fixed) {
    const Json* field = Member(body, each.name);
    if (field != nullptr && *field != each.value) {
      return MakeError(ErrorCode::kUsage, fmt::format("'{}' is not supported", each.name));
    }
  }
  const Json* format = Member(body, "response_format");
  const Json* type = format == nullptr ? nullptr : Member(*format, "type");
  if (format != nullptr && (type == nullptr || *type != "text")) {
    return MakeError(ErrorCode::kUsage, "'response_format' other than text is not supported");
  }
  return Ok();
}

Status ReadStop(const Json& body, std::vector<std::string>& stop) {
  constexpr std::size_t kMaxStrings = 16;
  const Json* field = Member(body, "stop");
  if (field == nullptr) return Ok();
  const Json list = field->is_array() ? *field : Json::array({*field});
  stop.clear();
  for (const Json& item : list) {
    if (!item.is_string() || list.size() > kMaxStrings) {
      return Wrong("stop", fmt::format("up to {} strings", kMaxStrings), *field);
    }
    stop.push_back(item.get<std::string>());
  }
  return Ok();
}

Status ReadSeed(const Json& body, std::optional<std::uint64_t>& seed) {
  const Json* field = Member(body, "seed");
  if (field == nullptr) return Ok();
  if (!field->is_number_integer()) return Wrong("seed", "an integer of 64 bits", *field);
  seed = field->is_number_unsigned() ? field->get<std::uint64_t>()
                                     : static_cast<std::uint64_t>(field->get<std::int64_t>());
  return Ok();
}

Status ReadOptions(const Json& body, Request& request) {
  SLUICE_TRY(RefuseUnsupported(body));
  runtime::GenerationOptions& options = request.options;
  runtime::SamplingOptions& sampling = options.sampling;
  SLUICE_TRY(Read(body, "temperature", sampling.temperature));
  SLUICE_TRY(Read(body, "top_p", sampling.top_p));
  SLUICE_TRY(Read(body, "min_p", sampling.min_p));
  SLUICE_TRY(ReadInteger(body, "top_k", 0, sampling.top_k));
  SLUICE_TRY(Read(body, "presence_penalty", sampling.presence_penalty));
  SLUICE_TRY(Read(body, "frequency_penalty", sampling.frequency_penalty));
  for (const char* name : {"repeat_penalty", "repetition_penalty"}) {
    SLUICE_TRY(Read(body, name, sampling.repeat_penalty));
  }
  SLUICE_TRY(ReadInteger(body, "repeat_last_n", -1, sampling.repeat_last_n));
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    if (Member(body, name) == nullptr) continue;
    SLUICE_TRY(ReadInteger(body, name, 1, options.max_tokens.emplace()));
  }
  SLUICE_TRY(ReadStop(body, options.stop));
  SLUICE_TRY(ReadSeed(body, options.seed));
  SLUICE_TRY(Read(body, "stream", request.stream));
  if (const Json* stream = Member(body, "stream_options")) {
    if (!stream->is_object()) return Wrong("stream_options", "an object", *stream);
    SLUICE_TRY(Read(*stream, "include_usage", request.include_usage));
  }
  return runtime::CheckSampling(sampling);
}

// Thinking can be switched in the ways that clients of this model know.
Status ReadThinking(const Json& body, runtime::Chat& chat) {
  if (const Json* effort = Member(body, "reasoning_effort")) {
    constexpr std::array kEfforts{"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    const bool is_known = std::any_of(kEfforts.begin(), kEfforts.end(),
                                      [&](const char* known) { return *effort == known; });
    if (!is_known)
      return Wrong("reasoning_effort", fmt::format("{}", fmt::join(kEfforts, ", ")), *effort);
    chat.thinking = *effort != "none";
  }
  bool clear = !chat.keep_reasoning;
  if (const Json* thinking = Member(body, "thinking")) {
    const Json* type = thinking->is_object() ? Member(*thinking, "type") : nullptr;
    if (type == nullptr || (*type != "enabled" && *type != "disabled")) {
      return Wrong("thinking", "{\"type\": \"enabled\"} or {\"type\": \"disabled\"}", *thinking);
    }
    chat.thinking = *type == "enabled";
    SLUICE_TRY(Read(*thinking, "clear_thinking", clear));
  }
  if (const Json* template_arguments = Member(body, "chat_template_kwargs")) {
    if (!template_arguments->is_object()) {
      return Wrong("chat_template_kwargs", "an object", *template_arguments);
    }
    SLUICE_TRY(Read(*template_arguments, "enable_thinking", chat.thinking));
    SLUICE_TRY(Read(*template_arguments, "clear_thinking", clear));
  }
  chat.keep_reasoning = !clear;
  return Ok();
}

Status ReadTools(const Json& body, runtime::Chat& chat) {
  const Json* choice = Member(body, "tool_choice");
  if (choice != nullptr && *choice != "auto" && *choice != "none") {
    return Wrong("tool_choice", "auto or none", *choice);
  }
  const Json* tools = Member(body, "tools");
  if (tools == nullptr || (choice != nullptr && *choice == "none")) return Ok();
  SLUICE_ASSIGN(chat.tools, runtime::ParseTools(*tools));
  return Ok();
}

Result<Json> ParseBody(const std::string& body) {
  Result<Json> json = runtime::ParseJson(body);
  if (!json) {
    Error error = std::move(json).error();
    error.code = ErrorCode::kUsage;
    error.what = "the body is " + error.what;
    return error;
  }
  if (!json->is_object()) return MakeError(ErrorCode::kUsage, "the body is no JSON object");
  return json;
}

}  // namespace

Result<Request> ParseChatRequest(const std::string& body,
                                 const runtime::GenerationOptions& defaults) {
  SLUICE_ASSIGN(const Json json, ParseBody(body));
  Request request;
  request.options = defaults;
  SLUICE_TRY(ReadOptions(json, request));
  runtime::Chat chat;
  const Json* messages = Member(json, "messages");
  if (messages == nullptr) return MakeError(ErrorCode::kUsage, "'messages' is missing");
  SLUICE_ASSIGN(chat.messages, runtime::ParseMessages(*messages));
  if (chat.messages.empty()) return MakeError(ErrorCode::kUsage, "'messages' is empty");
  SLUICE_TRY(ReadTools(json, chat));
  SLUICE_TRY(ReadThinking(json, chat));
  request.prompt = std::move(chat);
  return request;
}

Result<Request> ParseCompletionRequest(const std::string& body,
                                       const runtime::GenerationOptions& defaults) {
  constexpr std::uint32_t kDefaultTokens = 16;  // as the interface has it
  SLUICE_ASSIGN(const Json json, ParseBody(body));
  Request request;
  request.options = defaults;
  if (!request.options.max_tokens) request.options.max_tokens = kDefaultTokens;
  SLUICE_TRY(ReadOptions(json, request));
  const Json* prompt = Member(json, "prompt");
  if (prompt == nullptr) return MakeError(ErrorCode::kUsage, "'prompt' is missing");
  const Json& text = prompt->is_array() && prompt->size() == 1 ? prompt->front() : *prompt;
  if (!text.is_string()) return Wrong("prompt", "one string", *prompt);
  request.prompt = text.get<std::string>();
  return request;
}

}  // namespace sluice::server
