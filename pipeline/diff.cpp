#include "pipeline/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "core/mapped_file.h"
#include "core/shape.h"
#include "formats/gguf/reader.h"
#include "pipeline/inspect.h"

namespace sluice {
namespace {

using Kind = Difference::Kind;

constexpr std::size_t kShownItems = 8;
constexpr std::size_t kShownChars = 80;
constexpr std::size_t kTileElements = 16384;

struct GgufFile {
  MappedFile file;
  gguf::Head head;
};

Result<GgufFile> OpenGguf(const std::string& path) {
  SLUICE_ASSIGN(MappedFile file, MappedFile::Open(path));
  SLUICE_ASSIGN(gguf::Head head, gguf::ReadHead(file));
  return GgufFile{std::move(file), std::move(head)};
}

using ValuesByKey = std::unordered_map<std::string_view, const gguf::Value*>;
ValuesByKey IndexValues(const gguf::Metadata& metadata) {
  ValuesByKey index;
  for (const gguf::KeyValue& item : metadata.items()) index.emplace(item.key, &item.value);
  return index;
}

void DiffMetadata(const gguf::Metadata& a, const gguf::Metadata& b,
                  std::vector<Difference>& found) {
  const ValuesByKey in_a = IndexValues(a);
  const ValuesByKey in_b = IndexValues(b);
  for (const gguf::KeyValue& item : a.items()) {
    const auto other = in_b.find(item.key);
    if (other == in_b.end()) {
      found.push_back({Kind::kKeyValue, item.key, "only in A", TypedText(item.value), "", {}});
    } else if (item.value != *other->second) {
      found.push_back({Kind::kKeyValue,
                       item.key,
                       "value",
                       TypedText(item.value),
                       TypedText(*other->second),
                       {}});
    }
  }
  for (const gguf::KeyValue& item : b.items()) {
    if (!in_a.contains(item.key)) {
      found.push_back({Kind::kKeyValue, item.key, "only in B", "", TypedText(item.value), {}});
    }
  }
}

double Distance(double a, double b) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  const double distance = std::abs(a - b);
  return std::isnan(distance) ? std::numeric_limits<double>::infinity() : distance;
}

// Makes a range of a file resident before it is read.
Result<const std::byte*> Resident(const GgufFile& file, std::uint64_t offset, std::uint64_t bytes) {
  SLUICE_TRY(file.file.Populate(offset, bytes));
  return file.file.bytes().data() + offset;
}

// Compares the values of two tensors of one shape, tile by tile.
class ValueComparer {
 public:
  ValueComparer(const GgufFile& a, const gguf::TensorRecord& tensor_a, const GgufFile& b,
                const gguf::TensorRecord& tensor_b)
      : a_(a), b_(b), tensor_a_(tensor_a), tensor_b_(tensor_b) {}

  // The largest absolute difference, infinite where only one value is NaN; nullopt when a type
  // cannot be decoded.
  Result<std::optional<double>> Largest() {
    const auto decoder_a = Decoder(tensor_a_);
    const auto decoder_b = Decoder(tensor_b_);
    if (!decoder_a || !decoder_b) return std::optional<double>();
    std::vector<float> values_a(kTileElements);
    std::vector<float> values_b(kTileElements);
    const std::uint64_t elements =
        tensor_a_.bytes / decoder_a->block_bytes() * decoder_a->block_elements();
    double largest = 0;
    for (std::uint64_t done = 0; done < elements; done += kTileElements) {
      const std::uint64_t count = std::min<std::uint64_t>(kTileElements, elements - done);
      SLUICE_TRY(Load(a_, tensor_a_, *decoder_a, done, std::span(values_a).first(count)));
      SLUICE_TRY(Load(b_, tensor_b_, *decoder_b, done, std::span(values_b).first(count)));
      for (std::uint64_t i = 0; i < count; ++i) {
        largest = std::max(largest, Distance(values_a[i], values_b[i]));
      }
    }
    return std::optional<double>(largest);
  }

 private:
  static std::optional<ValueDecoder> Decoder(const gguf::TensorRecord& tensor) {
    return ValueDecoder::ForType(std::string(gguf::InfoOf(tensor.type).name));
  }

  static Status Load(const GgufFile& file, const gguf::TensorRecord& tensor,
                     const ValueDecoder& decoder, std::uint64_t first, std::span<float> out) {
    const std::uint64_t offset = file.head.data_start + tensor.data_offset + decoder.BytesOf(first);
    const std::uint64_t bytes = decoder.BytesOf(out.size());
    SLUICE_ASSIGN(const std::byte* const in, Resident(file, offset, bytes));
    decoder.Decode(in, out);
    file.file.Release(offset, bytes);
    return file.file.CheckIntact();
  }

  const GgufFile& a_;
  const GgufFile& b_;
  const gguf::TensorRecord& tensor_a_;
  const gguf::TensorRecord& tensor_b_;
};

Result<bool> SameBytes(const GgufFile& a, const gguf::TensorRecord& tensor_a, const GgufFile& b,
                       const gguf::TensorRecord& tensor_b) {
  constexpr std::uint64_t kChunkBytes = std::uint64_t{1} << 20;
  const std::uint64_t start_a = a.head.data_start + tensor_a.data_offset;
  const std::uint64_t start_b = b.head.data_start + tensor_b.data_offset;
  for (std::uint64_t done = 0; done < tensor_a.bytes; done += kChunkBytes) {
    const std::uint64_t count = std::min(kChunkBytes, tensor_a.bytes - done);
    SLUICE_ASSIGN(const std::byte* const bytes_a, Resident(a, start_a + done, count));
    SLUICE_ASSIGN(const std::byte* const bytes_b, Resident(b, start_b + done, count));
    const bool same = std::memcmp(bytes_a, bytes_b, count) == 0;
    SLUICE_TRY(a.file.CheckIntact());
    SLUICE_TRY(b.file.CheckIntact());
    if (!same) return false;
    a.file.Release(start_a + done, count);
    b.file.Release(start_b + done, count);
  }
  return true;
}

Status DiffTensor(const GgufFile& a, const gguf::TensorRecord& tensor_a, const GgufFile& b,
                  const gguf::TensorRecord& tensor_b, std::vector<Difference>& found) {
  if (tensor_a.shape != tensor_b.shape) {
    found.push_back({Kind::kTensor,
                     tensor_a.name,
                     "shape",
                     ShapeText(tensor_a.shape),
                     ShapeText(tensor_b.shape),
                     {}});
    return Ok();
  }
  const bool same_type = tensor_a.type == tensor_b.type;
  if (same_type) {
    SLUICE_ASSIGN(const bool same, SameBytes(a, tensor_a, b, tensor_b));
    if (same) return Ok();
  }
  SLUICE_ASSIGN(const std::optional<double> largest,
                ValueComparer(a, tensor_a, b, tensor_b).Largest());
  found.push_back({Kind::kTensor, tensor_a.name, same_type ? "bytes" : "type",
                   std::string(gguf::InfoOf(tensor_a.type).name),
                   std::string(gguf::InfoOf(tensor_b.type).name), largest});
  return Ok();
}

using TensorsByName = std::unordered_map<std::string_view, const gguf::TensorRecord*>;
TensorsByName IndexTensors(const gguf::Head& head) {
  TensorsByName index;
  for (const gguf::TensorRecord& tensor : head.tensors) index.emplace(tensor.name, &tensor);
  return index;
}

Status DiffTensors(const GgufFile& a, const GgufFile& b, std::vector<Difference>& found) {
  const TensorsByName in_a = IndexTensors(a.head);
  const TensorsByName in_b = IndexTensors(b.head);
  for (const gguf::TensorRecord& tensor : a.head.tensors) {
    const auto other = in_b.find(tensor.name);
    if (other == in_b.end()) {
      found.push_back({Kind::kTensor, tensor.name, "only in A", ShapeText(tensor.shape), "", {}});
    } else {
      SLUICE_TRY(DiffTensor(a, tensor, b, *other->second, found));
    }
  }
  for (const gguf::TensorRecord& tensor : b.head.tensors) {
    if (!in_a.contains(tensor.name)) {
      found.push_back({Kind::kTensor, tensor.name, "only in B", "", ShapeText(tensor.shape), {}});
    }
  }
  return Ok();
}

// Says so when both files hold the same things in another order.
void DiffOrder(const GgufFile& a, const GgufFile& b, std::vector<Difference>& found) {
  const auto same_order = [](const auto& x, const auto& y, auto name) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(),
                      [&](const auto& p, const auto& q) { return p.*name == q.*name; });
  };
  if (!same_order(a.head.metadata.items(), b.head.metadata.items(), &gguf::KeyValue::key)) {
    found.push_back({Kind::kOrder, "", "key-values are in another order", "", "", {}});
  }
  if (!same_order(a.head.tensors, b.head.tensors, &gguf::TensorRecord::name)) {
    found.push_back({Kind::kOrder, "", "tensors are in another order", "", "", {}});
  }
}

}  // namespace

Result<std::vector<Difference>> DiffGguf(const std::string& path_a, const std::string& path_b) {
  SLUICE_ASSIGN(const GgufFile a, OpenGguf(path_a));
  SLUICE_ASSIGN(const GgufFile b, OpenGguf(path_b));
  std::vector<Difference> found;
  DiffMetadata(a.head.metadata, b.head.metadata, found);
  SLUICE_TRY(DiffTensors(a, b, found));
  const bool one_sided = std::any_of(found.begin(), found.end(), [](const Difference& difference) {
    return difference.what.starts_with("only in");
  });
  if (!one_sided) DiffOrder(a, b, found);
  return found;
}

std::string TypedText(const gguf::Value& value) {
  std::string type(gguf::ValueTypeName(gguf::TypeOf(value)));
  if (const auto* array = std::get_if<gguf::Array>(&value)) {
    type += fmt::format("[{}] of {}", array->size(), gguf::ValueTypeName(array->element_type()));
  }
  return fmt::format("{} {}", type, gguf::ToText(value, kShownItems, kShownChars));
}

}  // namespace sluice
