// Chooses the type of every tensor of a quantized file, as llama-quantize chooses it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "formats/gguf/types.h"
#include "formats/gguf/value.h"
#include "formats/gguf/writer.h"
#include "pipeline/quantize/file_type.h"
#include "pipeline/quantize/type_rules.h"

namespace sluice {

// What recipes depend on besides the tensors.
struct ModelFacts {
  std::string architecture;      // general.architecture
  std::uint64_t num_blocks = 0;  // with multi-token-prediction layers
  std::uint64_t num_mtp_blocks = 0;
  std::uint64_t num_heads = 0;  // of block 0, like the next one
  std::uint64_t num_kv_heads = 0;
  std::uint64_t num_experts = 0;
  std::optional<std::uint32_t> file_type;  // of the file that is quantized, if it says so
};

// Reads them from a model's key-values. kMissing, kCorrupt: general.architecture or
// <architecture>.block_count is absent, or one of the values is no number that fits.
Result<ModelFacts> ModelFactsOf(const gguf::Metadata& metadata);

struct QuantizeOptions {
  FileType file_type = FileType::kCopy;
  bool pure = false;              // --pure: the default type, no mixture
  bool leave_output = false;      // --leave-output-tensor
  bool allow_requantize = false;  // --allow-requantize: sources that are quantized already
  bool has_importance = false;    // an importance matrix with at least one entry is used
  bool ollama = false;            // keep what Ollama keeps, see KeptByOllama
  std::optional<gguf::TensorType> output_type;     // --output-tensor-type
  std::optional<gguf::TensorType> embedding_type;  // --token-embedding-type
  std::vector<TypeRule> rules;                     // --tensor-type, the first that matches decides
};

enum class ChosenBy : std::uint8_t {
  kKept,    // never quantized, or not by these options
  kOption,  // the user: --output-tensor-type, --token-embedding-type
  kRule,    // the user: --tensor-type
  kRecipe,
};

struct TypeChoice {
  gguf::TensorType type = gguf::TensorType::kF32;
  std::string reason;  // which rule chose it, for people
  ChosenBy by = ChosenBy::kRecipe;
};

struct Recipe {
  std::uint32_t file_type = 0;      // general.file_type
  std::vector<TypeChoice> choices;  // one for each tensor, in the given order
  std::vector<std::string> warnings;
};

// The type that rows of this length get where `type` is asked for: another one where they do not
// fill its blocks, or `type` itself where there is none.
[[nodiscard]] gguf::TensorType FittingType(gguf::TensorType type, std::uint64_t row_elements);

// Decides in the given order, on which some mixtures depend: the order of the output file.
// `tensors` have the types that they would have without quantization; their offsets are not used.
// All problems are reported in one Error. kUsage: a rule whose pattern is found in no name, a
// source that is quantized already. kMismatch: rows that fill no whole blocks of the chosen type, a
// block number that the model does not have. kUnsupported: a source of integers that would be
// quantized.
Result<Recipe> ChooseTypes(const ModelFacts& model, std::span<const gguf::TensorRecord> tensors,
                           const QuantizeOptions& options);

}  // namespace sluice
