#include "core/regular_expression.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <utility>

namespace sluice {
namespace {

// With the bound on steps, which backtracking takes too, this bounds the depth of a search.
constexpr std::uint32_t kMaxHeapKibibytes = 64 * 1024;

PCRE2_SPTR BytesOf(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string MessageOf(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return {reinterpret_cast<const char*>(text.data())};
}

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

struct RegularExpression::Code {
  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() {
    pcre2_match_context_free(limits);
    pcre2_code_free(compiled);
  }
  pcre2_code* compiled = nullptr;
  pcre2_match_context* limits = nullptr;
};

Result<RegularExpression> RegularExpression::Compile(const std::string& pattern,
                                                     std::uint32_t max_steps) {
  int error = 0;
  PCRE2_SIZE error_at = 0;
  auto code = std::make_shared<Code>();
  code->compiled = pcre2_compile(BytesOf(pattern), pattern.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                 &error, &error_at, nullptr);
  if (code->compiled == nullptr) {
    return MakeError(ErrorCode::kCorrupt, "no regular expression")
        .Actual(fmt::format("'{}': {} at byte {}", pattern, MessageOf(error), error_at));
  }
  // Without just-in-time compilation, where the system forbids it, the interpreter matches.
  pcre2_jit_compile(code->compiled, PCRE2_JIT_COMPLETE);
  code->limits = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(code->limits, max_steps);
  pcre2_set_heap_limit(code->limits, kMaxHeapKibibytes);
  return RegularExpression(std::move(code));
}

Result<std::optional<RegularExpression::Match>> RegularExpression::Run(
    std::string_view text, std::size_t from, std::uint32_t options) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> match(
      pcre2_match_data_create_from_pattern(code_->compiled, nullptr));
  const int found = pcre2_match(code_->compiled, BytesOf(text), text.size(), from, options,
                                match.get(), code_->limits);
  if (found == PCRE2_ERROR_NOMATCH) return std::optional<Match>();
  if (found < 0) {
    return MakeError(ErrorCode::kUnsupported, "the regular expression fails on this text")
        .Actual(MessageOf(found));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());
  return std::optional(Match{bounds[0], bounds[1]});
}

Result<std::optional<RegularExpression::Match>> RegularExpression::Find(std::string_view text,
                                                                        std::size_t from) const {
  return Run(text, from, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY);
}

Result<bool> RegularExpression::MatchesStart(std::string_view text) const {
  SLUICE_ASSIGN(const std::optional<Match> match, Run(text, 0, PCRE2_ANCHORED));
  return match.has_value();
}

}  // namespace sluice
