#include "runtime/text/glm_answer.h"

#include <algorithm>
#include <utility>

#include "core/utf8.h"
#include "runtime/text/glm_prompt.h"
#include "runtime/text/glm_tool_call.h"
#include "runtime/text/held_suffix.h"

namespace sluice::runtime {

GlmAnswer::GlmAnswer(bool thinking, std::vector<Json> tools)
    : tools_(std::move(tools)),
      state_(thinking ? State::kThink : State::kLookForThink),
      drop_blanks_(thinking) {}

Result<AnswerDelta> GlmAnswer::Push(std::string_view text) {
  buffer_ += text;
  AnswerDelta delta;
  bool changed = true;
  while (changed) {
    if (drop_blanks_) {
      const std::string_view kept = TrimLeft(buffer_);
      const std::size_t blanks = buffer_.size() - kept.size();
      if (state_ == State::kContent) dropped_ += buffer_.substr(0, blanks);
      buffer_.erase(0, blanks);
      if (buffer_.empty()) break;
      drop_blanks_ = false;
    }
    switch (state_) {
      case State::kLookForThink:
        changed = LookForThink();
        break;
      case State::kThink:
        changed = Think(delta);
        break;
      case State::kContent:
        changed = Content(delta);
        break;
      case State::kToolCall: {
        SLUICE_ASSIGN(changed, ReadCall(delta));
        break;
      }
    }
  }
  return delta;
}

// Leaves the first `bytes` of the buffer behind.
void GlmAnswer::EnterAfter(State state, std::size_t bytes) {
  buffer_.erase(0, bytes);
  state_ = state;
  scanned_ = 0;
  drop_blanks_ = true;
}

// Without thinking the answer may begin with reasoning all the same.
bool GlmAnswer::LookForThink() {
  const std::string_view text = TrimLeft(buffer_);
  if (text.starts_with(glm::kThink)) {
    EnterAfter(State::kThink, buffer_.size() - text.size() + glm::kThink.size());
    return true;
  }
  if (glm::kThink.starts_with(text)) return false;
  state_ = State::kContent;
  return true;
}

bool GlmAnswer::Think(AnswerDelta& delta) {
  const std::size_t end = buffer_.find(glm::kEndThink);
  if (end != std::string::npos) {
    delta.thinking += TrimRight(std::string_view(buffer_).substr(0, end));
    EnterAfter(State::kContent, end + glm::kEndThink.size());
    return true;
  }
  const std::string_view text = buffer_;
  const std::size_t held = HeldSuffix(text, glm::kEndThink);
  const std::string_view sure = TrimRight(text.substr(0, text.size() - held));
  delta.thinking += sure;
  buffer_.erase(0, sure.size());
  return false;
}

// Content that goes on after a tool call keeps one of the blanks that stood there.
void GlmAnswer::AddContent(std::string_view text, AnswerDelta& delta) {
  if (text.empty()) return;
  if (has_content_ && !dropped_.empty()) {
    delta.content += dropped_.find('\n') == std::string::npos ? ' ' : '\n';
  }
  dropped_.clear();
  has_content_ = true;
  delta.content += text;
}

bool GlmAnswer::Content(AnswerDelta& delta) {
  const std::string_view text = buffer_;
  const std::size_t start = text.find(glm::kToolCall);
  if (start != std::string_view::npos) {
    const std::string_view before = TrimRight(text.substr(0, start));
    AddContent(before, delta);
    dropped_ += text.substr(before.size(), start - before.size());
    EnterAfter(State::kToolCall, start + glm::kToolCall.size());
    return true;
  }
  const std::size_t held = HeldSuffix(text, glm::kToolCall);
  const std::string_view sure = TrimRight(text.substr(0, text.size() - held));
  AddContent(sure, delta);
  buffer_.erase(0, sure.size());
  return false;
}

Result<bool> GlmAnswer::ReadCall(AnswerDelta& delta) {
  const std::string_view text = buffer_;
  const std::size_t end = text.find(glm::kEndToolCall, scanned_);
  if (end == std::string_view::npos) {
    scanned_ = text.size() - HeldSuffix(text, glm::kEndToolCall);
    return false;
  }
  SLUICE_ASSIGN(ToolCall call, ParseGlmToolCall(TrimRight(text.substr(0, end)), tools_));
  delta.calls.push_back(std::move(call));
  EnterAfter(State::kContent, end + glm::kEndToolCall.size());
  return true;
}

Result<AnswerDelta> GlmAnswer::Finish(AnswerEnd end) {
  AnswerDelta delta;
  std::string_view rest = buffer_;
  switch (state_) {
    case State::kThink:
      delta.thinking = rest;
      break;
    case State::kLookForThink:
    case State::kContent:
      AddContent(rest, delta);
      break;
    case State::kToolCall: {
      const std::size_t end_mark = HeldSuffix(rest, glm::kEndToolCall);
      rest.remove_suffix(end_mark);
      // More may have come where a limit cut the answer: another argument, the rest of a name.
      const bool may_be_whole = end == AnswerEnd::kWhole || end_mark > 0;
      Result<ToolCall> call = ParseGlmToolCall(TrimRight(rest), tools_);
      if (call && may_be_whole && IsPlainGlmToolCall(rest) && HasAllItRequires(*call, tools_)) {
        delta.calls.push_back(*std::move(call));
      } else if (end == AnswerEnd::kWhole) {
        return MakeError(ErrorCode::kCorrupt, "the model's answer ends inside a tool call")
            .Actual(rest);
      }
      break;
    }
  }
  buffer_.clear();
  return delta;
}

}  // namespace sluice::runtime
