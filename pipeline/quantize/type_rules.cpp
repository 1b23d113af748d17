#include "pipeline/quantize/type_rules.h"

#include <fmt/format.h>

#include <sstream>
#include <utility>

#include "core/file.h"
#include "core/utf8.h"
#include "pipeline/quantize/file_type.h"

namespace sluice {
namespace {

constexpr std::uint64_t kMaxRuleFileBytes = 16 << 20;

Error NoRule(std::string_view text) {
  return MakeError(ErrorCode::kUsage, "no rule for tensor types")
      .Expected("REGEX=TYPE, for example ffn_down=q6_k")
      .Actual(text);
}

// std::regex recurses with the nesting of a pattern: longer ones can exhaust the stack.
constexpr std::size_t kMaxPatternBytes = 4096;

// The library that llama-quantize uses. Its polynomial mode finds the same names, never takes
// exponential time, and knows no back-references.
std::regex Compile(const std::string& pattern) {
  constexpr auto kSyntax = std::regex::ECMAScript | std::regex::optimize;
  try {
    return std::regex(pattern, kSyntax | std::regex_constants::__polynomial);
  } catch (const std::regex_error& error) {
    if (error.code() != std::regex_constants::error_complexity) throw;
    return std::regex(pattern, kSyntax);
  }
}

Result<std::regex> ParsePattern(std::string_view text) {
  if (text.size() > kMaxPatternBytes) {
    return MakeError(ErrorCode::kUsage, "regular expression is too long")
        .Expected(fmt::format("at most {} bytes", kMaxPatternBytes))
        .Actual(fmt::format("{} bytes", text.size()));
  }
  const std::string lower = AsciiLower(text);
  try {
    return Compile(lower);
  } catch (const std::regex_error& error) {
    return MakeError(ErrorCode::kUsage, "no regular expression")
        .Expected("ECMAScript syntax")
        .Actual(text)
        .Advice(error.what());
  }
}

}  // namespace

Result<TypeRule> ParseTypeRule(std::string_view text) {
  const std::size_t separator = text.rfind('=');
  if (separator == std::string_view::npos || separator == 0) return NoRule(text);
  TypeRule rule;
  rule.text = text;
  SLUICE_ASSIGN(rule.pattern, ParsePattern(text.substr(0, separator)));
  SLUICE_ASSIGN(rule.type, ParseTargetType(text.substr(separator + 1)));
  return rule;
}

Result<std::vector<TypeRule>> ReadTypeRules(const std::string& path) {
  SLUICE_ASSIGN(const std::string content, ReadWholeFile(path, kMaxRuleFileBytes));
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::vector<TypeRule> rules;
  std::istringstream lines(content);
  if (content.starts_with(kByteOrderMark)) lines.ignore(kByteOrderMark.size());
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string place = fmt::format("{}:{}", path, ++number);
    const std::string_view text = Trim(std::string_view(line).substr(0, line.find('#')));
    if (text.empty()) continue;
    Result<TypeRule> rule = ParseTypeRule(text);
    if (!rule) return std::move(rule).error().In(place);
    rule->place = place;
    rules.push_back(*std::move(rule));
  }
  if (rules.empty()) return NoRule("an empty file").In(path);
  return rules;
}

}  // namespace sluice
