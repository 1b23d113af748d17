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

// For one name.
constexpr std::uint32_t kMaxMatchSteps = 100'000;

using Pattern = decltype(TypeRule::pattern);

// Whether PCRE2 gives a part of an ECMAScript expression another meaning: escaped letters,
// possessive quantifiers, classes without members.
bool MeansOtherToPcre2(std::string_view pattern) {
  constexpr std::string_view kSameEscapes = "bdfnrstw";
  bool in_class = false;
  char before = ' ';
  for (std::string_view rest = pattern; !rest.empty(); rest.remove_prefix(1)) {
    if (rest.front() == '\\') {
      const char escaped = rest[1];
      const bool is_letter = escaped >= 'a' && escaped <= 'z';
      if (is_letter && kSameEscapes.find(escaped) == kSameEscapes.npos) return true;
      rest.remove_prefix(1);
      before = ' ';
      continue;
    }
    if (in_class) {
      in_class = rest.front() != ']';
    } else {
      in_class = rest.front() == '[';
      if (rest.starts_with("[]") || rest.starts_with("[^]")) return true;
      if (rest.front() == '+' && std::string_view("*+?}").find(before) < 4) return true;
    }
    before = rest.front();
  }
  return false;
}

// REQUIRES: an ECMAScript expression.
Result<Pattern> CompileBounded(const std::string& pattern) {
  Error error =
      MakeError(ErrorCode::kUsage, "no regular expression beside back-references").Actual(pattern);
  if (MeansOtherToPcre2(pattern)) {
    return std::move(error).Expected(
        "no \\letter but bdfnrstw, no + behind a quantifier and no empty class");
  }
  auto compiled =
      RegularExpression::Compile(fmt::format("(?s:.*?)(?:{})", pattern), kMaxMatchSteps);
  if (compiled) return Pattern(*std::move(compiled));
  return std::move(error).Advice(compiled.error().actual);
}

// The library that llama-quantize uses. Its polynomial mode finds the same names, never takes
// exponential time, and knows no back-references.
Result<Pattern> Compile(const std::string& pattern) {
  constexpr auto kSyntax = std::regex::ECMAScript | std::regex::optimize;
  try {
    return Pattern(std::regex(pattern, kSyntax | std::regex_constants::__polynomial));
  } catch (const std::regex_error& error) {
    if (error.code() != std::regex_constants::error_complexity) throw;
    [[maybe_unused]] const std::regex is_valid(pattern, kSyntax);
    return CompileBounded(pattern);
  }
}

Result<Pattern> ParsePattern(std::string_view text) {
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

Result<bool> TypeRule::Matches(std::string_view name) const {
  if (const auto* plain = std::get_if<std::regex>(&pattern)) {
    return std::regex_search(name.begin(), name.end(), *plain);
  }
  Result<bool> found = std::get<RegularExpression>(pattern).MatchesStart(name);
  if (found) return found;
  return MakeError(ErrorCode::kUsage, "a --tensor-type with back-references takes too much work")
      .In(place)
      .At(name)
      .Actual(fmt::format("{}: {}", text, found.error().actual))
      .Advice("name the tensors without back-references");
}

Result<TypeRule> ParseTypeRule(std::string_view text) {
  const std::size_t separator = text.rfind('=');
  if (separator == std::string_view::npos || Trim(text.substr(0, separator)).empty()) {
    return NoRule(text);
  }
  TypeRule rule;
  rule.text = text;
  SLUICE_ASSIGN(rule.pattern, ParsePattern(Trim(text.substr(0, separator))));
  SLUICE_ASSIGN(rule.type, ParseTargetType(Trim(text.substr(separator + 1))));
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
