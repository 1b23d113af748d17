#include "formats/imatrix/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "core/mapped_file.h"
#include "formats/gguf/reader.h"
#include "formats/imatrix/reader.h"
#include "imatrix_bytes.h"
#include "result_matchers.h"
#include "test_files.h"

namespace sluice::imatrix {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::ReadFile;
using testing::TempFolder;

Status WriteTo(const std::string& path, const Collection& collection) {
  SLUICE_ASSIGN(const std::vector<std::byte> bytes, ToGgufForm(collection));
  std::ofstream(path, std::ios::binary) << testing::BytesOf<std::byte>(bytes);
  return Ok();
}

// What a file holds, read without our reader of importance matrices.
Collection CollectionOf(const std::string& path) {
  const MappedFile file = *MappedFile::Open(path);
  const gguf::Head head = *gguf::ReadHead(file.bytes(), path);
  Collection collection;
  const auto* datasets = head.metadata.Get<gguf::Array>("imatrix.datasets");
  for (std::size_t i = 0; i < datasets->size(); ++i) {
    collection.datasets.emplace_back(datasets->StringAt(i));
  }
  collection.num_chunks = *head.metadata.Get<std::uint32_t>("imatrix.chunk_count");
  collection.chunk_tokens = *head.metadata.Get<std::uint32_t>("imatrix.chunk_size");
  const auto values = [&](const gguf::TensorRecord& tensor) {
    std::vector<float> floats(tensor.bytes / sizeof(float));
    std::memcpy(floats.data(), file.bytes().data() + head.data_start + tensor.data_offset,
                tensor.bytes);
    return floats;
  };
  for (std::size_t i = 0; i + 1 < head.tensors.size(); i += 2) {
    const std::string& name = head.tensors[i].name;
    collection.weights.push_back(
        {name.substr(0, name.rfind('.')), values(head.tensors[i]), values(head.tensors[i + 1])});
  }
  return collection;
}

TEST(ImatrixWriter, WritesWhatOthersWrite) {
  const TempFolder folder;
  for (const char* name : {"glm-q256.imatrix.gguf", "llama-q256.imatrix.gguf"}) {
    const std::string golden = std::string(SLUICE_GOLDEN_DIR) + "/quants/recipes/" + name;
    Collection collection = CollectionOf(golden);
    std::reverse(collection.weights.begin(), collection.weights.end());  // it sorts
    const std::string path = folder.Path(name);
    ASSERT_THAT(WriteTo(path, collection), IsOk());
    EXPECT_TRUE(ReadFile(path) == ReadFile(golden)) << name;
  }
}

TEST(ImatrixWriter, WritesWhatTheReaderReads) {
  const TempFolder folder;
  const std::string path = folder.Path("f");
  ASSERT_THAT(WriteTo(path, {{}, 0, 0, {{"w", {1, 2, 30, 40}, {1, 10}}}}), IsOk());
  const auto reader = Reader::Open(path);
  ASSERT_THAT(reader, IsOk());
  std::vector<float> weights(4);
  EXPECT_THAT(reader->ReadWeights(*reader->Find("w"), 0, weights), IsOk());
  EXPECT_EQ(weights, (std::vector<float>{1, 2, 3, 4}));
}

// Experts of 2 columns that met 100, 0 and 4 rows of chunks of 32 tokens: 4 chunks, rounded up.
TEST(ImatrixWriter, TheLegacyFormHasOneDivisorForAllMatrices) {
  const TempFolder folder;
  const auto bytes = ToLegacyForm(
      {{"a.txt", "b.txt"},
       9,
       32,
       {{"w", {200, 50, 7, 7, 12, 2}, {100, 0, 4}}, {"nothing", {0, 0}, {0}}, {"v", {3}, {1}}}});
  ASSERT_THAT(bytes, IsOk());
  testing::LegacyBytes want;
  want.Number(2).Entry("v", 1, {3}).Entry("w", 4, {8, 2, 4, 4, 12, 2});
  EXPECT_EQ(testing::BytesOf<std::byte>(*bytes), want.Number(9).Text("a.txt").bytes());
  const auto reader = Reader::Open(folder.Write("f.dat", testing::BytesOf<std::byte>(*bytes)));
  ASSERT_THAT(reader, IsOk());
  std::vector<float> weights(6);
  EXPECT_THAT(reader->ReadWeights(*reader->Find("w"), 0, weights), IsOk());
  EXPECT_EQ(weights, (std::vector<float>{2, 0.5, 1, 1, 3, 0.5}));
}

TEST(ImatrixWriter, TheLegacyFormHolds31Bits) {
  EXPECT_THAT(ToLegacyForm({{}, 0x80000000, 1, {{"w", {1}, {1}}}}),
              Fails(ErrorCode::kUsage, "got 2147483648"));
  EXPECT_THAT(ToLegacyForm({{}, 1, 1, {{"w", {1, 2, 3}, {1, 1}}}}),
              Fails(ErrorCode::kUsage, "got 3 sums, 2 counts"));
}

TEST(ImatrixWriter, RejectsWhatDoesNotFit) {
  const TempFolder folder;
  const auto write = [&](const Collected& weight) {
    return WriteTo(folder.Path("f"), {{}, 0, 0, {weight}});
  };
  EXPECT_THAT(write({"w", {1, 2, 3}, {1, 1}}),
              Fails(ErrorCode::kUsage,
                    "tensor 'w': sums and counts do not fit together: expected as "
                    "many sums for each count, got 3 sums, 2 counts"));
  EXPECT_THAT(write({"w", {}, {1}}), Fails(ErrorCode::kUsage, "got 0 sums"));
  EXPECT_THAT(write({"w", {1}, {}}), Fails(ErrorCode::kUsage, "0 counts"));
  EXPECT_THAT(write({std::string(56, 'w'), {1}, {1}}), Fails(ErrorCode::kMismatch, "tensor name"));
  EXPECT_THAT(write({std::string(55, 'w'), {1}, {1}}), IsOk());
}

}  // namespace
}  // namespace sluice::imatrix
