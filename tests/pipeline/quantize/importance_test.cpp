#include "pipeline/quantize/importance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "formats/imatrix/writer.h"
#include "recipe_fixture.h"
#include "test_files.h"

namespace sluice {
namespace {

using testing::DenseModel;
using ::testing::ElementsAre;
using testing::Fails;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::kColumns;
using testing::Model;
using testing::OptionsFor;
using testing::TempFolder;

imatrix::Collected Weight(std::string name, std::size_t num_matrices, std::size_t num_columns) {
  return {std::move(name), std::vector<float>(num_matrices * num_columns, 8.0F),
          std::vector<float>(num_matrices, 4.0F)};
}

class ImportanceTest : public ::testing::Test {
 protected:
  imatrix::Reader Open(std::vector<imatrix::Collected> weights) {
    const std::string path = folder_.Path("imatrix.gguf");
    const auto bytes = imatrix::ToGgufForm({{"text"}, 3, 512, std::move(weights)});
    EXPECT_THAT(bytes, IsOk());
    folder_.Write("imatrix.gguf", testing::BytesOf<std::byte>(*bytes));
    return *imatrix::Reader::Open(path);
  }

  static Result<ImportancePlan> Plan(const Model& model, const QuantizeOptions& options,
                                     const imatrix::Reader* reader) {
    const Result<Recipe> recipe = ChooseTypes(model.facts, model.tensors, options);
    EXPECT_THAT(recipe, IsOk());
    return PlanImportance(model.tensors, *recipe, options.file_type, reader);
  }

  TempFolder folder_;
};

TEST_F(ImportanceTest, IsFoundByName) {
  Model model;
  model.facts.architecture = "llama";
  model.Add("blk.0.a.weight").Add("blk.0.b.weight").Add("blk.0.kept_norm.weight");
  const imatrix::Reader reader =
      Open({Weight("blk.0.b.weight", 1, kColumns), Weight("blk.0.kept_norm.weight", 1, 7)});
  const auto plan = Plan(model, OptionsFor(FileType::kQ4_0), &reader);
  ASSERT_THAT(plan, IsOk());
  EXPECT_THAT(plan->entries, ElementsAre(nullptr, reader.Find("blk.0.b.weight"), nullptr));
  EXPECT_THAT(plan->warnings, ElementsAre(HasSubstr("no data for 1 of the tensors to quantize, "
                                                    "first blk.0.a.weight")));
}

TEST_F(ImportanceTest, EachExpertHasItsOwn) {
  Model model;
  model.facts.architecture = "llama";
  model.Add("blk.0.ffn_up_exps.weight", {3, 4, 256});
  imatrix::Collected weight = Weight("blk.0.ffn_up_exps.weight", 3, 256);
  weight.sums[256] = 12;
  weight.counts = {4, 2, 0};
  const imatrix::Reader reader = Open({weight});
  const auto plan = Plan(model, OptionsFor(FileType::kQ4_0), &reader);
  ASSERT_THAT(plan, IsOk());
  std::vector<float> row(256);
  const auto first_of = [&](std::uint64_t expert) {
    EXPECT_THAT(reader.ReadWeights(*plan->entries[0], expert * row.size(), row), IsOk());
    return std::pair(row[0], row[1]);
  };
  EXPECT_EQ(first_of(0), std::pair(2.0F, 2.0F));
  EXPECT_EQ(first_of(1), std::pair(6.0F, 4.0F));
  EXPECT_EQ(first_of(2), std::pair(1.0F, 1.0F)) << "without data";
}

TEST_F(ImportanceTest, HeadsMayShareACount) {
  Model model;
  model.facts.architecture = "deepseek2";
  model.Add("blk.0.attn_k_b.weight", {4, 8, 192});
  const imatrix::Reader reader = Open({Weight("blk.0.attn_k_b.weight", 1, 4 * 192)});
  const auto plan = Plan(model, OptionsFor(FileType::kQ4_0), &reader);
  ASSERT_THAT(plan, IsOk());
  std::vector<float> row(192);
  EXPECT_THAT(reader.ReadWeights(*plan->entries[0], 3 * row.size(), row), IsOk());
  EXPECT_EQ(row.back(), 2.0F);
}

TEST_F(ImportanceTest, AllTensorsThatNeedDataAreNamed) {
  Model model = DenseModel(1);
  const imatrix::Reader reader = Open({Weight("blk.0.attn_q.weight", 1, kColumns)});
  QuantizeOptions options = OptionsFor(FileType::kIQ2_XXS);
  options.has_importance = true;
  const auto plan = Plan(model, options, &reader);
  EXPECT_THAT(plan, Fails(ErrorCode::kMissing,
                          "tensor 'blk.0.attn_k.weight': IQ2_XXS needs "
                          "importance data"));
  EXPECT_THAT(plan, Fails(ErrorCode::kMissing, "tensor 'blk.0.ffn_up.weight': IQ2_XXS"));
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().more.size(), 4U)
      << "k, output, down, gate, up, but neither q nor v (Q2_K)";
  EXPECT_THAT(Plan(model, OptionsFor(FileType::kIQ2_XXS), nullptr),
              Fails(ErrorCode::kMissing, "give an importance matrix: --imatrix FILE"));
}

TEST_F(ImportanceTest, Q2KNeedsDataInQ2KSOnly) {
  const Model model = DenseModel(1);
  EXPECT_THAT(Plan(model, OptionsFor(FileType::kQ2_K), nullptr), IsOk());
  EXPECT_THAT(Plan(model, OptionsFor(FileType::kQ2_K_S), nullptr),
              Fails(ErrorCode::kMissing, "Q2_K needs importance data"));
}

TEST_F(ImportanceTest, OutputAndEmbeddingsDoWithoutWhereTheirTypeCan) {
  Model model;
  model.facts.architecture = "llama";
  model.Add("output.weight").Add("token_embd.weight");
  QuantizeOptions options = OptionsFor(FileType::kQ4_K_M);
  options.output_type = gguf::TensorType::kIQ3_XXS;
  options.embedding_type = gguf::TensorType::kIQ2_S;
  const auto plan = Plan(model, options, nullptr);
  ASSERT_THAT(plan, IsOk());
  EXPECT_TRUE(plan->warnings.empty());
  options.output_type = gguf::TensorType::kIQ1_S;
  EXPECT_THAT(Plan(model, options, nullptr),
              Fails(ErrorCode::kMissing, "tensor 'output.weight': IQ1_S needs importance data"));
}

TEST_F(ImportanceTest, SizesMustAgree) {
  Model model;
  model.facts.architecture = "llama";
  model.Add("blk.0.a.weight").Add("blk.0.b_exps.weight", {2, 4, kColumns}).Add("token_embd.weight");
  const imatrix::Reader reader =
      Open({Weight("blk.0.a.weight", 1, 256), Weight("blk.0.b_exps.weight", 1, kColumns),
            Weight("token_embd.weight", 1, 256)});
  const auto plan = Plan(model, OptionsFor(FileType::kQ4_0), &reader);
  EXPECT_THAT(plan, Fails(ErrorCode::kMismatch, "imatrix.gguf: tensor 'blk.0.a.weight' at byte "));
  EXPECT_THAT(plan, Fails(ErrorCode::kMismatch, "expected 512 values, got 256"));
  EXPECT_THAT(plan, Fails(ErrorCode::kMismatch, "expected 1024 values, got 512"));
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().more.size(), 1U) << "embeddings are only warned of";
}

TEST_F(ImportanceTest, EmbeddingsOfAnotherSizeGoWithout) {
  Model model;
  model.facts.architecture = "llama";
  model.Add("token_embd.weight").Add("blk.0.a.weight");
  const imatrix::Reader reader =
      Open({Weight("token_embd.weight", 1, 256), Weight("blk.0.a.weight", 1, kColumns)});
  const auto plan = Plan(model, OptionsFor(FileType::kQ4_0), &reader);
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->entries.front(), nullptr);
  EXPECT_THAT(plan->warnings, ElementsAre(HasSubstr("token_embd.weight: its importance data has "
                                                    "another size and is ignored")));
}

TEST_F(ImportanceTest, AnotherModelsDataIsWarnedOf) {
  const imatrix::Reader reader = Open({Weight("blk.0.other.weight", 1, kColumns)});
  const auto plan = Plan(DenseModel(1), OptionsFor(FileType::kQ4_0), &reader);
  ASSERT_THAT(plan, IsOk());
  EXPECT_THAT(plan->warnings, ElementsAre(HasSubstr("belongs to another model")));
}

TEST_F(ImportanceTest, KeysSayWhatWasUsed) {
  const imatrix::Reader reader = Open({Weight("blk.0.b.weight", 1, 256)});
  gguf::Metadata metadata;
  metadata.Append("quantize.imatrix.file", std::string("of an earlier run"));
  metadata.Append("general.name", std::string("n"));
  AddImportanceKeys(reader, metadata);
  std::vector<std::string> texts;
  for (const auto& [key, value] : metadata.items()) texts.push_back(gguf::ToText(value, 0, 0));
  EXPECT_THAT(texts, ElementsAre("n", folder_.Path("imatrix.gguf"), "text", "1", "3"));
}

TEST_F(ImportanceTest, LongPathsAreCutBetweenCharacters) {
  const imatrix::Reader named = Open({Weight("blk.0.a.weight", 1, 256)});
  std::string path = folder_.Path("x");
  while (path.size() % 2 == 1) path += 'x';  // so that byte 127 is inside of a character
  for (int i = 0; i < 60; ++i) path += "\u00e9";
  std::filesystem::rename(named.path(), path);
  const Result<imatrix::Reader> reader = imatrix::Reader::Open(path);
  ASSERT_THAT(reader, IsOk());
  gguf::Metadata metadata;
  AddImportanceKeys(*reader, metadata);
  const auto* text = metadata.Get<std::string>("quantize.imatrix.file");
  ASSERT_NE(text, nullptr);
  EXPECT_EQ(*text, path.substr(0, 126));
}

}  // namespace
}  // namespace sluice
