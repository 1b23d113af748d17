// A long text as windows of equally many tokens, which a model sees one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"
#include "runtime/text/tokenizer.h"

namespace sluice::runtime {

// Windows follow each other without gap or overlap; tokens that fill no window are left out. Where
// the model's files say that texts begin with a token (tokenizer.ggml.add_bos_token), it takes the
// place of each window's first.
class Windows {
 public:
  // `metadata` is the model's. At most `max_count` windows; 0: all. kUsage for a text that does not
  // fill one. REQUIRES: length >= 2.
  static Result<Windows> Cut(std::vector<TokenId> tokens, const gguf::Metadata& metadata,
                             std::uint32_t length, std::uint32_t max_count);

  [[nodiscard]] std::uint32_t count() const { return count_; }
  [[nodiscard]] std::uint32_t length() const { return length_; }
  // REQUIRES: index < count().
  [[nodiscard]] std::vector<TokenId> At(std::uint32_t index) const;

 private:
  Windows() = default;

  std::vector<TokenId> tokens_;
  std::uint32_t length_ = 0;
  std::uint32_t count_ = 0;
  std::optional<TokenId> first_;
};

}  // namespace sluice::runtime
