// Tokens that only their own text gives: chat roles, tags.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/language_model.h"

namespace sluice::runtime {

class AddedTokens {
 public:
  // An empty text is never matched.
  void Add(std::string text, TokenId id);

  struct Match {
    std::size_t offset = 0;
    std::size_t bytes = 0;
    TokenId id = 0;
  };
  // The leftmost match at or after `from`, of those that begin there the longest.
  [[nodiscard]] std::optional<Match> Next(std::string_view text, std::size_t from) const;

  // The token of exactly this text.
  [[nodiscard]] std::optional<TokenId> Find(std::string_view text) const;

 private:
  struct Token {
    std::string text;
    TokenId id = 0;
  };
  std::array<std::vector<Token>, 256> by_first_byte_;  // each longest first
};

}  // namespace sluice::runtime
