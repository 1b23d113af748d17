#include "pipeline/quantize/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "formats/quant/codec.h"
#include "pipeline/quantize/recipe_table.h"
#include "pipeline/quantize/tensor_class.h"

namespace sluice {
namespace {

using gguf::TensorRecord;
using gguf::TensorType;

bool IsFloat(TensorType type) {
  return type == TensorType::kF64 || type == TensorType::kF32 || type == TensorType::kF16 ||
         type == TensorType::kBF16;
}

bool IsQuantized(TensorType type) { return gguf::InfoOf(type).block_elements > 1; }

std::uint64_t RowElements(const TensorRecord& tensor) {
  return tensor.shape.empty() ? 1 : tensor.shape.back();
}

bool FillsBlocks(std::uint64_t row_elements, TensorType type) {
  return row_elements % gguf::InfoOf(type).block_elements == 0;
}

// Whether only rows are left once outer extents of 1 are dropped.
bool IsVector(const TensorRecord& tensor) {
  const auto& shape = tensor.shape;
  return shape.size() < 2 || std::all_of(shape.begin(), shape.end() - 1,
                                         [](std::uint64_t extent) { return extent == 1; });
}

bool IsStack(const TensorRecord& tensor) {
  return tensor.shape.size() >= 3 && tensor.shape[tensor.shape.size() - 3] > 1;
}

// The type for rows that do not fill blocks of `type`; `type` itself where there is none.
TensorType Replacement(TensorType type) {
  switch (type) {
    case TensorType::kIQ1_S:
    case TensorType::kIQ1_M:
    case TensorType::kIQ2_XXS:
    case TensorType::kIQ2_XS:
    case TensorType::kIQ2_S:
    case TensorType::kIQ3_XXS:
    case TensorType::kIQ3_S:
    case TensorType::kIQ4_XS:
      return TensorType::kIQ4_NL;
    case TensorType::kQ2_K:
    case TensorType::kQ3_K:
    case TensorType::kTQ1_0:
    case TensorType::kTQ2_0:
    case TensorType::kQ2_0:
      return TensorType::kQ4_0;
    case TensorType::kQ4_K:
      return TensorType::kQ5_0;
    case TensorType::kQ5_K:
      return TensorType::kQ5_1;
    case TensorType::kQ6_K:
      return TensorType::kQ8_0;
    default:
      return type;
  }
}

TypeChoice FitRows(TypeChoice choice, std::uint64_t row_elements) {
  const TensorType fitting = FittingType(choice.type, row_elements);
  if (fitting == choice.type) return choice;
  return {fitting,
          fmt::format("{}; rows of {} elements do not fill blocks of {}", choice.reason,
                      row_elements, gguf::InfoOf(choice.type).name),
          choice.by};
}

// The large models whose few value matrices deserve more bits.
bool Is70B(const ModelFacts& model) {
  struct Size {
    std::string_view architecture;
    std::uint64_t num_blocks;
  };
  constexpr std::array kSizes{Size{"llama", 80}, Size{"qwen2", 80}, Size{"deci", 80},
                              Size{"olmo", 80}, Size{"jais2", 68}};
  constexpr std::uint64_t kMixtralExperts = 8;
  const bool is_llama = model.architecture == "llama";
  if (is_llama && (model.num_experts == kMixtralExperts || model.num_heads == model.num_kv_heads)) {
    return false;
  }
  return std::any_of(kSizes.begin(), kSizes.end(), [&](const Size& size) {
    return size.architecture == model.architecture &&
           size.num_blocks + model.num_mtp_blocks == model.num_blocks;
  });
}

class TypeChooser {
 public:
  TypeChooser(const ModelFacts& model, std::span<const TensorRecord> tensors,
              const QuantizeOptions& options)
      : model_(model),
        tensors_(tensors),
        options_(options),
        default_type_(InfoOf(options.file_type).default_type),
        model_facts_(FactsOfModel(model, options)),
        is_70b_(Is70B(model)) {}

  Result<Recipe> Run();

 private:
  // How many tensors of each kind a mixture has decided.
  struct Decided {
    std::uint64_t values = 0;
    std::uint64_t down = 0;
    std::uint64_t gate = 0;
    std::uint64_t up = 0;
  };

  static Facts FactsOfModel(const ModelFacts& model, const QuantizeOptions& options);
  Status MatchRules();
  void WarnOfIdleRules();
  void CountTensors();

  [[nodiscard]] std::optional<std::string> WhyKept(const TensorRecord& tensor) const;
  [[nodiscard]] std::optional<TypeChoice> ByOption(const TensorRecord& tensor,
                                                   std::size_t position) const;
  Result<TypeChoice> Choose(std::size_t position);
  Result<TypeChoice> ByMixture(const TensorRecord& tensor);
  Result<std::uint64_t> PositionOf(const TensorRecord& tensor, std::uint64_t& decided) const;
  Result<Facts> PositionFacts(const TensorRecord& tensor, TensorClass tensor_class);
  [[nodiscard]] Facts FactsOfTensor(const TensorRecord& tensor, TensorClass tensor_class) const;
  [[nodiscard]] Status Check(const TensorRecord& tensor, const TypeChoice& choice) const;

  const ModelFacts& model_;
  const std::span<const TensorRecord> tensors_;
  const QuantizeOptions& options_;
  const TensorType default_type_;
  const Facts model_facts_;
  const bool is_70b_;
  bool tied_ = true;              // no output matrix: the embeddings are it
  std::uint64_t num_values_ = 0;  // tensors that make values
  Decided decided_;
  std::vector<const TypeRule*> rule_of_;  // for each tensor, or nullptr
  std::vector<bool> rule_has_match_;      // for each rule
  std::vector<bool> rule_decides_;        // for each rule
  std::vector<Error> problems_;
  Recipe recipe_;
};

Facts TypeChooser::FactsOfModel(const ModelFacts& model, const QuantizeOptions& options) {
  Facts facts = model.architecture == "falcon" ? kFalcon : kNotFalcon;
  facts |= options.has_importance ? kWithImportance : kWithoutImportance;
  if (model.num_kv_heads > 0 && model.num_heads / model.num_kv_heads >= 4) facts |= kGroupedBy4;
  if (model.num_experts >= 4) facts |= kExperts4;
  if (model.num_experts == 8) facts |= kExperts8;
  return facts;
}

// Finds the rule of each tensor. A pattern found in no name is a mistake.
Status TypeChooser::MatchRules() {
  const std::vector<TypeRule>& rules = options_.rules;
  rule_of_.assign(tensors_.size(), nullptr);
  rule_has_match_.assign(rules.size(), false);
  rule_decides_.assign(rules.size(), false);
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    for (std::size_t r = 0; r < rules.size(); ++r) {
      if (rule_of_[t] != nullptr && rule_has_match_[r]) continue;
      SLUICE_ASSIGN(const bool matches, rules[r].Matches(tensors_[t].name));
      if (!matches) continue;
      rule_has_match_[r] = true;
      if (rule_of_[t] == nullptr) rule_of_[t] = &rules[r];
    }
  }
  for (std::size_t r = 0; r < rules.size(); ++r) {
    if (rule_has_match_[r]) continue;
    problems_.push_back(MakeError(ErrorCode::kUsage, "--tensor-type matches no tensor")
                            .In(rules[r].place)
                            .Actual(rules[r].text)
                            .Advice("the pattern is searched in names like blk.0.ffn_down.weight"));
  }
  return Ok();
}

void TypeChooser::WarnOfIdleRules() {
  for (std::size_t r = 0; r < options_.rules.size(); ++r) {
    if (!rule_has_match_[r] || rule_decides_[r]) continue;
    const TypeRule& rule = options_.rules[r];
    recipe_.warnings.push_back(fmt::format(
        "{}--tensor-type {} has no effect: its tensors are kept or decided by options before it",
        rule.place.empty() ? "" : rule.place + ": ", rule.text));
  }
}

void TypeChooser::CountTensors() {
  for (const TensorRecord& tensor : tensors_) {
    if (options_.ollama && KeptByOllama(tensor.name)) continue;
    if (tensor.name == kOutputName) tied_ = false;
    if (MakesValues(ClassOf(tensor.name))) ++num_values_;
  }
}

std::optional<std::string> TypeChooser::WhyKept(const TensorRecord& tensor) const {
  if (options_.file_type == FileType::kCopy) return "COPY keeps every type";
  if (IsVector(tensor)) return "kept: one row";
  if (!tensor.name.ends_with("weight")) return "kept: no weight";
  if (options_.leave_output && tensor.name == kOutputName) return "--leave-output-tensor";
  if (options_.ollama && KeptByOllama(tensor.name)) return "kept: vision or cross-attention";
  if (const auto part = KeptByName(tensor.name, model_.architecture)) {
    return fmt::format("kept: {}", *part);
  }
  return std::nullopt;
}

// What the user says about this tensor, if anything.
std::optional<TypeChoice> TypeChooser::ByOption(const TensorRecord& tensor,
                                                std::size_t position) const {
  const TensorClass tensor_class = ClassOf(tensor.name);
  const TypeRule* rule = rule_of_[position];
  const bool rule_first = tensor.name == kLayerEmbeddingName && rule != nullptr;
  if (options_.embedding_type && tensor_class == TensorClass::kEmbedding && !rule_first) {
    return TypeChoice{*options_.embedding_type, "--token-embedding-type", ChosenBy::kOption};
  }
  if (options_.output_type && tensor_class == TensorClass::kOutput) {
    return TypeChoice{*options_.output_type, "--output-tensor-type", ChosenBy::kOption};
  }
  return std::nullopt;
}

Result<TypeChoice> TypeChooser::Choose(std::size_t position) {
  const TensorRecord& tensor = tensors_[position];
  if (auto why = WhyKept(tensor)) return TypeChoice{tensor.type, *std::move(why), ChosenBy::kKept};
  if (auto choice = ByOption(tensor, position)) return *std::move(choice);
  const std::string_view file_type = InfoOf(options_.file_type).name;
  if (!IsQuantized(default_type_)) return TypeChoice{default_type_, std::string(file_type)};
  TypeChoice choice{default_type_, fmt::format("{}: --pure", file_type)};
  if (const TypeRule* rule = rule_of_[position]) {
    rule_decides_[static_cast<std::size_t>(rule - options_.rules.data())] = true;
    choice = {rule->type, fmt::format("--tensor-type {}", rule->text), ChosenBy::kRule};
  } else if (!options_.pure) {
    SLUICE_ASSIGN(choice, ByMixture(tensor));
  }
  return FitRows(std::move(choice), RowElements(tensor));
}

// The number of a tensor among those of its kind, which `decided` counts: its block in models with
// experts, where a block has several.
Result<std::uint64_t> TypeChooser::PositionOf(const TensorRecord& tensor,
                                              std::uint64_t& decided) const {
  const std::uint64_t counted = decided++;
  if (model_.num_experts <= 1 || IsLowBit(options_.file_type)) return counted;
  const std::optional<std::uint64_t> block = BlockOf(tensor.name);
  if (block && *block < model_.num_blocks) return *block;
  return MakeError(ErrorCode::kMismatch, "the model has no such block")
      .At(tensor.name)
      .Expected(fmt::format("blk.N. with N below {}", model_.num_blocks));
}

Result<Facts> TypeChooser::PositionFacts(const TensorRecord& tensor, TensorClass tensor_class) {
  Facts facts = 0;
  if (MakesValues(tensor_class)) {
    const std::uint64_t i = decided_.values++;
    if (i < 2) facts |= kFirst2;
    if (i < 4) facts |= kFirst4;
    if (IsMoreBitsPosition(i, num_values_)) facts |= kMoreBits;
  } else if (tensor_class == TensorClass::kDown) {
    const std::uint64_t n = model_.num_blocks;
    SLUICE_ASSIGN(const std::uint64_t i, PositionOf(tensor, decided_.down));
    if (i < n / 8) facts |= kFirstEighth;
    if (i < n / 16) facts |= kFirstSixteenth;
    if (IsMoreBitsPosition(i, n)) facts |= kMoreBits;
  } else if (tensor_class == TensorClass::kGate || tensor_class == TensorClass::kUp) {
    const std::uint64_t n = model_.num_blocks;
    std::uint64_t& decided = tensor_class == TensorClass::kGate ? decided_.gate : decided_.up;
    SLUICE_ASSIGN(const std::uint64_t i, PositionOf(tensor, decided));
    if (i >= n / 8 && i < 7 * n / 8) facts |= kMiddle;
  }
  return facts;
}

Facts TypeChooser::FactsOfTensor(const TensorRecord& tensor, TensorClass tensor_class) const {
  Facts facts = 0;
  const bool feed_forward = tensor_class == TensorClass::kUp ||
                            tensor_class == TensorClass::kGate ||
                            tensor_class == TensorClass::kDown;
  if (IsStack(tensor) && (feed_forward || model_.architecture != "bailingmoe3")) facts |= kStack;
  if (!FillsBlocks(RowElements(tensor), default_type_)) facts |= kPartialBlock;
  if (model_.architecture == "glm5-next") {
    constexpr std::array<std::string_view, 3> kFactors{"attn_q_a", "attn_q_b", "nextn.eh_proj"};
    for (const std::string_view part : kFactors) {
      if (tensor.name.find(part) != std::string::npos) facts |= kGlm5Factor;
    }
  }
  return facts;
}

Result<TypeChoice> TypeChooser::ByMixture(const TensorRecord& tensor) {
  const std::string_view file_type = InfoOf(options_.file_type).name;
  TensorClass tensor_class = ClassOf(tensor.name);
  if (tensor_class == TensorClass::kEmbedding && tied_) tensor_class = TensorClass::kOutput;
  if (tensor_class == TensorClass::kOutput && options_.output_type) {
    return TypeChoice{*options_.output_type, "--output-tensor-type of tied embeddings",
                      ChosenBy::kOption};
  }
  const bool has_position = options_.file_type != FileType::kMXFP4_MOE;
  Facts facts = model_facts_ | FactsOfTensor(tensor, tensor_class);
  if (has_position) {
    SLUICE_ASSIGN(const Facts position, PositionFacts(tensor, tensor_class));
    facts |= position;
  }
  const MixtureRule* rule = FindMixtureRule(tensor_class, options_.file_type, facts);
  TypeChoice choice{default_type_, fmt::format("{}: default", file_type)};
  if (rule != nullptr && rule->type) {
    const std::string why = DescribeFacts(rule->when);
    choice = {*rule->type, fmt::format("{}: {}{}{}", file_type, ClassName(tensor_class),
                                       why.empty() ? "" : ", ", why)};
  }
  const bool few_bits = choice.type == TensorType::kQ3_K || choice.type == TensorType::kQ4_K;
  if (is_70b_ && MakesValues(tensor_class) && few_bits && !IsLowBit(options_.file_type)) {
    choice = {TensorType::kQ5_K,
              fmt::format("{}: {} of a 70B", file_type, ClassName(tensor_class))};
  }
  return choice;
}

Status TypeChooser::Check(const TensorRecord& tensor, const TypeChoice& choice) const {
  if (choice.type == tensor.type) return Ok();
  const gguf::TensorTypeInfo& source = gguf::InfoOf(tensor.type);
  const gguf::TensorTypeInfo& target = gguf::InfoOf(choice.type);
  if (!FillsBlocks(RowElements(tensor), choice.type)) {
    return MakeError(ErrorCode::kMismatch,
                     fmt::format("rows do not fill blocks of {}", target.name))
        .At(tensor.name)
        .Expected(fmt::format("a multiple of {} elements", target.block_elements))
        .Actual(fmt::format("{}", RowElements(tensor)))
        .Advice("give this tensor another type: --tensor-type NAME=TYPE");
  }
  if (IsFloat(tensor.type)) return Ok();
  if (quant::FindCodec(tensor.type) == nullptr) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("cannot quantize {}", source.name))
        .At(tensor.name)
        .Expected("F64, F32, F16, BF16 or a quantized type")
        .Advice("--type COPY keeps all types");
  }
  if (options_.allow_requantize) return Ok();
  return MakeError(ErrorCode::kUsage, fmt::format("already quantized to {}", source.name))
      .At(tensor.name)
      .Advice("quantize the original model, or accept the loss with --allow-requantize");
}

Result<Recipe> TypeChooser::Run() {
  SLUICE_TRY(MatchRules());
  CountTensors();
  for (std::size_t position = 0; position < tensors_.size(); ++position) {
    Result<TypeChoice> choice = Choose(position);
    Status checked = choice ? Check(tensors_[position], *choice) : Status(choice.error());
    if (checked) {
      recipe_.choices.push_back(*std::move(choice));
    } else {
      problems_.push_back(std::move(checked).error());
    }
  }
  if (!problems_.empty()) return JoinErrors(std::move(problems_));
  WarnOfIdleRules();
  recipe_.file_type = static_cast<std::uint32_t>(options_.file_type);
  if (options_.file_type == FileType::kCopy) {
    recipe_.file_type = model_.file_type.value_or(GuessFileType(tensors_));
  }
  return std::move(recipe_);
}

}  // namespace

TensorType FittingType(TensorType type, std::uint64_t row_elements) {
  if (FillsBlocks(row_elements, type)) return type;
  constexpr std::uint32_t kSmallBlock = 32;
  const TensorType fitting = Replacement(type);
  // Without a replacement: an error, reported where all choices are checked.
  if (fitting == type && gguf::InfoOf(type).block_elements > kSmallBlock) return type;
  return FillsBlocks(row_elements, fitting) ? fitting : TensorType::kF16;
}

Result<Recipe> ChooseTypes(const ModelFacts& model, std::span<const TensorRecord> tensors,
                           const QuantizeOptions& options) {
  return TypeChooser(model, tensors, options).Run();
}

}  // namespace sluice
