// A tokenizer of a few lines for tests of what stands around one: ids are bytes, 256 is "<end>".
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/text/tokenizer.h"

namespace sluice::testing {

constexpr runtime::TokenId kEndToken = 256;

class ByteEncoder : public runtime::SectionEncoder {
 public:
  Status Encode(std::string_view section, std::vector<runtime::TokenId>& ids) const override {
    for (const char c : section) ids.push_back(static_cast<std::uint8_t>(c));
    return Ok();
  }
};

inline runtime::Tokenizer ByteTokenizer(
    std::unique_ptr<runtime::SectionEncoder> encoder = std::make_unique<ByteEncoder>()) {
  runtime::TokenizerParts parts;
  parts.encoder = std::move(encoder);
  for (int byte = 0; byte < 256; ++byte) {
    parts.bytes.Append(std::string(1, static_cast<char>(byte)));
  }
  parts.bytes.Append("<end>");
  return runtime::Tokenizer(std::move(parts));
}

}  // namespace sluice::testing
