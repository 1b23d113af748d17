#include "pipeline/quantize/recipe_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <vector>

namespace sluice {
namespace {

using enum gguf::TensorType;
using T = FileType;

template <typename... Types>
constexpr FileTypeSet Of(Types... types) {
  return ((FileTypeSet{1} << static_cast<unsigned>(types)) | ...);
}

constexpr FileTypeSet kAll = ~FileTypeSet{0};
constexpr FileTypeSet kLowBit =
    Of(T::kIQ1_S, T::kIQ1_M, T::kIQ2_XXS, T::kIQ2_XS, T::kIQ2_S, T::kIQ2_M);
constexpr FileTypeSet kTernary = Of(T::kTQ1_0, T::kTQ2_0, T::kQ2_0);
constexpr std::nullopt_t kDefault = std::nullopt;

// In each table the first rule that applies decides.

// Before all others, except for the output matrix.
constexpr std::array kEveryClass{
    MixtureRule{~Of(T::kF32, T::kF16, T::kBF16, T::kCopy), kGlm5Factor, kQ8_0},
    MixtureRule{Of(T::kMXFP4_MOE), kStack, kMXFP4},
    MixtureRule{Of(T::kMXFP4_MOE), kAlways, kQ8_0},
};

constexpr std::array kOutput{
    MixtureRule{Of(T::kMXFP4_MOE, T::kNVFP4), kAlways, kQ8_0},
    MixtureRule{kAll, kFalcon, kQ8_0},
    MixtureRule{kAll, kPartialBlock, kQ8_0},
    MixtureRule{kLowBit | Of(T::kIQ3_XXS), kAlways, kQ5_K},
    MixtureRule{Of(T::kQ8_0), kAlways, kQ8_0},
    MixtureRule{kAll, kAlways, kQ6_K},
};

constexpr std::array kEmbedding{
    MixtureRule{Of(T::kNVFP4), kAlways, kQ8_0},
    MixtureRule{Of(T::kIQ1_S, T::kIQ1_M, T::kIQ2_XXS, T::kIQ2_XS), kAlways, kQ2_K},
    MixtureRule{Of(T::kIQ2_S, T::kIQ2_M, T::kIQ3_XXS), kAlways, kIQ3_S},
    MixtureRule{kTernary, kAlways, kQ4_K},
};

constexpr std::array kValues{
    MixtureRule{kLowBit, kGroupedBy4, kQ4_K},
    MixtureRule{kLowBit, kExperts4, kQ4_K},
    MixtureRule{Of(T::kIQ2_S, T::kIQ2_M), kAlways, kIQ3_S},
    MixtureRule{kLowBit, kAlways, kQ2_K},
    MixtureRule{kAll, kExperts8, kQ8_0},
    MixtureRule{Of(T::kQ2_K, T::kQ2_K_S), kGroupedBy4, kQ4_K},
    MixtureRule{Of(T::kQ2_K), kAlways, kQ3_K},
    MixtureRule{Of(T::kIQ3_XXS, T::kIQ3_XS, T::kIQ3_S), kGroupedBy4, kQ4_K},
    MixtureRule{Of(T::kIQ3_XXS), kWithoutImportance, kIQ3_S},
    MixtureRule{Of(T::kIQ3_M), kAlways, kQ4_K},
    MixtureRule{Of(T::kQ3_K_M), kFirst2, kQ5_K},
    MixtureRule{Of(T::kQ3_K_M), kAlways, kQ4_K},
    MixtureRule{Of(T::kQ3_K_L), kAlways, kQ5_K},
    MixtureRule{Of(T::kIQ4_NL, T::kIQ4_XS), kGroupedBy4, kQ5_K},
    MixtureRule{Of(T::kQ4_K_S), kFirst4, kQ5_K},
    MixtureRule{Of(T::kQ4_K_M, T::kQ5_K_M), kMoreBits, kQ6_K},
};

constexpr std::array kKeys{
    MixtureRule{kLowBit, kExperts8, kQ4_K},
    MixtureRule{kAll, kExperts8, kQ8_0},
    MixtureRule{Of(T::kIQ3_XS), kAlways, kIQ3_XXS},
    MixtureRule{Of(T::kIQ3_XXS), kAlways, kIQ2_S},
};

constexpr std::array kQueries{
    MixtureRule{Of(T::kIQ3_XS), kAlways, kIQ3_XXS},
    MixtureRule{Of(T::kIQ3_XXS), kAlways, kIQ2_S},
};

constexpr std::array kAttnOutput{
    MixtureRule{kLowBit, kExperts8, kQ5_K},
    MixtureRule{Of(T::kIQ1_S, T::kIQ1_M), kAlways, kIQ2_XXS},
    MixtureRule{Of(T::kIQ2_S, T::kIQ2_M), kAlways, kIQ3_S},
    MixtureRule{Of(T::kQ3_K_L), kFalcon, kQ4_K},
    MixtureRule{kAll, kFalcon, kDefault},
    MixtureRule{Of(T::kQ2_K, T::kIQ3_XS, T::kIQ3_XXS, T::kQ3_K_S, T::kQ3_K_M, T::kIQ4_NL,
                   T::kQ4_K_S, T::kQ4_K_M, T::kIQ3_S, T::kIQ3_M, T::kIQ4_XS),
                kExperts8, kQ5_K},
    MixtureRule{kAll, kExperts8, kDefault},
    MixtureRule{Of(T::kQ2_K), kAlways, kQ3_K},
    MixtureRule{Of(T::kIQ3_XXS), kAlways, kIQ3_S},
    MixtureRule{Of(T::kQ3_K_M, T::kIQ3_M), kAlways, kQ4_K},
    MixtureRule{Of(T::kQ3_K_L), kAlways, kQ5_K},
};

constexpr std::array kDown{
    MixtureRule{Of(T::kIQ2_S, T::kIQ2_M), kFirstEighth, kIQ3_S},
    MixtureRule{kLowBit, kFirstEighth, kQ2_K},
    MixtureRule{Of(T::kQ2_K), kAlways, kQ3_K},
    MixtureRule{Of(T::kQ2_K_S), kFirstEighth, kQ4_K},
    MixtureRule{Of(T::kIQ3_XXS), kWithoutImportance | kFirstEighth, kQ4_K},
    MixtureRule{Of(T::kIQ3_XXS), kWithoutImportance, kQ3_K},
    MixtureRule{Of(T::kQ3_K_M), kFirstSixteenth, kQ5_K},
    MixtureRule{Of(T::kQ3_K_M), kNotFalcon, kQ4_K},
    MixtureRule{Of(T::kQ3_K_M), kMoreBits, kQ4_K},
    MixtureRule{Of(T::kIQ3_M), kFirstEighth, kQ4_K},
    MixtureRule{Of(T::kIQ3_M), kExperts8 | kMoreBits, kQ4_K},
    MixtureRule{Of(T::kQ3_K_L), kFalcon, kQ4_K},
    MixtureRule{Of(T::kQ3_K_L), kAlways, kQ5_K},
    MixtureRule{Of(T::kQ4_K_M), kFalcon | kFirstSixteenth, kQ6_K},
    MixtureRule{Of(T::kQ4_K_M), kFalcon | kMoreBits, kQ5_K},
    MixtureRule{Of(T::kQ4_K_M), kNotFalcon | kMoreBits, kQ6_K},
    MixtureRule{Of(T::kIQ4_NL, T::kIQ4_XS), kWithoutImportance | kFirstEighth, kQ5_K},
    MixtureRule{Of(T::kQ5_K_M), kMoreBits, kQ6_K},
    MixtureRule{Of(T::kQ4_K_S), kNotFalcon | kFirstEighth, kQ5_K},
    MixtureRule{Of(T::kQ4_0), kWithImportance | kFirstEighth, kQ4_1},
    MixtureRule{Of(T::kQ5_0), kWithImportance | kFirstEighth, kQ5_1},
};

constexpr std::array kGateAndUp{MixtureRule{Of(T::kIQ3_XS), kMiddle, kIQ3_XXS}};

std::span<const MixtureRule> RulesOf(TensorClass tensor_class) {
  switch (tensor_class) {
    case TensorClass::kOutput:
      return kOutput;
    case TensorClass::kEmbedding:
      return kEmbedding;
    case TensorClass::kQkv:
    case TensorClass::kKvB:
    case TensorClass::kV:
      return kValues;
    case TensorClass::kK:
      return kKeys;
    case TensorClass::kQ:
      return kQueries;
    case TensorClass::kAttnOutput:
      return kAttnOutput;
    case TensorClass::kDown:
      return kDown;
    case TensorClass::kUp:
    case TensorClass::kGate:
      return kGateAndUp;
    case TensorClass::kOther:
      return {};
  }
  return {};
}

const MixtureRule* FirstOf(std::span<const MixtureRule> rules, FileType file_type, Facts facts) {
  const auto found = std::find_if(rules.begin(), rules.end(), [&](const MixtureRule& rule) {
    return (rule.file_types & Of(file_type)) != 0 && (facts & rule.when) == rule.when;
  });
  return found == rules.end() ? nullptr : &*found;
}

struct FactName {
  Fact fact;
  std::string_view name;
};

constexpr std::array kFactNames{
    FactName{kFalcon, "Falcon"},
    FactName{kNotFalcon, ""},
    FactName{kGroupedBy4, "4 or more query heads a KV head"},
    FactName{kExperts4, "4 or more experts"},
    FactName{kExperts8, "8 experts"},
    FactName{kWithImportance, "with an imatrix"},
    FactName{kWithoutImportance, "without an imatrix"},
    FactName{kFirst2, "first 2"},
    FactName{kFirst4, "first 4"},
    FactName{kFirstEighth, "first eighth of the blocks"},
    FactName{kFirstSixteenth, "first sixteenth of the blocks"},
    FactName{kMoreBits, "more bits"},
    FactName{kMiddle, "middle of the blocks"},
    FactName{kStack, "stack"},
    FactName{kPartialBlock, "rows of partial blocks"},
    FactName{kGlm5Factor, "low-rank queries"},
};

}  // namespace

const MixtureRule* FindMixtureRule(TensorClass tensor_class, FileType file_type, Facts facts) {
  if (tensor_class != TensorClass::kOutput) {
    if (const MixtureRule* rule = FirstOf(kEveryClass, file_type, facts)) return rule;
  }
  return FirstOf(RulesOf(tensor_class), file_type, facts);
}

bool IsLowBit(FileType file_type) { return (kLowBit & Of(file_type)) != 0; }

std::string DescribeFacts(Facts facts) {
  std::vector<std::string_view> names;
  for (const FactName& entry : kFactNames) {
    if ((facts & entry.fact) != 0 && !entry.name.empty()) names.push_back(entry.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace sluice
