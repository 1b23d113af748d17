#include "formats/gguf/value.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/utf8.h"

namespace sluice::gguf {
namespace {

std::string Shortened(std::string_view text, std::size_t max_chars) {
  if (max_chars == 0 || text.size() <= max_chars) return std::string(text);
  return fmt::format("{}... ({} bytes)", Utf8Prefix(text, max_chars), text.size());
}

template <typename T>
std::string NumberText(T value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else {
    return fmt::format("{}", value);
  }
}

std::string ElementText(const Array& array, std::size_t index, std::size_t max_chars) {
  switch (array.element_type()) {
    case ValueType::kU8:
      return NumberText(array.At<std::uint8_t>(index));
    case ValueType::kI8:
      return NumberText(array.At<std::int8_t>(index));
    case ValueType::kU16:
      return NumberText(array.At<std::uint16_t>(index));
    case ValueType::kI16:
      return NumberText(array.At<std::int16_t>(index));
    case ValueType::kU32:
      return NumberText(array.At<std::uint32_t>(index));
    case ValueType::kI32:
      return NumberText(array.At<std::int32_t>(index));
    case ValueType::kF32:
      return NumberText(array.At<float>(index));
    case ValueType::kBool:
      return NumberText(array.At<std::uint8_t>(index) != 0);
    case ValueType::kString:
      return fmt::format("\"{}\"", Shortened(array.StringAt(index), max_chars));
    case ValueType::kU64:
      return NumberText(array.At<std::uint64_t>(index));
    case ValueType::kI64:
      return NumberText(array.At<std::int64_t>(index));
    case ValueType::kF64:
      return NumberText(array.At<double>(index));
    case ValueType::kArray:
      break;  // the reader refuses arrays of arrays
  }
  return "?";
}

std::string ArrayText(const Array& array, std::size_t max_items, std::size_t max_chars) {
  const std::size_t shown = max_items == 0 ? array.size() : std::min(array.size(), max_items);
  std::string text = "[";
  for (std::size_t i = 0; i < shown; ++i) {
    if (i > 0) text += ", ";
    text += ElementText(array, i, max_chars);
  }
  if (shown < array.size()) text += fmt::format(", ... ({} elements)", array.size());
  return text + "]";
}

}  // namespace

Array Array::OfStrings(std::span<const std::string> values) {
  Array array(ValueType::kString);
  for (const std::string& value : values) array.Append(value);
  return array;
}

std::size_t Array::size() const {
  return type_ == ValueType::kString ? ends_.size() : bytes_.size() / ValueBytes(type_);
}

void Array::Append(std::string_view text) {
  text_ += text;
  ends_.push_back(text_.size());
}

std::string_view Array::StringAt(std::size_t index) const {
  const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
  return std::string_view(text_).substr(begin, ends_[index] - begin);
}

void Metadata::Set(std::string_view key, Value value) {
  const auto found = std::find_if(items_.begin(), items_.end(),
                                  [&](const KeyValue& item) { return item.key == key; });
  if (found != items_.end()) {
    found->value = std::move(value);
  } else {
    Append(key, std::move(value));
  }
}

void Metadata::Append(std::string_view key, Value value) {
  items_.push_back({std::string(key), std::move(value)});
}

void Metadata::MoveToEnd(std::string_view key, Value value) {
  std::erase_if(items_, [&](const KeyValue& item) { return item.key == key; });
  Append(key, std::move(value));
}

void Metadata::SortByKey() {
  std::sort(items_.begin(), items_.end(),
            [](const KeyValue& a, const KeyValue& b) { return a.key < b.key; });
}

const Value* Metadata::Find(std::string_view key) const {
  for (const KeyValue& item : items_) {
    if (item.key == key) return &item.value;
  }
  return nullptr;
}

std::string ToText(const Value& value, std::size_t max_items, std::size_t max_chars) {
  return std::visit(
      [&](const auto& held) -> std::string {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, std::string>) {
          return Shortened(held, max_chars);
        } else if constexpr (std::is_same_v<T, Array>) {
          return ArrayText(held, max_items, max_chars);
        } else {
          return NumberText(held);
        }
      },
      value);
}

}  // namespace sluice::gguf
