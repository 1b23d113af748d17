// What the mixtures do, each rule on a model made to show it. The whole of every mixture is
// compared with llama-quantize in golden_recipes_test.cpp.
#include "pipeline/quantize/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipeline/quantize/recipe_table.h"
#include "recipe_fixture.h"

namespace sluice {
namespace {

using testing::Choices;
using testing::DenseModel;
using testing::kColumns;
using testing::Model;
using testing::OptionsFor;

TEST(Mixture, MoreBitsForOuterBlocksAndEveryThirdBetween) {
  const Choices choices(DenseModel(16), FileType::kQ4_K_M);
  EXPECT_EQ(choices.BlocksWith("attn_v", "Q6_K"), "0 1 4 7 10 13 14 15");
  EXPECT_EQ(choices.BlocksWith("ffn_down", "Q6_K"), "0 1 4 7 10 13 14 15");
  EXPECT_EQ(choices.BlocksWith("attn_q", "Q6_K"), "");
  EXPECT_EQ(choices.Reason("blk.4.attn_v.weight"), "Q4_K_M: attn_v, more bits");
  EXPECT_EQ(choices.Reason("blk.4.attn_q.weight"), "Q4_K_M: default");
  EXPECT_EQ(choices.recipe().file_type, 15U);
}

TEST(Mixture, MoreBitsPositionsAreSymmetricInTheEighths) {
  EXPECT_TRUE(IsMoreBitsPosition(0, 1));
  EXPECT_FALSE(IsMoreBitsPosition(1, 8));
  EXPECT_TRUE(IsMoreBitsPosition(3, 8));
  EXPECT_TRUE(IsMoreBitsPosition(7, 8));
  EXPECT_TRUE(IsMoreBitsPosition(5, 0)) << "a count that is too small";
}

TEST(Mixture, CountsOnlyWhatItDecidesItself) {
  const Choices choices(DenseModel(16), OptionsFor(FileType::kQ4_K_M, {"blk.0.attn_v=q8_0"}));
  EXPECT_EQ(choices.Type("blk.0.attn_v.weight"), "Q8_0");
  // Every later value matrix counts as one less.
  EXPECT_EQ(choices.BlocksWith("attn_v", "Q6_K"), "1 2 5 8 11 14 15");
}

TEST(Mixture, ExpertsGoByTheNumberOfTheirBlock) {
  Model model = DenseModel(16);
  model.facts.num_experts = 16;
  std::erase_if(model.tensors,
                [](const auto& tensor) { return tensor.name == "blk.0.ffn_down.weight"; });
  EXPECT_EQ(Choices(model, FileType::kQ4_K_M).BlocksWith("ffn_down", "Q6_K"), "1 4 7 10 13 14 15");
  model.facts.num_experts = 0;
  EXPECT_EQ(Choices(model, FileType::kQ4_K_M).BlocksWith("ffn_down", "Q6_K"), "1 2 5 8 11 14 15");
}

TEST(Mixture, OutputAndEmbeddings) {
  const auto expect = [](FileType file_type, const char* output, const char* embeddings) {
    const Choices choices(DenseModel(1), file_type);
    EXPECT_EQ(choices.Type("output.weight"), output) << InfoOf(file_type).name;
    EXPECT_EQ(choices.Type("token_embd.weight"), embeddings) << InfoOf(file_type).name;
  };
  expect(FileType::kQ4_K_M, "Q6_K", "Q4_K");
  expect(FileType::kQ8_0, "Q8_0", "Q8_0");
  expect(FileType::kIQ2_XS, "Q5_K", "Q2_K");
  expect(FileType::kIQ2_M, "Q5_K", "IQ3_S");
  expect(FileType::kTQ1_0, "Q6_K", "Q4_K");
  expect(FileType::kMXFP4_MOE, "Q8_0", "Q8_0");
}

TEST(Mixture, TiedEmbeddingsAreTheOutput) {
  Model model = DenseModel(1);
  std::erase_if(model.tensors, [](const auto& tensor) { return tensor.name == "output.weight"; });
  EXPECT_EQ(Choices(model, FileType::kQ4_K_M).Type("token_embd.weight"), "Q6_K");
  QuantizeOptions options = OptionsFor(FileType::kQ4_K_M);
  options.output_type = gguf::TensorType::kQ5_1;
  EXPECT_EQ(Choices(model, options).Type("token_embd.weight"), "Q5_1");
  options.embedding_type = gguf::TensorType::kQ4_0;
  EXPECT_EQ(Choices(model, options).Type("token_embd.weight"), "Q4_0");
}

TEST(Mixture, GroupedQueriesGiveValuesMoreBits) {
  Model model = DenseModel(8);
  EXPECT_EQ(Choices(model, FileType::kIQ3_S).Type("blk.3.attn_v.weight"), "IQ3_S");
  model.facts.num_kv_heads = 2;
  EXPECT_EQ(Choices(model, FileType::kIQ3_S).Type("blk.3.attn_v.weight"), "Q4_K");
  model.facts.num_kv_heads = 0;  // a block without attention
  EXPECT_EQ(Choices(model, FileType::kIQ3_S).Type("blk.3.attn_v.weight"), "IQ3_S");
}

TEST(Mixture, EightExpertsGiveAttentionMoreBits) {
  Model model = DenseModel(8);
  model.facts.num_experts = 8;
  const Choices choices(model, FileType::kQ4_K_M);
  EXPECT_EQ(choices.Type("blk.3.attn_v.weight"), "Q8_0");
  EXPECT_EQ(choices.Type("blk.3.attn_k.weight"), "Q8_0");
  EXPECT_EQ(choices.Type("blk.3.attn_output.weight"), "Q5_K");
  EXPECT_EQ(choices.Type("blk.3.attn_q.weight"), "Q4_K");
}

TEST(Mixture, ValuesOfA70BHaveAtLeastFiveBits) {
  Model model = DenseModel(80);
  model.facts.num_kv_heads = 1;
  EXPECT_EQ(Choices(model, FileType::kQ3_K_S).BlocksWith("attn_v", "Q5_K").size(), 229U) << "all";
  EXPECT_EQ(Choices(model, FileType::kQ3_K_S).Reason("blk.9.attn_v.weight"),
            "Q3_K_S: attn_v of a 70B");
  model.facts.num_kv_heads = 8;  // without grouped queries it is no 70B
  EXPECT_EQ(Choices(model, FileType::kQ3_K_S).BlocksWith("attn_v", "Q5_K"), "");
}

TEST(Mixture, AnImportanceMatrixChangesSome) {
  QuantizeOptions options = OptionsFor(FileType::kIQ3_XXS);
  EXPECT_EQ(Choices(DenseModel(16), options).BlocksWith("ffn_down", "Q4_K"), "0 1");
  EXPECT_EQ(Choices(DenseModel(16), options).Type("blk.2.ffn_down.weight"), "Q3_K");
  options.has_importance = true;
  EXPECT_EQ(Choices(DenseModel(16), options).Type("blk.2.ffn_down.weight"), "IQ3_XXS");
  options.file_type = FileType::kQ4_0;
  EXPECT_EQ(Choices(DenseModel(16), options).BlocksWith("ffn_down", "Q4_1"), "0 1");
}

TEST(Mixture, LowBitTypesHaveTheirOwnRules) {
  QuantizeOptions options = OptionsFor(FileType::kIQ2_XXS);
  const Choices choices(DenseModel(16), options);
  EXPECT_EQ(choices.Type("blk.9.attn_v.weight"), "Q2_K");
  EXPECT_EQ(choices.BlocksWith("ffn_down", "Q2_K"), "0 1");
  EXPECT_EQ(choices.Type("blk.9.attn_output.weight"), "IQ2_XXS");
  EXPECT_EQ(Choices(DenseModel(16), FileType::kIQ1_S).Type("blk.9.attn_output.weight"), "IQ2_XXS");
  EXPECT_EQ(Choices(DenseModel(16), FileType::kIQ2_S).Type("blk.9.attn_output.weight"), "IQ3_S");
}

TEST(Mixture, FalconDiffers) {
  const Choices choices(DenseModel(16, "falcon"), FileType::kQ4_K_M);
  EXPECT_EQ(choices.Type("output.weight"), "Q8_0");
  EXPECT_EQ(choices.BlocksWith("ffn_down", "Q6_K"), "0");
  EXPECT_EQ(choices.BlocksWith("ffn_down", "Q5_K"), "1 4 7 10 13 14 15");
}

TEST(Mixture, Mxfp4MoeTakesOnlyStacks) {
  Model model = DenseModel(2);
  model.Add("blk.1.ffn_up_exps.weight", {8, 4, kColumns}).Add("blk.1.attn_k_b.weight", {2, 4, 192});
  model.facts.num_experts = 8;
  const Choices choices(model, FileType::kMXFP4_MOE);
  EXPECT_EQ(choices.Type("blk.1.ffn_up_exps.weight"), "MXFP4");
  EXPECT_EQ(choices.Type("blk.1.attn_k_b.weight"), "MXFP4");
  EXPECT_EQ(choices.Type("blk.1.ffn_up.weight"), "Q8_0");
}

TEST(Mixture, Nvfp4TakesEveryMatrixButOutputAndEmbeddings) {
  Model model = DenseModel(2);
  model.Add("blk.1.ffn_up_exps.weight", {8, 4, kColumns}).Add("blk.1.attn_k_b.weight", {2, 4, 192});
  const Choices choices(model, FileType::kNVFP4);
  EXPECT_EQ(choices.Type("output.weight"), "Q8_0");
  EXPECT_EQ(choices.Type("token_embd.weight"), "Q8_0");
  EXPECT_EQ(choices.BlocksWith("attn_v", "NVFP4"), "0 1");
  EXPECT_EQ(choices.BlocksWith("ffn_down", "NVFP4"), "0 1");
  EXPECT_EQ(choices.Type("blk.1.ffn_up_exps.weight"), "NVFP4");
  EXPECT_EQ(choices.Type("blk.1.attn_k_b.weight"), "NVFP4");
  EXPECT_EQ(choices.recipe().file_type, 39U);
}

TEST(Recipe, KeepsVectorsAndWhatIsNoWeight) {
  Model model = DenseModel(1);
  model.Add("blk.0.attn_norm.weight", {kColumns}, gguf::TensorType::kF32)
      .Add("blk.0.odd.weight", {1, kColumns})
      .Add("blk.0.stack.weight", {3, 1, kColumns})
      .Add("blk.0.ffn_gate_inp.weight", {8, kColumns}, gguf::TensorType::kF32)
      .Add("blk.0.exp_probs_b.bias", {8, kColumns});
  const Choices choices(model, FileType::kQ4_0);
  EXPECT_EQ(choices.Reason("blk.0.attn_norm.weight"), "kept: one row");
  EXPECT_EQ(choices.Reason("blk.0.odd.weight"), "kept: one row");
  EXPECT_EQ(choices.Reason("blk.0.ffn_gate_inp.weight"), "kept: ffn_gate_inp.weight");
  EXPECT_EQ(choices.Reason("blk.0.exp_probs_b.bias"), "kept: no weight");
  EXPECT_EQ(choices.Type("blk.0.exp_probs_b.bias"), "BF16");
  EXPECT_EQ(choices.Type("blk.0.stack.weight"), "Q4_0") << "three rows";
}

TEST(Recipe, KeepsWhatOllamaKeepsOnlyForOllama) {
  Model model = DenseModel(8);
  for (int i = 0; i < 8; ++i) {
    model.Add("v.blk." + std::to_string(i) + ".attn_v.weight");
  }
  QuantizeOptions options = OptionsFor(FileType::kQ4_K_M);
  EXPECT_EQ(Choices(model, options).Type("v.blk.1.attn_v.weight"), "Q4_K");
  options.ollama = true;
  const Choices choices(model, options);
  EXPECT_EQ(choices.Type("v.blk.1.attn_v.weight"), "BF16");
  EXPECT_EQ(choices.BlocksWith("attn_v", "Q6_K"), "0 3 6 7") << "the tower's are not counted";
}

TEST(Recipe, PlainTypesHaveNoMixture) {
  QuantizeOptions options = OptionsFor(FileType::kF16, {"attn_v=q8_0"});
  options.output_type = gguf::TensorType::kQ8_0;
  const Choices choices(DenseModel(1), options);
  EXPECT_EQ(choices.Type("output.weight"), "Q8_0");
  EXPECT_EQ(choices.Type("blk.0.attn_v.weight"), "F16");
  EXPECT_THAT(choices.recipe().warnings,
              ::testing::ElementsAre(::testing::HasSubstr("attn_v=q8_0 has no effect")));
}

TEST(Recipe, PureGivesTheDefaultTypeToAll) {
  QuantizeOptions options = OptionsFor(FileType::kQ4_K_M, {"ffn_up=q5_0"});
  options.pure = true;
  const Choices choices(DenseModel(8), options);
  EXPECT_EQ(choices.Type("output.weight"), "Q4_K");
  EXPECT_EQ(choices.BlocksWith("attn_v", "Q4_K"), "0 1 2 3 4 5 6 7");
  EXPECT_EQ(choices.Type("blk.0.ffn_up.weight"), "Q5_0");
  EXPECT_EQ(choices.Reason("blk.0.ffn_up.weight"), "--tensor-type ffn_up=q5_0");
}

TEST(Recipe, TheFirstRuleThatMatchesDecides) {
  const Choices choices(DenseModel(2),
                        OptionsFor(FileType::kQ4_K_M, {"blk.0.attn_q=q8_0", "attn_q=q5_0"}));
  EXPECT_EQ(choices.Type("blk.0.attn_q.weight"), "Q8_0");
  EXPECT_EQ(choices.Type("blk.1.attn_q.weight"), "Q5_0");
  EXPECT_TRUE(choices.recipe().warnings.empty());
}

TEST(Recipe, RulesComeBeforeTheEmbeddingTypeOnlyForLayerEmbeddings) {
  Model model = DenseModel(1);
  model.Add("per_layer_token_embd.weight");
  QuantizeOptions options = OptionsFor(FileType::kQ4_K_M, {"token_embd=q8_0"});
  options.embedding_type = gguf::TensorType::kQ5_1;
  const Choices choices(model, options);
  EXPECT_EQ(choices.Type("token_embd.weight"), "Q5_1");
  EXPECT_EQ(choices.Type("per_layer_token_embd.weight"), "Q8_0");
}

TEST(Recipe, LeavesTheOutputAlone) {
  QuantizeOptions options = OptionsFor(FileType::kQ4_K_M);
  options.leave_output = true;
  EXPECT_EQ(Choices(DenseModel(1), options).Type("output.weight"), "BF16");
}

TEST(Recipe, CopyKeepsTypesAndTheFilesNumber) {
  Model model = DenseModel(1);
  EXPECT_EQ(Choices(model, FileType::kCopy).recipe().file_type, 1024U + 32) << "guessed";
  model.facts.file_type = 17;
  const Choices choices(model, FileType::kCopy);
  EXPECT_EQ(choices.Type("blk.0.attn_v.weight"), "BF16");
  EXPECT_EQ(choices.recipe().file_type, 17U);
}

}  // namespace
}  // namespace sluice
