// What a recipe refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recipe_fixture.h"

namespace sluice {
namespace {

using gguf::TensorType;
using testing::DenseModel;
using ::testing::ElementsAre;
using testing::Fails;
using testing::IsOk;
using testing::kColumns;
using testing::Model;
using testing::OptionsFor;
using ::testing::StartsWith;

Result<Recipe> Choose(const Model& model, const QuantizeOptions& options) {
  return ChooseTypes(model.facts, model.tensors, options);
}

TEST(RecipeDefect, RulesWithoutATensorAreAllReported) {
  const Result<Recipe> recipe = Choose(
      DenseModel(2), OptionsFor(FileType::kQ4_K_M, {"attn_x=q8_0", "attn_v=q8_0", "blk.2=q8_0"}));
  EXPECT_THAT(recipe, Fails(ErrorCode::kUsage, "--tensor-type matches no tensor: got attn_x=q8_0"));
  EXPECT_THAT(recipe, Fails(ErrorCode::kUsage, "--tensor-type matches no tensor: got blk.2=q8_0"));
  ASSERT_FALSE(recipe);
  EXPECT_EQ(recipe.error().more.size(), 1U);
}

TEST(RecipeDefect, RulesOfAFileNameTheirLine) {
  QuantizeOptions options = OptionsFor(FileType::kQ4_K_M, {"attn_v=q8_0", "attn_v.weight=q6_k"});
  options.rules[1].place = "types:3";
  const Result<Recipe> recipe = Choose(DenseModel(2), options);
  ASSERT_THAT(recipe, IsOk());
  EXPECT_THAT(recipe->warnings,
              ElementsAre(StartsWith("types:3: --tensor-type attn_v.weight=q6_k")));
  options.rules.push_back(*ParseTypeRule("attn_x=q8_0"));
  options.rules[2].place = "types:4";
  EXPECT_THAT(
      Choose(DenseModel(2), options),
      Fails(ErrorCode::kUsage, "types:4: --tensor-type matches no tensor: got attn_x=q8_0"));
}

TEST(RecipeDefect, AlreadyQuantizedSourcesNeedConsent) {
  Model model = DenseModel(1);
  model.tensors[0].type = TensorType::kQ8_0;  // output.weight
  QuantizeOptions options = OptionsFor(FileType::kQ4_K_M);
  EXPECT_THAT(Choose(model, options),
              Fails(ErrorCode::kUsage, "tensor 'output.weight': already quantized to Q8_0"));
  options.allow_requantize = true;
  EXPECT_THAT(Choose(model, options), IsOk());
  options.allow_requantize = false;
  options.output_type = TensorType::kQ8_0;
  EXPECT_THAT(Choose(model, options), IsOk()) << "the type does not change";
}

TEST(RecipeDefect, IntegersAreNoWeights) {
  Model model = DenseModel(1);
  model.Add("blk.0.table.weight", {4, kColumns}, TensorType::kI32);
  QuantizeOptions options = OptionsFor(FileType::kQ4_K_M);
  options.allow_requantize = true;
  EXPECT_THAT(Choose(model, options),
              Fails(ErrorCode::kUnsupported, "tensor 'blk.0.table.weight': cannot quantize I32"));
  options.file_type = FileType::kCopy;
  EXPECT_THAT(Choose(model, options), IsOk());
}

TEST(RecipeDefect, BlocksOfExpertModelsMustExist) {
  Model model = DenseModel(2);
  model.Add("blk.2.ffn_down.weight").Add("extra.ffn_up.weight");
  EXPECT_THAT(Choose(model, OptionsFor(FileType::kQ4_K_M)), IsOk()) << "only counted";
  model.facts.num_experts = 4;
  const Result<Recipe> recipe = Choose(model, OptionsFor(FileType::kQ4_K_M));
  EXPECT_THAT(recipe, Fails(ErrorCode::kMismatch,
                            "tensor 'blk.2.ffn_down.weight': the model has no "
                            "such block: expected blk.N. with N below 2"));
  EXPECT_THAT(recipe, Fails(ErrorCode::kMismatch, "tensor 'extra.ffn_up.weight'"));
}

TEST(RecipeDefect, ModelsWithoutTensorsAreEmptyRecipes) {
  const Result<Recipe> recipe = Choose(Model{}, OptionsFor(FileType::kQ4_0));
  ASSERT_THAT(recipe, IsOk());
  EXPECT_TRUE(recipe->choices.empty());
  EXPECT_EQ(recipe->file_type, 2U);
}

}  // namespace
}  // namespace sluice
