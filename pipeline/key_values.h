// The key-values of a GGUF file that do not come from the tokenizer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/spec.h"
#include "core/result.h"
#include "formats/gguf/value.h"
#include "pipeline/hparams.h"

namespace sluice {

// Parameters of a file's tensors, as llama.cpp's converter counts them for the size label.
struct ParameterCounts {
  std::uint64_t total = 0;
  std::uint64_t shared = 0;      // outside the experts
  std::uint64_t one_expert = 0;  // of one expert, over all blocks
  std::uint64_t experts = 0;     // stacked in each expert tensor; 0 without any
};

// general.* of the llama.cpp dialect: type, sampling, names, licence, base models, tags. The
// sources are README.md's front matter, `_name_or_path` of config.json and the folder's name;
// `model_name` overrides the name.
void AddGeneral(const std::string& folder, const ConfigFiles& config, arch::Role role,
                const std::string& model_name, const ParameterCounts& parameters,
                gguf::Metadata& metadata, std::vector<std::string>& warnings);

// Evaluates a file's rules in their order. `file_type` fills in arch::FileType. One Error in
// `problems` for each required value that is absent or does not fit its GGUF type.
void AddKeyValues(const arch::FileSpec& file, const arch::HParams& hparams, std::uint32_t file_type,
                  gguf::Metadata& metadata, std::vector<Error>& problems);

// Parses "TYPE:VALUE", TYPE one of u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool str. kUsage
// otherwise.
Result<gguf::Value> ParseTypedValue(const std::string& text);

}  // namespace sluice
