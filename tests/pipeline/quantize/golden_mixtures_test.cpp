// Every mixture on models made to reach its rules, as llama-quantize decided them: a description of
// the model, and for each file type the types of all tensors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "pipeline/quantize/recipe.h"
#include "pipeline/quantize/tensor_class.h"
#include "result_matchers.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

using gguf::TensorRecord;
using nlohmann::json;
using testing::IsOk;

fs::path MixtureFolder() { return fs::path(SLUICE_GOLDEN_DIR) / "quants" / "mixtures"; }

std::vector<std::string> ModelNames() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(MixtureFolder())) {
    names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

ModelFacts FactsOf(const json& model) {
  gguf::Metadata metadata;
  for (const auto& [key, value] : model["kv"].items()) {
    if (value.is_string()) {
      metadata.Set(key, value.get<std::string>());
    } else {
      metadata.Set(key, value.get<std::uint32_t>());
    }
  }
  Result<ModelFacts> facts = ModelFactsOf(metadata);
  EXPECT_THAT(facts, IsOk());
  return *facts;
}

// The names that one line of "tensors" stands for: one tensor, or one in each of a range of blocks.
std::vector<std::string> NamesOf(const json& line) {
  const std::string name = line["name"];
  if (line["blocks"].is_null()) return {name};
  std::vector<std::string> names;
  for (int block = line["blocks"][0]; block < line["blocks"][1]; ++block) {
    names.push_back("blk." + std::to_string(block) + "." + name);
  }
  return names;
}

std::vector<TensorRecord> SourcesOf(const json& model) {
  std::vector<TensorRecord> tensors;
  for (const json& line : model["tensors"]) {
    auto shape = line["ne"].get<std::vector<std::uint64_t>>();
    std::reverse(shape.begin(), shape.end());
    const auto type = gguf::FindTensorType(line["type"].get<std::string>())->type;
    for (const std::string& name : NamesOf(line)) tensors.push_back({name, type, shape, 0, 0});
  }
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return QuantizedOrderOf(a.name) < QuantizedOrderOf(b.name);
  });
  return tensors;
}

// "Q6_K*2 Q4_K" is Q6_K Q6_K Q4_K.
std::vector<std::string> Unpack(const std::string& text) {
  std::vector<std::string> types;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const std::size_t star = word.find('*');
    const int count = star == std::string::npos ? 1 : std::stoi(word.substr(star + 1));
    types.insert(types.end(), count, word.substr(0, star));
  }
  return types;
}

// Tensor name -> type; tensors that keep their type are in no run.
std::map<std::string, std::string> ExpectedTypes(const json& model, const json& run) {
  std::map<std::string, std::string> expected;
  for (const json& line : model["tensors"]) {
    const std::vector<std::string> names = NamesOf(line);
    const auto types = run["types"].find(line["name"].get<std::string>());
    const std::vector<std::string> unpacked =
        types == run["types"].end() ? std::vector<std::string>(names.size(), line["type"])
                                    : Unpack(types->get<std::string>());
    EXPECT_EQ(unpacked.size(), names.size()) << line["name"];
    for (std::size_t i = 0; i < names.size(); ++i) expected[names[i]] = unpacked[i];
  }
  return expected;
}

class GoldenMixtures : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenMixtures, AreReproduced) {
  std::ifstream file(MixtureFolder() / (GetParam() + ".json"));
  const json model = json::parse(file);
  const ModelFacts facts = FactsOf(model);
  const std::vector<TensorRecord> tensors = SourcesOf(model);
  for (const json& run : model["runs"]) {
    const auto expected = ExpectedTypes(model, run);
    for (const bool with_importance : run["imatrix"]) {
      QuantizeOptions options;
      options.file_type = *ParseFileType(run["ftype"].get<std::string>());
      options.has_importance = with_importance;
      const Result<Recipe> recipe = ChooseTypes(facts, tensors, options);
      ASSERT_THAT(recipe, IsOk());
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        ASSERT_EQ(gguf::InfoOf(recipe->choices[i].type).name, expected.at(tensors[i].name))
            << run["ftype"] << " " << tensors[i].name << ": " << recipe->choices[i].reason;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenMixtures, ::testing::ValuesIn(ModelNames()),
                         [](const auto& model) {
                           std::string name = model.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(GoldenMixture, ModelsAreAllHere) { EXPECT_EQ(ModelNames().size(), 11U); }

}  // namespace
}  // namespace sluice
