// JSON documents read from files, on simdjson's DOM.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace sluice::json {

using Element = simdjson::dom::element;
using Array = simdjson::dom::array;
using Object = simdjson::dom::object;

// A parsed document; Elements taken from it live as long as it does.
class Document {
 public:
  // Reads and parses a file of at most `max_bytes`. kMissing, kCorrupt (not JSON; a Git LFS
  // pointer; an object that names a key twice, of which readers of JSON take either), kIo.
  static Result<Document> Load(const std::string& path, std::uint64_t max_bytes);
  // The same; nullopt when nothing has this name.
  static Result<std::optional<Document>> LoadIfPresent(const std::string& path,
                                                       std::uint64_t max_bytes);
  // `path` is only used in error messages.
  static Result<Document> Parse(std::string_view text, const std::string& path);

  [[nodiscard]] Element root() const { return root_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::unique_ptr<simdjson::dom::parser> parser_;  // Elements point into it
  Element root_;
  std::string path_;
};

// A member of an object; nullopt when `object` is no object, the key is absent, or it is null.
[[nodiscard]] std::optional<Element> Find(Element object, std::string_view key);
// The same along a dotted path: "text_config.hidden_size".
[[nodiscard]] std::optional<Element> FindPath(Element object, std::string_view dotted_path);

// The value as a string or bool; nullopt when it is of another type.
[[nodiscard]] std::optional<std::string_view> AsString(std::optional<Element> element);
[[nodiscard]] std::optional<bool> AsBool(std::optional<Element> element);
[[nodiscard]] std::optional<std::int64_t> AsInteger(std::optional<Element> element);
[[nodiscard]] std::optional<Array> AsArray(std::optional<Element> element);
[[nodiscard]] std::optional<Object> AsObject(std::optional<Element> element);

// "a string", "an array", ...: for messages.
[[nodiscard]] std::string_view TypeName(Element element);

}  // namespace sluice::json
