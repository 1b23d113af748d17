// The regular expression of a pre-tokenizer, run by PCRE2.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

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
  struct Code;
  explicit SplitPattern(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

}  // namespace sluice::runtime
