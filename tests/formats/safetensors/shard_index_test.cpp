// Checkpoint folders with an index: which shards it leads to, and where it disagrees with them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "error_line.h"
#include "formats/safetensors/shards.h"
#include "result_matchers.h"
#include "safetensors/checkpoint_folder.h"

namespace sluice::safetensors {
namespace {

namespace fs = std::filesystem;

using testing::CheckpointFolder;
using ::testing::ElementsAre;
using testing::Fails;
using testing::FailsWith;
using ::testing::Field;
using testing::IndexFile;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::kLfsPointer;
using testing::ShardFile;
using testing::TempFolder;

TEST(ShardIndex, LeadsToTheShardsInNameOrder) {
  const CheckpointFolder folder;
  folder.WriteShard("b.safetensors", {"t1"});
  folder.WriteShard("a.safetensors", {"t2", "t3"});
  folder.WriteIndex({{"t1", "b.safetensors"}, {"t2", "a.safetensors"}, {"t3", "a.safetensors"}});
  const Result<ShardSet> set = OpenShards(folder.Path());
  ASSERT_THAT(set, IsOk());
  EXPECT_THAT(set->shards, ElementsAre(Field(&Shard::path, folder.Path("a.safetensors")),
                                       Field(&Shard::path, folder.Path("b.safetensors"))));
  EXPECT_THAT(set->warnings, IsEmpty());
}

TEST(ShardIndex, LeavesOtherShardsOutWithAWarning) {
  const CheckpointFolder folder;
  folder.WriteShard("a.safetensors", {"t"});
  folder.WriteShard("consolidated.safetensors", {"t"});
  folder.Write("stale.safetensors", "not even a header");
  folder.WriteIndex({{"t", "a.safetensors"}});
  const Result<ShardSet> set = OpenShards(folder.Path());
  ASSERT_THAT(set, IsOk());
  EXPECT_THAT(set->shards, ElementsAre(Field(&Shard::path, folder.Path("a.safetensors"))));
  EXPECT_THAT(set->warnings,
              ElementsAre("consolidated.safetensors: not named by model.safetensors.index.json, "
                          "left out",
                          "stale.safetensors: not named by model.safetensors.index.json, left "
                          "out"));
}

TEST(ShardIndex, MayNameAShardInAFolderBelow) {
  const CheckpointFolder folder;
  folder.WriteShard("sub/a.safetensors", {"t"});
  folder.WriteIndex({{"t", "sub/a.safetensors"}});
  const Result<ShardSet> set = OpenShards(folder.Path());
  ASSERT_THAT(set, IsOk());
  EXPECT_THAT(set->shards, ElementsAre(Field(&Shard::path, folder.Path("sub/a.safetensors"))));
}

TEST(ShardIndex, ReportsAMissingShard) {
  const CheckpointFolder folder;
  folder.WriteShard("a.safetensors", {"t"});
  folder.WriteIndex({{"t", "a.safetensors"}, {"u", "b.safetensors"}});
  EXPECT_THAT(OpenShards(folder.Path()),
              FailsWith(ErrorCode::kMissing, folder.Path("b.safetensors") +
                                                 ": a shard that the index names is missing"));
}

TEST(ShardIndex, RejectsNamesThatLeaveTheFolder) {
  const TempFolder elsewhere;
  const std::string absolute = elsewhere.Write("a.safetensors", ShardFile({"t"}));
  const std::string up = "../" + fs::path(elsewhere.Path()).filename().string() + "/a.safetensors";
  for (const std::string& name :
       {absolute, up, std::string("sub/../../a.safetensors"), std::string("..")}) {
    const CheckpointFolder folder;
    folder.WriteShard("sub/b.safetensors", {"t"});
    folder.WriteIndex({{"t", name}});
    EXPECT_THAT(OpenShards(folder.Path()),
                FailsWith(ErrorCode::kCorrupt,
                          folder.IndexPath() +
                              ": the index names a file outside the checkpoint folder: expected "
                              "a file name inside the folder, got " +
                              name));
  }
}

TEST(ShardIndex, RejectsNamesThatAreNoFile) {
  for (const std::string_view name : {"", ".", "sub"}) {
    const CheckpointFolder folder;
    fs::create_directory(folder.Path("sub"));
    folder.WriteIndex({{"t", name}});
    EXPECT_FALSE(OpenShards(folder.Path()).has_value()) << name;
  }
}

TEST(ShardIndex, RejectsALinkOutOfTheFolder) {
  const TempFolder elsewhere;
  const std::string target = elsewhere.Write("a.safetensors", ShardFile({"t"}));
  const CheckpointFolder folder;
  fs::create_symlink(target, folder.Path("link.safetensors"));
  folder.WriteIndex({{"t", "link.safetensors"}});
  EXPECT_THAT(OpenShards(folder.Path()),
              FailsWith(ErrorCode::kCorrupt,
                        folder.IndexPath() +
                            ": the index names a file outside the checkpoint folder: expected a "
                            "file name inside the folder, got " +
                            fs::canonical(target).string()));
}

TEST(ShardIndex, AcceptsALinkInsideTheFolder) {
  const CheckpointFolder folder;
  folder.WriteShard("real/a.bytes", {"t"});
  fs::create_symlink("real/a.bytes", folder.Path("a.safetensors"));
  folder.WriteIndex({{"t", "a.safetensors"}});
  EXPECT_THAT(OpenShards(folder.Path()), IsOk());
}

// A folder whose name begins like the checkpoint's is another folder.
TEST(ShardIndex, RejectsALinkToASiblingWithALongerName) {
  const TempFolder parent;
  fs::create_directory(parent.Path("model"));
  fs::create_directory(parent.Path("model-old"));
  parent.Write("model-old/a.safetensors", ShardFile({"t"}));
  fs::create_symlink("../model-old/a.safetensors", parent.Path("model/a.safetensors"));
  parent.Write("model/model.safetensors.index.json", IndexFile({{"t", "a.safetensors"}}));
  EXPECT_THAT(OpenShards(parent.Path("model")),
              Fails(ErrorCode::kCorrupt, "the index names a file outside the checkpoint folder"));
}

// models--org--name/snapshots/REVISION/a.safetensors -> ../../blobs/HASH
class HuggingFaceCache : public ::testing::Test {
 protected:
  HuggingFaceCache() {
    for (const char* name : {"blobs", "snapshots/abc", "other"}) {
      fs::create_directories(cache_.Path(name));
    }
    cache_.Write("snapshots/abc/model.safetensors.index.json", IndexFile({{"t", "a.safetensors"}}));
  }
  void LinkShardTo(const std::string& target) {
    fs::create_symlink(target, cache_.Path("snapshots/abc/a.safetensors"));
  }

  TempFolder cache_;
};

TEST_F(HuggingFaceCache, LinksToBlobsAreFollowed) {
  cache_.Write("blobs/0123abcd", ShardFile({"t"}));
  LinkShardTo("../../blobs/0123abcd");
  const Result<ShardSet> set = OpenShards(cache_.Path("snapshots/abc"));
  ASSERT_THAT(set, IsOk());
  EXPECT_THAT(set->shards,
              ElementsAre(Field(&Shard::path, cache_.Path("snapshots/abc/a.safetensors"))));
  EXPECT_THAT(OpenShards(cache_.Path("snapshots/abc/")), IsOk()) << "with a slash at the end";
}

TEST_F(HuggingFaceCache, LinksElsewhereAreRejected) {
  cache_.Write("other/0123abcd", ShardFile({"t"}));
  LinkShardTo("../../other/0123abcd");
  EXPECT_THAT(OpenShards(cache_.Path("snapshots/abc")),
              Fails(ErrorCode::kCorrupt, "the index names a file outside the checkpoint folder"));
}

TEST_F(HuggingFaceCache, WorksWithoutAnIndex) {
  fs::remove(cache_.Path("snapshots/abc/model.safetensors.index.json"));
  cache_.Write("blobs/0123abcd", ShardFile({"t"}));
  LinkShardTo("../../blobs/0123abcd");
  EXPECT_THAT(OpenShards(cache_.Path("snapshots/abc")), IsOk());
}

TEST(ShardIndex, ReportsATensorThatTheShardLacks) {
  const CheckpointFolder folder;
  folder.WriteShard("a.safetensors", {"t"});
  folder.WriteIndex({{"t", "a.safetensors"}, {"u", "a.safetensors"}});
  EXPECT_THAT(OpenShards(folder.Path()),
              FailsWith(ErrorCode::kMissing,
                        folder.Path("a.safetensors") +
                            ": tensor 'u': the shard lacks a tensor that the index lists"));
}

TEST(ShardIndex, ReportsATensorThatTheIndexLacks) {
  const CheckpointFolder folder;
  folder.WriteShard("a.safetensors", {"t", "u"});
  folder.WriteIndex({{"t", "a.safetensors"}});
  EXPECT_THAT(OpenShards(folder.Path()),
              FailsWith(ErrorCode::kMismatch, folder.Path("a.safetensors") +
                                                  ": tensor 'u': the index does not list this "
                                                  "tensor here: expected an entry in the index"));
}

TEST(ShardIndex, ReportsATensorThatTheIndexPutsElsewhere) {
  const CheckpointFolder folder;
  folder.WriteShard("a.safetensors", {"t", "u"});
  folder.WriteShard("b.safetensors", {"v"});
  folder.WriteIndex({{"t", "a.safetensors"}, {"u", "b.safetensors"}, {"v", "b.safetensors"}});
  const Result<ShardSet> set = OpenShards(folder.Path());
  EXPECT_THAT(set, FailsWith(ErrorCode::kMismatch,
                             folder.Path("a.safetensors") +
                                 ": tensor 'u': the index does not list this tensor here: "
                                 "expected b.safetensors"));
  EXPECT_THAT(set, Fails(ErrorCode::kMismatch,
                         "\n" + folder.Path("b.safetensors") +
                             ": tensor 'u': the shard lacks a tensor that the index lists"));
  EXPECT_EQ(set.error().more.size(), 1U);
}

TEST(ShardIndex, RejectsATensorInTwoShards) {
  const CheckpointFolder folder;
  folder.WriteShard("a.safetensors", {"t"});
  folder.WriteShard("b.safetensors", {"t", "u"});
  folder.WriteIndex({{"t", "a.safetensors"}, {"u", "b.safetensors"}});
  EXPECT_THAT(OpenShards(folder.Path()),
              FailsWith(ErrorCode::kCorrupt, folder.Path("b.safetensors") +
                                                 ": tensor 't': the same tensor is in two "
                                                 "shards: got also in " +
                                                 folder.Path("a.safetensors")));
}

TEST(ShardIndex, RejectsABrokenWeightMap) {
  const CheckpointFolder folder;
  folder.WriteShard("a.safetensors", {"t"});
  const auto expect = [&](const char* index, const char* rest) {
    folder.Write("model.safetensors.index.json", index);
    EXPECT_THAT(OpenShards(folder.Path()),
                FailsWith(ErrorCode::kCorrupt, folder.IndexPath() + rest))
        << index;
  };
  expect("{}", ": weight_map is missing or no object");
  expect("[]", ": weight_map is missing or no object");
  expect(R"({"weight_map":null})", ": weight_map is missing or no object");
  expect(R"({"weight_map":["a.safetensors"]})", ": weight_map is missing or no object");
  expect(R"({"weight_map":{}})", ": weight_map is empty");
  expect(R"({"weight_map":{"t":1}})",
         ": tensor 't': weight_map has a shard that is no string: got an integer");
  expect(R"({"weight_map":{"t":null}})",
         ": tensor 't': weight_map has a shard that is no string: got null");
  expect(R"({"weight_map":{"t":"a.safetensors","t":"b.safetensors"}})",
         ": the key 'weight_map.t' stands twice");
}

TEST(ShardIndex, RejectsAnIndexThatIsNoJson) {
  const CheckpointFolder folder;
  folder.WriteShard("a.safetensors", {"t"});
  folder.Write("model.safetensors.index.json", "{\"weight_map\":");
  EXPECT_THAT(OpenShards(folder.Path()),
              Fails(ErrorCode::kCorrupt, folder.IndexPath() + ": not valid JSON: got "));
  folder.Write("model.safetensors.index.json", kLfsPointer);
  EXPECT_THAT(OpenShards(folder.Path()),
              Fails(ErrorCode::kCorrupt, folder.IndexPath() + ": this is a Git LFS pointer"));
}

TEST(ShardIndex, ReportsAllProblemsTogether) {
  const CheckpointFolder folder;
  folder.Write("a.safetensors", kLfsPointer);
  folder.WriteShard("b.safetensors", {"u", "extra"});
  folder.WriteIndex({{"t", "a.safetensors"},
                     {"u", "b.safetensors"},
                     {"lost", "b.safetensors"},
                     {"v", "missing.safetensors"},
                     {"w", "../outside.safetensors"}});
  const Result<ShardSet> set = OpenShards(folder.Path());
  ASSERT_FALSE(set.has_value());
  EXPECT_EQ(set.error().more.size(), 4U);
  for (const std::string& line :
       {folder.IndexPath() + ": the index names a file outside the checkpoint folder",
        folder.Path("a.safetensors") + ": this is a Git LFS pointer",
        folder.Path("missing.safetensors") + ": a shard that the index names is missing",
        folder.Path("b.safetensors") + ": tensor 'extra': the index does not list this tensor here",
        folder.Path("b.safetensors") + ": tensor 'lost': the shard lacks a tensor"}) {
    EXPECT_NE(set.error().Format().find(line), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace sluice::safetensors
