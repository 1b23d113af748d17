#include "server/openai_reply.h"

#include <fmt/format.h>

#include <utility>

#include "runtime/chat_model.h"

namespace sluice::server {
namespace {

using runtime::FinishReason;
using runtime::Json;

std::string_view FinishName(FinishReason reason) {
  return reason == FinishReason::kLength ? "length" : "stop";
}

Json UsageJson(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.answer_tokens},
          {"total_tokens", usage.prompt_tokens + usage.answer_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.reused_tokens}}}};
}

// The chunk that ends a stream whose usage was asked for; `chunk` is any other of the stream.
Json UsageChunk(Json chunk, const Usage& usage) {
  chunk["choices"] = Json::array();
  chunk["usage"] = UsageJson(usage);
  return chunk;
}

}  // namespace

ChatReply::ChatReply(std::string id, std::string model, std::int64_t created,
                     runtime::GlmAnswer answer)
    : id_(std::move(id)), model_(std::move(model)), created_(created), answer_(std::move(answer)) {}

Json ChatReply::Head(std::string_view object) const {
  return {{"id", id_}, {"object", object}, {"created", created_}, {"model", model_}};
}

Json ChatReply::Chunk(Json delta, Json finish_reason) const {
  Json chunk = Head("chat.completion.chunk");
  chunk["choices"] = Json::array({{{"index", 0},
                                   {"delta", std::move(delta)},
                                   {"logprobs", nullptr},
                                   {"finish_reason", std::move(finish_reason)}}});
  return chunk;
}

// Ids have to be different over a whole conversation.
Json ChatReply::CallJson(runtime::ToolCall call) {
  return {{"id", fmt::format("call_{}_{}", id_.substr(id_.find('-') + 1), calls_.size())},
          {"type", "function"},
          {"function", {{"name", call.name}, {"arguments", runtime::PythonJson(call.arguments)}}}};
}

std::vector<Json> ChatReply::Begin() {
  return {Chunk({{"role", "assistant"}, {"content", ""}}, nullptr)};
}

std::vector<Json> ChatReply::Chunks(const runtime::AnswerDelta& delta) {
  std::vector<Json> chunks;
  thinking_ += delta.thinking;
  content_ += delta.content;
  if (!delta.thinking.empty()) {
    chunks.push_back(Chunk({{"reasoning_content", delta.thinking}}, nullptr));
  }
  if (!delta.content.empty()) chunks.push_back(Chunk({{"content", delta.content}}, nullptr));
  for (const runtime::ToolCall& call : delta.calls) {
    Json json = CallJson(call);
    Json indexed{{"index", calls_.size()}};
    indexed.update(json);
    chunks.push_back(Chunk({{"tool_calls", Json::array({std::move(indexed)})}}, nullptr));
    calls_.push_back(std::move(json));
  }
  return chunks;
}

Result<std::vector<Json>> ChatReply::Add(std::string_view text) {
  SLUICE_ASSIGN(const runtime::AnswerDelta delta, answer_.Push(text));
  return Chunks(delta);
}

Result<std::vector<Json>> ChatReply::End(const runtime::Generation& generation, const Usage& usage,
                                         bool include_usage) {
  SLUICE_ASSIGN(const runtime::AnswerDelta delta, answer_.Finish(runtime::EndOf(generation)));
  std::vector<Json> chunks = Chunks(delta);
  finish_reason_ = FinishName(generation.finish_reason());
  if (finish_reason_ == "stop" && !calls_.empty()) finish_reason_ = "tool_calls";
  chunks.push_back(Chunk(Json::object(), finish_reason_));
  if (include_usage) chunks.push_back(UsageChunk(Head("chat.completion.chunk"), usage));
  return chunks;
}

Json ChatReply::Whole(const Usage& usage) {
  Json message{{"role", "assistant"}, {"content", content_}};
  if (content_.empty() && !calls_.empty()) message["content"] = nullptr;
  if (!thinking_.empty()) message["reasoning_content"] = thinking_;
  if (!calls_.empty()) message["tool_calls"] = calls_;
  Json whole = Head("chat.completion");
  whole["choices"] = Json::array({{{"index", 0},
                                   {"message", std::move(message)},
                                   {"logprobs", nullptr},
                                   {"finish_reason", finish_reason_}}});
  whole["usage"] = UsageJson(usage);
  return whole;
}

CompletionReply::CompletionReply(std::string id, std::string model, std::int64_t created)
    : id_(std::move(id)), model_(std::move(model)), created_(created) {}

Json CompletionReply::Object(std::string_view text, Json finish_reason) const {
  return {{"id", id_},
          {"object", "text_completion"},
          {"created", created_},
          {"model", model_},
          {"choices", Json::array({{{"index", 0},
                                    {"text", text},
                                    {"logprobs", nullptr},
                                    {"finish_reason", std::move(finish_reason)}}})}};
}

Result<std::vector<Json>> CompletionReply::Add(std::string_view text) {
  std::vector<Json> chunks;
  text_ += text;
  if (!text.empty()) chunks.push_back(Object(text, nullptr));
  return chunks;
}

Result<std::vector<Json>> CompletionReply::End(const runtime::Generation& generation,
                                               const Usage& usage, bool include_usage) {
  finish_reason_ = FinishName(generation.finish_reason());
  std::vector<Json> chunks{Object("", finish_reason_)};
  if (include_usage) chunks.push_back(UsageChunk(Object("", nullptr), usage));
  return chunks;
}

Json CompletionReply::Whole(const Usage& usage) {
  Json whole = Object(text_, finish_reason_);
  whole["usage"] = UsageJson(usage);
  return whole;
}

Json ErrorJson(const Error& error) {
  const int status = StatusOf(error);
  return {{"error",
           {{"message", error.Format()},
            {"type", status < 500 ? "invalid_request_error" : "server_error"},
            {"param", nullptr},
            {"code", nullptr}}}};
}

int StatusOf(const Error& error) {
  switch (error.code) {
    case ErrorCode::kUsage:
    case ErrorCode::kMismatch:
    case ErrorCode::kUnsupported:  // text that the model has no tokens for
      return 400;
    case ErrorCode::kResource:
    case ErrorCode::kCancelled:
      return 503;
    default:
      return 500;
  }
}

}  // namespace sluice::server
