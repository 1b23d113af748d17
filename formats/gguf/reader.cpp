#include "formats/gguf/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <unordered_set>

#include "core/checked.h"
#include "formats/byte_cursor.h"
#include "formats/lfs_pointer.h"

namespace sluice::gguf {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr std::uint64_t kMinStringBytes = 8;   // its length field
constexpr std::uint64_t kMinTensorBytes = 24;  // name length, rank, type, offset

Error Corrupt(std::string_view what) { return MakeError(ErrorCode::kCorrupt, what); }

class Cursor : public ByteCursor {
 public:
  explicit Cursor(std::span<const std::byte> file)
      : ByteCursor(file, "file ends inside its metadata",
                   "the file is truncated: download or convert it again") {}

  Result<std::string_view> String() {
    SLUICE_ASSIGN(const auto length, Number<std::uint64_t>());
    return Text(length);
  }

  // A count of things that take at least `each` bytes in the file.
  Result<std::uint64_t> Count(std::string_view what, std::uint64_t each) {
    const std::uint64_t at = offset();
    SLUICE_ASSIGN(const auto count, Number<std::uint64_t>());
    if (count > remaining() / each) {
      return Corrupt(fmt::format("impossible number of {}", what))
          .AtOffset(at)
          .Expected(fmt::format("at most {}", remaining() / each))
          .Actual(fmt::format("{}", count));
    }
    return count;
  }
};

Result<ValueType> ReadValueType(Cursor& in) {
  const std::uint64_t at = in.offset();
  SLUICE_ASSIGN(const auto number, in.Number<std::uint32_t>());
  if (number > static_cast<std::uint32_t>(ValueType::kF64)) {
    return Corrupt("unknown value type").AtOffset(at).Actual(fmt::format("{}", number));
  }
  return static_cast<ValueType>(number);
}

Result<Value> ReadArray(Cursor& in) {
  const std::uint64_t at = in.offset();
  SLUICE_ASSIGN(const ValueType type, ReadValueType(in));
  if (type == ValueType::kArray) return Corrupt("array of arrays").AtOffset(at);
  Array array(type);
  if (type == ValueType::kString) {
    SLUICE_ASSIGN(const auto count, in.Count("strings", kMinStringBytes));
    for (std::uint64_t i = 0; i < count; ++i) {
      SLUICE_ASSIGN(const auto text, in.String());
      array.Append(text);
    }
    return Value(std::move(array));
  }
  SLUICE_ASSIGN(const auto count, in.Count("array elements", ValueBytes(type)));
  SLUICE_ASSIGN(const auto bytes, in.Take(count * ValueBytes(type)));
  array.SetBytes(bytes);
  return Value(std::move(array));
}

template <typename T>
Result<Value> ReadNumber(Cursor& in) {
  SLUICE_ASSIGN(const T number, in.Number<T>());
  return Value(number);
}

Result<Value> ReadValue(Cursor& in, ValueType type) {
  switch (type) {
    case ValueType::kU8:
      return ReadNumber<std::uint8_t>(in);
    case ValueType::kI8:
      return ReadNumber<std::int8_t>(in);
    case ValueType::kU16:
      return ReadNumber<std::uint16_t>(in);
    case ValueType::kI16:
      return ReadNumber<std::int16_t>(in);
    case ValueType::kU32:
      return ReadNumber<std::uint32_t>(in);
    case ValueType::kI32:
      return ReadNumber<std::int32_t>(in);
    case ValueType::kF32:
      return ReadNumber<float>(in);
    case ValueType::kU64:
      return ReadNumber<std::uint64_t>(in);
    case ValueType::kI64:
      return ReadNumber<std::int64_t>(in);
    case ValueType::kF64:
      return ReadNumber<double>(in);
    case ValueType::kBool: {
      SLUICE_ASSIGN(const auto byte, in.Number<std::uint8_t>());
      return Value(byte != 0);
    }
    case ValueType::kString: {
      SLUICE_ASSIGN(const auto text, in.String());
      return Value(std::string(text));
    }
    case ValueType::kArray:
      return ReadArray(in);
  }
  return MakeError(ErrorCode::kBug, "value type without a reader");
}

Status ReadMetadata(Cursor& in, std::uint64_t count, Metadata& metadata) {
  std::unordered_set<std::string_view> keys;  // a file may claim millions of keys
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t at = in.offset();
    SLUICE_ASSIGN(const auto key, in.String());
    if (key.empty()) return Corrupt("empty key").AtOffset(at);
    if (!keys.insert(key).second) {
      return Corrupt(fmt::format("key '{}' stands twice", key)).AtOffset(at);
    }
    SLUICE_ASSIGN(const ValueType type, ReadValueType(in));
    SLUICE_ASSIGN(Value value, ReadValue(in, type));
    metadata.Append(key, std::move(value));
    if (key != kAlignmentKey) continue;
    if (Result<std::uint32_t> alignment = AlignmentOf(metadata); !alignment) {
      Error error = std::move(alignment).error().AtOffset(at);
      error.code = ErrorCode::kCorrupt;
      return error;
    }
  }
  return Ok();
}

Result<std::vector<std::uint64_t>> ReadShape(Cursor& in) {
  const std::uint64_t at = in.offset();
  SLUICE_ASSIGN(const auto rank, in.Number<std::uint32_t>());
  if (rank > kMaxRank) {
    return Corrupt("too many dimensions")
        .AtOffset(at)
        .Expected(fmt::format("at most {}", kMaxRank))
        .Actual(fmt::format("{}", rank));
  }
  std::vector<std::uint64_t> shape(rank);
  for (std::uint32_t i = rank; i-- > 0;) {
    SLUICE_ASSIGN(shape[i], in.Number<std::uint64_t>());
  }
  return shape;
}

Result<TensorRecord> ReadTensor(Cursor& in) {
  TensorRecord tensor;
  const std::uint64_t at = in.offset();
  SLUICE_ASSIGN(tensor.name, in.String());
  if (tensor.name.empty() || tensor.name.size() > kMaxNameBytes) {
    return Corrupt("impossible length of a tensor name")
        .AtOffset(at)
        .Expected(fmt::format("1 to {} bytes", kMaxNameBytes))
        .Actual(fmt::format("{}", tensor.name.size()));
  }
  Result<std::vector<std::uint64_t>> shape = ReadShape(in);
  if (!shape) return std::move(shape).error().At(tensor.name);
  tensor.shape = *std::move(shape);
  const std::uint64_t type_at = in.offset();
  SLUICE_ASSIGN(const auto type, in.Number<std::uint32_t>());
  const TensorTypeInfo* info = FindTensorType(type);
  if (info == nullptr) {
    return Corrupt("unknown or retired tensor type")
        .At(tensor.name)
        .AtOffset(type_at)
        .Actual(fmt::format("{}", type));
  }
  tensor.type = info->type;
  SLUICE_ASSIGN(tensor.data_offset, in.Number<std::uint64_t>());
  return tensor;
}

Status CheckNamesAreUnique(const std::vector<TensorRecord>& tensors) {
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const TensorRecord& tensor : tensors) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice == names.end()) return Ok();
  return Corrupt("the file holds this tensor twice").At(*twice);
}

// The offsets in the file must be those that a writer gives: one tensor after the other, padded.
Status CheckOffsets(Head& head, std::uint64_t file_bytes) {
  std::vector<TensorRecord> expected = head.tensors;
  Result<std::uint64_t> data_bytes = AssignOffsets(expected, head.alignment, false);
  if (!data_bytes) {
    Error error = std::move(data_bytes).error();
    error.code = ErrorCode::kCorrupt;
    return error;
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    TensorRecord& tensor = head.tensors[i];
    tensor.bytes = expected[i].bytes;
    if (tensor.data_offset != expected[i].data_offset) {
      return Corrupt("unexpected data offset")
          .At(tensor.name)
          .Expected(fmt::format("{}", expected[i].data_offset))
          .Actual(fmt::format("{}", tensor.data_offset));
    }
    if (head.data_start > file_bytes ||
        tensor.data_offset + tensor.bytes > file_bytes - head.data_start) {
      return Corrupt("data passes the end of the file")
          .At(tensor.name)
          .AtOffset(head.data_start + tensor.data_offset)
          .Expected(fmt::format("{} bytes", tensor.bytes))
          .Actual(fmt::format("a file of {} bytes", file_bytes))
          .Advice("the file is truncated: download or convert it again");
    }
  }
  return Ok();
}

// An error about a tensor without an offset of its own points to the tensor's last record.
Error Located(Error error, const std::vector<TensorRecord>& tensors,
              const std::vector<std::uint64_t>& record_offsets) {
  for (std::size_t i = tensors.size(); i-- > 0 && !error.offset.has_value();) {
    if (tensors[i].name == error.tensor) error.offset = record_offsets[i];
  }
  return error;
}

Result<std::uint32_t> ReadVersion(Cursor& in) {
  SLUICE_ASSIGN(const auto version, in.Number<std::uint32_t>());
  const bool big_endian = version != 0 && (version & 0xFFFF) == 0;
  if (version == 2 || version == 3) return version;
  return MakeError(ErrorCode::kUnsupported,
                   big_endian ? "big-endian GGUF file" : "unsupported GGUF version")
      .AtOffset(kMagic.size())
      .Expected("version 2 or 3, little endian")
      .Actual(fmt::format("{}", version));
}

Result<Head> ReadChecked(std::span<const std::byte> file) {
  Cursor in(file);
  SLUICE_ASSIGN(const auto magic, in.Take(kMagic.size()));
  if (!HasMagic(magic)) return Corrupt("no GGUF file").AtOffset(0).Expected("the magic 'GGUF'");
  Head head;
  SLUICE_ASSIGN(head.version, ReadVersion(in));
  SLUICE_ASSIGN(const auto num_tensors, in.Count("tensors", kMinTensorBytes));
  SLUICE_ASSIGN(const auto num_values, in.Count("key-values", kMinStringBytes));
  SLUICE_TRY(ReadMetadata(in, num_values, head.metadata));
  SLUICE_ASSIGN(head.alignment, AlignmentOf(head.metadata));
  std::vector<std::uint64_t> record_offsets;
  for (std::uint64_t i = 0; i < num_tensors; ++i) {
    record_offsets.push_back(in.offset());
    SLUICE_ASSIGN(TensorRecord tensor, ReadTensor(in));
    head.tensors.push_back(std::move(tensor));
  }
  head.data_start = RoundUp(in.offset(), head.alignment);
  Status checked = CheckNamesAreUnique(head.tensors);
  if (checked) checked = CheckOffsets(head, file.size());
  if (!checked) return Located(std::move(checked).error(), head.tensors, record_offsets);
  return head;
}

}  // namespace

bool HasMagic(std::span<const std::byte> file) {
  return file.size() >= kMagic.size() &&
         std::memcmp(file.data(), kMagic.data(), kMagic.size()) == 0;
}

Result<Head> ReadHead(std::span<const std::byte> file, const std::string& path) {
  if (IsLfsPointer({reinterpret_cast<const char*>(file.data()),
                    std::min(file.size(), kLfsPointerStart.size())})) {
    return LfsPointerError(path);
  }
  Result<Head> head = ReadChecked(file);
  if (!head) return std::move(head).error().In(path);
  return head;
}

Result<Head> ReadHead(const MappedFile& file) {
  Result<Head> head = ReadHead(file.bytes(), file.path());
  SLUICE_TRY(file.CheckIntact());  // first: a lost page reads as zeros
  return head;
}

}  // namespace sluice::gguf
