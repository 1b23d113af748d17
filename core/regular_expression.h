// Regular expressions that come with a model, run by PCRE2 with a bound on their work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/result.h"

namespace sluice {

// Text is UTF-8, classes are those of Unicode, ^ and $ match at line breaks too.
// May be used by several threads at once.
class RegularExpression {
 public:
  // Bytes [begin, end) of the text.
  struct Match {
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  // `max_steps` bounds the work of one search: a hostile pattern takes exponential time.
  // kCorrupt for a pattern that is no regular expression, with the reason as `actual`.
  static Result<RegularExpression> Compile(const std::string& pattern, std::uint32_t max_steps);

  // The first match in `text` that begins at byte `from` or later and is not empty. kUnsupported
  // when that takes too much work. REQUIRES: `text` is valid, a character begins at `from`.
  Result<std::optional<Match>> Find(std::string_view text, std::size_t from) const;
  // Whether a match, be it empty, begins where `text` does. kUnsupported as above, and for text
  // that is not UTF-8.
  Result<bool> MatchesStart(std::string_view text) const;

 private:
  struct Code;
  explicit RegularExpression(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  Result<std::optional<Match>> Run(std::string_view text, std::size_t from,
                                   std::uint32_t options) const;

  std::shared_ptr<const Code> code_;
};

}  // namespace sluice
