// The list of families, by enumeration: what holds for each of them, and for those to come.
#include "arch/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "arch/spec_check.h"

namespace sluice::arch {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

// The golden checkpoint that stands for each family. A new family needs one, and a line here.
const std::map<std::string_view, std::string> kGoldenCase{
    {"GLM-4 MoE Lite", "glm-tiny"},
    {"Llama 4", "llama4-tiny"},
    // Written from the same tensors without the vision tower, see Plan.Llama4TextOnly.
    {"Llama 4 (text only)", "llama4-tiny"},
    {"MLlama", "mllama-tiny"},
    {"LFM2", "lfm2-tiny"},
    {"LFM2-MoE", "lfm2moe-tiny"},
    {"Llama", "llama-tiny"},
};

template <class Visit>
void ForEachFile(const Visit& visit) {
  for (const Family* family : Families()) {
    for (const FileSpec& file : family->files) {
      SCOPED_TRACE(std::string(family->name) + " in the " + std::string(DialectName(file.dialect)) +
                   " dialect");
      visit(*family, file);
    }
  }
}

TEST(Registry, EveryFamilyPassesTheCheck) {
  for (const Family* family : Families()) {
    EXPECT_EQ(Check(*family), Defect::kNone) << family->name;
    EXPECT_THAT(family->name, Not(IsEmpty()));
    EXPECT_THAT(family->files, Not(IsEmpty())) << family->name;
  }
}

TEST(Registry, EveryArchitectureIsListedOncePerDialectAndRole) {
  std::set<std::tuple<std::string_view, Dialect, Role>> seen;
  ForEachFile([&](const Family&, const FileSpec& file) {
    EXPECT_THAT(file.hf_architectures, Not(IsEmpty()));
    for (const std::string_view name : file.hf_architectures) {
      EXPECT_TRUE(seen.emplace(name, file.dialect, file.role).second) << name;
    }
  });
}

TEST(Registry, EveryArchitectureBelongsToOneFamily) {
  ForEachFile([](const Family& family, const FileSpec& file) {
    for (const std::string_view name : file.hf_architectures) {
      EXPECT_EQ(FindFamily(name), &family) << name;
      EXPECT_EQ(FindFile(family, name, file.dialect, file.role), &file) << name;
      EXPECT_THAT(WhyRefused(name), IsEmpty()) << name;
    }
  });
}

TEST(Registry, EveryFileSaysWhatLoadsIt) {
  ForEachFile([](const Family&, const FileSpec& file) {
    EXPECT_THAT(file.loaded_by, Not(IsEmpty()));
    EXPECT_THAT(file.gguf_arch, Not(IsEmpty()));
    EXPECT_THAT(file.key_values, Not(IsEmpty()));
    EXPECT_THAT(file.groups, Not(IsEmpty()));
  });
}

TEST(Registry, EveryFileHasAGoldenCase) {
  ForEachFile([](const Family& family, const FileSpec& file) {
    const auto golden = kGoldenCase.find(family.name);
    ASSERT_NE(golden, kGoldenCase.end()) << "no golden case stands for " << family.name;
    const std::filesystem::path folder(SLUICE_GOLDEN_DIR);
    const std::string dialect =
        std::string(DialectName(file.dialect)) + (file.role == Role::kProjector ? "-mmproj" : "");
    EXPECT_TRUE(std::filesystem::exists(folder / "checkpoints" / golden->second / "config.json"));
    EXPECT_TRUE(
        std::filesystem::exists(folder / "expected" / (golden->second + "." + dialect + ".json")))
        << golden->second << " has no expectation for " << dialect;
  });
}

TEST(Registry, EveryFamilyHasTheHyperparametersThatThePlannerNeeds) {
  for (const Family* family : Families()) {
    EXPECT_TRUE(check::IsBound(*family, Hp::kVocab)) << family->name;
    EXPECT_TRUE(check::IsBound(*family, Hp::kBlocks)) << family->name;
  }
}

TEST(Registry, RulesOfOneStackStandTogetherInOneGroup) {
  // The planner orders all stacks of a block after the last expert of any of them, by group.
  ForEachFile([](const Family&, const FileSpec& file) {
    std::map<std::string_view, std::size_t> group_of_target;
    for (std::size_t i = 0; i < file.groups.size(); ++i) {
      for (const TensorRule& rule : file.groups[i].rules) {
        if (rule.source.find("{xid}") == std::string_view::npos) continue;
        if (file.groups[i].first != Hp::kNone) continue;  // layers of their own
        const auto [known, is_new] = group_of_target.emplace(rule.target, i);
        EXPECT_EQ(known->second, i) << rule.target;
      }
    }
  });
}

TEST(Registry, UnknownArchitecturesAreNotFound) {
  EXPECT_EQ(FindFamily("GPT2LMHeadModel"), nullptr);
  EXPECT_EQ(FindFamily(""), nullptr);
  EXPECT_EQ(FindFamily("llamaforcausallm"), nullptr);
  EXPECT_THAT(WhyRefused("GPT2LMHeadModel"), IsEmpty());
}

TEST(Registry, Lfm2VlIsKnownAndRefused) {
  EXPECT_EQ(FindFamily("Lfm2VlForConditionalGeneration"), nullptr);
  EXPECT_THAT(WhyRefused("Lfm2VlForConditionalGeneration"), Not(IsEmpty()));
}

TEST(Registry, DefaultDialectIsLlamaCppWhereItLoadsTheFamily) {
  EXPECT_EQ(DefaultDialect(kLlama, "LlamaForCausalLM"), Dialect::kLlamaCpp);
  EXPECT_EQ(DefaultDialect(kMllama, "MllamaForConditionalGeneration"), Dialect::kOllama);
  EXPECT_EQ(DefaultDialect(kLlama4, "Llama4ForConditionalGeneration"), Dialect::kLlamaCpp);
}

TEST(Registry, DialectsKnowDifferentNames) {
  constexpr Role kModel = Role::kModel;
  EXPECT_NE(FindFile(kLlama, "MistralForCausalLM", Dialect::kLlamaCpp, kModel), nullptr);
  EXPECT_EQ(FindFile(kLlama, "MistralForCausalLM", Dialect::kOllama, kModel), nullptr);
  EXPECT_EQ(FindFile(kMllama, "MllamaForConditionalGeneration", Dialect::kLlamaCpp, kModel),
            nullptr);
  EXPECT_EQ(FindFile(kLfm2Moe, "Lfm2MoeForCausalLM", Dialect::kOllama, kModel), nullptr);
  EXPECT_EQ(FindFile(kLlama4Text, "Llama4ForCausalLM", Dialect::kOllama, kModel), nullptr);
  EXPECT_EQ(FindFamily("LFM2ForCausalLM"), &kLfm2);
  EXPECT_EQ(FindFile(kLlama4, "Llama4ForConditionalGeneration", Dialect::kOllama, Role::kProjector),
            nullptr);
}

TEST(Registry, ModelFilesAreFoundByTheArchitectureTheyCarry) {
  EXPECT_EQ(FindModelFile("mllama", Dialect::kLlamaCpp)->dialect, Dialect::kOllama);
  EXPECT_EQ(FindModelFile("glm4moelite", Dialect::kLlamaCpp)->dialect, Dialect::kOllama);
  EXPECT_EQ(FindModelFile("lfm2", Dialect::kLlamaCpp)->dialect, Dialect::kLlamaCpp);
  EXPECT_EQ(FindModelFile("lfm2", Dialect::kOllama)->dialect, Dialect::kOllama);
  EXPECT_EQ(FindModelFile("deepseek2", Dialect::kOllama)->dialect, Dialect::kLlamaCpp);
  EXPECT_EQ(FindModelFile("clip", Dialect::kLlamaCpp), nullptr);  // no model
  EXPECT_EQ(FindModelFile("", Dialect::kOllama), nullptr);
}

TEST(Registry, DialectNamesAreThoseOfTheCommandLine) {
  EXPECT_EQ(DialectName(Dialect::kLlamaCpp), "llama.cpp");
  EXPECT_EQ(DialectName(Dialect::kOllama), "ollama");
}

}  // namespace
}  // namespace sluice::arch
