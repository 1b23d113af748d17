#include "cli/metadata_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/utf8.h"

namespace sluice::cli {
namespace {

constexpr std::size_t kShownItems = 8;
constexpr std::size_t kShownChars = 80;

// JSON has no NaN or infinity; they become strings.
nlohmann::ordered_json RealJson(double value) {
  if (std::isfinite(value)) return value;
  return fmt::format("{}", value);
}

template <typename T>
nlohmann::ordered_json NumbersJson(const gguf::Array& array) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < array.size(); ++i) {
    if constexpr (std::is_floating_point_v<T>) {
      list.push_back(RealJson(array.At<T>(i)));
    } else {
      list.push_back(array.At<T>(i));
    }
  }
  return list;
}

nlohmann::ordered_json ArrayJson(const gguf::Array& array) {
  switch (array.element_type()) {
    case gguf::ValueType::kU8:
      return NumbersJson<std::uint8_t>(array);
    case gguf::ValueType::kI8:
      return NumbersJson<std::int8_t>(array);
    case gguf::ValueType::kU16:
      return NumbersJson<std::uint16_t>(array);
    case gguf::ValueType::kI16:
      return NumbersJson<std::int16_t>(array);
    case gguf::ValueType::kU32:
      return NumbersJson<std::uint32_t>(array);
    case gguf::ValueType::kI32:
      return NumbersJson<std::int32_t>(array);
    case gguf::ValueType::kU64:
      return NumbersJson<std::uint64_t>(array);
    case gguf::ValueType::kI64:
      return NumbersJson<std::int64_t>(array);
    case gguf::ValueType::kF32:
      return NumbersJson<float>(array);
    case gguf::ValueType::kF64:
      return NumbersJson<double>(array);
    case gguf::ValueType::kBool: {
      nlohmann::ordered_json list = nlohmann::ordered_json::array();
      for (std::size_t i = 0; i < array.size(); ++i) list.push_back(array.At<std::uint8_t>(i) != 0);
      return list;
    }
    case gguf::ValueType::kString: {
      nlohmann::ordered_json list = nlohmann::ordered_json::array();
      for (std::size_t i = 0; i < array.size(); ++i) list.push_back(array.StringAt(i));
      return list;
    }
    case gguf::ValueType::kArray:
      break;  // the reader refuses arrays of arrays
  }
  return nullptr;
}

}  // namespace

nlohmann::ordered_json ValueJson(const gguf::Value& value) {
  return std::visit(
      [](const auto& held) -> nlohmann::ordered_json {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, gguf::Array>) {
          return ArrayJson(held);
        } else if constexpr (std::is_floating_point_v<T>) {
          return RealJson(held);
        } else {
          return held;
        }
      },
      value);
}

nlohmann::ordered_json MetadataJson(const gguf::Metadata& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const gguf::KeyValue& item : metadata.items()) {
    nlohmann::ordered_json& entry = json[item.key];
    entry["type"] = gguf::ValueTypeName(gguf::TypeOf(item.value));
    if (const auto* array = std::get_if<gguf::Array>(&item.value)) {
      entry["of"] = gguf::ValueTypeName(array->element_type());
    }
    entry["value"] = ValueJson(item.value);
  }
  return json;
}

void PrintMetadata(const gguf::Metadata& metadata) {
  for (const gguf::KeyValue& item : metadata.items()) {
    std::string type(gguf::ValueTypeName(gguf::TypeOf(item.value)));
    if (const auto* array = std::get_if<gguf::Array>(&item.value)) {
      type = fmt::format("{}[{}]", gguf::ValueTypeName(array->element_type()), array->size());
    }
    fmt::print("{:<44} {:>12}  {}\n", Printable(item.key), type,
               Printable(gguf::ToText(item.value, kShownItems, kShownChars)));
  }
}

std::string DumpJson(const nlohmann::ordered_json& json) {
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace sluice::cli
