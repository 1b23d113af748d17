// Applying tensor rules to a checkpoint: what is bound, from where, in which order.
#include "pipeline/bind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/pipeline/bind_fixture.h"
#include "tests/stages/view_reference.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words
using arch::Group;
using arch::Optional;
using arch::RopePairs;
using arch::Shared;
using arch::Split;
using arch::Swap;
using arch::Take;
using arch::TensorGroup;
using arch::TensorRule;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TEST(Bind, PlainTensorsOfModelAndBlocks) {
  const std::array model{kEmbedRule, kNormRule};
  const std::array block{kDownRule};
  const std::array groups{InModel(model), InBlocks(block)};
  Binding binding({{{"model.norm.weight", {8}}, {"model.layers.1.down.weight", {8, 6}}},
                   {{"model.embed.weight", {10, 8}}, {"model.layers.0.down.weight", {8, 6}}}},
                  SmallHParams());
  const std::vector<BoundTensor> bound = binding.Bind(FileOf(groups));
  EXPECT_THAT(binding.Problems(), IsEmpty());
  EXPECT_THAT(binding.notes(), IsEmpty());
  ASSERT_THAT(NamesOf(bound), ElementsAre("token_embd.weight", "output_norm.weight",
                                          "blk.0.ffn_down.weight", "blk.1.ffn_down.weight"));
  EXPECT_THAT(bound[0].shape, ElementsAre(10, 8));
  EXPECT_EQ(bound[0].rule, &model[0]);
  ASSERT_THAT(bound[0].sources, SizeIs(1));
  EXPECT_EQ(binding.SourceName(bound[0].sources[0]), "model.embed.weight");
  EXPECT_TRUE(bound[0].sources[0].view.IsContiguous());
  EXPECT_EQ(bound[0].sources[0].view.elements(), 80);
  // By position of the source: shard by shard, then by name.
  EXPECT_LT(bound[3].order, bound[1].order);
  EXPECT_LT(bound[1].order, bound[0].order);
  EXPECT_LT(bound[0].order, bound[2].order);
}

TEST(Bind, OptionalRulesMayFindNothing) {
  const std::array rules{kEmbedRule, Optional(kNormRule)};
  const std::array groups{InModel(rules)};
  Binding without({{{"model.embed.weight", {10, 8}}}}, SmallHParams());
  EXPECT_THAT(NamesOf(without.Bind(FileOf(groups))), ElementsAre("token_embd.weight"));
  EXPECT_THAT(without.Problems(), IsEmpty());
  Binding with({{{"model.embed.weight", {10, 8}}, {"model.norm.weight", {8}}}}, SmallHParams());
  EXPECT_THAT(with.Bind(FileOf(groups)), SizeIs(2));
}

TEST(Bind, FirstAlternativeThatExists) {
  const TensorRule wte{"wte.weight", "token_embd.weight", {kVocab, kHidden}};
  const std::array rules{kEmbedRule, wte};
  const std::array groups{InModel(rules)};
  Binding second({{{"model.wte.weight", {10, 8}}}}, SmallHParams());
  const std::vector<BoundTensor> bound = second.Bind(FileOf(groups));
  ASSERT_THAT(bound, SizeIs(1));
  EXPECT_EQ(bound[0].rule, &rules[1]);
  EXPECT_THAT(second.Problems(), IsEmpty());
  // With both there, the one that is left over is not passed by in silence.
  Binding both({{{"model.wte.weight", {10, 8}}, {"model.embed.weight", {10, 8}}}}, SmallHParams());
  EXPECT_EQ(both.Bind(FileOf(groups))[0].rule, &rules[0]);
  EXPECT_THAT(both.Problems(), ElementsAre(HasSubstr("tensor 'model.wte.weight': no rule")));
}

TEST(Bind, AlternativeLayoutsOfOneSourceAreToldByShape) {
  const TensorRule as_is = Shared(kDownRule);
  const TensorRule transposed =
      Shared({"down.weight", "ffn_down.weight", {kFfn, kHidden}, {Swap{0, 1}}});
  const std::array rules{as_is, transposed};
  const std::array groups{Group({"model.layers.{bid}."}, "blk.{bid}.", rules, kBlocks)};
  Binding binding(
      {{{"model.layers.0.down.weight", {8, 6}}, {"model.layers.1.down.weight", {6, 8}}}},
      SmallHParams());
  const std::vector<BoundTensor> bound = binding.Bind(FileOf(groups));
  EXPECT_THAT(binding.Problems(), IsEmpty());
  ASSERT_THAT(bound, SizeIs(2));
  EXPECT_EQ(bound[0].rule, &rules[0]);
  EXPECT_EQ(bound[1].rule, &rules[1]);
  EXPECT_THAT(bound[1].shape, ElementsAre(8, 6));
  // Row 0 of the target is column 0 of the source.
  EXPECT_EQ(ElementsOf(bound[1].sources[0].view)[5], 40);
}

TEST(Bind, SquareMatricesTakeTheFirstLayout) {
  arch::HParams square = SmallHParams();
  square.Set(kFfn, std::uint64_t{8}, true);
  square.Set(kBlocks, std::uint64_t{1}, true);
  const std::array rules{
      Shared(kDownRule),
      Shared(TensorRule{"down.weight", "ffn_down.weight", {kFfn, kHidden}, {Swap{0, 1}}})};
  const std::array groups{InBlocks(rules)};
  Binding binding({{{"model.layers.0.down.weight", {8, 8}}}}, square);
  EXPECT_EQ(binding.Bind(FileOf(groups))[0].rule, &rules[0]);
}

TEST(Bind, PrefixAlternativesAreChosenForEachGroupAndBlock) {
  const std::array model{kEmbedRule, Optional(kNormRule)};
  const std::array block{kDownRule};
  const std::array groups{Group({"language_model.model.", "model."}, "", model),
                          Group({"a.{bid}.", "b.{bid}."}, "blk.{bid}.", block, kBlocks)};
  Binding binding(
      {{{"model.embed.weight", {10, 8}}, {"b.0.down.weight", {8, 6}}, {"a.1.down.weight", {8, 6}}}},
      SmallHParams());
  const std::vector<BoundTensor> bound = binding.Bind(FileOf(groups));
  EXPECT_THAT(binding.Problems(), IsEmpty());
  ASSERT_THAT(bound, SizeIs(3));
  EXPECT_EQ(binding.SourceName(bound[1].sources[0]), "b.0.down.weight");
  EXPECT_EQ(binding.SourceName(bound[2].sources[0]), "a.1.down.weight");
}

TEST(Bind, PrefixesOfOneGroupAreNotMixed) {
  const std::array model{kEmbedRule, kNormRule};
  const std::array groups{Group({"x.", "y."}, "", model)};
  Binding binding({{{"x.embed.weight", {10, 8}}, {"y.norm.weight", {8}}}}, SmallHParams());
  binding.Bind(FileOf(groups));
  EXPECT_THAT(binding.Problems(),
              ElementsAre(HasSubstr("'x.norm.weight'"), HasSubstr("'y.norm.weight': no rule")));
}

TEST(Bind, ExpertsAreStackedInTheOrderOfNumbers) {
  const std::array rules{kExpertDownRule};
  const std::array groups{
      InBlocks(rules, [](const arch::HParams&, std::uint64_t block) { return block == 0; })};
  std::vector<Tensor> experts = TwelveExperts();
  const std::vector<Tensor> first(experts.begin(), experts.begin() + 5);
  const std::vector<Tensor> second(experts.begin() + 5, experts.end());
  Binding binding({second, first}, SmallHParams());
  const std::vector<BoundTensor> bound = binding.Bind(FileOf(groups));
  EXPECT_THAT(binding.Problems(), IsEmpty());
  ASSERT_THAT(NamesOf(bound), ElementsAre("blk.0.ffn_down_exps.weight"));
  EXPECT_THAT(bound[0].shape, ElementsAre(12, 8, 3));
  ASSERT_THAT(bound[0].sources, SizeIs(12));
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(binding.SourceName(bound[0].sources[static_cast<std::size_t>(i)]),
              "model.layers.0.experts." + std::to_string(i) + ".down.weight");
  }
}

TEST(Bind, StacksOfABlockComeAfterTheLastExpertOfAny) {
  const TensorRule up{"experts.{xid}.up.weight",
                      "ffn_up_exps.weight",
                      {kExpertFfn, kHidden},
                      {arch::StackExperts{}}};
  const std::array rules{kExpertDownRule, up, kDownRule};
  const std::array groups{InBlocks(rules)};
  arch::HParams hparams = SmallHParams();
  hparams.Set(kBlocks, std::uint64_t{1}, true);
  hparams.Set(kExperts, std::uint64_t{2}, true);
  const std::string layer = "model.layers.0.";
  Binding binding({{{layer + "experts.0.down.weight", {8, 3}},
                    {layer + "experts.1.down.weight", {8, 3}},
                    {layer + "experts.0.up.weight", {3, 8}},
                    {layer + "down.weight", {8, 6}}},
                   {{layer + "experts.1.up.weight", {3, 8}}}},
                  hparams);
  const std::vector<BoundTensor> bound = binding.Bind(FileOf(groups));
  ASSERT_THAT(bound, SizeIs(3));
  EXPECT_EQ(bound[0].order, bound[1].order);
  EXPECT_LT(bound[0].rule_order, bound[1].rule_order);
  EXPECT_LT(bound[2].order, bound[0].order);
}

TEST(Bind, RotaryHalvesAreInterleavedWithinEachHead) {
  const TensorRule query{
      "q.weight", "attn_q.weight", {kHeads * kHeadDim, kHidden}, {RopePairs{kHeads}}};
  const std::array rules{query};
  const std::array groups{InBlocks(rules)};
  arch::HParams hparams = SmallHParams();
  hparams.Set(kBlocks, std::uint64_t{1}, true);
  hparams.Set(kHidden, std::uint64_t{1}, true);
  Binding binding({{{"model.layers.0.q.weight", {8, 1}}}}, hparams);
  const std::vector<BoundTensor> bound = binding.Bind(FileOf(groups));
  EXPECT_THAT(binding.Problems(), IsEmpty());
  EXPECT_THAT(ElementsOf(bound[0].sources[0].view), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
}

TEST(Bind, ViewWordsAreAppliedInOrder) {
  // [heads * 3, hidden] -> [heads, 3, hidden] -> the last two of three -> swapped
  arch::HParams hparams = SmallHParams();
  hparams.Set(kBlocks, std::uint64_t{1}, true);
  hparams.Set(kNope, std::uint64_t{1}, true);
  hparams.Set(kVHead, std::uint64_t{2}, true);
  hparams.Set(kKvRank, std::uint64_t{2}, true);
  const TensorRule value{"kv_b.weight",
                         "attn_v_b.weight",
                         {kHeads * (kNope + kVHead), kKvRank},
                         {Split{0, kHeads}, Take{1, kNope, kVHead}}};
  const std::array rules{value};
  const std::array groups{InBlocks(rules)};
  Binding binding({{{"model.layers.0.kv_b.weight", {6, 2}}}}, hparams);
  const std::vector<BoundTensor> bound = binding.Bind(FileOf(groups));
  EXPECT_THAT(binding.Problems(), IsEmpty());
  EXPECT_THAT(bound[0].shape, ElementsAre(2, 2, 2));
  EXPECT_THAT(ElementsOf(bound[0].sources[0].view), ElementsAre(2, 3, 4, 5, 8, 9, 10, 11));
}

TEST(Bind, GeneratedTensorsAreWrittenFirstOrNotAtAll) {
  const std::array rules{kNormRule};
  const std::array groups{InModel(rules)};
  const std::array generated{
      arch::GeneratedTensor{"rope_freqs.weight",
                            [](const arch::HParams&) {
                              return std::vector<float>{1, 2, 3};
                            }},
      arch::GeneratedTensor{"nothing", [](const arch::HParams&) { return std::vector<float>(); }}};
  arch::FileSpec file = FileOf(groups);
  file.generated = generated;
  Binding binding({{{"model.norm.weight", {8}}}}, SmallHParams());
  const std::vector<BoundTensor> bound = binding.Bind(file);
  ASSERT_THAT(NamesOf(bound), ElementsAre("output_norm.weight", "rope_freqs.weight"));
  EXPECT_THAT(bound[1].shape, ElementsAre(3));
  EXPECT_THAT(bound[1].generated, ElementsAre(1, 2, 3));
  EXPECT_EQ(bound[1].rule, nullptr);
  EXPECT_LT(bound[1].order, bound[0].order);
}

TEST(Bind, GroupsApplyWhereTheirTestHolds) {
  const std::array rules{kDownRule};
  const std::array norm{kNormRule};
  const std::array groups{
      InModel(norm),
      InBlocks(rules, [](const arch::HParams&, std::uint64_t block) { return block == 1; })};
  Binding binding({{{"model.norm.weight", {8}}, {"model.layers.1.down.weight", {8, 6}}}},
                  SmallHParams());
  EXPECT_THAT(NamesOf(binding.Bind(FileOf(groups))),
              UnorderedElementsAre("output_norm.weight", "blk.1.ffn_down.weight"));
  EXPECT_THAT(binding.Problems(), IsEmpty());
}

TEST(Bind, SeveralFilesShareTheCheckpoint) {
  const std::array model{kEmbedRule};
  const std::array model_groups{InModel(model)};
  const std::array projector{kNormRule};
  const std::array projector_groups{InModel(projector)};
  const arch::FileSpec files[] = {FileOf(model_groups), FileOf(projector_groups)};
  Binding binding({{{"model.embed.weight", {10, 8}}, {"model.norm.weight", {8}}}}, SmallHParams());
  EXPECT_THAT(binding.binder().Bind(files[0]), SizeIs(1));
  EXPECT_THAT(binding.binder().Bind(files[1]), SizeIs(1));
  std::vector<std::string> notes;
  const std::vector<const arch::FileSpec*> both{&files[0], &files[1]};
  binding.binder().ReportUnused(both, notes);
  EXPECT_THAT(binding.Problems(), IsEmpty());
}

TEST(DescribeViews, NamesEveryWord) {
  const arch::HParams hparams = SmallHParams();
  EXPECT_EQ(DescribeViews(kDownRule, hparams), "");
  EXPECT_EQ(DescribeViews(kExpertDownRule, hparams), "stack 12 experts");
  TensorRule rule{"x", "y", {}, {Split{0, kHeads}, Take{1, kHeadDim, kFfn}, Swap{0, 2}}};
  EXPECT_EQ(DescribeViews(rule, hparams),
            "split axis 0 into 2, take 4..9 of axis 1, swap axes 0 and 2");
  rule.views = {RopePairs{kHeads}, arch::Squeeze{1}};
  rule.pointwise = arch::Pointwise::kOneMinusTanh;
  EXPECT_EQ(DescribeViews(rule, hparams),
            "interleave rotary halves of 2 heads, squeeze axis 1, 1 - tanh");
  rule.pointwise = arch::Pointwise::kTanh;
  EXPECT_THAT(DescribeViews(rule, hparams), HasSubstr(", tanh"));
}

}  // namespace
}  // namespace sluice
