// The regular expression of a pre-tokenizer.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/regular_expression.h"
#include "core/result.h"

namespace sluice::runtime {

// Cuts text into the matches of a pattern and what stands between them. Patterns are written for
// the Oniguruma library; the constructs that mean the same to PCRE2 are accepted, and \s is
// replaced by the Unicode property White_Space, which Oniguruma means by it.
// May be used by several threads at once.
class SplitPattern {
 public:
  // kCorrupt for a pattern that is no regular expression, kUnsupported for a construct that would
  // match something else than its author meant.
  static Result<SplitPattern> Compile(const std::string& pattern);

  // Appends the pieces of `text`, which together are `text`. kUnsupported when matching takes too
  // much work. REQUIRES: `text` is valid UTF-8.
  Status Split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  explicit SplitPattern(RegularExpression expression) : expression_(std::move(expression)) {}
  RegularExpression expression_;
};

}  // namespace sluice::runtime
