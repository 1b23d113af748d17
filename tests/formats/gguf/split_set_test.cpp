// Reading the files of a split model as one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "formats/gguf/split.h"
#include "result_matchers.h"
#include "test_files.h"

namespace sluice::gguf {
namespace {

using testing::BytesOf;
using testing::Fails;
using testing::IsOk;
using testing::TempFolder;

class SplitSetTest : public ::testing::Test {
 protected:
  // A file of F32 tensors with 8 elements each.
  std::string Write(const std::string& name, const Metadata& metadata,
                    const std::vector<std::string>& tensors) const {
    std::vector<TensorRecord> records;
    for (const std::string& tensor : tensors)
      records.push_back({tensor, TensorType::kF32, {8}, 0, 0});
    const auto data_bytes = AssignOffsets(records, kDefaultAlignment, true);
    EXPECT_THAT(data_bytes, IsOk());
    const auto head = SerializeHead(metadata, records, kDefaultAlignment);
    return folder_.Write(name, BytesOf<std::byte>(head) + std::string(*data_bytes, 'x'));
  }
  std::string WriteShard(std::uint32_t number, std::uint32_t count, std::uint64_t num_tensors,
                         const std::vector<std::string>& tensors) const {
    return Write(ShardPath("m", number, count), ShardMetadata(Model(), number, count, num_tensors),
                 tensors);
  }
  // Three files with five tensors; the path of the first.
  std::string WriteThree() const {
    WriteShard(1, 3, 5, {"c", "d"});
    WriteShard(2, 3, 5, {"e"});
    return WriteShard(0, 3, 5, {"a", "b"});
  }
  static Metadata Model() {
    Metadata model;
    model.Append("general.name", std::string("m"));
    return model;
  }

  TempFolder folder_;
};

TEST_F(SplitSetTest, IsOneListOfTensors) {
  const auto set = OpenSplit(WriteThree());
  ASSERT_THAT(set, IsOk());
  ASSERT_EQ(set->files.size(), 3U);
  EXPECT_EQ(set->files[1].path, folder_.Path("m-00002-of-00003.gguf"));
  EXPECT_EQ(set->files[1].file_bytes, std::filesystem::file_size(set->files[1].path));
  std::string names;
  for (const SplitTensor& tensor : TensorsOf(*set)) {
    names += tensor.record->name + std::to_string(tensor.file) + " ";
    EXPECT_EQ(tensor.offset, set->files[tensor.file].head.data_start + tensor.record->data_offset);
  }
  EXPECT_EQ(names, "a0 b0 c1 d1 e2 ");
  ASSERT_EQ(set->ModelMetadata().items().size(), 1U);
  EXPECT_EQ(set->ModelMetadata().items().front().key, "general.name");
}

TEST_F(SplitSetTest, AModelInOneFileIsASetOfOne) {
  const auto whole = OpenSplit(Write("whole.gguf", Model(), {"a", "b"}));
  ASSERT_THAT(whole, IsOk());
  EXPECT_EQ(whole->files.size(), 1U);
  EXPECT_EQ(TensorsOf(*whole).size(), 2U);
  EXPECT_THAT(OpenSplit(Write("any.gguf", ShardMetadata(Model(), 0, 1, 2), {"a", "b"})), IsOk());
}

TEST_F(SplitSetTest, WantsTheFirstFile) {
  WriteThree();
  EXPECT_THAT(OpenSplit(folder_.Path("m-00002-of-00003.gguf")),
              Fails(ErrorCode::kUsage,
                    "m-00002-of-00003.gguf: not the first file of a split model: "
                    "expected " +
                        folder_.Path("m-00001-of-00003.gguf") + ", got split.no 1"));
}

TEST_F(SplitSetTest, WantsTheNamesOfTheSplit) {
  const std::string first = WriteThree();
  const std::string renamed = folder_.Path("renamed.gguf");
  std::filesystem::copy_file(first, renamed);
  EXPECT_THAT(OpenSplit(renamed), Fails(ErrorCode::kMismatch, "expected NAME-00001-of-00003.gguf"));
  const std::string other_count = folder_.Path("m-00001-of-00002.gguf");
  std::filesystem::copy_file(first, other_count);
  EXPECT_THAT(OpenSplit(other_count), Fails(ErrorCode::kMismatch,
                                            "m-00001-of-00002.gguf: the name does not lead to the "
                                            "model's other files: expected"));
}

TEST_F(SplitSetTest, AllMissingFilesAreNamed) {
  const std::string first = WriteThree();
  std::filesystem::remove(folder_.Path("m-00002-of-00003.gguf"));
  std::filesystem::remove(folder_.Path("m-00003-of-00003.gguf"));
  const auto set = OpenSplit(first);
  EXPECT_THAT(set, Fails(ErrorCode::kMissing, "m-00002-of-00003.gguf"));
  EXPECT_THAT(set, Fails(ErrorCode::kMissing, "m-00003-of-00003.gguf"));
}

TEST_F(SplitSetTest, AFewMissingFilesAreEnough) {
  const auto set = OpenSplit(WriteShard(0, 65535, 2, {"a", "b"}));
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().more.size(), 15U);
}

TEST_F(SplitSetTest, FilesOfOtherSplitsAreRefused) {
  const std::string first = WriteThree();
  WriteShard(1, 3, 6, {"c", "d"});
  EXPECT_THAT(OpenSplit(first), Fails(ErrorCode::kMismatch,
                                      "m-00002-of-00003.gguf: this file belongs to another split: "
                                      "expected number 1 of 3 with 5 tensors in all, got number "
                                      "1 of 3 with 6"));
  std::filesystem::copy_file(folder_.Path("m-00003-of-00003.gguf"),
                             folder_.Path("m-00002-of-00003.gguf"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(OpenSplit(first), Fails(ErrorCode::kMismatch, "got number 2 of 3 with 5"));
  Write("m-00002-of-00003.gguf", Model(), {"c", "d"});
  EXPECT_THAT(OpenSplit(first), Fails(ErrorCode::kMismatch, "got number 0 of 1 with 2"));
}

TEST_F(SplitSetTest, ATensorInTwoFilesIsRefused) {
  const std::string first = WriteThree();
  WriteShard(2, 3, 5, {"b"});
  EXPECT_THAT(OpenSplit(first), Fails(ErrorCode::kCorrupt,
                                      "m-00003-of-00003.gguf: tensor 'b': the same tensor is in "
                                      "two files: got also in " +
                                          first));
}

TEST_F(SplitSetTest, MissingTensorsAreNoticed) {
  const std::string first = WriteThree();
  WriteShard(1, 3, 5, {"c"});
  EXPECT_THAT(OpenSplit(first), Fails(ErrorCode::kMismatch,
                                      "tensors of the model are missing: "
                                      "expected 5 tensors, got 4 in all "
                                      "files"));
}

TEST_F(SplitSetTest, KeysOfOtherTypesAreRefused) {
  const auto open = [&](const char* key, Value value) {
    Metadata metadata = ShardMetadata(Model(), 0, 1, 1);
    metadata.Set(key, std::move(value));
    return OpenSplit(Write("f.gguf", metadata, {"a"}));
  };
  EXPECT_THAT(open("split.count", std::uint32_t{1}),
              Fails(ErrorCode::kCorrupt,
                    "f.gguf: key 'split.count' is unusable: expected a u16, got "
                    "u32 1"));
  EXPECT_THAT(open("split.no", std::string("0")), Fails(ErrorCode::kCorrupt, "'split.no'"));
  EXPECT_THAT(open("split.tensors.count", std::int32_t{-1}),
              Fails(ErrorCode::kCorrupt,
                    "'split.tensors.count' is unusable: expected a i32, got i32 "
                    "-1"));
  EXPECT_THAT(open("split.tensors.count", std::int32_t{2}),
              Fails(ErrorCode::kMismatch, "tensors of the model are missing"));
}

TEST_F(SplitSetTest, DamagedFilesAreNamed) {
  const std::string first = WriteThree();
  std::filesystem::resize_file(folder_.Path("m-00003-of-00003.gguf"), 40);
  EXPECT_THAT(OpenSplit(first), Fails(ErrorCode::kCorrupt, "m-00003-of-00003.gguf: at byte"));
}

}  // namespace
}  // namespace sluice::gguf
