// Importance matrix files made in place, valid or not.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/gguf/writer.h"
#include "test_files.h"

namespace sluice::testing {

// A .dat file, field by field.
class LegacyBytes {
 public:
  LegacyBytes& Number(std::int32_t number) {
    bytes_ += BytesOf<std::int32_t>(std::span(&number, 1));
    return *this;
  }
  LegacyBytes& Text(std::string_view text) {
    Number(static_cast<std::int32_t>(text.size()));
    bytes_ += text;
    return *this;
  }
  LegacyBytes& Raw(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  LegacyBytes& Entry(std::string_view name, std::int32_t calls, const std::vector<float>& values) {
    Text(name).Number(calls).Number(static_cast<std::int32_t>(values.size()));
    bytes_ += BytesOf<float>(values);
    return *this;
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

struct FloatTensor {
  std::string name;
  std::vector<std::uint64_t> shape;  // outermost dimension first
  std::vector<float> values;
  gguf::TensorType type = gguf::TensorType::kF32;
};

// What every importance matrix has.
inline gguf::Metadata ImatrixKeys() {
  const std::vector<std::string> datasets{"wiki.txt", "other.txt"};
  gguf::Metadata metadata;
  metadata.Set("general.type", std::string("imatrix"));
  metadata.Set("imatrix.datasets", gguf::Array::OfStrings(datasets));
  metadata.Set("imatrix.chunk_count", std::uint32_t{7});
  metadata.Set("imatrix.chunk_size", std::uint32_t{512});
  return metadata;
}

// A GGUF file of these tensors; `values` fill them as far as they go.
inline std::string GgufFile(const gguf::Metadata& metadata,
                            const std::vector<FloatTensor>& tensors) {
  std::vector<gguf::TensorRecord> records;
  for (const FloatTensor& tensor : tensors) {
    records.push_back({tensor.name, tensor.type, tensor.shape, 0, 0});
  }
  const auto data_bytes = gguf::AssignOffsets(records, gguf::kDefaultAlignment, true);
  EXPECT_TRUE(data_bytes.has_value());
  std::string data(*data_bytes, '\0');
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::string bytes = BytesOf<float>(tensors[i].values);
    data.replace(records[i].data_offset, bytes.size(), bytes);
  }
  const auto head = gguf::SerializeHead(metadata, records, gguf::kDefaultAlignment);
  return BytesOf<std::byte>(head) + data;
}

}  // namespace sluice::testing
