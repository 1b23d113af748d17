// What llama-quantize made of two models in 83 runs: order, types, general.file_type and the keys
// of the importance matrix.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/quantize/importance.h"
#include "pipeline/quantize/recipe.h"
#include "pipeline/quantize/tensor_class.h"
#include "result_matchers.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

using gguf::TensorRecord;
using nlohmann::json;
using testing::IsOk;

fs::path RecipeFolder() { return fs::path(SLUICE_GOLDEN_DIR) / "quants" / "recipes"; }

json Load(const std::string& name) {
  std::ifstream file(RecipeFolder() / name);
  return json::parse(file);
}

std::vector<std::string> Runs() {
  std::vector<std::string> runs;
  for (const auto& entry : fs::directory_iterator(RecipeFolder())) {
    if (entry.path().extension() == ".json") runs.push_back(entry.path().filename().string());
  }
  std::sort(runs.begin(), runs.end());
  return runs;
}

std::string NameOf(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param.substr(0, info.param.rfind(".json"));
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

// Tensors of a run, as its output file has them.
std::vector<TensorRecord> TensorsOf(const json& run) {
  std::vector<TensorRecord> tensors;
  for (const json& tensor : run["tensors"]) {
    auto shape = tensor["shape"].get<std::vector<std::uint64_t>>();
    std::reverse(shape.begin(), shape.end());
    const auto* info = gguf::FindTensorType(tensor["type"].get<std::string>());
    tensors.push_back({tensor["name"], info->type, std::move(shape), 0, 0});
  }
  return tensors;
}

ModelFacts FactsOfRun(const json& run) {
  gguf::Metadata metadata;
  for (const json& item : run["kv"]) {
    const std::string key = item[0];
    if (item[1] == "UINT32") metadata.Set(key, item[2].get<std::uint32_t>());
    if (item[1] == "STRING") metadata.Set(key, item[2].get<std::string>());
  }
  Result<ModelFacts> facts = ModelFactsOf(metadata);
  EXPECT_THAT(facts, IsOk());
  return *facts;
}

struct Arguments {
  QuantizeOptions options;
  std::optional<imatrix::Reader> importance;
};

Arguments ParseArguments(const json& run) {
  Arguments arguments;
  QuantizeOptions& options = arguments.options;
  options.file_type = *ParseFileType(run["ftype"].get<std::string>());
  const auto words = run["args"].get<std::vector<std::string>>();
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto value = [&] { return words[++i]; };
    if (words[i] == "--pure") {
      options.pure = true;
    } else if (words[i] == "--leave-output-tensor") {
      options.leave_output = true;
    } else if (words[i] == "--output-tensor-type") {
      options.output_type = *ParseTargetType(value());
    } else if (words[i] == "--token-embedding-type") {
      options.embedding_type = *ParseTargetType(value());
    } else if (words[i] == "--tensor-type") {
      options.rules.push_back(*ParseTypeRule(value()));
    } else if (words[i] == "--imatrix") {
      arguments.importance = *imatrix::Reader::Open(value());
      options.has_importance = true;
    } else {
      EXPECT_EQ(words[i], "--exclude-weights");
      const std::string part = value();
      for (const imatrix::Entry& entry : arguments.importance->entries()) {
        EXPECT_EQ(entry.name.find(part), std::string::npos) << "it excluded nothing";
      }
    }
  }
  return arguments;
}

class GoldenRecipe : public ::testing::TestWithParam<std::string> {
 protected:
  // The runs name their importance matrix without a folder.
  void SetUp() override {
    before_ = fs::current_path();
    fs::current_path(RecipeFolder());
  }
  void TearDown() override { fs::current_path(before_); }

 private:
  fs::path before_;
};

TEST_P(GoldenRecipe, IsReproduced) {
  const json run = Load(GetParam());
  const json copy = Load(run["model"].get<std::string>() + ".COPY.json");
  const std::vector<TensorRecord> sources = TensorsOf(copy);
  const Arguments arguments = ParseArguments(run);
  const Result<Recipe> recipe = ChooseTypes(FactsOfRun(copy), sources, arguments.options);
  ASSERT_THAT(recipe, IsOk());
  const std::vector<TensorRecord> expected = TensorsOf(run);
  ASSERT_EQ(recipe->choices.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(gguf::InfoOf(recipe->choices[i].type).name, gguf::InfoOf(expected[i].type).name)
        << expected[i].name << ": " << recipe->choices[i].reason;
  }
  const imatrix::Reader* importance = arguments.importance ? &*arguments.importance : nullptr;
  EXPECT_THAT(PlanImportance(sources, *recipe, arguments.options.file_type, importance), IsOk());

  gguf::Metadata added;
  added.Append("general.file_type", recipe->file_type);
  if (importance != nullptr) AddImportanceKeys(*importance, added);
  const auto& items = added.items();
  ASSERT_GE(run["kv"].size(), items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const json& item = run["kv"][run["kv"].size() - items.size() + i];
    EXPECT_EQ(item[0], items[i].key);
    const std::string text =
        item[2].is_string() ? item[2].get<std::string>() : std::to_string(item[2].get<int>());
    EXPECT_EQ(text, gguf::ToText(items[i].value, 0, 0)) << items[i].key;
  }
}

TEST_P(GoldenRecipe, HasTheQuantizedOrder) {
  const std::vector<TensorRecord> tensors = TensorsOf(Load(GetParam()));
  EXPECT_TRUE(std::is_sorted(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return QuantizedOrderOf(a.name) < QuantizedOrderOf(b.name);
  }));
}

INSTANTIATE_TEST_SUITE_P(Runs, GoldenRecipe, ::testing::ValuesIn(Runs()), NameOf);

TEST(GoldenRecipes, AreAllHere) { EXPECT_EQ(Runs().size(), 83U); }

}  // namespace
}  // namespace sluice
