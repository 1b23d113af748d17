// Splitting: names, groups of tensors, key-values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "formats/gguf/split.h"
#include "result_matchers.h"

namespace sluice::gguf {
namespace {

using ::testing::ElementsAre;
using testing::Fails;
using testing::IsOk;

constexpr std::uint64_t kMaxBytes = std::numeric_limits<std::uint64_t>::max();

TEST(SplitNames, CountFromOneInFiveDigits) {
  EXPECT_EQ(ShardPath("dir/model.gguf", 0, 3), "dir/model-00001-of-00003.gguf");
  EXPECT_EQ(ShardPath("dir/model", 2, 3), "dir/model-00003-of-00003.gguf");
  EXPECT_EQ(ShardPath("m", 0, 65535), "m-00001-of-65535.gguf");
}

TEST(SplitNames, AreReadBack) {
  const auto name = ParseShardPath("a-b/model-00002-of-00012.gguf");
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->prefix, "a-b/model");
  EXPECT_EQ(name->number, 1U);
  EXPECT_EQ(name->count, 12U);
  EXPECT_EQ(ShardPath(name->prefix, name->number, name->count), "a-b/model-00002-of-00012.gguf");
}

TEST(SplitNames, OtherNamesAreNone) {
  for (const char* path :
       {"model.gguf", "model-00001-of-00002", "model-0001-of-00002.gguf",
        "model-00001-of-0002.gguf", "model-00000-of-00002.gguf", "model-00003-of-00002.gguf",
        "model-0000a-of-00002.gguf", "model00001-of-00002.gguf", "model-00001_of-00002.gguf",
        "-of-00002.gguf", ".gguf", "", "00002.gguf", "model-+0001-of-00002.gguf"}) {
    EXPECT_FALSE(ParseShardPath(path).has_value()) << path;
  }
}

std::vector<TensorRecord> Tensors(const std::vector<std::uint64_t>& bytes) {
  std::vector<TensorRecord> tensors;
  for (const std::uint64_t size : bytes) tensors.push_back({"t", TensorType::kF32, {}, 0, size});
  return tensors;
}

TEST(GroupBySize, FillsShardsInOrder) {
  const auto groups = GroupBySize(Tensors({40, 60, 1, 99, 1, 100, 150, 10}), 100);
  ASSERT_THAT(groups, IsOk());
  using R = TensorRange;
  EXPECT_THAT(*groups, ElementsAre(R{0, 2}, R{2, 4}, R{4, 5}, R{5, 6}, R{6, 7}, R{7, 8}));
}

TEST(GroupBySize, OneShardIsTheLeast) {
  const auto expect_one = [](const std::vector<std::uint64_t>& bytes, std::uint64_t max_bytes) {
    const auto groups = GroupBySize(Tensors(bytes), max_bytes);
    ASSERT_THAT(groups, IsOk());
    EXPECT_THAT(*groups, ElementsAre(TensorRange{0, bytes.size()}));
  };
  expect_one({}, 1);
  expect_one({500}, 1);
  expect_one({0, 0, 0}, 1);
  expect_one({1, 2, 3}, kMaxBytes);
}

TEST(GroupBySize, HugeTensorsDoNotOverflow) {
  const auto groups = GroupBySize(Tensors({kMaxBytes, kMaxBytes, 5}), kMaxBytes);
  ASSERT_THAT(groups, IsOk());
  EXPECT_EQ(groups->size(), 3U);
}

TEST(GroupBySize, GroupsTileTheTensorsAndKeepTheLimit) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::uint64_t> bytes(random() % 40);
    for (std::uint64_t& size : bytes) size = random() % 100;
    const std::uint64_t limit = 1 + random() % 150;
    const auto groups = GroupBySize(Tensors(bytes), limit);
    ASSERT_THAT(groups, IsOk());
    std::size_t next = 0;
    for (const TensorRange& group : *groups) {
      ASSERT_EQ(group.begin, next);
      next = group.end;
      std::uint64_t sum = 0;
      for (std::size_t i = group.begin; i < group.end; ++i) sum += bytes[i];
      ASSERT_TRUE(sum <= limit || group.end - group.begin == 1);
    }
    ASSERT_EQ(next, bytes.size());
  }
}

TEST(GroupBySize, RefusesWhatCannotBeNumbered) {
  EXPECT_THAT(GroupBySize(Tensors({1}), 0), Fails(ErrorCode::kUsage, "no room in a shard"));
  EXPECT_THAT(GroupBySize(Tensors(std::vector<std::uint64_t>(65535, 2)), 2), IsOk());
  EXPECT_THAT(GroupBySize(Tensors(std::vector<std::uint64_t>(65536, 2)), 2),
              Fails(ErrorCode::kUsage, "too many shards: expected at most 65535, got 65536"));
}

std::string TextOf(const Metadata& metadata) {
  std::string text;
  for (const auto& [key, value] : metadata.items()) {
    text += key + ":" + std::string(ValueTypeName(TypeOf(value))) + "=" + ToText(value, 0, 0) + " ";
  }
  return text;
}

TEST(ShardMetadata, OnlyTheFirstHasTheModels) {
  Metadata model;
  model.Append("split.count", std::uint16_t{9});  // of an earlier split
  model.Append("general.name", std::string("m"));
  EXPECT_EQ(TextOf(ShardMetadata(model, 0, 2, 5)),
            "general.name:str=m split.no:u16=0 split.count:u16=2 split.tensors.count:i32=5 ");
  EXPECT_EQ(TextOf(ShardMetadata(model, 1, 2, 5)),
            "split.no:u16=1 split.count:u16=2 split.tensors.count:i32=5 ");
}

}  // namespace
}  // namespace sluice::gguf
