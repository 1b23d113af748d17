#include "pipeline/quantize/file_type.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <vector>

#include "core/utf8.h"
#include "formats/quant/codec.h"

namespace sluice {
namespace {

using gguf::TensorType;

// The aliases Q3_K, Q4_K and Q5_K stand behind what they mean.
constexpr std::array kFileTypes{
    FileTypeInfo{"F32", FileType::kF32, TensorType::kF32},
    FileTypeInfo{"F16", FileType::kF16, TensorType::kF16},
    FileTypeInfo{"BF16", FileType::kBF16, TensorType::kBF16},
    FileTypeInfo{"Q8_0", FileType::kQ8_0, TensorType::kQ8_0},
    FileTypeInfo{"Q6_K", FileType::kQ6_K, TensorType::kQ6_K},
    FileTypeInfo{"Q5_K_M", FileType::kQ5_K_M, TensorType::kQ5_K},
    FileTypeInfo{"Q5_K", FileType::kQ5_K_M, TensorType::kQ5_K},
    FileTypeInfo{"Q5_K_S", FileType::kQ5_K_S, TensorType::kQ5_K},
    FileTypeInfo{"Q5_1", FileType::kQ5_1, TensorType::kQ5_1},
    FileTypeInfo{"Q5_0", FileType::kQ5_0, TensorType::kQ5_0},
    FileTypeInfo{"Q4_K_M", FileType::kQ4_K_M, TensorType::kQ4_K},
    FileTypeInfo{"Q4_K", FileType::kQ4_K_M, TensorType::kQ4_K},
    FileTypeInfo{"Q4_K_S", FileType::kQ4_K_S, TensorType::kQ4_K},
    FileTypeInfo{"Q4_1", FileType::kQ4_1, TensorType::kQ4_1},
    FileTypeInfo{"Q4_0", FileType::kQ4_0, TensorType::kQ4_0},
    FileTypeInfo{"IQ4_NL", FileType::kIQ4_NL, TensorType::kIQ4_NL},
    FileTypeInfo{"IQ4_XS", FileType::kIQ4_XS, TensorType::kIQ4_XS},
    FileTypeInfo{"MXFP4_MOE", FileType::kMXFP4_MOE, TensorType::kMXFP4},
    FileTypeInfo{"NVFP4", FileType::kNVFP4, TensorType::kNVFP4},
    FileTypeInfo{"Q3_K_L", FileType::kQ3_K_L, TensorType::kQ3_K},
    FileTypeInfo{"Q3_K_M", FileType::kQ3_K_M, TensorType::kQ3_K},
    FileTypeInfo{"Q3_K", FileType::kQ3_K_M, TensorType::kQ3_K},
    FileTypeInfo{"Q3_K_S", FileType::kQ3_K_S, TensorType::kQ3_K},
    FileTypeInfo{"IQ3_M", FileType::kIQ3_M, TensorType::kIQ3_S},
    FileTypeInfo{"IQ3_S", FileType::kIQ3_S, TensorType::kIQ3_S},
    FileTypeInfo{"IQ3_XS", FileType::kIQ3_XS, TensorType::kIQ3_S},
    FileTypeInfo{"IQ3_XXS", FileType::kIQ3_XXS, TensorType::kIQ3_XXS},
    FileTypeInfo{"Q2_K", FileType::kQ2_K, TensorType::kQ2_K},
    FileTypeInfo{"Q2_K_S", FileType::kQ2_K_S, TensorType::kQ2_K},
    FileTypeInfo{"IQ2_M", FileType::kIQ2_M, TensorType::kIQ2_S},
    FileTypeInfo{"IQ2_S", FileType::kIQ2_S, TensorType::kIQ2_XS},
    FileTypeInfo{"IQ2_XS", FileType::kIQ2_XS, TensorType::kIQ2_XS},
    FileTypeInfo{"IQ2_XXS", FileType::kIQ2_XXS, TensorType::kIQ2_XXS},
    FileTypeInfo{"Q2_0", FileType::kQ2_0, TensorType::kQ2_0},
    FileTypeInfo{"TQ2_0", FileType::kTQ2_0, TensorType::kTQ2_0},
    FileTypeInfo{"TQ1_0", FileType::kTQ1_0, TensorType::kTQ1_0},
    FileTypeInfo{"IQ1_M", FileType::kIQ1_M, TensorType::kIQ1_M},
    FileTypeInfo{"IQ1_S", FileType::kIQ1_S, TensorType::kIQ1_S},
    FileTypeInfo{"Q1_0", FileType::kQ1_0, TensorType::kQ1_0},
    FileTypeInfo{"COPY", FileType::kCopy, TensorType::kF32},
};

constexpr std::uint32_t kGuessed = 1024;  // llama.cpp: LLAMA_FTYPE_GUESSED

std::string TargetNames() {
  std::vector<std::string_view> names;
  for (const quant::Codec* codec : quant::Codecs()) names.push_back(gguf::InfoOf(codec->type).name);
  return fmt::format("one of {}", fmt::join(names, ", "));
}

std::string FileTypeNames() {
  std::vector<std::string_view> names;
  for (const FileTypeInfo& info : kFileTypes) names.push_back(info.name);
  return fmt::format("one of {}", fmt::join(names, ", "));
}

const FileTypeInfo* FindFileType(std::string_view text) {
  const std::string lower = AsciiLower(text);
  const auto found =
      std::find_if(kFileTypes.begin(), kFileTypes.end(), [&](const FileTypeInfo& info) {
        const bool has_number = info.type != FileType::kCopy;
        return AsciiLower(info.name) == lower ||
               (has_number && std::to_string(static_cast<unsigned>(info.type)) == text);
      });
  return found == kFileTypes.end() ? nullptr : &*found;
}

}  // namespace

const FileTypeInfo& InfoOf(FileType type) {
  return *std::find_if(kFileTypes.begin(), kFileTypes.end(),
                       [&](const FileTypeInfo& info) { return info.type == type; });
}

Result<FileType> ParseFileType(std::string_view text) {
  if (const FileTypeInfo* info = FindFileType(text)) return info->type;
  return MakeError(ErrorCode::kUsage, "unknown quantization type")
      .Expected(FileTypeNames())
      .Actual(text);
}

Result<TensorType> ParseTargetType(std::string_view name) {
  const gguf::TensorTypeInfo* info = gguf::FindTensorType(name);
  if (info != nullptr && quant::FindCodec(info->type) != nullptr) return info->type;
  return MakeError(ErrorCode::kUsage, info == nullptr ? "unknown tensor type"
                                                      : "weights cannot be stored as this type")
      .Expected(TargetNames())
      .Actual(name);
}

std::uint32_t GuessFileType(std::span<const gguf::TensorRecord> tensors) {
  std::map<TensorType, std::size_t> counts;
  TensorType most = TensorType::kF32;
  std::size_t most_count = 0;
  for (const gguf::TensorRecord& tensor : tensors) {
    const std::size_t count = ++counts[tensor.type];
    if (count <= most_count) continue;
    most_count = count;
    most = tensor.type;
  }
  const FileTypeInfo* info = FindFileType(gguf::InfoOf(most).name);
  return kGuessed | static_cast<std::uint32_t>(info == nullptr ? FileType::kF32 : info->type);
}

}  // namespace sluice
