#include "runtime/text/glm_tool_call.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/utf8.h"
#include "runtime/text/glm_prompt.h"

namespace sluice::runtime {
namespace {

// The marks of arguments in the order in which they come round.
constexpr std::array kCycle{glm::kArgKey, glm::kEndArgKey, glm::kArgValue, glm::kEndArgValue};
enum Mark : std::size_t { kOpenKey, kCloseKey, kOpenValue, kCloseValue };

struct FoundMark {
  std::size_t offset = 0;
  Mark mark = kOpenKey;
};

std::optional<FoundMark> NextMark(std::string_view text, std::size_t from) {
  for (std::size_t at = text.find('<', from); at != std::string_view::npos;
       at = text.find('<', at + 1)) {
    for (std::size_t mark = 0; mark < kCycle.size(); ++mark) {
      if (text.substr(at).starts_with(kCycle[mark])) return FoundMark{at, static_cast<Mark>(mark)};
    }
  }
  return std::nullopt;
}

struct RawArgument {
  std::string_view key;
  std::string_view value;
};
struct RawCall {
  std::string_view name;
  std::vector<RawArgument> arguments;
};

// What stands between two marks with which `text` begins; leaves what follows them in `text`.
std::optional<std::string_view> TakeElement(std::string_view& text, std::string_view open,
                                            std::string_view close) {
  const std::string_view rest = TrimLeft(text);
  if (!rest.starts_with(open)) return std::nullopt;
  const std::size_t end = rest.find(close, open.size());
  if (end == std::string_view::npos) return std::nullopt;
  text = rest.substr(end + close.size());
  return rest.substr(open.size(), end - open.size());
}

// Whether a value has swallowed the next argument, because its own end mark is missing. A mark
// alone may be what the value is about.
bool HoldsArgument(std::string_view value) {
  const std::size_t key = value.find(glm::kArgKey);
  return key != std::string_view::npos && (value.find(glm::kEndArgKey, key) != value.npos ||
                                           value.find(glm::kArgValue, key) != value.npos);
}

// A call with all its marks; values are the exact text between theirs. nullopt for any other.
std::optional<RawCall> ReadPlain(std::string_view text) {
  const std::size_t name_bytes = std::min(text.find(glm::kArgKey), text.size());
  RawCall call{Trim(text.substr(0, name_bytes)), {}};
  if (NextMark(call.name, 0)) return std::nullopt;
  text.remove_prefix(name_bytes);
  while (!TrimLeft(text).empty()) {
    const auto key = TakeElement(text, glm::kArgKey, glm::kEndArgKey);
    if (!key || NextMark(*key, 0)) return std::nullopt;
    const auto value = TakeElement(text, glm::kArgValue, glm::kEndArgValue);
    if (!value || HoldsArgument(*value)) return std::nullopt;
    call.arguments.push_back({*key, *value});
  }
  return call;
}

// Keys and values in the order of their marks. A mark that is not the next of the cycle is reached
// by putting the ones between in: text in front of it belongs to the element that is open then.
class ArgumentReader {
 public:
  void Read(std::string_view text_before, Mark mark) {
    pending_ = text_before;
    while (expected_ != mark) Advance();
    Advance();
  }
  // What stands after the last mark closes an element that is open.
  void Finish(std::string_view rest) {
    pending_ = rest;
    if (expected_ == kCloseKey || expected_ == kCloseValue) Advance();
  }

  std::vector<std::string_view> keys;
  std::vector<std::string_view> values;

 private:
  void Advance() {
    if (expected_ == kCloseKey || expected_ == kCloseValue) {
      (expected_ == kCloseKey ? keys : values).push_back(pending_);
      pending_ = {};
    }
    expected_ = static_cast<Mark>((expected_ + 1) % kCycle.size());
  }

  Mark expected_ = kOpenKey;
  std::string_view pending_;
};

// A call whose missing marks are put in. nullopt where an argument is left without a value.
std::optional<RawCall> ReadRepaired(std::string_view text) {
  auto found = NextMark(text, 0);
  std::string_view head = text.substr(0, found ? found->offset : text.size());
  std::string_view before;  // of the first mark, behind the name
  if (found && found->mark != kOpenKey) {
    head = TrimLeft(head);
    const std::size_t blank = std::min(head.find_first_of(" \t\r\n"), head.size());
    before = head.substr(blank);
    head = head.substr(0, blank);
  }
  ArgumentReader reader;
  std::size_t at = 0;
  while (found) {
    reader.Read(before, found->mark);
    at = found->offset + kCycle[found->mark].size();
    found = NextMark(text, at);
    if (found) before = text.substr(at, found->offset - at);
  }
  if (at > 0) reader.Finish(text.substr(at));
  if (reader.keys.size() != reader.values.size()) return std::nullopt;
  RawCall call{Trim(head), {}};
  for (std::size_t i = 0; i < reader.keys.size(); ++i) {
    call.arguments.push_back({reader.keys[i], reader.values[i]});
  }
  return call;
}

void AddTypes(const Json* schema, std::set<std::string>& types) {
  const Json* type = Member(schema, "type");
  if (type != nullptr && type->is_string()) types.insert(type->get<std::string>());
  if (type != nullptr && type->is_array()) {
    for (const Json& item : *type) {
      if (item.is_string()) types.insert(item.get<std::string>());
    }
  }
  for (const char* key : {"anyOf", "oneOf"}) {
    const Json* alternatives = Member(schema, key);
    if (alternatives == nullptr || !alternatives->is_array()) continue;
    for (const Json& alternative : *alternatives) AddTypes(&alternative, types);
  }
}

bool EqualsIgnoringCase(std::string_view text, std::string_view lower) {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; });
}

template <typename T>
std::optional<T> ParseNumber(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Numbers without a fraction become integers as far as doubles hold all of them.
std::optional<Json> ParseAnyNumber(std::string_view text) {
  constexpr double kAllIntegersBelow = 9007199254740992.0;  // 2^53
  const auto number = ParseNumber<double>(text);
  if (!number || !std::isfinite(*number)) return std::nullopt;
  if (std::trunc(*number) == *number && std::fabs(*number) < kAllIntegersBelow) {
    return Json(static_cast<std::int64_t>(*number));
  }
  return Json(*number);
}

std::string_view WithoutOuterNewlines(std::string_view text) {
  if (text.starts_with('\n')) text.remove_prefix(1);
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

// The parameter schema of a function's argument.
const Json* SchemaOf(const Json* function, const std::string& argument) {
  return Member(Member(Member(function, "parameters"), "properties"), argument);
}

}  // namespace

Json TypedArgument(std::string_view text, const Json* schema) {
  text = WithoutOuterNewlines(text);
  std::set<std::string> types;
  AddTypes(schema, types);
  const bool only_string = types == std::set<std::string>{"string"};
  const std::string_view trimmed = Trim(text);
  if (!only_string && EqualsIgnoringCase(trimmed, "null")) return nullptr;
  if (types.count("boolean") != 0) {
    if (EqualsIgnoringCase(trimmed, "true")) return true;
    if (EqualsIgnoringCase(trimmed, "false")) return false;
  }
  if (types.count("integer") != 0) {
    if (const auto number = ParseNumber<std::int64_t>(trimmed)) return *number;
  }
  if (types.count("number") != 0) {
    if (auto number = ParseAnyNumber(trimmed)) return *std::move(number);
  }
  if (types.count("array") != 0 || types.count("object") != 0) {
    Result<Json> value = ParseJson(trimmed);
    if (value && ((value->is_array() && types.count("array") != 0) ||
                  (value->is_object() && types.count("object") != 0))) {
      return *std::move(value);
    }
  }
  return std::string(text);
}

bool IsPlainGlmToolCall(std::string_view text) { return ReadPlain(text).has_value(); }

Result<ToolCall> ParseGlmToolCall(std::string_view text, std::span<const Json> tools) {
  const auto corrupt = [&](std::string_view what) {
    return MakeError(ErrorCode::kCorrupt, what).Actual(text);
  };
  const std::optional<RawCall> plain = ReadPlain(text);
  const std::optional<RawCall> read = plain ? plain : ReadRepaired(text);
  if (!read) return corrupt("the model's tool call has an argument without a value");
  ToolCall call;
  call.name = read->name;
  if (call.name.empty()) return corrupt("the model's tool call has no name");
  const Json* function = FindFunction(tools, call.name);
  for (const RawArgument& argument : read->arguments) {
    const std::string key(Trim(argument.key));
    if (key.empty()) return corrupt("the model's tool call has an argument without a name");
    call.arguments[key] = TypedArgument(argument.value, SchemaOf(function, key));
  }
  return call;
}
bool HasAllItRequires(const ToolCall& call, std::span<const Json> tools) {
  const Json* function = FindFunction(tools, call.name);
  if (function == nullptr) return false;
  const Json* required = Member(Member(function, "parameters"), "required");
  if (required == nullptr || !required->is_array()) return true;
  return std::all_of(required->begin(), required->end(), [&](const Json& name) {
    return name.is_string() && call.arguments.contains(name.get<std::string>());
  });
}

}  // namespace sluice::runtime
