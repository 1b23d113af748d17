// What families refuse or warn of when they look at the hyperparameters as a whole.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "arch/blocks.h"
#include "largest_allocation.h"
#include "tests/arch/family_values.h"

namespace sluice::arch {
namespace {

using testing::Derived;
using ::testing::ElementsAre;
using testing::Findings;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using testing::With;

using Integers = std::vector<std::int64_t>;
using Texts = std::vector<std::string>;

HpValue Number(std::uint64_t number) { return number; }

// Hyperparameters in which every family finds nothing.
HParams Sound() {
  HParams hparams;
  hparams.Set(kHiddenAct, std::string("silu"), true);
  hparams.Set(kPartialRotary, 1.0, false);
  hparams.Set(kRopeType, std::string("default"), false);
  hparams.Set(kRopeInterleave, true, false);
  hparams.Set(kRopeTruncate, true, false);
  hparams.Set(kRopeTheta, 10000.0, true);
  hparams.Set(kBlocks, Number(4), true);
  hparams.Set(kDenseBlocks, Number(1), true);
  hparams.Set(kFirstDense, Number(1), true);
  hparams.Set(kExperts, Number(16), true);
  hparams.Set(kExpertGroups, Number(1), false);
  hparams.Set(kUsedExpertGroups, Number(1), false);
  hparams.Set(kMoeStep, Number(2), true);
  hparams.Set(kUseQkNorm, true, true);
  hparams.Set(kPixelShuffle, 0.5, true);
  hparams.Set(kLayerTypes, Texts{"conv", "conv", "conv", "full_attention"}, true);
  hparams.Set(kContext, Number(100'000), true);
  hparams.Set(kAttentionBias, false, false);
  hparams.Set(kConvBias, false, false);
  hparams.Set(kChunk, Number(8192), true);
  hparams.Set(kNoRopeInterval, Number(4), true);
  hparams.Set(kAttentionTuning, true, true);
  hparams.Set(kAttentionScale, 0.1, true);
  hparams.Set(kFloorScale, 8192.0, true);
  hparams.Set(kFfnMultiplier, 1.0, false);
  hparams.Set(kCrossLayers, Integers{1, 3}, true);
  hparams.Set(kVisionTiles, Number(4), true);
  hparams.Set(kVisionBlocks, Number(3), true);
  hparams.Set(kVisionTaps, Integers{0, 2}, true);
  hparams.Set(kNormTopk, true, true);
  hparams.Set(kRoutedScale, 1.0, true);
  return hparams;
}

// Findings of a family and of all its files.
std::vector<std::string> All(const Family& family, const HParams& hparams) {
  std::vector<std::string> texts = Findings(family.findings, hparams);
  for (const FileSpec& file : family.files) {
    for (std::string& text : Findings(file.findings, hparams)) texts.push_back(std::move(text));
  }
  return texts;
}

TEST(Findings, NothingAboutSoundHyperparameters) {
  for (const Family* family : Families()) {
    EXPECT_THAT(All(*family, Sound()), IsEmpty()) << family->name;
  }
}

TEST(Findings, OtherActivationsAreUnsupported) {
  const HParams gelu = With(Sound(), kHiddenAct, std::string("gelu"));
  for (const Family* family : {&kLlama, &kLlama4, &kMllama, &kGlm4MoeLite}) {
    EXPECT_THAT(Findings(family->findings, gelu),
                ElementsAre(StartsWith("unsupported: hidden_act is 'gelu'")))
        << family->name;
  }
}

TEST(Findings, PartialRotationIsUnsupported) {
  for (const Family* family : Families()) {
    EXPECT_THAT(Findings(family->findings, With(Sound(), kPartialRotary, 0.5)),
                ElementsAre(StartsWith("unsupported: partial_rotary_factor")))
        << family->name;
  }
}

TEST(Findings, RopeScalingTypes) {
  const auto scaled = [](const char* type, HpValue factor) {
    return With(With(Sound(), kRopeType, std::string(type)), kRopeFactor, std::move(factor));
  };
  EXPECT_EQ(RopeScalingIsKnown(scaled("llama3", 8.0)), std::nullopt);
  EXPECT_EQ(RopeScalingIsKnown(scaled("linear", 2.0)), std::nullopt);
  EXPECT_EQ(RopeScalingIsKnown(scaled("yarn", 4.0)), std::nullopt);
  EXPECT_EQ(RopeScalingIsKnown(scaled("linear", {}))->kind, FindingKind::kInvalid);
  EXPECT_EQ(RopeScalingIsKnown(scaled("dynamic", 2.0))->kind, FindingKind::kWarning);
  EXPECT_EQ(RopeScalingIsKnown(scaled("longrope", 2.0))->kind, FindingKind::kUnsupported);
  EXPECT_EQ(OllamaRopeScalingIsKnown(scaled("yarn", 4.0))->kind, FindingKind::kUnsupported);
  EXPECT_EQ(OllamaRopeScalingIsKnown(scaled("linear", 2.0)), std::nullopt);
}

// ---- GLM-4 MoE Lite

TEST(GlmFindings, DenseBlocksMustLead) {
  const auto with_types = [](Texts types) {
    HParams hparams = With(Sound(), kMlpLayerTypes, std::move(types));
    hparams.Set(kDenseBlocks, Derived(kGlm4MoeLite, kDenseBlocks, hparams), false);
    return Findings(kGlm4MoeLite.findings, hparams);
  };
  EXPECT_THAT(with_types({"dense", "sparse", "sparse", "sparse"}), IsEmpty());
  // The list wins over first_k_dense_replace, which is 1.
  EXPECT_THAT(with_types({"sparse", "sparse", "sparse", "sparse"}), IsEmpty());
  EXPECT_THAT(with_types({"dense", "dense", "dense", "sparse"}), IsEmpty());
  EXPECT_THAT(with_types({"dense", "sparse", "dense", "sparse"}),
              ElementsAre(StartsWith("unsupported: mlp_layer_types")));
  EXPECT_THAT(with_types({"dense", "sparse"}),
              ElementsAre(StartsWith("invalid: mlp_layer_types has not one entry")));
}

TEST(GlmFindings, WarnsWhereTheDenseBlocksAreAGuess) {
  HParams hparams = Sound();
  hparams.Set(kFirstDense, {}, false);
  EXPECT_THAT(Findings(kGlm4MoeLite.findings, hparams),
              ElementsAre(HasSubstr("warning: neither mlp_layer_types nor first_k_dense_replace")));
}

TEST(GlmFindings, RotaryHalvesAreUnsupported) {
  EXPECT_THAT(Findings(kGlm4MoeLite.findings, With(Sound(), kRopeInterleave, false)),
              ElementsAre(StartsWith("unsupported: rope_interleave false")));
}

TEST(GlmFindings, GroupsMustDivideTheExperts) {
  const auto groups = [](std::uint64_t count, std::uint64_t used) {
    return Findings(kGlm4MoeLite.findings, With(With(Sound(), kExpertGroups, Number(count)),
                                                kUsedExpertGroups, Number(used)));
  };
  EXPECT_THAT(groups(8, 4), IsEmpty());
  for (const auto& [count, used] : {std::pair(3, 1), std::pair(16, 1), std::pair(8, 9)}) {
    EXPECT_THAT(groups(static_cast<std::uint64_t>(count), static_cast<std::uint64_t>(used)),
                ElementsAre(StartsWith("invalid: n_group and topk_group")));
  }
}

// Of what readers of the llama.cpp dialect compute otherwise.
TEST(GlmFindings, WarnsOfRopeFactsWithoutKeys) {
  const auto found = [](const char* type, double mscale, double all_dim) {
    HParams hparams = With(With(Sound(), kRopeType, std::string(type)), kRopeFactor, 4.0);
    if (mscale != 0) hparams.Set(kRopeMscale, mscale, true);
    if (all_dim != 0) hparams.Set(kRopeMscaleAllDim, all_dim, true);
    return hparams;
  };
  const auto of = [](const HParams& hparams) {
    return Findings(kGlm4MoeLite.files.front().findings, hparams);
  };
  EXPECT_THAT(of(found("linear", 0, 1)),
              ElementsAre(HasSubstr("leave out the factor 1.296 of all attention scores")));
  EXPECT_THAT(of(found("yarn", 0.7, 1.2)),
              ElementsAre(HasSubstr("leave out the factor 0.9406 of rotated queries and keys")));
  EXPECT_THAT(of(found("yarn", 0, 1)),
              ElementsAre(HasSubstr("leave out the factor 1.139 of rotated queries and keys")));
  EXPECT_THAT(of(With(found("yarn", 0, 0), kRopeTruncate, false)),
              ElementsAre(StartsWith("not written: truncate false of yarn")));
  // What keys say, and what changes nothing.
  EXPECT_THAT(of(found("linear", 1, 0)), IsEmpty());
  EXPECT_THAT(of(found("yarn", 1, 1)), IsEmpty());
  EXPECT_THAT(of(found("yarn", 0.7, 0)), IsEmpty());
  EXPECT_THAT(of(With(found("yarn", 0, 1), kRopeAttentionFactor, 1.3)), IsEmpty());
  EXPECT_THAT(of(With(found("yarn", 0.7, 1.2), kRopeFactor, 1.0)), IsEmpty());
  EXPECT_THAT(of(With(found("default", 0.7, 1.2), kRopeTruncate, false)), IsEmpty());
}

TEST(GlmFindings, WarnsOfAMissingRopeBase) {
  const HParams silent = With(Sound(), kRopeTheta, {});
  EXPECT_THAT(All(kGlm4MoeLite, silent), ElementsAre(HasSubstr("taking 10000, as transformers"),
                                                     HasSubstr("taking 1000000, as Ollama")));
}

// ---- Llama 4

TEST(Llama4Findings, MoeLayersMustFollowTheStep) {
  const auto with_layers = [](Integers layers) {
    return Findings(kLlama4.findings, With(Sound(), kMoeLayers, std::move(layers)));
  };
  EXPECT_THAT(with_layers({1, 3}), IsEmpty());
  for (const Integers& layers : {Integers{}, Integers{0, 2}, Integers{1}, Integers{1, 3, 5}}) {
    EXPECT_THAT(with_layers(layers), ElementsAre(StartsWith("unsupported: moe_layers")));
  }
}

TEST(Llama4Findings, MoeLayersDoNotDecideHowMuchMemoryIsTaken) {
  // No checkpoint has so many blocks; the planner says so, but only after the findings.
  HParams hparams = With(Sound(), kBlocks, Number(20'000'000));
  hparams.Set(kMoeStep, Number(1), true);
  hparams.Set(kMoeLayers, Integers{0, 1, 2}, true);
  sluice::testing::ForgetLargestAllocation();
  EXPECT_THAT(Findings(kLlama4.findings, hparams),
              ElementsAre(StartsWith("unsupported: moe_layers")));
  EXPECT_LT(sluice::testing::LargestAllocation(), 1'000'000);
}

TEST(Llama4Findings, WarnsWhereQkNormWouldNotBeHonoured) {
  const FileSpec& file = kLlama4.files.front();
  EXPECT_THAT(Findings(file.findings, With(Sound(), kUseQkNorm, false)),
              ElementsAre(HasSubstr("warning: use_qk_norm is false")));
  const HParams maverick = With(Sound(), kExperts, Number(128));
  EXPECT_THAT(Findings(file.findings, maverick),
              ElementsAre(HasSubstr("warning: use_qk_norm is true")));
  EXPECT_THAT(Findings(file.findings, With(maverick, kUseQkNorm, false)), IsEmpty());
}

TEST(Llama4Findings, LlamaCppHasOneWayToAttend) {
  const auto findings = [](const HParams& hparams) {
    return Findings(kLlama4.files.front().findings, hparams);
  };
  const Integers usual{1, 1, 1, 0};
  EXPECT_THAT(findings(With(Sound(), kNoRopeLayers, usual)), IsEmpty());
  EXPECT_THAT(findings(With(With(Sound(), kNoRopeLayers, Integers{0, 0, 0, 0}), kLayerTypes, {})),
              ElementsAre(HasSubstr("warning: no_rope_layers")));
  EXPECT_THAT(findings(With(Sound(), kLayerTypes, {})), IsEmpty());
  // Blocks without chunks: all rotate but the last.
  const Texts full(4, "full_attention");
  EXPECT_THAT(findings(With(With(Sound(), kLayerTypes, full), kChunk, Number(5))), IsEmpty());
  EXPECT_THAT(findings(With(With(Sound(), kLayerTypes, full), kNoRopeLayers, Integers(4, 1))),
              ElementsAre(HasSubstr("in all layers but the last")));
  EXPECT_THAT(findings(With(Sound(), kAttentionTuning, false)),
              ElementsAre(HasSubstr("attn_temperature_tuning")));
  EXPECT_THAT(findings(With(Sound(), kChunk, Number(0))),
              ElementsAre(HasSubstr("from token 8192")));
}

TEST(Llama4Findings, FewBlocksDoNotReachTheInterval) {
  HParams hparams = With(With(Sound(), kBlocks, Number(3)), kLayerTypes, {});
  EXPECT_THAT(All(kLlama4, With(hparams, kNoRopeLayers, Integers(3, 1))), IsEmpty());
  EXPECT_THAT(All(kLlama4, With(hparams, kNoRopeInterval, Number(9))), IsEmpty());
}

TEST(Llama4Findings, NoRopeLayersDoNotDecideHowMuchIsLookedAt) {
  const HParams hparams =
      With(With(Sound(), kBlocks, Number(1'000'000'000'000)), kNoRopeLayers, Integers{1, 1, 1, 0});
  EXPECT_THAT(Findings(kLlama4.findings, hparams),
              ElementsAre("invalid: no_rope_layers has not one entry for each layer"));
}

TEST(Llama4Findings, VisionTower) {
  EXPECT_THAT(Findings(kLlama4.findings, With(Sound(), kVisionAct, std::string("gelu"))),
              IsEmpty());
  EXPECT_THAT(Findings(kLlama4.findings, With(Sound(), kVisionAct, std::string("relu"))),
              ElementsAre(StartsWith("unsupported: vision hidden_act is 'relu'")));
  for (const double ratio : {0.0, -0.5, 1.5}) {
    EXPECT_THAT(Findings(kLlama4.findings, With(Sound(), kPixelShuffle, ratio)),
                ElementsAre(StartsWith("invalid: pixel_shuffle_ratio")));
  }
}

// ---- MLlama and LFM2

TEST(MllamaFindings, CrossAttentionLayersMustExist) {
  EXPECT_THAT(Findings(kMllama.findings, With(Sound(), kCrossLayers, Integers{1, 4})),
              ElementsAre(HasSubstr("invalid: cross_attention_layers names layer 4")));
  EXPECT_THAT(Findings(kMllama.findings, With(Sound(), kCrossLayers, Integers{-1})),
              ElementsAre(HasSubstr("names layer -1")));
}

TEST(MllamaFindings, TilesAreFew) {
  EXPECT_THAT(Findings(kMllama.findings, With(Sound(), kVisionTiles, Number(0xFFFF'FFFF))),
              ElementsAre("invalid: max_num_tiles is absurdly large"));
}

TEST(Lfm2Findings, LayerTypesFitTheBlocks) {
  for (const Family* family : {&kLfm2, &kLfm2Moe}) {
    EXPECT_THAT(Findings(family->findings, With(Sound(), kLayerTypes, Texts{"conv"})),
                ElementsAre("invalid: layer_types has not one entry for each layer"));
    EXPECT_THAT(
        Findings(family->findings,
                 With(Sound(), kLayerTypes, Texts{"conv", "conv", "sliding_attention", "conv"})),
        ElementsAre(HasSubstr("unsupported: layer type 'sliding_attention'")));
  }
}

TEST(Lfm2Findings, WidthMultiplierIsInRange) {
  for (const double multiplier : {0.0, -1.0, 1e30}) {
    EXPECT_THAT(Findings(kLfm2.findings, With(Sound(), kFfnMultiplier, multiplier)),
                ElementsAre("invalid: block_ffn_dim_multiplier is out of range"));
  }
}

}  // namespace
}  // namespace sluice::arch
