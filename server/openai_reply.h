// Replies of the OpenAI interface, whole and in chunks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "runtime/generation.h"
#include "runtime/text/glm_answer.h"
#include "runtime/text/json_text.h"

namespace sluice::server {

// What a request cost.
struct Usage {
  std::uint32_t prompt_tokens = 0;
  std::uint32_t answer_tokens = 0;
  std::uint32_t reused_tokens = 0;  // of the prompt
};

// Makes the reply to one request of the text of its answer. Either the chunks or the whole are of
// interest; both can be asked for.
class Reply {
 public:
  virtual ~Reply() = default;

  // The chunks that open the stream.
  virtual std::vector<runtime::Json> Begin() = 0;
  // The chunks that more text makes. Errors as of GlmAnswer::Push.
  virtual Result<std::vector<runtime::Json>> Add(std::string_view text) = 0;
  // The last chunks, usage included if asked for. REQUIRES: generation.finished(). Errors as of
  // GlmAnswer::Finish.
  virtual Result<std::vector<runtime::Json>> End(const runtime::Generation& generation,
                                                 const Usage& usage, bool include_usage) = 0;
  // All of it. REQUIRES: End has been called.
  virtual runtime::Json Whole(const Usage& usage) = 0;
};

// /v1/chat/completions. Reasoning is in `reasoning_content`, as other servers of this model have
// it; tool calls come whole.
class ChatReply final : public Reply {
 public:
  ChatReply(std::string id, std::string model, std::int64_t created, runtime::GlmAnswer answer);

  std::vector<runtime::Json> Begin() override;
  Result<std::vector<runtime::Json>> Add(std::string_view text) override;
  Result<std::vector<runtime::Json>> End(const runtime::Generation& generation, const Usage& usage,
                                         bool include_usage) override;
  runtime::Json Whole(const Usage& usage) override;

 private:
  runtime::Json Head(std::string_view object) const;
  runtime::Json Chunk(runtime::Json delta, runtime::Json finish_reason) const;
  runtime::Json CallJson(runtime::ToolCall call);
  std::vector<runtime::Json> Chunks(const runtime::AnswerDelta& delta);

  std::string id_;
  std::string model_;
  std::int64_t created_;
  runtime::GlmAnswer answer_;
  std::string thinking_;
  std::string content_;
  runtime::Json calls_ = runtime::Json::array();
  std::string finish_reason_;
};

// /v1/completions.
class CompletionReply final : public Reply {
 public:
  CompletionReply(std::string id, std::string model, std::int64_t created);

  std::vector<runtime::Json> Begin() override { return {}; }
  Result<std::vector<runtime::Json>> Add(std::string_view text) override;
  Result<std::vector<runtime::Json>> End(const runtime::Generation& generation, const Usage& usage,
                                         bool include_usage) override;
  runtime::Json Whole(const Usage& usage) override;

 private:
  runtime::Json Object(std::string_view text, runtime::Json finish_reason) const;

  std::string id_;
  std::string model_;
  std::int64_t created_;
  std::string text_;
  std::string finish_reason_;
};

// {"error": {"message", "type", "param", "code"}}.
[[nodiscard]] runtime::Json ErrorJson(const Error& error);
// The HTTP status that goes with it.
[[nodiscard]] int StatusOf(const Error& error);

}  // namespace sluice::server
