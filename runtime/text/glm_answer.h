// Takes GLM-4.7's answer apart while it arrives: reasoning, content, tool calls.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "runtime/text/chat.h"

namespace sluice::runtime {

// What a piece of an answer adds.
struct AnswerDelta {
  std::string thinking;
  std::string content;
  std::vector<ToolCall> calls;

  [[nodiscard]] bool empty() const { return thinking.empty() && content.empty() && calls.empty(); }
};

// How an answer came to its end.
enum class AnswerEnd : std::uint8_t {
  kWhole,  // the model said so
  kCut,    // a limit, a stop string or the user
};

// The pieces of an answer may be cut anywhere: joined, the deltas are always the same. Text that
// could be the beginning of a mark, and blanks that a mark could make meaningless, wait for what
// follows. A tool call is given out when it is complete.
class GlmAnswer {
 public:
  // `thinking`: the prompt ended inside the reasoning, as Chat::thinking makes it.
  GlmAnswer(bool thinking, std::vector<Json> tools);

  // kCorrupt for a tool call that cannot be read; the answer is over then.
  Result<AnswerDelta> Push(std::string_view text);

  // Gives out what waits. A tool call without its end mark counts if nothing but the mark is
  // missing; otherwise it is kCorrupt, or nothing when the answer was cut.
  Result<AnswerDelta> Finish(AnswerEnd end);

 private:
  enum class State : std::uint8_t { kLookForThink, kThink, kContent, kToolCall };

  bool LookForThink();
  bool Think(AnswerDelta& delta);
  bool Content(AnswerDelta& delta);
  Result<bool> ReadCall(AnswerDelta& delta);
  void AddContent(std::string_view text, AnswerDelta& delta);
  void EnterAfter(State state, std::size_t bytes);

  std::vector<Json> tools_;
  State state_;
  std::string buffer_;       // what has not been given out
  std::size_t scanned_ = 0;  // of `buffer_`, that cannot begin the end mark of a tool call
  bool drop_blanks_;         // blanks at the start of `buffer_` mean nothing
  bool has_content_ = false;
  std::string dropped_;  // blanks around tool calls since the last content
};

}  // namespace sluice::runtime
