// A model's tokenizer: text to token ids and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"
#include "runtime/language_model.h"
#include "runtime/text/added_tokens.h"

namespace sluice::runtime {

// kUsage, with the byte, for text that is not UTF-8.
Status CheckUtf8(std::string_view text);

// Encodes text between added tokens. Implementations may be used by several threads at once.
class SectionEncoder {
 public:
  virtual ~SectionEncoder() = default;
  // Appends the ids of `section`. REQUIRES: `section` is valid UTF-8.
  virtual Status Encode(std::string_view section, std::vector<TokenId>& ids) const = 0;
};

// What the files of a model say about its tokenizer.
struct TokenizerParts {
  std::unique_ptr<SectionEncoder> encoder;
  gguf::Array bytes{gguf::ValueType::kString};  // by id, what the token stands for
  std::vector<TokenId> added;                   // ids of added tokens, whose bytes are their text
  std::vector<TokenId> end_tokens;              // tokens that end an answer, in any order
};

// Copies share their tables. May be used by several threads at once.
class Tokenizer {
 public:
  explicit Tokenizer(TokenizerParts parts);

  // The ids of a text. Texts of added tokens become their ids; nothing is put in front or behind.
  // kUsage for text that is not UTF-8, kUnsupported for bytes without a token.
  [[nodiscard]] Result<std::vector<TokenId>> Encode(std::string_view text) const;

  // What a token stands for: bytes, not always whole characters. Empty for ids that have no token,
  // which a model with padded rows may give. Lives as long as the tokenizer or a copy of it.
  [[nodiscard]] std::string_view BytesOf(TokenId id) const;

  // The added token of exactly this text: "<|user|>".
  [[nodiscard]] std::optional<TokenId> FindAdded(std::string_view text) const;

  // Bytes of the longest token: a text of n tokens has at most n times as many.
  [[nodiscard]] std::size_t longest_token() const { return longest_token_; }
  // Tokens that end an answer, in ascending order.
  [[nodiscard]] const std::vector<TokenId>& end_tokens() const { return parts_->end_tokens; }
  // Ids from this number on have no token.
  [[nodiscard]] std::uint32_t size() const {
    return static_cast<std::uint32_t>(parts_->bytes.size());
  }

 private:
  std::shared_ptr<const TokenizerParts> parts_;
  std::shared_ptr<const AddedTokens> added_;
  std::size_t longest_token_ = 0;
};

}  // namespace sluice::runtime
