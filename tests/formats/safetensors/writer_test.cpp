// Heads of safetensors files, written and read back.
#include "formats/safetensors/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "formats/safetensors/header.h"
#include "result_matchers.h"
#include "test_files.h"

namespace sluice::safetensors {
namespace {

using ::testing::ElementsAre;
using testing::IsOk;
using ::testing::Pair;
using testing::TempFolder;

TensorInfo Tensor(std::string name, Dtype dtype, std::vector<std::uint64_t> shape) {
  TensorInfo tensor;
  tensor.name = std::move(name);
  tensor.dtype = dtype;
  tensor.shape = std::move(shape);
  return tensor;
}

TEST(SafetensorsWriter, WritesTheKnownBytes) {
  std::vector<TensorInfo> tensors{Tensor("a", Dtype::kF32, {2}), Tensor("b", Dtype::kBF16, {})};
  const std::string head = SerializeHead(tensors);
  const std::string json = R"({"__metadata__":{"format":"pt"},)"
                           R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                           R"("b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}})";
  const std::string padded = json + std::string((8 - json.size() % 8) % 8, ' ');
  EXPECT_EQ(head, std::string(1, static_cast<char>(padded.size())) + std::string(7, '\0') + padded);
  EXPECT_EQ(tensors[0].offset, head.size());
  EXPECT_EQ(tensors[0].bytes, 8U);
  EXPECT_EQ(tensors[1].offset, head.size() + 8);
  EXPECT_EQ(tensors[1].bytes, 2U);
}

TEST(SafetensorsWriter, RoundTripsThroughTheReader) {
  std::vector<TensorInfo> tensors{
      Tensor("model.layers.0.weight", Dtype::kBF16, {3, 5}),
      Tensor("scalar", Dtype::kF64, {}),
      Tensor("empty", Dtype::kF16, {4, 0}),
      Tensor("a \"quoted\\\" name\n\u00e9", Dtype::kI8, {7}),
      Tensor("", Dtype::kU8, {1, 1, 1, 1, 1}),
      Tensor("codes", Dtype::kF8E4M3, {2, 2}),
  };
  const std::string head = SerializeHead(tensors);
  const std::uint64_t data_bytes = tensors.back().offset + tensors.back().bytes - head.size();
  EXPECT_EQ(data_bytes, 30U + 8 + 0 + 7 + 1 + 4);

  const TempFolder folder;
  const Result<File> file =
      File::OpenForReading(folder.Write("f", head + std::string(data_bytes, 'x')));
  ASSERT_THAT(file, IsOk());
  const Result<Header> header = ReadHeader(*file);
  ASSERT_THAT(header, IsOk());
  EXPECT_THAT(header->metadata, ElementsAre(Pair("format", "pt")));
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  ASSERT_EQ(header->tensors.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(header->tensors[i].name, tensors[i].name);
    EXPECT_EQ(header->tensors[i].dtype, tensors[i].dtype) << tensors[i].name;
    EXPECT_EQ(header->tensors[i].shape, tensors[i].shape) << tensors[i].name;
    EXPECT_EQ(header->tensors[i].offset, tensors[i].offset) << tensors[i].name;
    EXPECT_EQ(header->tensors[i].bytes, tensors[i].bytes) << tensors[i].name;
  }
}

// Names of every length, so that the JSON text ends at every position of the padding.
TEST(SafetensorsWriter, DataStartsAtAMultipleOfEight) {
  for (std::size_t length = 0; length < 16; ++length) {
    std::vector<TensorInfo> tensors{Tensor(std::string(length, 'n'), Dtype::kU8, {3})};
    const std::string head = SerializeHead(tensors);
    EXPECT_EQ(head.size() % 8, 0U) << length;
    EXPECT_EQ(tensors[0].offset, head.size()) << length;
    std::uint64_t json_bytes = 0;
    std::memcpy(&json_bytes, head.data(), sizeof json_bytes);
    EXPECT_EQ(json_bytes, head.size() - 8) << length;
    EXPECT_THAT(ParseHeader(std::string_view(head).substr(8), head.size() + 3, "f"), IsOk());
  }
}

TEST(SafetensorsWriter, WritesAFileWithoutTensors) {
  const std::string head = SerializeHead({});
  EXPECT_THAT(ParseHeader(std::string_view(head).substr(8), head.size(), "f"), IsOk());
}

}  // namespace
}  // namespace sluice::safetensors
