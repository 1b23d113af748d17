#include "formats/json/json.h"

#include <fmt/format.h>

#include <unordered_set>
#include <utility>

#include "core/file.h"
#include "core/path.h"
#include "formats/lfs_pointer.h"

namespace sluice::json {
namespace {

template <typename T>
std::optional<T> As(std::optional<Element> element) {
  T value;
  if (!element || element->get(value) != simdjson::SUCCESS) return std::nullopt;
  return value;
}

// The dotted path of a key that stands twice in one object; nullopt when there is none. The parser
// has limited the depth.
std::optional<std::string> FindKeyTwice(Element element) {
  if (const auto array = AsArray(element)) {
    for (const Element item : *array) {
      if (auto twice = FindKeyTwice(item)) return twice;
    }
  }
  const auto object = AsObject(element);
  if (!object) return std::nullopt;
  std::unordered_set<std::string_view> keys;
  keys.reserve(object->size());
  for (const auto [key, value] : *object) {
    if (!keys.insert(key).second) return std::string(key);
    if (const auto twice = FindKeyTwice(value)) return fmt::format("{}.{}", key, *twice);
  }
  return std::nullopt;
}

}  // namespace

Result<Document> Document::Load(const std::string& path, std::uint64_t max_bytes) {
  SLUICE_ASSIGN(const std::string text, ReadWholeFile(path, max_bytes));
  if (IsLfsPointer(text)) return LfsPointerError(path);
  SLUICE_ASSIGN(Document document, Parse(text, path));
  if (const auto twice = FindKeyTwice(document.root())) {
    return MakeError(ErrorCode::kCorrupt, fmt::format("the key '{}' stands twice", *twice))
        .In(path)
        .Advice("remove one of the two: readers of JSON disagree on which one counts");
  }
  return document;
}

Result<std::optional<Document>> Document::LoadIfPresent(const std::string& path,
                                                        std::uint64_t max_bytes) {
  if (!IsPresent(path)) return std::optional<Document>();
  SLUICE_ASSIGN(Document document, Load(path, max_bytes));
  return std::optional<Document>(std::move(document));
}

Result<Document> Document::Parse(std::string_view text, const std::string& path) {
  Document document;
  document.path_ = path;
  document.parser_ = std::make_unique<simdjson::dom::parser>();
  // parse() copies the text to add the padding that simdjson reads past its end.
  const simdjson::error_code error =
      document.parser_->parse(text.data(), text.size()).get(document.root_);
  if (error != simdjson::SUCCESS) {
    return MakeError(ErrorCode::kCorrupt, "not valid JSON")
        .In(path)
        .Actual(simdjson::error_message(error));
  }
  return document;
}

std::optional<Element> Find(Element object, std::string_view key) {
  Element member;
  if (!object.is_object()) return std::nullopt;
  if (object.at_key(key).get(member) != simdjson::SUCCESS || member.is_null()) return std::nullopt;
  return member;
}

std::optional<Element> FindPath(Element object, std::string_view dotted_path) {
  std::optional<Element> found = object;
  while (found && !dotted_path.empty()) {
    const std::size_t dot = dotted_path.find('.');
    found = Find(*found, dotted_path.substr(0, dot));
    dotted_path = dot == std::string_view::npos ? "" : dotted_path.substr(dot + 1);
  }
  return found;
}

std::optional<std::string_view> AsString(std::optional<Element> element) {
  return As<std::string_view>(element);
}
std::optional<bool> AsBool(std::optional<Element> element) { return As<bool>(element); }
std::optional<std::int64_t> AsInteger(std::optional<Element> element) {
  return As<std::int64_t>(element);
}
std::optional<Array> AsArray(std::optional<Element> element) { return As<Array>(element); }
std::optional<Object> AsObject(std::optional<Element> element) { return As<Object>(element); }

std::string_view TypeName(Element element) {
  switch (element.type()) {
    case simdjson::dom::element_type::ARRAY:
      return "an array";
    case simdjson::dom::element_type::OBJECT:
      return "an object";
    case simdjson::dom::element_type::INT64:
    case simdjson::dom::element_type::UINT64:
      return "an integer";
    case simdjson::dom::element_type::DOUBLE:
      return "a fraction";
    case simdjson::dom::element_type::STRING:
      return "a string";
    case simdjson::dom::element_type::BOOL:
      return "a boolean";
    case simdjson::dom::element_type::NULL_VALUE:
      return "null";
  }
  return "an unknown type";
}

}  // namespace sluice::json
