// Small models for recipe tests: facts, tensor lists, and what a recipe makes of them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pipeline/quantize/recipe.h"
#include "result_matchers.h"

namespace sluice::testing {

using Shape = std::vector<std::uint64_t>;  // outermost dimension first

inline constexpr std::uint64_t kColumns = 512;

// A model in the order of llama-quantize. All matrices are BF16 with 512 columns.
struct Model {
  ModelFacts facts;
  std::vector<gguf::TensorRecord> tensors;

  Model& Add(std::string name, Shape shape = {4, kColumns},
             gguf::TensorType type = gguf::TensorType::kBF16) {
    tensors.push_back({std::move(name), type, std::move(shape), 0, 0});
    return *this;
  }
  // A block with attention and a dense feed-forward network.
  Model& AddBlock(std::uint64_t block) {
    for (const char* part :
         {"attn_k", "attn_output", "attn_q", "attn_v", "ffn_down", "ffn_gate", "ffn_up"}) {
      Add("blk." + std::to_string(block) + "." + part + ".weight");
    }
    return *this;
  }
};

// Embeddings, an output matrix and `num_blocks` dense blocks.
inline Model DenseModel(std::uint64_t num_blocks, std::string architecture = "llama") {
  Model model;
  model.facts.architecture = std::move(architecture);
  model.facts.num_blocks = num_blocks;
  model.facts.num_heads = 8;
  model.facts.num_kv_heads = 8;
  model.Add("output.weight").Add("token_embd.weight");
  for (std::uint64_t block = 0; block < num_blocks; ++block) model.AddBlock(block);
  return model;
}

inline QuantizeOptions OptionsFor(FileType file_type,
                                  std::initializer_list<std::string_view> rules = {}) {
  QuantizeOptions options;
  options.file_type = file_type;
  for (const std::string_view text : rules) {
    Result<TypeRule> rule = ParseTypeRule(text);
    EXPECT_THAT(rule, IsOk());
    if (rule) options.rules.push_back(*std::move(rule));
  }
  return options;
}

// The choices of a recipe by name.
class Choices {
 public:
  Choices(const Model& model, const QuantizeOptions& options) : model_(model) {
    Result<Recipe> recipe = ChooseTypes(model.facts, model.tensors, options);
    EXPECT_THAT(recipe, IsOk());
    if (recipe) recipe_ = *std::move(recipe);
  }
  Choices(const Model& model, FileType file_type) : Choices(model, OptionsFor(file_type)) {}

  [[nodiscard]] const Recipe& recipe() const { return recipe_; }
  [[nodiscard]] std::string Type(std::string_view name) const {
    const TypeChoice* choice = Find(name);
    return choice == nullptr ? "none" : std::string(gguf::InfoOf(choice->type).name);
  }
  [[nodiscard]] std::string Reason(std::string_view name) const {
    const TypeChoice* choice = Find(name);
    return choice == nullptr ? "none" : choice->reason;
  }
  // The blocks in which `part` has the type of this name, "0 1 14 15".
  [[nodiscard]] std::string BlocksWith(std::string_view part, std::string_view type) const {
    std::string blocks;
    for (std::uint64_t block = 0; block < model_.facts.num_blocks; ++block) {
      const std::string number = std::to_string(block);
      if (Type("blk." + number + "." + std::string(part) + ".weight") != type) continue;
      if (!blocks.empty()) blocks += ' ';
      blocks += number;
    }
    return blocks;
  }

 private:
  [[nodiscard]] const TypeChoice* Find(std::string_view name) const {
    for (std::size_t i = 0; i < recipe_.choices.size(); ++i) {
      if (model_.tensors[i].name == name) return &recipe_.choices[i];
    }
    return nullptr;
  }

  Model model_;
  Recipe recipe_;
};

}  // namespace sluice::testing
