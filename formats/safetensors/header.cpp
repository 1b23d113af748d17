#include "formats/safetensors/header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "core/checked.h"
#include "core/shape.h"
#include "formats/json/json.h"
#include "formats/lfs_pointer.h"

namespace sluice::safetensors {
namespace {

constexpr std::uint64_t kLengthBytes = sizeof(std::uint64_t);
constexpr std::string_view kMetadataKey = "__metadata__";

Error Corrupt(std::string_view what) { return MakeError(ErrorCode::kCorrupt, what); }

Result<Dtype> ReadDtype(json::Element entry) {
  const auto name = json::AsString(json::Find(entry, "dtype"));
  if (!name) return Corrupt("dtype is missing or no string");
  const std::optional<Dtype> dtype = ParseDtype(*name);
  if (!dtype) {
    return MakeError(ErrorCode::kUnsupported, "unknown dtype").Actual(fmt::format("'{}'", *name));
  }
  return *dtype;
}

Result<std::vector<std::uint64_t>> ReadCounts(json::Element entry, std::string_view key) {
  const auto array = json::AsArray(json::Find(entry, key));
  if (!array) return Corrupt(fmt::format("{} is missing or no array", key));
  std::vector<std::uint64_t> counts;
  counts.reserve(array->size());
  for (const json::Element item : *array) {
    std::uint64_t count = 0;
    if (item.get(count) != simdjson::SUCCESS) {
      return Corrupt(fmt::format("{} holds something that is no count", key))
          .Expected("integers from 0 to 2^64 - 1")
          .Actual(simdjson::minify(item));
    }
    counts.push_back(count);
  }
  return counts;
}

// Readers of JSON disagree on which of two equal keys counts.
Status CheckFieldsAreUnique(json::Element entry) {
  static constexpr std::array<std::string_view, 3> kFields{"dtype", "shape", "data_offsets"};
  std::array<int, kFields.size()> counts{};
  const auto object = json::AsObject(entry);
  if (!object) return Ok();  // what is missing is reported by name
  for (const auto [key, value] : *object) {
    const auto field = std::find(kFields.begin(), kFields.end(), key);
    if (field == kFields.end()) continue;
    if (++counts[static_cast<std::size_t>(field - kFields.begin())] > 1) {
      return Corrupt(fmt::format("{} stands twice", key));
    }
  }
  return Ok();
}

Result<TensorInfo> ReadEntry(json::Element entry, std::uint64_t data_start,
                             std::uint64_t data_bytes) {
  TensorInfo tensor;
  SLUICE_TRY(CheckFieldsAreUnique(entry));
  SLUICE_ASSIGN(tensor.dtype, ReadDtype(entry));
  SLUICE_ASSIGN(tensor.shape, ReadCounts(entry, "shape"));
  SLUICE_ASSIGN(const std::vector<std::uint64_t> range, ReadCounts(entry, "data_offsets"));
  if (range.size() != 2 || range[0] > range[1]) {
    return Corrupt("data_offsets is no [begin, end) pair")
        .Actual(fmt::format("[{}]", fmt::join(range, ", ")));
  }
  if (range[1] > data_bytes) {
    return Corrupt("data range passes the end of the file")
        .AtOffset(data_start + std::min(range[0], data_bytes))
        .Expected(fmt::format("at most {} bytes of data", data_bytes))
        .Actual(fmt::format("a range that ends at {}", range[1]))
        .Advice("the file is truncated: download or copy it again");
  }
  tensor.offset = data_start + range[0];
  tensor.bytes = range[1] - range[0];
  const auto elements = CheckedProduct(tensor.shape);
  const auto bytes = elements ? CheckedMul(*elements, DtypeBytes(tensor.dtype)) : std::nullopt;
  if (bytes != tensor.bytes) {
    return Corrupt("shape and data range disagree")
        .AtOffset(tensor.offset)
        .Expected(bytes ? fmt::format("{} bytes for {} {}", *bytes, DtypeName(tensor.dtype),
                                      ShapeText(tensor.shape))
                        : "a shape whose size fits 64 bits")
        .Actual(fmt::format("{} bytes", tensor.bytes));
  }
  return tensor;
}

void ReadMetadata(json::Element entry, Header& header) {
  const auto object = json::AsObject(entry);
  if (!object) return;
  for (const auto [key, value] : *object) {
    if (const auto text = json::AsString(value)) header.metadata.emplace_back(key, *text);
  }
}

Status CheckNamesAreUnique(const std::vector<TensorInfo>& by_name) {
  const auto twice =
      std::adjacent_find(by_name.begin(), by_name.end(),
                         [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice == by_name.end()) return Ok();
  return Corrupt("the header names this tensor twice").At(twice->name);
}

// The ranges, sorted by offset, must follow each other and end with the file.
Status CheckRangesTile(const std::vector<TensorInfo>& tensors, std::uint64_t data_start,
                       std::uint64_t file_bytes) {
  std::vector<const TensorInfo*> by_offset;
  by_offset.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(), [](const auto* a, const auto* b) {
    return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
  });
  std::uint64_t end = data_start;
  for (const TensorInfo* tensor : by_offset) {
    if (tensor->offset != end) {
      return Corrupt(tensor->offset < end ? "data ranges overlap"
                                          : "data ranges leave a gap before this tensor")
          .At(tensor->name)
          .AtOffset(tensor->offset)
          .Expected(fmt::format("a range that begins at {}", end - data_start))
          .Actual(fmt::format("{}", tensor->offset - data_start));
    }
    end += tensor->bytes;
  }
  if (end != file_bytes) {
    return Corrupt("bytes after the last tensor")
        .AtOffset(end)
        .Expected(fmt::format("a file of {} bytes", end))
        .Actual(fmt::format("{} bytes", file_bytes));
  }
  return Ok();
}

Result<Header> ParseEntries(json::Object root, std::uint64_t data_start, std::uint64_t file_bytes) {
  Header header;
  for (const auto [name, entry] : root) {
    if (name == kMetadataKey) {
      ReadMetadata(entry, header);
      continue;
    }
    Result<TensorInfo> tensor = ReadEntry(entry, data_start, file_bytes - data_start);
    if (!tensor) return std::move(tensor).error().At(name);
    tensor->name = name;
    header.tensors.push_back(*std::move(tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  SLUICE_TRY(CheckNamesAreUnique(header.tensors));
  SLUICE_TRY(CheckRangesTile(header.tensors, data_start, file_bytes));
  return header;
}

}  // namespace

Result<Header> ParseHeader(std::string_view json, std::uint64_t file_bytes,
                           const std::string& path) {
  if (file_bytes < kLengthBytes || json.size() > file_bytes - kLengthBytes) {
    return Corrupt("file ends inside the header")
        .In(path)
        .Expected(fmt::format("at least {} bytes", kLengthBytes + json.size()))
        .Actual(fmt::format("{} bytes", file_bytes));
  }
  SLUICE_ASSIGN(const json::Document document, json::Document::Parse(json, path));
  const auto root = json::AsObject(document.root());
  if (!root) {
    return Corrupt("header is no JSON object")
        .In(path)
        .AtOffset(kLengthBytes)
        .Actual(json::TypeName(document.root()));
  }
  Result<Header> header = ParseEntries(*root, kLengthBytes + json.size(), file_bytes);
  if (!header) return std::move(header).error().In(path);
  return header;
}

Result<Header> ReadHeader(const File& file) {
  SLUICE_ASSIGN(const std::uint64_t file_bytes, file.Size());
  std::array<char, kLfsPointerStart.size()> start{};
  const std::size_t start_bytes = std::min<std::uint64_t>(start.size(), file_bytes);
  SLUICE_TRY(file.ReadAt(0, std::as_writable_bytes(std::span(start).first(start_bytes))));
  if (IsLfsPointer({start.data(), start_bytes})) return LfsPointerError(file.path());
  if (file_bytes < kLengthBytes) {
    return Corrupt("file ends inside the header length")
        .In(file.path())
        .Expected("at least 8 bytes")
        .Actual(fmt::format("{} bytes", file_bytes))
        .Advice("the file is truncated: download or copy it again");
  }
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, start.data(), kLengthBytes);
  if (header_bytes == 0 || header_bytes > kMaxHeaderBytes ||
      header_bytes > file_bytes - kLengthBytes) {
    return Corrupt("impossible header length")
        .In(file.path())
        .AtOffset(0)
        .Expected(
            fmt::format("1 to {} bytes", std::min(kMaxHeaderBytes, file_bytes - kLengthBytes)))
        .Actual(fmt::format("{}", header_bytes))
        .Advice("this is no safetensors file, or it is truncated: download it again");
  }
  std::string json(header_bytes, '\0');
  SLUICE_TRY(file.ReadAt(kLengthBytes, std::as_writable_bytes(std::span(json))));
  return ParseHeader(json, file_bytes, file.path());
}

}  // namespace sluice::safetensors
