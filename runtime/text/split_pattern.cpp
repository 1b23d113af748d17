#include "runtime/text/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <cstdint>

#include "core/utf8.h"

namespace sluice::runtime {
namespace {

// Unicode's White_Space property as the inside of a character class. PCRE2's own \s also takes
// U+180E, which lost the property in Unicode 6.3.
constexpr std::string_view kSpaces =
    R"(\x{09}-\x{0D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// Letters that mean the same after a backslash to both libraries.
constexpr std::string_view kCommonEscapes = "rntfvdDpPx";

// Bounds on the work for one match. The patterns of the table need a few steps a character; a
// hostile one could take exponential time.
constexpr std::uint32_t kMaxMatchSteps = 20'000'000;
constexpr std::uint32_t kMaxHeapKibibytes = 64 * 1024;

Error Unsupported(std::string_view construct, std::string_view pattern) {
  return MakeError(ErrorCode::kUnsupported,
                   fmt::format("pre-tokenizer pattern holds {}", construct))
      .Actual(pattern);
}

// Rewrites \s and \S, and refuses what the two libraries understand differently.
Result<std::string> ToPcre2(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      const bool is_word = (escaped >= 'a' && escaped <= 'z') ||
                           (escaped >= 'A' && escaped <= 'Z') || (escaped >= '0' && escaped <= '9');
      if (escaped == 's') {
        out += in_class ? std::string(kSpaces) : fmt::format("[{}]", kSpaces);
      } else if (escaped == 'S' && !in_class) {
        out += fmt::format("[^{}]", kSpaces);
      } else if (is_word && kCommonEscapes.find(escaped) == std::string_view::npos) {
        return Unsupported(fmt::format("\\{}", escaped), pattern);
      } else {
        out += {c, escaped};
      }
      continue;
    }
    if (in_class && (c == '[' || (c == '&' && pattern.substr(i).starts_with("&&")))) {
      return Unsupported("a class inside a class", pattern);
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

std::string MessageOf(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return {reinterpret_cast<const char*>(text.data())};
}

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

struct SplitPattern::Code {
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

Result<SplitPattern> SplitPattern::Compile(const std::string& pattern) {
  const std::size_t valid = ValidUtf8Prefix(pattern);
  if (valid != pattern.size()) {
    return MakeError(ErrorCode::kCorrupt, "pre-tokenizer pattern is not UTF-8");
  }
  SLUICE_ASSIGN(const std::string text, ToPcre2(pattern));
  int error = 0;
  PCRE2_SIZE error_at = 0;
  auto code = std::make_shared<Code>();
  code->compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                 &error, &error_at, nullptr);
  if (code->compiled == nullptr) {
    return MakeError(ErrorCode::kCorrupt, "pre-tokenizer pattern is no regular expression")
        .Actual(fmt::format("'{}': {} at byte {}", text, MessageOf(error), error_at));
  }
  // Without just-in-time compilation, where the system forbids it, the interpreter matches.
  pcre2_jit_compile(code->compiled, PCRE2_JIT_COMPLETE);
  code->limits = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(code->limits, kMaxMatchSteps);
  pcre2_set_heap_limit(code->limits, kMaxHeapKibibytes);
  return SplitPattern(std::move(code));
}

Status SplitPattern::Split(std::string_view text, std::vector<std::string_view>& pieces) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> match(
      pcre2_match_data_create_from_pattern(code_->compiled, nullptr));
  std::size_t done = 0;  // everything before it is in `pieces`
  std::size_t from = 0;
  while (from < text.size()) {
    const int found =
        pcre2_match(code_->compiled, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                    PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match.get(), code_->limits);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      return MakeError(ErrorCode::kUnsupported, "the pre-tokenizer pattern fails on this text")
          .Actual(MessageOf(found));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());
    if (bounds[0] > done) pieces.push_back(text.substr(done, bounds[0] - done));
    pieces.push_back(text.substr(bounds[0], bounds[1] - bounds[0]));
    done = from = bounds[1];
  }
  if (done < text.size()) pieces.push_back(text.substr(done));
  return Ok();
}

}  // namespace sluice::runtime
