// What binding refuses, and how it says so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/pipeline/bind_fixture.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words
using arch::DroppedTensors;
using arch::Group;
using arch::Optional;
using arch::RopePairs;
using arch::TensorRule;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

bool OnlyBlock0(const arch::HParams&, std::uint64_t block) { return block == 0; }

auto HasCode(ErrorCode code) { return Field("code", &Error::code, code); }

// Binds one group of rules under "model." and gives the problems.
Binding BindModel(const std::vector<TensorRule>& rules, std::vector<Tensor> tensors) {
  const std::array groups{InModel(rules)};
  Binding binding({std::move(tensors)}, SmallHParams());
  binding.Bind(FileOf(groups));
  return binding;
}

TEST(BindProblems, MissingRequiredTensor) {
  const Binding binding = BindModel({kEmbedRule, kNormRule}, {{"model.embed.weight", {10, 8}}});
  EXPECT_THAT(binding.Problems(),
              ElementsAre("tensor 'model.norm.weight': a required tensor is missing: expected it "
                          "for output_norm.weight"));
  EXPECT_THAT(binding.errors(), Each(HasCode(ErrorCode::kMissing)));
}

TEST(BindProblems, MissingTensorOfABlockIsNamedWithTheBlock) {
  const std::array rules{kDownRule};
  const std::array groups{InBlocks(rules)};
  Binding binding({{{"model.layers.0.down.weight", {8, 6}}, {"extra", {1}}}}, SmallHParams());
  binding.Bind(FileOf(groups));
  EXPECT_THAT(binding.Problems(), ElementsAre(AllOf(HasSubstr("'model.layers.1.down.weight'"),
                                                    HasSubstr("for blk.1.ffn_down.weight")),
                                              HasSubstr("'extra'")));
}

TEST(BindProblems, WrongShape) {
  const Binding binding = BindModel({kEmbedRule}, {{"model.embed.weight", {8, 10}}});
  EXPECT_THAT(binding.Problems(),
              ElementsAre("tensor 'model.embed.weight': the shape does not fit config.json: "
                          "expected [10, 8], got [8, 10]"));
  EXPECT_THAT(binding.errors(), Each(HasCode(ErrorCode::kMismatch)));
}

TEST(BindProblems, WrongRank) {
  EXPECT_THAT(BindModel({kEmbedRule}, {{"model.embed.weight", {80}}}).Problems(),
              ElementsAre(HasSubstr("expected [10, 8], got [80]")));
  EXPECT_THAT(BindModel({kNormRule}, {{"model.norm.weight", {}}}).Problems(),
              ElementsAre(HasSubstr("expected [8], got []")));
  EXPECT_THAT(BindModel({kNormRule}, {{"model.norm.weight", {8, 1}}}).Problems(), SizeIs(1));
}

TEST(BindProblems, NoAlternativeFits) {
  const TensorRule wte{"wte.weight", "token_embd.weight", {kHidden, kVocab}};
  EXPECT_THAT(BindModel({kEmbedRule, wte}, {{"model.embed.weight", {3, 3}}}).Problems(),
              ElementsAre(HasSubstr("expected [10, 8], got [3, 3]")));
}

TEST(BindProblems, OptionalTensorOfTheWrongShape) {
  EXPECT_THAT(BindModel({Optional(kNormRule)}, {{"model.norm.weight", {9}}}).Problems(),
              ElementsAre(HasSubstr("expected [8], got [9]")));
}

TEST(BindProblems, IntegersAreNoWeights) {
  for (const Dtype dtype : {Dtype::kI8, Dtype::kU8, Dtype::kI16, Dtype::kU16, Dtype::kI32,
                            Dtype::kU32, Dtype::kI64, Dtype::kU64, Dtype::kBool, Dtype::kF8E8M0}) {
    const Binding binding = BindModel({kNormRule}, {{"model.norm.weight", {8}, dtype}});
    EXPECT_THAT(binding.Problems(),
                ElementsAre(AllOf(HasSubstr("elements of this dtype are no weights"),
                                  HasSubstr("got " + std::string(DtypeName(dtype))))));
    EXPECT_THAT(binding.errors(), Each(HasCode(ErrorCode::kUnsupported)));
  }
  for (const Dtype dtype :
       {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBF16, Dtype::kF8E4M3, Dtype::kF8E5M2}) {
    EXPECT_THAT(BindModel({kNormRule}, {{"model.norm.weight", {8}, dtype}}).Problems(), IsEmpty());
  }
}

TEST(BindProblems, ShapeThatNoNumberHolds) {
  // A product past 64 bits fits no tensor, least of all a scalar.
  const TensorRule tiles{
      "tiles",
      "v.tile_position_embd.weight",
      {kVisionAspects, kVisionTiles * kVisionPositions * arch::Extent(kVisionHidden)}};
  const std::array rules{tiles};
  const std::array groups{InModel(rules)};
  for (const std::vector<std::uint64_t>& shape :
       {std::vector<std::uint64_t>{}, std::vector<std::uint64_t>{2, 2}}) {
    arch::HParams hparams = SmallHParams();
    hparams.Set(kVisionAspects, std::uint64_t{2}, true);
    for (const Hp id : {kVisionTiles, kVisionPositions, kVisionHidden}) {
      hparams.Set(id, std::uint64_t{0xFFFF'FFFF}, true);
    }
    arch::FileSpec file = FileOf(groups);
    file.gguf_arch = "mllama";
    Binding binding({{{"model.tiles", shape}}}, hparams);
    binding.Bind(file);
    EXPECT_THAT(binding.errors(), ElementsAre(HasCode(ErrorCode::kMismatch)));
  }
}

TEST(BindProblems, HeadsThatDoNotDivideTheRows) {
  const TensorRule query{"q.weight", "output.weight", {kVocab, kHidden}, {RopePairs{kHeads}}};
  for (const auto& [heads, fits] : {std::pair(5, true), std::pair(1, true), std::pair(2, false),
                                    std::pair(3, false), std::pair(10, false)}) {
    arch::HParams hparams = SmallHParams();
    hparams.Set(kHeads, static_cast<std::uint64_t>(heads), true);
    const std::array rules{query};
    const std::array groups{InModel(rules)};
    Binding binding({{{"model.q.weight", {10, 8}}}}, hparams);
    binding.Bind(FileOf(groups));
    if (fits) {
      EXPECT_THAT(binding.Problems(), IsEmpty()) << heads;
    } else {
      EXPECT_THAT(binding.Problems(),
                  ElementsAre("tensor 'model.q.weight': the number of heads does not divide the "
                              "rows: got [10, 8]"));
      EXPECT_THAT(binding.errors(), Each(HasCode(ErrorCode::kMismatch)));
    }
  }
}

// ---- Experts

Binding BindExperts(const std::vector<Tensor>& tensors) {
  const std::array rules{kExpertDownRule};
  const std::array groups{InBlocks(rules, OnlyBlock0)};
  Binding binding({tensors}, SmallHParams());
  binding.Bind(FileOf(groups));
  return binding;
}

constexpr const char* kExpert = "model.layers.0.experts.";

TEST(BindExperts, GapInTheNumbers) {
  std::vector<Tensor> experts = TwelveExperts();
  Remove(experts, std::string(kExpert) + "5.down.weight");
  const Binding binding = BindExperts(experts);
  EXPECT_THAT(binding.Problems(),
              ElementsAre("tensor 'model.layers.0.experts.{xid}.down.weight': expert 5 is missing: "
                          "expected experts 0 to 11"));
  EXPECT_THAT(binding.errors(), Each(HasCode(ErrorCode::kMissing)));
}

TEST(BindExperts, SeveralGaps) {
  std::vector<Tensor> experts = TwelveExperts();
  for (const char* const number : {"0", "3", "4", "10", "11"}) {
    Remove(experts, kExpert + std::string(number) + ".down.weight");
  }
  EXPECT_THAT(BindExperts(experts).Problems(),
              ElementsAre(HasSubstr("expert 0 is missing"), HasSubstr("experts 3 to 4 are missing"),
                          HasSubstr("experts 10 to 11 are missing")));
}

TEST(BindExperts, BeyondTheConfiguredNumber) {
  std::vector<Tensor> experts = TwelveExperts();
  experts.push_back({std::string(kExpert) + "12.down.weight", {8, 3}});
  experts.push_back({std::string(kExpert) + "99.down.weight", {8, 3}});
  const Binding binding = BindExperts(experts);
  EXPECT_THAT(binding.Problems(),
              ElementsAre("tensor 'model.layers.0.experts.12.down.weight': an expert beyond the "
                          "configured number: expected experts 0 to 11, got expert 12",
                          HasSubstr("got expert 99")));
  EXPECT_THAT(binding.errors(), Each(HasCode(ErrorCode::kMismatch)));
}

TEST(BindExperts, OneOfAnotherShape) {
  std::vector<Tensor> experts = TwelveExperts();
  experts[7].shape = {8, 4};
  EXPECT_THAT(BindExperts(experts).Problems(),
              ElementsAre(AllOf(HasSubstr("experts.7.down.weight'"),
                                HasSubstr("expected [8, 3], got [8, 4]"))));
}

TEST(BindExperts, OneOfAnIntegerDtype) {
  std::vector<Tensor> experts = TwelveExperts();
  experts[11].dtype = Dtype::kI8;
  EXPECT_THAT(BindExperts(experts).Problems(), ElementsAre(HasSubstr("experts.11.down.weight'")));
}

TEST(BindExperts, NumbersThatAreNotCanonical) {
  std::vector<Tensor> experts = TwelveExperts();
  experts[1].name = std::string(kExpert) + "01.down.weight";
  EXPECT_THAT(BindExperts(experts).Problems(),
              ElementsAre(HasSubstr("expert 1 is missing"),
                          HasSubstr("experts.01.down.weight': no rule of this architecture")));
}

TEST(BindExperts, NoneAtAll) {
  EXPECT_THAT(BindExperts({}).Problems(), SizeIs(1));  // counts too many layers for no tensors
  EXPECT_THAT(BindExperts({{"x", {1}}, {"y", {1}}}).Problems(),
              ElementsAre(HasSubstr("{xid}.down.weight': a required tensor is missing"),
                          HasSubstr("'x'"), HasSubstr("'y'")));
}

// ---- Unknown and dropped tensors

TEST(BindUnused, NamesTheNearestRule) {
  const std::array block{kDownRule};
  const std::array model{kEmbedRule, kNormRule};
  const std::array groups{InModel(model), InBlocks(block)};
  Binding binding({{{"model.embed.weight", {10, 8}},
                    {"model.norm.weight", {8}},
                    {"model.norn.weight", {8}},
                    {"model.layers.0.down.weight", {8, 6}},
                    {"model.layers.1.down.weight", {8, 6}},
                    {"model.layers.1.down.weights", {8, 6}}}},
                  SmallHParams());
  binding.Bind(FileOf(groups));
  EXPECT_THAT(binding.Problems(),
              ElementsAre("tensor 'model.layers.1.down.weights': no rule of this architecture "
                          "takes it: expected a name like model.layers.{bid}.down.weight",
                          AllOf(HasSubstr("'model.norn.weight'"),
                                HasSubstr("a name like model.norm.weight"))));
  EXPECT_THAT(binding.errors(), Each(HasCode(ErrorCode::kMismatch)));
}

TEST(BindUnused, NamesBeyondAllLengthsHaveNoNearestRule) {
  // Comparing them with every rule would take minutes.
  const std::array rules{kNormRule};
  const std::array groups{InModel(rules)};
  const std::string name(std::size_t{20} << 20, 'x');
  Binding binding({{{"model.norm.weight", {8}}, {name, {8}}}}, SmallHParams());
  binding.Bind(FileOf(groups));
  ASSERT_THAT(binding.errors(), ElementsAre(HasCode(ErrorCode::kMismatch)));
  EXPECT_EQ(binding.errors().front().expected, "");
}

TEST(BindUnused, BlocksBeyondTheCount) {
  const std::array block{kDownRule};
  const std::array groups{InBlocks(block)};
  Binding binding({{{"model.layers.0.down.weight", {8, 6}},
                    {"model.layers.1.down.weight", {8, 6}},
                    {"model.layers.2.down.weight", {8, 6}}}},
                  SmallHParams());
  binding.Bind(FileOf(groups));
  EXPECT_THAT(binding.Problems(), ElementsAre(HasSubstr("'model.layers.2.down.weight': no rule")));
}

TEST(BindUnused, DroppedTensorsAreNotedOrNot) {
  const std::array rules{kNormRule};
  const std::array groups{InModel(rules)};
  const std::array dropped{
      DroppedTensors{"model.layers.{bid}.", "inv_freq"},
      DroppedTensors{"model.layers.{bid}.", "", OnlyBlock0, "block 0 is not wanted"},
      DroppedTensors{"", "lm_head.weight", nullptr, "tied"},
  };
  arch::FileSpec file = FileOf(groups);
  file.dropped = dropped;
  Binding binding({{{"model.norm.weight", {8}},
                    {"model.layers.1.inv_freq", {4}},
                    {"model.layers.0.a", {4}},
                    {"model.layers.0.b.c", {4}},
                    {"lm_head.weight", {4}}}},
                  SmallHParams());
  binding.Bind(file);
  EXPECT_THAT(binding.Problems(), IsEmpty());
  EXPECT_THAT(binding.notes(),
              ElementsAre("2 tensors left out: block 0 is not wanted", "1 tensors left out: tied"));
}

TEST(BindUnused, DroppedRulesMatchWholeNamesAndNumbers) {
  const std::array dropped{DroppedTensors{"model.layers.{bid}.", "inv_freq", nullptr, "why"},
                           DroppedTensors{"head.", "weight"}};
  arch::FileSpec file = FileOf({});
  file.dropped = dropped;
  for (const char* const name :
       {"model.layers.x.inv_freq", "model.layers.01.inv_freq", "model.layers.0.attn.inv_freq",
        "model.layers.0.inv_freq2", "model.layers.0", "head.weight.2", "xhead.weight", "head."}) {
    Binding binding({{{name, {4}}}}, SmallHParams());
    binding.Bind(file);
    EXPECT_THAT(binding.Problems(), ElementsAre(HasSubstr(name))) << name;
    EXPECT_THAT(binding.notes(), IsEmpty());
  }
}

// ---- Groups whose tensors are all there or none

Binding BindExtraLayer(std::vector<Tensor> tensors) {
  const std::array norms{arch::Norm("enorm.weight", "nextn.enorm.weight", {kHidden})};
  const std::array down{kDownRule};
  std::array groups{InBlocks(norms), InBlocks(down)};
  for (arch::TensorGroup& group : groups) group.all_or_none = true;
  tensors.push_back({"extra", {1}});
  Binding binding({std::move(tensors)}, SmallHParams());
  binding.Bind(FileOf(groups));
  return binding;
}

TEST(BindAllOrNone, NoneIsFine) {
  EXPECT_THAT(BindExtraLayer({{"more", {1}}}).Problems(),
              ElementsAre(HasSubstr("'extra'"), HasSubstr("'more'")));
}

TEST(BindAllOrNone, AllOfAllBlocksIsFine) {
  EXPECT_THAT(BindExtraLayer({{"model.layers.0.enorm.weight", {8}},
                              {"model.layers.0.down.weight", {8, 6}},
                              {"model.layers.1.enorm.weight", {8}},
                              {"model.layers.1.down.weight", {8, 6}}})
                  .Problems(),
              ElementsAre(HasSubstr("'extra'")));
}

TEST(BindAllOrNone, SomeMeansThatTheOthersAreMissingInEveryBlock) {
  EXPECT_THAT(BindExtraLayer({{"model.layers.1.enorm.weight", {8}}}).Problems(),
              ElementsAre(HasSubstr("'model.layers.0.enorm.weight': a required tensor is missing"),
                          HasSubstr("'model.layers.0.down.weight': a required tensor is missing"),
                          HasSubstr("'model.layers.1.down.weight': a required tensor is missing"),
                          HasSubstr("'extra'")));
}

// ---- Tensors that are computed

TEST(BindGenerated, NothingIsComputedFromNumbersThatNoTensorConfirms) {
  const std::array rules{kNormRule};
  const std::array groups{InModel(rules)};
  const std::array generated{arch::GeneratedTensor{
      "rope_freqs.weight",
      [](const arch::HParams& hparams) { return std::vector<float>(hparams.Count(kHidden)); }}};
  arch::FileSpec file = FileOf(groups);
  file.generated = generated;
  arch::HParams hparams = SmallHParams();
  hparams.Set(kHidden, std::uint64_t{1} << 60, true);
  Binding binding({{{"model.norm.weight", {8}}}}, hparams);
  EXPECT_THAT(binding.Bind(file), IsEmpty());
  EXPECT_THAT(binding.Problems(), ElementsAre(HasSubstr("'model.norm.weight': the shape")));
}

// ---- All at once

TEST(BindProblems, AreCollected) {
  const std::array model{kEmbedRule, kNormRule};
  const std::array block{kDownRule};
  const std::array groups{InModel(model), InBlocks(block)};
  Binding binding({{{"model.embed.weight", {1, 1}},
                    {"model.layers.0.down.weight", {8, 6}, Dtype::kI8},
                    {"unknown", {1}}}},
                  SmallHParams());
  EXPECT_THAT(binding.Bind(FileOf(groups)), IsEmpty());
  EXPECT_THAT(binding.Problems(),
              ElementsAre(HasSubstr("'model.embed.weight': the shape"),
                          HasSubstr("'model.norm.weight': a required tensor is missing"),
                          HasSubstr("'model.layers.0.down.weight': elements of this dtype"),
                          HasSubstr("'model.layers.1.down.weight': a required tensor is missing"),
                          HasSubstr("'unknown': no rule")));
}

TEST(BindProblems, TooManyLayersForTheTensors) {
  // Looping over four billion blocks would take forever and report four billion tensors.
  const std::array block{kDownRule};
  const std::array groups{InBlocks(block)};
  arch::HParams hparams = SmallHParams();
  hparams.Set(kBlocks, std::uint64_t{0xFFFF'FFFF}, true);
  Binding binding({{{"model.layers.0.down.weight", {8, 6}}, {"b", {1}}, {"c", {1}}}}, hparams);
  EXPECT_THAT(binding.Bind(FileOf(groups)), IsEmpty());
  EXPECT_THAT(binding.Problems(),
              ElementsAre("config.json counts too many layers: expected at most one for each of 3 "
                          "tensors, got 4294967295"));
}

}  // namespace
}  // namespace sluice
