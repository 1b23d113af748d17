// Rows that do not fill the blocks of the type a recipe wants.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <random>
#include <string>

#include "recipe_fixture.h"

namespace sluice {
namespace {

using testing::Choices;
using testing::Fails;
using testing::IsOk;
using testing::Model;
using testing::OptionsFor;

struct Fallback {
  const char* wanted;
  const char* for_rows_of_32;  // what rows of 3 x 32 elements get instead
};

void PrintTo(const Fallback& fallback, std::ostream* out) { *out << fallback.wanted; }

class RecipeFallback : public ::testing::TestWithParam<Fallback> {};

Result<Recipe> Choose(const std::string& type, std::uint64_t row_elements) {
  Model model;
  model.facts.architecture = "llama";
  model.Add("blk.0.any.weight", {4, row_elements});
  return ChooseTypes(model.facts, model.tensors,
                     OptionsFor(FileType::kQ8_0, {std::string("any=") + type}));
}

std::string TypeOf(const Result<Recipe>& recipe) {
  EXPECT_THAT(recipe, IsOk());
  if (!recipe) return "none";
  return std::string(gguf::InfoOf(recipe->choices.front().type).name);
}

TEST_P(RecipeFallback, FollowsTheRowsLength) {
  const auto& [wanted, for_rows_of_32] = GetParam();
  EXPECT_EQ(TypeOf(Choose(wanted, 256)), wanted);
  const Result<Recipe> recipe = Choose(wanted, 96);
  EXPECT_EQ(TypeOf(recipe), for_rows_of_32);
  EXPECT_THAT(
      recipe->choices.front().reason,
      ::testing::HasSubstr("rows of 96 elements do not fill blocks of " + std::string(wanted)));
  EXPECT_EQ(TypeOf(Choose(wanted, 80)), "F16");
}

INSTANTIATE_TEST_SUITE_P(
    LargeBlocks, RecipeFallback,
    ::testing::Values(Fallback{"IQ1_S", "IQ4_NL"}, Fallback{"IQ1_M", "IQ4_NL"},
                      Fallback{"IQ2_XXS", "IQ4_NL"}, Fallback{"IQ2_XS", "IQ4_NL"},
                      Fallback{"IQ2_S", "IQ4_NL"}, Fallback{"IQ3_XXS", "IQ4_NL"},
                      Fallback{"IQ3_S", "IQ4_NL"}, Fallback{"IQ4_XS", "IQ4_NL"},
                      Fallback{"Q2_K", "Q4_0"}, Fallback{"Q3_K", "Q4_0"}, Fallback{"TQ1_0", "Q4_0"},
                      Fallback{"TQ2_0", "Q4_0"}, Fallback{"Q2_0", "Q4_0"}, Fallback{"Q4_K", "Q5_0"},
                      Fallback{"Q5_K", "Q5_1"}, Fallback{"Q6_K", "Q8_0"}),
    [](const auto& fallback) { return std::string(fallback.param.wanted); });

TEST(RecipeFallback, SmallBlocksBecomeF16) {
  for (const char* type : {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "MXFP4"}) {
    EXPECT_EQ(TypeOf(Choose(type, 96)), type);
    EXPECT_EQ(TypeOf(Choose(type, 80)), "F16") << type;
  }
  for (const char* type : {"F32", "F16", "BF16"}) {
    EXPECT_EQ(TypeOf(Choose(type, 7)), type);
  }
}

TEST(RecipeFallback, SomeTypesHaveNone) {
  EXPECT_EQ(TypeOf(Choose("NVFP4", 192)), "NVFP4");
  EXPECT_THAT(Choose("NVFP4", 96), Fails(ErrorCode::kMismatch,
                                         "tensor 'blk.0.any.weight': rows do not fill blocks of "
                                         "NVFP4: expected a multiple of 64 elements, got 96"));
  EXPECT_EQ(TypeOf(Choose("Q1_0", 128)), "Q1_0");
  EXPECT_THAT(Choose("Q1_0", 192), Fails(ErrorCode::kMismatch, "blocks of Q1_0"));
}

TEST(RecipeFallback, TypesOfOptionsHaveNone) {
  Model model;
  model.facts.architecture = "llama";
  model.Add("output.weight", {4, 96}).Add("token_embd.weight", {4, 96});
  QuantizeOptions options = OptionsFor(FileType::kQ4_K_M);
  options.output_type = gguf::TensorType::kQ6_K;
  options.embedding_type = gguf::TensorType::kQ4_K;
  const Result<Recipe> recipe = ChooseTypes(model.facts, model.tensors, options);
  EXPECT_THAT(recipe,
              Fails(ErrorCode::kMismatch, "'output.weight': rows do not fill blocks of Q6_K"));
  EXPECT_THAT(recipe, Fails(ErrorCode::kMismatch, "'token_embd.weight': rows"));
}

TEST(RecipeFallback, OutputOfOddRowsIsQ8OrF16) {
  const auto output = [](std::uint64_t columns) {
    Model model;
    model.facts.architecture = "llama";
    model.Add("output.weight", {4, columns});
    return Choices(model, FileType::kQ4_K_M).Type("output.weight");
  };
  EXPECT_EQ(output(512), "Q6_K");
  EXPECT_EQ(output(288), "Q8_0");
  EXPECT_EQ(output(80), "F16");
}

// Whatever the rows and the file type: the chosen type can hold the rows.
TEST(RecipeFallback, RandomRowsAlwaysFit) {
  std::mt19937 random(7);
  const auto rows = [&] { return 16 * (1 + random() % 64); };
  int chosen = 0;
  for (int round = 0; round < 2000; ++round) {
    const auto number = std::to_string(random() % 42);
    const Result<FileType> file_type = ParseFileType(number);
    if (!file_type) continue;  // a retired number
    Model model;
    model.facts = {"llama", 4, 0, 8, 1 + random() % 8, random() % 10, std::nullopt};
    for (const char* part : {"attn_v", "attn_k", "attn_output", "ffn_down", "ffn_up", "x"}) {
      model.Add("blk." + std::to_string(random() % 4) + "." + part + ".weight", {2, rows()});
    }
    if (random() % 2 == 0) model.Add("output.weight", {2, rows()});
    model.Add("token_embd.weight", {2, rows()});
    const Result<Recipe> recipe = ChooseTypes(model.facts, model.tensors, OptionsFor(*file_type));
    if (!recipe) {
      const bool has_fallback = *file_type != FileType::kQ1_0 && *file_type != FileType::kNVFP4;
      ASSERT_FALSE(has_fallback) << recipe.error().Format();
      continue;
    }
    for (std::size_t i = 0; i < model.tensors.size(); ++i) {
      const gguf::TensorTypeInfo& info = gguf::InfoOf(recipe->choices[i].type);
      ASSERT_EQ(model.tensors[i].shape.back() % info.block_elements, 0U)
          << InfoOf(*file_type).name << " " << model.tensors[i].name;
      ++chosen;
    }
  }
  EXPECT_GT(chosen, 5000);
}

}  // namespace
}  // namespace sluice
