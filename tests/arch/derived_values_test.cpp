// Values that families compute from their hyperparameters, against numbers of published models and
// of the golden files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "arch/blocks.h"
#include "tests/arch/family_values.h"

namespace sluice::arch {
namespace {

using testing::Derived;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using testing::KeyValue;
using ::testing::SizeIs;
using testing::With;

using Integers = std::vector<std::int64_t>;
using Texts = std::vector<std::string>;

const FileSpec& File(const Family& family, Dialect dialect, Role role = Role::kModel) {
  for (const FileSpec& file : family.files) {
    if (file.dialect == dialect && file.role == role) return file;
  }
  ADD_FAILURE() << family.name << " has no such file";
  return family.files.front();
}

HParams Llama3Rope() {
  HParams hparams;
  hparams.Set(kHidden, std::uint64_t{64}, true);
  hparams.Set(kHeads, std::uint64_t{4}, true);
  hparams.Set(kHeadDim, std::uint64_t{16}, true);
  hparams.Set(kRopeTheta, 500000.0, true);
  hparams.Set(kRopeType, std::string("llama3"), true);
  hparams.Set(kRopeFactor, 8.0, true);
  hparams.Set(kRopeLowFreqFactor, 1.0, true);
  hparams.Set(kRopeHighFreqFactor, 4.0, true);
  hparams.Set(kRopeOriginalContext, std::uint64_t{1024}, true);
  return hparams;
}

constexpr std::array kGoldenFactors{1.0F, 1.0F, 1.0F, 5.5560221672058105F, 8.0F, 8.0F, 8.0F, 8.0F};

TEST(RopeFactors, OfTheGoldenCheckpointInBothDialects) {
  EXPECT_THAT(RopeFactorsLlamaCpp(Llama3Rope()), ElementsAreArray(kGoldenFactors));
  EXPECT_THAT(RopeFactorsOllama(Llama3Rope()), ElementsAreArray(kGoldenFactors));
}

TEST(RopeFactors, LlamaCppTakesTheHeadSizeAndOllamaTheHiddenSize) {
  const HParams hparams = With(Llama3Rope(), kHeadDim, std::uint64_t{32});
  EXPECT_THAT(RopeFactorsLlamaCpp(hparams), SizeIs(16));
  EXPECT_THAT(RopeFactorsOllama(hparams), SizeIs(8));
}

TEST(RopeFactors, DefaultsAreThoseOfLlama31) {
  HParams published = Llama3Rope();
  published.Set(kRopeOriginalContext, std::uint64_t{8192}, true);
  HParams silent = Llama3Rope();
  silent.Set(kRopeFactor, {}, false);
  silent.Set(kRopeOriginalContext, {}, false);
  EXPECT_EQ(RopeFactorsLlamaCpp(silent), RopeFactorsLlamaCpp(published));
  EXPECT_EQ(RopeFactorsOllama(silent), RopeFactorsOllama(published));
}

TEST(RopeFactors, EqualFrequencyFactorsLeaveNoMiddle) {
  // Llama 4 Scout: low and high are the same, so that the smooth part would divide by zero.
  const HParams hparams = With(Llama3Rope(), kRopeHighFreqFactor, 1.0);
  for (const auto& factors : {RopeFactorsLlamaCpp(hparams), RopeFactorsOllama(hparams)}) {
    EXPECT_THAT(factors, Each(::testing::AnyOf(1.0F, 8.0F)));
  }
}

TEST(RopeFactors, OnlyForLlama3) {
  for (const char* const type : {"default", "linear", "yarn", "dynamic"}) {
    const HParams hparams = With(Llama3Rope(), kRopeType, std::string(type));
    EXPECT_THAT(RopeFactorsLlamaCpp(hparams), IsEmpty());
    EXPECT_THAT(RopeFactorsOllama(hparams), IsEmpty());
  }
}

TEST(RopeScaling, KeysOfEachType) {
  const HParams llama3 = Llama3Rope();
  EXPECT_EQ(RopeScalingType(llama3), HpValue());
  EXPECT_EQ(RopeScalingFactor(llama3), HpValue());
  EXPECT_EQ(YarnOriginalContext(llama3), HpValue());
  const HParams linear = With(llama3, kRopeType, std::string("linear"));
  EXPECT_EQ(RopeScalingType(linear), HpValue(std::string("linear")));
  EXPECT_EQ(RopeScalingFactor(linear), HpValue(8.0));
  EXPECT_EQ(YarnOriginalContext(linear), HpValue());
  const HParams yarn = With(llama3, kRopeType, std::string("yarn"));
  EXPECT_EQ(RopeScalingType(yarn), HpValue(std::string("yarn")));
  EXPECT_EQ(RopeScalingFactor(yarn), HpValue(8.0));
  EXPECT_EQ(YarnOriginalContext(yarn), HpValue(std::uint64_t{1024}));
}

TEST(Heads, HiddenSizeIsDividedAndRoundedDown) {
  EXPECT_EQ(HiddenPerHead(Llama3Rope()), HpValue(std::uint64_t{16}));
  EXPECT_EQ(HiddenPerHead(With(Llama3Rope(), kHeads, std::uint64_t{3})),
            HpValue(std::uint64_t{21}));
  EXPECT_EQ(SameAsHeads(Llama3Rope()), HpValue(std::uint64_t{4}));
}

// ---- LFM2

HpValue Lfm2Width(std::uint64_t raw, bool adjust, double multiplier, std::uint64_t multiple) {
  HParams hparams;
  hparams.Set(kFfnRaw, raw, true);
  hparams.Set(kFfnAdjust, adjust, true);
  hparams.Set(kFfnMultiplier, multiplier, true);
  hparams.Set(kFfnMultipleOf, multiple, true);
  return Derived(kLfm2, kFfn, hparams);
}

TEST(Lfm2, WidthIsTwoThirdsScaledAndRoundedUp) {
  EXPECT_EQ(Lfm2Width(12288, true, 1.0, 256), HpValue(std::uint64_t{8192}));
  EXPECT_EQ(Lfm2Width(96, true, 1.0, 256), HpValue(std::uint64_t{256}));
  EXPECT_EQ(Lfm2Width(6656, true, 1.0, 256), HpValue(std::uint64_t{4608}));
  EXPECT_EQ(Lfm2Width(10752, true, 1.0, 256), HpValue(std::uint64_t{7168}));
  EXPECT_EQ(Lfm2Width(100, true, 1.0, 1), HpValue(std::uint64_t{66}));    // 66.7 rounded down
  EXPECT_EQ(Lfm2Width(300, true, 1.3, 1), HpValue(std::uint64_t{260}));   // 200 * 1.3
  EXPECT_EQ(Lfm2Width(100, true, 1.5, 10), HpValue(std::uint64_t{100}));  // 99 rounded up
  EXPECT_EQ(Lfm2Width(160, false, 1.0, 256), HpValue(std::uint64_t{160}));
}

TEST(Lfm2, LayerTypesFromTheOlderList) {
  HParams hparams;
  hparams.Set(kBlocks, std::uint64_t{4}, true);
  EXPECT_EQ(Derived(kLfm2, kLayerTypes, hparams), HpValue(Texts(4, "full_attention")));
  const HParams some = With(hparams, kFullAttention, Integers{1, 3, 9, -1});
  EXPECT_EQ(Derived(kLfm2, kLayerTypes, some),
            HpValue(Texts{"conv", "full_attention", "conv", "full_attention"}));
  EXPECT_EQ(Derived(kLfm2, kLayerTypes, With(hparams, kFullAttention, Integers())),
            HpValue(Texts(4, "conv")));
}

TEST(Lfm2, KvHeadsSayWhichBlocksAttend) {
  HParams hparams;
  hparams.Set(kKvHeads, std::uint64_t{8}, true);
  hparams.Set(kLayerTypes, Texts{"conv", "full_attention", "conv"}, true);
  for (const Dialect dialect : {Dialect::kLlamaCpp, Dialect::kOllama}) {
    EXPECT_EQ(KeyValue(File(kLfm2, dialect), ".attention.head_count_kv", hparams),
              HpValue(Integers{0, 8, 0}));
  }
}

// ---- GLM-4 MoE Lite

HParams Glm() {
  HParams hparams;
  hparams.Set(kBlocks, std::uint64_t{47}, true);
  hparams.Set(kKeptMtpBlocks, std::uint64_t{1}, false);
  hparams.Set(kNope, std::uint64_t{192}, true);
  hparams.Set(kRope, std::uint64_t{64}, true);
  hparams.Set(kKvRank, std::uint64_t{512}, true);
  hparams.Set(kExpertGroups, std::uint64_t{1}, true);
  hparams.Set(kUsedExpertGroups, std::uint64_t{1}, true);
  return hparams;
}

HpValue Count(std::uint64_t number) { return number; }

TEST(Glm, HeadSizesOfBothDialects) {
  const FileSpec& llama_cpp = File(kGlm4MoeLite, Dialect::kLlamaCpp);
  EXPECT_EQ(KeyValue(llama_cpp, ".attention.key_length", Glm()), Count(576));
  EXPECT_EQ(KeyValue(llama_cpp, ".attention.key_length_mla", Glm()), Count(256));
  const FileSpec& ollama = File(kGlm4MoeLite, Dialect::kOllama);
  EXPECT_EQ(KeyValue(ollama, ".attention.key_length", Glm()), Count(256));
  EXPECT_EQ(KeyValue(ollama, ".attention.key_length_mla", Glm()), Count(576));
  EXPECT_EQ(KeyValue(ollama, ".attention.q_lora_rank", Glm()), Count(0));
  EXPECT_EQ(KeyValue(ollama, ".attention.q_lora_rank", With(Glm(), kQRank, Count(768))),
            Count(768));
}

TEST(Glm, BlockCountIncludesTheKeptMtpLayers) {
  const FileSpec& file = File(kGlm4MoeLite, Dialect::kLlamaCpp);
  EXPECT_EQ(KeyValue(file, ".block_count", Glm()), Count(48));
  EXPECT_EQ(KeyValue(file, ".block_count", With(Glm(), kKeptMtpBlocks, Count(0))), Count(47));
}

TEST(Glm, RopeBaseOfEachDialect) {
  const FileSpec& llama_cpp = File(kGlm4MoeLite, Dialect::kLlamaCpp);
  const FileSpec& ollama = File(kGlm4MoeLite, Dialect::kOllama);
  EXPECT_EQ(KeyValue(llama_cpp, ".rope.freq_base", Glm()), HpValue(10'000.0));
  EXPECT_EQ(KeyValue(ollama, ".rope.freq_base", Glm()), HpValue(1'000'000.0));
  const HParams given = With(Glm(), kRopeTheta, 12345.0);
  EXPECT_EQ(KeyValue(llama_cpp, ".rope.freq_base", given), HpValue(12345.0));
  EXPECT_EQ(KeyValue(ollama, ".rope.freq_base", given), HpValue(12345.0));
}

TEST(Glm, GroupsAreWrittenWhereThereAreSeveral) {
  const FileSpec& ollama = File(kGlm4MoeLite, Dialect::kOllama);
  EXPECT_EQ(KeyValue(ollama, ".expert_group_count", Glm()), HpValue());
  EXPECT_EQ(KeyValue(ollama, ".expert_group_used_count", Glm()), HpValue());
  const HParams several = With(With(Glm(), kExpertGroups, Count(8)), kUsedExpertGroups, Count(4));
  EXPECT_EQ(KeyValue(ollama, ".expert_group_count", several), Count(8));
  EXPECT_EQ(KeyValue(ollama, ".expert_group_used_count", several), Count(4));
}

TEST(Glm, YarnMultiplier) {
  const FileSpec& file = File(kGlm4MoeLite, Dialect::kLlamaCpp);
  EXPECT_EQ(KeyValue(file, ".rope.scaling.yarn_log_multiplier", Glm()), HpValue());
  EXPECT_EQ(
      KeyValue(file, ".rope.scaling.yarn_log_multiplier", With(Glm(), kRopeMscaleAllDim, 1.0)),
      HpValue(0.1));
}

TEST(Glm, LeadingDenseBlocksAreCounted) {
  EXPECT_EQ(Derived(kGlm4MoeLite, kDenseBlocks, Glm()), Count(1));
  const auto leading = [](Texts types) {
    return Derived(kGlm4MoeLite, kDenseBlocks, With(Glm(), kMlpLayerTypes, std::move(types)));
  };
  EXPECT_EQ(leading({"dense", "dense", "sparse", "dense"}), Count(2));
  EXPECT_EQ(leading({"sparse", "dense"}), Count(0));
  EXPECT_EQ(leading({"dense", "dense"}), Count(2));
  EXPECT_EQ(leading({}), Count(0));
  const HParams three = With(Glm(), kFirstDense, std::uint64_t{3});
  EXPECT_EQ(Derived(kGlm4MoeLite, kDenseBlocks, three), Count(3));
  EXPECT_EQ(Derived(kGlm4MoeLite, kDenseBlocks, With(three, kMlpLayerTypes, Texts{"sparse"})),
            Count(0));
}

// ---- Vision towers

TEST(Mllama, SizesOfTheVisionTower) {
  HParams hparams;
  hparams.Set(kVisionImage, Count(560), true);
  hparams.Set(kVisionPatch, Count(14), true);
  hparams.Set(kVisionTiles, Count(4), true);
  hparams.Set(kVisionHidden, Count(1280), true);
  hparams.Set(kVisionTaps, Integers{3, 7, 15, 23, 30}, true);
  EXPECT_EQ(Derived(kMllama, kVisionPositions, hparams), Count(1601));
  EXPECT_EQ(Derived(kMllama, kVisionAspects, hparams), Count(9));
  EXPECT_EQ(Derived(kMllama, kVisionOutput, hparams), Count(7680));
  EXPECT_EQ(Derived(kMllama, kVisionAspects, With(hparams, kVisionTiles, Count(1))), Count(2));
  // Absurd numbers give some number and soon: a finding refuses them.
  Derived(kMllama, kVisionAspects, With(hparams, kVisionTiles, Count(0xFFFF'FFFF)));
}

TEST(Llama4, SizesOfTheVisionTower) {
  HParams hparams;
  hparams.Set(kVisionImage, Count(336), true);
  hparams.Set(kVisionPatch, Count(14), true);
  hparams.Set(kPixelShuffle, 0.5, true);
  EXPECT_EQ(Derived(kLlama4, kVisionPositions, hparams), Count(577));
  const FileSpec& projector = File(kLlama4, Dialect::kLlamaCpp, Role::kProjector);
  EXPECT_EQ(KeyValue(projector, "clip.vision.projector.scale_factor", hparams), Count(2));
}

TEST(Llama4, SlidingWindowIsZeroWhereEveryLayerAttendsToAll) {
  const FileSpec& file = File(kLlama4, Dialect::kLlamaCpp);
  const auto window = [&](HpValue types) {
    return KeyValue(file, ".attention.sliding_window",
                    With(HParams(), kLayerTypes, std::move(types)));
  };
  EXPECT_EQ(window({}), HpValue());
  EXPECT_EQ(window(Texts{"full_attention", "full_attention"}), Count(0));
  EXPECT_EQ(window(Texts{"full_attention", "chunked_attention"}), HpValue());
}

}  // namespace
}  // namespace sluice::arch
