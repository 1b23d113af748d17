// Typed GGUF key-values: the metadata in front of a file's tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "formats/gguf/types.h"

namespace sluice::gguf {

// An array value. A vocabulary has hundreds of thousands of short strings, so strings lie in one
// block of memory rather than in one std::string each.
class Array {
 public:
  Array() = default;
  explicit Array(ValueType element_type) : type_(element_type) {}

  template <typename T>
  static Array Of(std::span<const T> values);
  static Array OfStrings(std::span<const std::string> values);

  [[nodiscard]] ValueType element_type() const { return type_; }
  [[nodiscard]] std::size_t size() const;

  // REQUIRES: element_type() is kString.
  void Append(std::string_view text);
  [[nodiscard]] std::string_view StringAt(std::size_t index) const;
  // Little-endian values one after the other. REQUIRES: element_type() is of fixed size.
  void SetBytes(std::span<const std::byte> bytes) { bytes_.assign(bytes.begin(), bytes.end()); }
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  // REQUIRES: T is the C++ type of element_type() (bool as std::uint8_t), index < size().
  template <typename T>
  [[nodiscard]] T At(std::size_t index) const;

  bool operator==(const Array&) const = default;

 private:
  ValueType type_ = ValueType::kString;
  std::vector<std::byte> bytes_;   // of fixed-size elements
  std::string text_;               // of strings, one after the other
  std::vector<std::size_t> ends_;  // end of each string in text_
};

// The alternatives stand in the order of the ValueType numbers.
using Value = std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t,
                           std::int32_t, float, bool, std::string, Array, std::uint64_t,
                           std::int64_t, double>;

[[nodiscard]] inline ValueType TypeOf(const Value& value) {
  return static_cast<ValueType>(value.index());
}

struct KeyValue {
  std::string key;
  Value value;
};

// Key-values in file order, each key once.
class Metadata {
 public:
  // Replaces the value of a present key where it stands, or appends.
  void Set(std::string_view key, Value value);
  // Appends. REQUIRES: the key is not present.
  void Append(std::string_view key, Value value);
  // Appends after removing a present key of that name.
  void MoveToEnd(std::string_view key, Value value);
  void SortByKey();

  [[nodiscard]] const Value* Find(std::string_view key) const;
  // The value if it is present and of type T.
  template <typename T>
  [[nodiscard]] const T* Get(std::string_view key) const {
    const Value* value = Find(key);
    return value == nullptr ? nullptr : std::get_if<T>(value);
  }
  [[nodiscard]] const std::vector<KeyValue>& items() const { return items_; }

 private:
  std::vector<KeyValue> items_;
};

// Text for people: strings as they are, arrays in brackets. Arrays with more than `max_items`
// elements and strings longer than `max_chars` are cut and say how much there is; 0 cuts nothing.
[[nodiscard]] std::string ToText(const Value& value, std::size_t max_items, std::size_t max_chars);

template <typename T>
Array Array::Of(std::span<const T> values) {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
  Array array(static_cast<ValueType>(Value(T{}).index()));
  array.SetBytes(std::as_bytes(values));
  return array;
}

template <typename T>
T Array::At(std::size_t index) const {
  T value;
  std::memcpy(&value, bytes_.data() + index * sizeof(T), sizeof(T));
  return value;
}

}  // namespace sluice::gguf
