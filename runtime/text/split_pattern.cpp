#include "runtime/text/split_pattern.h"

#include <fmt/format.h>

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

// The patterns of the table need a few steps a character.
constexpr std::uint32_t kMaxMatchSteps = 20'000'000;

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

}  // namespace

Result<SplitPattern> SplitPattern::Compile(const std::string& pattern) {
  const std::size_t valid = ValidUtf8Prefix(pattern);
  if (valid != pattern.size()) {
    return MakeError(ErrorCode::kCorrupt, "pre-tokenizer pattern is not UTF-8");
  }
  SLUICE_ASSIGN(const std::string text, ToPcre2(pattern));
  Result<RegularExpression> expression = RegularExpression::Compile(text, kMaxMatchSteps);
  if (expression) return SplitPattern(*std::move(expression));
  Error error = std::move(expression).error();
  error.what = "pre-tokenizer pattern is no regular expression";
  return error;
}

Status SplitPattern::Split(std::string_view text, std::vector<std::string_view>& pieces) const {
  std::size_t done = 0;  // everything before it is in `pieces`
  while (done < text.size()) {
    auto found = expression_.Find(text, done);
    if (!found) {
      Error error = std::move(found).error();
      error.what = "the pre-tokenizer pattern fails on this text";
      return error;
    }
    if (!*found) break;
    const auto [begin, end] = **found;
    if (begin > done) pieces.push_back(text.substr(done, begin - done));
    pieces.push_back(text.substr(begin, end - begin));
    done = end;
  }
  if (done < text.size()) pieces.push_back(text.substr(done));
  return Ok();
}

}  // namespace sluice::runtime
