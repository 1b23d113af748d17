#include "arch/registry.h"

#include <algorithm>
#include <array>

namespace sluice::arch {
namespace {

constexpr std::array<const Family*, 7> kFamilies{&kGlm4MoeLite, &kLlama4,  &kLlama4Text, &kMllama,
                                                 &kLfm2,        &kLfm2Moe, &kLlama};

struct Refusal {
  std::string_view hf_architecture;
  std::string_view why;
};
constexpr std::array kRefused{
    Refusal{"Lfm2VlForConditionalGeneration",
            "LFM2-VL is not supported: only the text models LFM2 and LFM2-MoE are"},
};

bool Lists(const FileSpec& file, std::string_view hf_architecture) {
  return std::find(file.hf_architectures.begin(), file.hf_architectures.end(), hf_architecture) !=
         file.hf_architectures.end();
}

}  // namespace

std::span<const Family* const> Families() { return kFamilies; }

const Family* FindFamily(std::string_view hf_architecture) {
  for (const Family* family : kFamilies) {
    for (const FileSpec& file : family->files) {
      if (Lists(file, hf_architecture)) return family;
    }
  }
  return nullptr;
}

const FileSpec* FindFile(const Family& family, std::string_view hf_architecture, Dialect dialect,
                         Role role) {
  for (const FileSpec& file : family.files) {
    if (file.dialect == dialect && file.role == role && Lists(file, hf_architecture)) return &file;
  }
  return nullptr;
}

const FileSpec* FindModelFile(std::string_view gguf_arch, Dialect dialect) {
  const FileSpec* found = nullptr;
  for (const Family* family : kFamilies) {
    for (const FileSpec& file : family->files) {
      if (file.gguf_arch != gguf_arch || file.role != Role::kModel) continue;
      if (found == nullptr || file.dialect == dialect) found = &file;
    }
  }
  return found;
}

Dialect DefaultDialect(const Family& family, std::string_view hf_architecture) {
  const bool in_llama_cpp =
      FindFile(family, hf_architecture, Dialect::kLlamaCpp, Role::kModel) != nullptr;
  return in_llama_cpp ? Dialect::kLlamaCpp : Dialect::kOllama;
}

std::string_view WhyRefused(std::string_view hf_architecture) {
  for (const Refusal& refusal : kRefused) {
    if (refusal.hf_architecture == hf_architecture) return refusal.why;
  }
  return {};
}

}  // namespace sluice::arch
