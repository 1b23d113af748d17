// --tensor-type REGEX=TYPE: types that the user gives to tensors by name.
#pragma once

#include <regex>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/regular_expression.h"
#include "core/result.h"
#include "formats/gguf/types.h"

namespace sluice {

struct TypeRule {
  std::string text;   // as given
  std::string place;  // FILE:LINE where it stands; empty for one of the command line
  // Of an expression with back-references, which std::regex runs without bounds: PCRE2's.
  std::variant<std::regex, RegularExpression> pattern;
  gguf::TensorType type = gguf::TensorType::kF32;

  // Whether the pattern is found anywhere in the name. kUsage when back-references make that too
  // much work.
  [[nodiscard]] Result<bool> Matches(std::string_view name) const;
};

// Parses "REGEX=TYPE", with or without blanks around the parts. The part behind the last '=' is the
// type; the part before it is an ECMAScript regular expression, which is lower-cased first as
// llama-quantize does it (so "\D" means "\d"). kUsage for anything else.
Result<TypeRule> ParseTypeRule(std::string_view text);

// The rules of a file, one a line between blanks; # begins a comment. kUsage names file and line of
// a bad rule, and a file without any; kMissing, kIo, kResource as for reading a file.
Result<std::vector<TypeRule>> ReadTypeRules(const std::string& path);

}  // namespace sluice
