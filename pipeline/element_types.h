// In which of F32, F16 and BF16 a converter stores tensors, before anything is quantized.
#pragma once

#include <cstdint>
#include <vector>

#include "arch/spec.h"
#include "formats/safetensors/shards.h"
#include "pipeline/bind.h"
#include "pipeline/plan.h"

namespace sluice {

class ElementTypes {
 public:
  // `shards` are those of the checkpoint, which decide where `outtype` does not.
  ElementTypes(arch::Dialect dialect, OutType outtype, const safetensors::ShardSet& shards);

  [[nodiscard]] gguf::TensorType For(const BoundTensor& tensor, Dtype source) const;
  // general.file_type of the llama.cpp dialect.
  [[nodiscard]] std::uint32_t FileTypeNumber() const;

 private:
  // What matrices of the file get, unless a rule says otherwise.
  [[nodiscard]] gguf::TensorType Requested(Dtype source) const;

  arch::Dialect dialect_;
  OutType outtype_;
  gguf::TensorType auto_type_;
};

// general.file_type of the Ollama dialect: the number that stands for the type of most matrices.
[[nodiscard]] std::uint32_t MajorityFileType(const std::vector<PlannedTensor>& tensors);

}  // namespace sluice
