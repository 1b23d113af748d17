#include "runtime/text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/utf8.h"

namespace sluice::runtime {

Tokenizer::Tokenizer(TokenizerParts parts) {
  auto added = std::make_shared<AddedTokens>();
  for (const TokenId id : parts.added) added->Add(std::string(parts.bytes.StringAt(id)), id);
  added_ = std::move(added);
  for (TokenId id = 0; id < parts.bytes.size(); ++id) {
    longest_token_ = std::max(longest_token_, parts.bytes.StringAt(id).size());
  }
  std::vector<TokenId>& ends = parts.end_tokens;
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  parts_ = std::make_shared<const TokenizerParts>(std::move(parts));
}

Status CheckUtf8(std::string_view text) {
  const std::size_t valid = ValidUtf8Prefix(text);
  if (valid == text.size()) return Ok();
  return MakeError(ErrorCode::kUsage, fmt::format("text is not UTF-8 at byte {}", valid));
}

Result<std::vector<TokenId>> Tokenizer::Encode(std::string_view text) const {
  SLUICE_TRY(CheckUtf8(text));
  std::vector<TokenId> ids;
  for (std::size_t at = 0; at < text.size();) {
    const auto match = added_->Next(text, at);
    const std::size_t end = match ? match->offset : text.size();
    if (end > at) SLUICE_TRY(parts_->encoder->Encode(text.substr(at, end - at), ids));
    if (!match) break;
    ids.push_back(match->id);
    at = match->offset + match->bytes;
  }
  return ids;
}

std::string_view Tokenizer::BytesOf(TokenId id) const {
  return id < parts_->bytes.size() ? parts_->bytes.StringAt(id) : std::string_view();
}

std::optional<TokenId> Tokenizer::FindAdded(std::string_view text) const {
  return added_->Find(text);
}

}  // namespace sluice::runtime
