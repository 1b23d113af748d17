// Header texts of safetensors files, right and wrong.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace sluice::testing {

// `"name":{"dtype":...}`, with the texts put in as they are.
inline std::string Entry(std::string_view name, std::string_view dtype, std::string_view shape,
                         std::string_view data_offsets) {
  std::string text;
  text.append("\"").append(name).append("\":{\"dtype\":\"").append(dtype);
  text.append("\",\"shape\":").append(shape);
  return text.append(",\"data_offsets\":").append(data_offsets).append("}");
}

inline std::string Object(std::initializer_list<std::string> members) {
  std::string text = "{";
  for (const std::string& member : members) {
    if (text.size() > 1) text += ',';
    text += member;
  }
  return text + "}";
}

// The size of a file with this header and so many bytes of data.
inline std::uint64_t FileBytes(std::string_view header, std::uint64_t data_bytes) {
  return sizeof(std::uint64_t) + header.size() + data_bytes;
}

}  // namespace sluice::testing
