#include "runtime/text/added_tokens.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace sluice::runtime {

void AddedTokens::Add(std::string text, TokenId id) {
  if (text.empty()) return;
  std::vector<Token>& tokens = by_first_byte_[static_cast<std::uint8_t>(text[0])];
  const auto shorter = std::find_if(tokens.begin(), tokens.end(), [&](const Token& token) {
    return token.text.size() < text.size();
  });
  tokens.insert(shorter, {std::move(text), id});
}

std::optional<AddedTokens::Match> AddedTokens::Next(std::string_view text, std::size_t from) const {
  for (std::size_t at = from; at < text.size(); ++at) {
    for (const Token& token : by_first_byte_[static_cast<std::uint8_t>(text[at])]) {
      if (text.substr(at).starts_with(token.text)) return Match{at, token.text.size(), token.id};
    }
  }
  return std::nullopt;
}

std::optional<TokenId> AddedTokens::Find(std::string_view text) const {
  if (text.empty()) return std::nullopt;
  for (const Token& token : by_first_byte_[static_cast<std::uint8_t>(text[0])]) {
    if (token.text == text) return token.id;
  }
  return std::nullopt;
}

}  // namespace sluice::runtime
