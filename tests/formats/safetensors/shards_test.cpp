// Checkpoint folders without an index, and folders that are no checkpoint.
#include "formats/safetensors/shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "error_line.h"
#include "result_matchers.h"
#include "safetensors/checkpoint_folder.h"

namespace sluice::safetensors {
namespace {

using testing::CheckpointFolder;
using ::testing::ElementsAre;
using testing::Fails;
using testing::FailsWith;
using ::testing::Field;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::kLfsPointer;
using testing::ShardFile;

TEST(OpenShards, ReadsEverySafetensorsFileInNameOrder) {
  const CheckpointFolder folder;
  folder.WriteShard("model-00002-of-00002.safetensors", {"c"});
  folder.WriteShard("model-00001-of-00002.safetensors", {"a", "b"});
  folder.Write("config.json", "{}");
  folder.Write("pytorch_model.bin", "ignored");
  folder.Write("model.safetensors.partial", "ignored");
  folder.WriteShard("sub/model.safetensors", {"d"});
  const Result<ShardSet> set = OpenShards(folder.Path());
  ASSERT_THAT(set, IsOk());
  ASSERT_EQ(set->shards.size(), 2U);
  EXPECT_EQ(set->shards[0].path, folder.Path("model-00001-of-00002.safetensors"));
  EXPECT_EQ(set->shards[0].file_bytes, ShardFile({"a", "b"}).size());
  EXPECT_THAT(set->shards[0].header.tensors,
              ElementsAre(Field(&TensorInfo::name, "a"), Field(&TensorInfo::name, "b")));
  EXPECT_EQ(set->shards[1].path, folder.Path("model-00002-of-00002.safetensors"));
  EXPECT_THAT(set->shards[1].header.tensors, ElementsAre(Field(&TensorInfo::name, "c")));
  EXPECT_THAT(set->warnings, IsEmpty());
}

TEST(OpenShards, RejectsATensorInTwoShards) {
  const CheckpointFolder folder;
  folder.WriteShard("a.safetensors", {"x", "t"});
  folder.WriteShard("b.safetensors", {"t", "y"});
  EXPECT_THAT(
      OpenShards(folder.Path()),
      FailsWith(ErrorCode::kCorrupt, folder.Path("b.safetensors") +
                                         ": tensor 't': the same tensor is in two shards: got "
                                         "also in " +
                                         folder.Path("a.safetensors")));
}

TEST(OpenShards, RejectsAMissingFolder) {
  const CheckpointFolder folder;
  const std::string path = folder.Path("missing");
  EXPECT_THAT(OpenShards(path),
              FailsWith(ErrorCode::kMissing, path + ": not a checkpoint folder: expected a folder "
                                                    "with config.json and *.safetensors"));
}

TEST(OpenShards, RejectsAFileInPlaceOfAFolder) {
  const CheckpointFolder folder;
  folder.WriteShard("model.safetensors", {"a"});
  const std::string path = folder.Path("model.safetensors");
  EXPECT_THAT(OpenShards(path),
              FailsWith(ErrorCode::kCorrupt, path + ": not a checkpoint folder: expected a folder "
                                                    "with config.json and *.safetensors"));
}

TEST(OpenShards, RejectsAFolderWithoutWeights) {
  const CheckpointFolder folder;
  EXPECT_THAT(OpenShards(folder.Path()),
              FailsWith(ErrorCode::kMissing,
                        folder.Path() + ": no weights in this folder: expected *.safetensors"));
  folder.Write("config.json", "{}");
  EXPECT_THAT(OpenShards(folder.Path()),
              FailsWith(ErrorCode::kMissing,
                        folder.Path() + ": no weights in this folder: expected *.safetensors"));
}

TEST(OpenShards, TellsAFolderOfPyTorchWeights) {
  for (const char* name : {"pytorch_model-00001-of-00002.bin", "consolidated.00.pth"}) {
    const CheckpointFolder folder;
    folder.Write(name, "weights");
    EXPECT_THAT(OpenShards(folder.Path()),
                Fails(ErrorCode::kUnsupported,
                      folder.Path() + ": only PyTorch weights (.bin, .pth) are here: expected "
                                      "*.safetensors\n  save the checkpoint as safetensors first"));
  }
}

TEST(OpenShards, ReportsEveryBrokenShard) {
  const CheckpointFolder folder;
  folder.Write("a.safetensors", "short");
  folder.WriteShard("b.safetensors", {"fine"});
  folder.Write("c.safetensors", kLfsPointer);
  folder.Write("d.safetensors", testing::SafetensorsFile("[]", ""));
  folder.WriteShard("e.safetensors", {"fine"});
  const Result<ShardSet> set = OpenShards(folder.Path());
  EXPECT_THAT(set, FailsWith(ErrorCode::kCorrupt, folder.Path("a.safetensors") +
                                                      ": file ends inside the header length: "
                                                      "expected at least 8 bytes, got 5 bytes"));
  EXPECT_THAT(set, Fails(ErrorCode::kCorrupt,
                         "\n" + folder.Path("c.safetensors") + ": this is a Git LFS pointer"));
  EXPECT_THAT(
      set, Fails(ErrorCode::kCorrupt, "\n" + folder.Path("d.safetensors") +
                                          ": at byte 8: header is no JSON object: got an array"));
  EXPECT_THAT(set,
              Fails(ErrorCode::kCorrupt, "\n" + folder.Path("e.safetensors") +
                                             ": tensor 'fine': the same tensor is in two shards"));
  EXPECT_EQ(set.error().more.size(), 3U);
}

TEST(OpenShards, RejectsShardsThatAreNoFiles) {
  const CheckpointFolder folder;
  std::filesystem::create_directory(folder.Path("a.safetensors"));
  ASSERT_EQ(::mkfifo(folder.Path("b.safetensors").c_str(), 0600), 0);
  std::filesystem::create_symlink("nowhere", folder.Path("c.safetensors"));
  const Result<ShardSet> set = OpenShards(folder.Path());
  EXPECT_THAT(set, FailsWith(ErrorCode::kMismatch,
                             folder.Path("a.safetensors") + ": not a regular file: got a folder"));
  EXPECT_THAT(set, Fails(ErrorCode::kMismatch,
                         "\n" + folder.Path("b.safetensors") + ": not a regular file: got a pipe"));
  EXPECT_THAT(set,
              Fails(ErrorCode::kMismatch, "\n" + folder.Path("c.safetensors") + ": cannot open"));
}

}  // namespace
}  // namespace sluice::safetensors
