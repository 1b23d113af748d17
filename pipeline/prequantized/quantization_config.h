// What config.json says about weights that are quantized already.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/regular_expression.h"
#include "core/result.h"
#include "formats/json/json.h"

namespace sluice {

enum class QuantMethod : std::uint8_t { kFp8, kCompressedTensors, kModelOpt, kMxfp4, kGptq, kAwq };

// One way in which the weights of some modules are stored.
struct WeightScheme {
  bool is_float = false;
  std::uint64_t bits = 0;
  std::uint64_t group_size = 0;  // inputs that share a scale; 0: all
  std::uint64_t block_rows = 0;  // scales for blocks of that shape; 0: none
  std::uint64_t block_columns = 0;
  bool lists_groups = false;  // a list says which inputs share a scale (activation order)
};

// A module that is not quantized: its name or that of a part or a parent, a pattern with '*', or
// "re:" and a regular expression for the beginning of the name.
struct KeptModule {
  std::string text;
  std::optional<RegularExpression> expression;
};

struct QuantizationConfig {
  std::string path;  // of the file that says it
  QuantMethod method = QuantMethod::kFp8;
  std::vector<WeightScheme> schemes;   // alternatives; one but for compressed-tensors
  bool stores_zeros_less_one = false;  // GPTQ's first format
  std::vector<KeptModule> kept;

  // Whether `kept` covers a module ("model.layers.0.mlp.up_proj"). kUnsupported, with file and
  // pattern, when a regular expression takes too much work.
  Result<bool> Keeps(const std::string& module) const;
};

// Reads quantization_config or compression_config of `config` or of its text_config, else the
// hf_quant_config.json that ModelOpt writes beside it; nullopt when there is neither.
// kUnsupported for a method, format or number of bits that is not known; kCorrupt for fields of the
// wrong kind.
Result<std::optional<QuantizationConfig>> ReadQuantizationConfig(const std::string& folder,
                                                                 const json::Document& config);

}  // namespace sluice
