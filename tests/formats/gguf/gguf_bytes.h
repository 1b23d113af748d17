// GGUF files put together byte by byte, without the writer under test.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace sluice::testing {

// Appends little-endian fields; each call returns the object, so that a record reads as one line.
class GgufBytes {
 public:
  template <typename T>
  GgufBytes& Number(T value) {
    static_assert(std::endian::native == std::endian::little && std::is_arithmetic_v<T>);
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    text_.append(bytes, sizeof value);
    return *this;
  }
  GgufBytes& U8(std::uint8_t value) { return Number(value); }
  GgufBytes& U32(std::uint32_t value) { return Number(value); }
  GgufBytes& U64(std::uint64_t value) { return Number(value); }
  GgufBytes& Raw(std::string_view bytes) {
    text_ += bytes;
    return *this;
  }
  GgufBytes& String(std::string_view text) { return U64(text.size()).Raw(text); }

  // Magic, version, counts.
  GgufBytes& Start(std::uint64_t num_tensors, std::uint64_t num_values, std::uint32_t version = 3) {
    return Raw("GGUF").U32(version).U64(num_tensors).U64(num_values);
  }
  // A key and the number of its value's type; the value follows.
  GgufBytes& Key(std::string_view key, std::uint32_t type) { return String(key).U32(type); }
  // `ne` is innermost extent first, as in the file.
  GgufBytes& Tensor(std::string_view name, std::vector<std::uint64_t> ne, std::uint32_t type,
                    std::uint64_t data_offset) {
    String(name).U32(static_cast<std::uint32_t>(ne.size()));
    for (const std::uint64_t extent : ne) U64(extent);
    return U32(type).U64(data_offset);
  }
  GgufBytes& PadTo(std::size_t alignment) {
    while (text_.size() % alignment != 0) text_ += '\0';
    return *this;
  }

  [[nodiscard]] std::uint64_t size() const { return text_.size(); }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return std::as_bytes(std::span(text_)); }

 private:
  std::string text_;
};

// A small valid file: two key-values, two tensors, alignment 32, data of 4 and 34 bytes.
inline GgufBytes SmallGguf() {
  GgufBytes file;
  file.Start(2, 2);
  file.Key("general.architecture", 8).String("llama");
  file.Key("tokenizer.ggml.tokens", 9).U32(8).U64(2).String("a").String("bc");
  file.Tensor("norm.weight", {1}, 0, 0);
  file.Tensor("blk.0.weight", {32, 1}, 8, 32);
  file.PadTo(32).Raw("1234").PadTo(32).Raw(std::string(34, 'q'));
  return file;
}

}  // namespace sluice::testing
