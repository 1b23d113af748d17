// Byte-level byte-pair encoding: bytes of a piece of text to token ids.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"
#include "runtime/language_model.h"

namespace sluice::runtime {

// The bytes that a token of a byte-level vocabulary stands for. Such vocabularies write bytes that
// are no printable Latin-1 characters as U+0100 and up (GPT-2's encoder.py); text that holds
// another character stands for itself.
[[nodiscard]] std::string BytesOfToken(std::string_view token);

// Merges bytes into tokens, lowest rank first, of equal ranks the leftmost. May be used by several
// threads at once.
class BytePairEncoder {
 public:
  // `tokens` and `matched_by_bytes` by id; the latter is false for tokens that only text of their
  // own matches (added tokens). `merges` by rank: "left right". With `ignore_merges` a piece that
  // is a token is not merged from its bytes. kCorrupt for a merge of or into what is no token.
  static Result<BytePairEncoder> Make(const gguf::Array& tokens,
                                      const std::vector<bool>& matched_by_bytes,
                                      const gguf::Array& merges, bool ignore_merges);

  // Appends the ids of a piece. kUnsupported for a byte that has no token.
  Status Encode(std::string_view piece, std::vector<TokenId>& ids) const;

 private:
  struct Merge {
    std::uint32_t rank = 0;
    TokenId merged = 0;
  };
  [[nodiscard]] const Merge* Find(TokenId left, TokenId right) const;
  Status AddMerge(std::string_view text, std::uint32_t rank,
                  const std::unordered_map<std::string_view, TokenId>& ids);

  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  // By bytes; empty without ignore_merges.
  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> whole_;
  std::vector<std::int64_t> byte_ids_;               // [256], -1 without a token
  std::unordered_map<std::uint64_t, Merge> merges_;  // by left << 32 | right
};

}  // namespace sluice::runtime
