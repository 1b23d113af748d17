#include "runtime/text/json_text.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdlib>

namespace sluice::runtime {
namespace {

// Writing and copying recurse; a request must not decide how deep.
constexpr int kMaxDepth = 128;

// Python's repr of a float: the shortest digits that read back the same, with an exponent from
// 1e16 on and below 1e-4.
std::string PythonFloat(double number) {
  constexpr int kFirstLargeExponent = 16;
  constexpr int kLastSmallExponent = -5;
  std::array<char, 400> text{};
  const auto write = [&](std::chars_format format) {
    const auto end = std::to_chars(text.data(), text.data() + text.size(), number, format).ptr;
    return std::string(text.data(), end);
  };
  const std::string scientific = write(std::chars_format::scientific);
  const std::size_t e = scientific.find('e');
  if (e == std::string::npos) return scientific;  // JSON has no infinities; numbers overflow to one
  const int exponent = std::atoi(scientific.c_str() + e + 1);
  if (exponent >= kFirstLargeExponent || exponent <= kLastSmallExponent) return scientific;
  const std::string fixed = write(std::chars_format::fixed);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

void Append(const Json& value, std::string& out) {
  if (value.is_object()) {
    out += '{';
    for (auto member = value.begin(); member != value.end(); ++member) {
      if (member != value.begin()) out += ", ";
      out += Json(member.key()).dump();
      out += ": ";
      Append(*member, out);
    }
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (i != 0) out += ", ";
      Append(value[i], out);
    }
    out += ']';
  } else if (value.is_number_float()) {
    out += PythonFloat(value.get<double>());
  } else {
    out += value.dump();
  }
}

}  // namespace

Result<Json> ParseJson(std::string_view text) {
  bool too_deep = false;
  const auto watch_depth = [&](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > kMaxDepth;
    return !too_deep;
  };
  try {
    Json value = Json::parse(text, watch_depth);
    if (!too_deep) return value;
  } catch (const Json::exception& exception) {
    return MakeError(ErrorCode::kCorrupt, "not valid JSON").Actual(exception.what());
  }
  return MakeError(ErrorCode::kCorrupt, "JSON is nested too deeply")
      .Expected(fmt::format("at most {} levels", kMaxDepth));
}

const Json* Member(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const Json* Member(const Json* object, const std::string& key) {
  return object == nullptr ? nullptr : Member(*object, key);
}

std::string PythonJson(const Json& value) {
  std::string out;
  Append(value, out);
  return out;
}

}  // namespace sluice::runtime
