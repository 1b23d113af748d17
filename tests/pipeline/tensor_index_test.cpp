// Tensors by name, by block and by expert.
#include "pipeline/tensor_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/pipeline/shard_fixture.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::MakeShards;
using ::testing::Pair;

TEST(PatternOf, TakesDecimalComponentsOut) {
  const NamePattern pattern = PatternOf("model.layers.3.mlp.experts.17.w1.weight");
  EXPECT_EQ(pattern.text, "model.layers.{}.mlp.experts.{}.w1.weight");
  EXPECT_THAT(pattern.numbers, ElementsAre(3, 17));
}

TEST(PatternOf, OnlyCanonicalDecimalsAreNumbers) {
  for (const char* const name : {"a.01.b", "a.00.b", "a.-1.b", "a.+1.b", "a.w1.b", "a.1w.b",
                                 "a.0x1.b", "a. 1.b", "a.1e3.b", "a..b", "", "a", "."}) {
    const NamePattern pattern = PatternOf(name);
    EXPECT_EQ(pattern.text, name);
    EXPECT_THAT(pattern.numbers, IsEmpty()) << name;
  }
}

TEST(PatternOf, NumbersOf64BitsAndNoMore) {
  EXPECT_THAT(PatternOf("a.18446744073709551615").numbers, ElementsAre(18446744073709551615U));
  const NamePattern beyond = PatternOf("a.18446744073709551616");
  EXPECT_EQ(beyond.text, "a.18446744073709551616");
  EXPECT_THAT(beyond.numbers, IsEmpty());
}

TEST(PatternOf, NumbersAtBothEnds) {
  const NamePattern pattern = PatternOf("0.x.10");
  EXPECT_EQ(pattern.text, "{}.x.{}");
  EXPECT_THAT(pattern.numbers, ElementsAre(0, 10));
  EXPECT_EQ(PatternOf("7").text, "{}");
}

TEST(TensorIndex, NumbersByShardAndThenByName) {
  const safetensors::ShardSet shards = MakeShards({{{"b", {1}}, {"a", {2}}}, {{"0", {3}}}});
  const TensorIndex index(shards);
  ASSERT_EQ(index.size(), 3);
  EXPECT_EQ(index[0].info->name, "a");
  EXPECT_EQ(index[1].info->name, "b");
  EXPECT_EQ(index[2].info->name, "0");
  EXPECT_EQ(index[1].shard, 0);
  EXPECT_EQ(index[2].shard, 1);
  EXPECT_EQ(index.Find("b"), 1);
  EXPECT_EQ(index.Find("0"), 2);
  EXPECT_EQ(index.Find("c"), std::nullopt);
  EXPECT_EQ(index.Find(""), std::nullopt);
}

TEST(TensorIndex, FindsExpertsInTheOrderOfNumbers) {
  // As text, 10 would come before 2.
  const safetensors::ShardSet shards =
      MakeShards({{{"l.0.experts.10.w", {1}}, {"l.0.experts.2.w", {1}}, {"l.0.experts.1.w", {1}}},
                  {{"l.0.experts.0.w", {1}}, {"l.1.experts.5.w", {1}}}});
  const TensorIndex index(shards);
  EXPECT_THAT(
      index.FindExperts("l.0.experts.", ".w"),
      ElementsAre(Pair(0, *index.Find("l.0.experts.0.w")), Pair(1, *index.Find("l.0.experts.1.w")),
                  Pair(2, *index.Find("l.0.experts.2.w")),
                  Pair(10, *index.Find("l.0.experts.10.w"))));
  EXPECT_THAT(index.FindExperts("l.1.experts.", ".w"),
              ElementsAre(Pair(5, *index.Find("l.1.experts.5.w"))));
}

TEST(TensorIndex, FindsOnlyExpertsOfThatName) {
  const safetensors::ShardSet shards = MakeShards({{{"l.0.experts.0.w1", {1}},
                                                    {"l.0.experts.0.w2", {1}},
                                                    {"l.0.experts.01.w1", {1}},
                                                    {"l.0.experts.x.w1", {1}},
                                                    {"l.0.experts.3.4.w1", {1}},
                                                    {"m.0.experts.1.w1", {1}},
                                                    {"l.00.experts.1.w1", {1}}}});
  const TensorIndex index(shards);
  EXPECT_THAT(index.FindExperts("l.0.experts.", ".w1"),
              ElementsAre(Pair(0, *index.Find("l.0.experts.0.w1"))));
  EXPECT_THAT(index.FindExperts("l.2.experts.", ".w1"), IsEmpty());
  EXPECT_THAT(index.FindExperts("l.0.experts.", ".w3"), IsEmpty());
  EXPECT_THAT(index.FindExperts("experts.", ".w1"), IsEmpty());
}

}  // namespace
}  // namespace sluice
