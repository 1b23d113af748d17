#include "formats/gguf/writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "core/checked.h"
#include "core/shape.h"

namespace sluice::gguf {
namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::uint64_t kMaxFileBytes = std::numeric_limits<std::int64_t>::max();  // off_t

class ByteWriter {
 public:
  template <typename T>
  void Number(T value) {
    static_assert(std::endian::native == std::endian::little && std::is_arithmetic_v<T>);
    Bytes(std::as_bytes(std::span(&value, 1)));
  }
  void String(std::string_view text) {
    Number<std::uint64_t>(text.size());
    Bytes(std::as_bytes(std::span(text)));
  }
  void Bytes(std::span<const std::byte> bytes) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
  }
  void PadTo(std::uint32_t alignment) { out_.resize(RoundUp(out_.size(), alignment)); }
  std::vector<std::byte> Take() { return std::move(out_); }

 private:
  std::vector<std::byte> out_;
};

void WriteArray(ByteWriter& out, const Array& array) {
  out.Number(static_cast<std::uint32_t>(array.element_type()));
  out.Number<std::uint64_t>(array.size());
  if (array.element_type() != ValueType::kString) return out.Bytes(array.bytes());
  for (std::size_t i = 0; i < array.size(); ++i) out.String(array.StringAt(i));
}

void WriteValue(ByteWriter& out, const Value& value) {
  out.Number(static_cast<std::uint32_t>(TypeOf(value)));
  std::visit(
      [&](const auto& held) {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, std::string>) {
          out.String(held);
        } else if constexpr (std::is_same_v<T, Array>) {
          WriteArray(out, held);
        } else if constexpr (std::is_same_v<T, bool>) {
          out.Number<std::uint8_t>(held ? 1 : 0);
        } else {
          out.Number(held);
        }
      },
      value);
}

constexpr std::uint64_t kMaxExtent = std::numeric_limits<std::int64_t>::max();

Status FillBytes(TensorRecord& tensor) {
  const auto mismatch = [&](std::string_view what) {
    return MakeError(ErrorCode::kMismatch, what).At(tensor.name);
  };
  if (tensor.name.empty() || tensor.name.size() > kMaxNameBytes) {
    return mismatch("tensor name does not fit GGUF")
        .Expected(fmt::format("1 to {} bytes", kMaxNameBytes))
        .Actual(fmt::format("{} bytes", tensor.name.size()));
  }
  if (tensor.shape.size() > kMaxRank) {
    return mismatch("too many dimensions for GGUF")
        .Expected(fmt::format("at most {}", kMaxRank))
        .Actual(fmt::format("{}", tensor.shape.size()));
  }
  const TensorTypeInfo& info = InfoOf(tensor.type);
  const std::uint64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % info.block_elements != 0) {
    return mismatch(fmt::format("rows do not fill whole {} blocks", info.name))
        .Expected(fmt::format("a multiple of {} elements", info.block_elements))
        .Actual(fmt::format("{}", row));
  }
  // ggml holds extents as signed numbers.
  const bool extents_fit = std::all_of(tensor.shape.begin(), tensor.shape.end(),
                                       [](std::uint64_t extent) { return extent <= kMaxExtent; });
  const auto elements = CheckedProduct(tensor.shape);
  const auto bytes = elements ? TensorBytes(tensor.type, *elements) : std::nullopt;
  if (!extents_fit || !bytes) {
    return mismatch("the shape is too large for any file").Actual(ShapeText(tensor.shape));
  }
  tensor.bytes = *bytes;
  return Ok();
}

}  // namespace

Result<std::uint32_t> AlignmentOf(const Metadata& metadata) {
  const Value* value = metadata.Find(kAlignmentKey);
  if (value == nullptr) return kDefaultAlignment;
  const auto* alignment = std::get_if<std::uint32_t>(value);
  if (alignment == nullptr || !std::has_single_bit(*alignment)) {
    return MakeError(ErrorCode::kUsage, "general.alignment is unusable")
        .Expected("a u32 power of two")
        .Actual(ToText(*value, 1, 1));
  }
  if (*alignment > kMaxAlignment) {
    return MakeError(ErrorCode::kUsage, "general.alignment is unusable")
        .Expected(fmt::format("at most {}", kMaxAlignment))
        .Actual(fmt::format("{}", *alignment));
  }
  return *alignment;
}

Result<std::uint64_t> AssignOffsets(std::span<TensorRecord> tensors, std::uint32_t alignment,
                                    bool pad_last) {
  std::uint64_t end = 0;
  for (TensorRecord& tensor : tensors) {
    SLUICE_TRY(FillBytes(tensor));
    tensor.data_offset = RoundUp(end, alignment);
    const auto next = CheckedAdd(tensor.data_offset, tensor.bytes);
    if (!next || *next > kMaxFileBytes - alignment) {
      return MakeError(ErrorCode::kMismatch, "the file would pass 2^63 bytes").At(tensor.name);
    }
    end = *next;
  }
  return pad_last ? RoundUp(end, alignment) : end;
}

std::vector<std::byte> SerializeHead(const Metadata& metadata,
                                     std::span<const TensorRecord> tensors,
                                     std::uint32_t alignment) {
  ByteWriter out;
  out.Bytes(std::as_bytes(std::span("GGUF", 4)));
  out.Number(kVersion);
  out.Number<std::uint64_t>(tensors.size());
  out.Number<std::uint64_t>(metadata.items().size());
  for (const KeyValue& item : metadata.items()) {
    out.String(item.key);
    WriteValue(out, item.value);
  }
  for (const TensorRecord& tensor : tensors) {
    out.String(tensor.name);
    out.Number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::size_t i = tensor.shape.size(); i-- > 0;) out.Number(tensor.shape[i]);
    out.Number(static_cast<std::uint32_t>(tensor.type));
    out.Number(tensor.data_offset);
  }
  out.PadTo(alignment);
  return out.Take();
}

}  // namespace sluice::gguf
