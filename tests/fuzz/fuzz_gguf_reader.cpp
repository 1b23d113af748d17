// GGUF files: whatever is accepted lies inside the file, and is the same after being written again.
#include <algorithm>
#include <cstring>
#include <span>

#include "formats/gguf/reader.h"
#include "fuzz.h"

namespace sluice::fuzz {
namespace {

using gguf::Head;

// A larger alignment is valid, but every head would be padded to it.
constexpr std::uint32_t kMaxAlignment = 4096;

void CheckAccepted(const Head& head, std::size_t file_bytes) {
  std::uint64_t end = 0;
  for (const gguf::TensorRecord& tensor : head.tensors) {
    Require(tensor.data_offset >= end && tensor.data_offset % head.alignment == 0);
    end = tensor.data_offset + tensor.bytes;
    Require(end >= tensor.data_offset && head.data_start + end <= file_bytes);
  }
  for (const gguf::KeyValue& item : head.metadata.items()) {
    Require(!gguf::ToText(item.value, 3, 8).empty() ||
            std::holds_alternative<std::string>(item.value));
  }
  if (head.alignment > kMaxAlignment) return;

  std::vector<std::byte> written = gguf::SerializeHead(head.metadata, head.tensors, head.alignment);
  Require(written.size() == head.data_start);
  const std::vector<std::byte> first = written;
  written.resize(written.size() + end);
  const Result<Head> again = gguf::ReadHead(written, "again");
  Require(again.has_value());
  Require(gguf::SerializeHead(again->metadata, again->tensors, again->alignment) == first);
}

std::string TextOf(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::vector<std::string> Seeds() {
  gguf::Metadata metadata;
  metadata.Set("u8", std::uint8_t{1});
  metadata.Set("i16", std::int16_t{-1});
  metadata.Set("f32", 0.5F);
  metadata.Set("bool", true);
  metadata.Set("text", std::string("llama"));
  metadata.Set("u64", std::uint64_t{1} << 40);
  metadata.Set("tokens", gguf::Array::OfStrings(std::vector<std::string>{"a", "", "bc"}));
  metadata.Set("numbers",
               gguf::Array::Of(std::span<const std::int32_t>(std::vector<std::int32_t>{1, 2, 3})));
  std::vector<std::string> seeds{TextOf(gguf::SerializeHead({}, {}, 32)),
                                 TextOf(gguf::SerializeHead(metadata, {}, 32))};

  std::vector<gguf::TensorRecord> tensors(3);
  tensors[0] = {"norm.weight", gguf::TensorType::kF32, {4}, 0, 0};
  tensors[1] = {"blk.0.weight", gguf::TensorType::kQ8_0, {2, 32}, 0, 0};
  tensors[2] = {"t", gguf::TensorType::kF16, {}, 0, 0};
  for (const std::uint32_t alignment : {8U, 32U}) {
    metadata.Set("general.alignment", alignment);
    const auto data_bytes = gguf::AssignOffsets(tensors, alignment, false);
    Require(data_bytes.has_value());
    seeds.push_back(TextOf(gguf::SerializeHead(metadata, tensors, alignment)) +
                    std::string(*data_bytes, 'x'));
  }
  return seeds;
}

}  // namespace sluice::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto head = sluice::gguf::ReadHead(std::as_bytes(std::span(data, size)), "fuzz");
  if (head) {
    sluice::fuzz::CheckAccepted(*head, size);
  } else {
    sluice::fuzz::Require(!head.error().Format().empty());
  }
  return 0;
}
