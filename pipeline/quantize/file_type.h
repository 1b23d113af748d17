// The file types of llama-quantize: what a model can be quantized to, by one name.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/result.h"
#include "formats/gguf/types.h"
#include "formats/gguf/writer.h"

namespace sluice {

// The numbers of general.file_type (llama.cpp: llama_ftype).
enum class FileType : std::uint8_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ8_0 = 7,
  kQ5_0 = 8,
  kQ5_1 = 9,
  kQ2_K = 10,
  kQ3_K_S = 11,
  kQ3_K_M = 12,
  kQ3_K_L = 13,
  kQ4_K_S = 14,
  kQ4_K_M = 15,
  kQ5_K_S = 16,
  kQ5_K_M = 17,
  kQ6_K = 18,
  kIQ2_XXS = 19,
  kIQ2_XS = 20,
  kQ2_K_S = 21,
  kIQ3_XS = 22,
  kIQ3_XXS = 23,
  kIQ1_S = 24,
  kIQ4_NL = 25,
  kIQ3_S = 26,
  kIQ3_M = 27,
  kIQ2_S = 28,
  kIQ2_M = 29,
  kIQ4_XS = 30,
  kIQ1_M = 31,
  kBF16 = 32,
  kTQ1_0 = 36,
  kTQ2_0 = 37,
  kMXFP4_MOE = 38,
  kNVFP4 = 39,  // our recipe: llama-quantize has the number but does not offer it
  kQ1_0 = 40,
  kQ2_0 = 41,
  kCopy = 63,  // every tensor keeps its type; never a number in a file
};

struct FileTypeInfo {
  std::string_view name;
  FileType type;
  gguf::TensorType default_type;  // of tensors that no rule names; without meaning for COPY
};

[[nodiscard]] const FileTypeInfo& InfoOf(FileType type);

// By name, ignoring case, or by number ("Q4_K" and "15" are Q4_K_M). kUsage, with all names,
// otherwise.
Result<FileType> ParseFileType(std::string_view text);

// A type that tensors can be quantized or cast to, by ggml's name, ignoring case. kUsage, with all
// names, otherwise.
Result<gguf::TensorType> ParseTargetType(std::string_view name);

// What llama.cpp takes for general.file_type where a file has none: the number of the most frequent
// tensor type (the one met first among equals) with the flag that says it was guessed.
[[nodiscard]] std::uint32_t GuessFileType(std::span<const gguf::TensorRecord> tensors);

}  // namespace sluice
