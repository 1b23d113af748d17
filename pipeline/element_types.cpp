#include "pipeline/element_types.h"

#include <algorithm>
#include <map>

#include "pipeline/quantize/file_type.h"

namespace sluice {
namespace {

using arch::Dialect;
using arch::Store;
using gguf::TensorType;

std::uint32_t NumberOf(TensorType type) {
  const FileType number = type == TensorType::kF32   ? FileType::kF32
                          : type == TensorType::kF16 ? FileType::kF16
                                                     : FileType::kBF16;
  return static_cast<std::uint32_t>(number);
}

// llama.cpp's converter: the first matrix in BF16 or F16, be it one of scales, decides for the
// whole file.
TensorType AutoType(const safetensors::ShardSet& shards) {
  for (const safetensors::Shard& shard : shards.shards) {
    for (const safetensors::TensorInfo& info : shard.header.tensors) {
      if (info.shape.size() < 2) continue;
      if (info.dtype == Dtype::kBF16) return TensorType::kBF16;
      if (info.dtype == Dtype::kF16) return TensorType::kF16;
    }
  }
  return TensorType::kF16;
}

}  // namespace

ElementTypes::ElementTypes(Dialect dialect, OutType outtype, const safetensors::ShardSet& shards)
    : dialect_(dialect), outtype_(outtype), auto_type_(AutoType(shards)) {}

TensorType ElementTypes::Requested(Dtype source) const {
  switch (outtype_) {
    case OutType::kF32:
      return TensorType::kF32;
    case OutType::kF16:
      return TensorType::kF16;
    case OutType::kBF16:
      return TensorType::kBF16;
    case OutType::kAuto:
      break;
  }
  if (dialect_ == Dialect::kLlamaCpp) return auto_type_;
  // Ollama's converter decides for each tensor.
  const bool brain = source == Dtype::kBF16 || source == Dtype::kF8E4M3 || source == Dtype::kF8E5M2;
  return brain ? TensorType::kBF16 : TensorType::kF16;
}

TensorType ElementTypes::For(const BoundTensor& tensor, Dtype source) const {
  if (tensor.rule == nullptr || tensor.shape.size() < 2) return TensorType::kF32;
  const TensorType requested = Requested(source);
  switch (tensor.rule->store) {
    case Store::kRequested:
      return requested;
    case Store::kF32:
      return TensorType::kF32;
    case Store::kF16:
      return outtype_ == OutType::kF32 ? TensorType::kF32 : TensorType::kF16;
    case Store::kF32UnlessF16:
      return requested == TensorType::kF16 ? TensorType::kF16 : TensorType::kF32;
  }
  return requested;
}

std::uint32_t ElementTypes::FileTypeNumber() const { return NumberOf(Requested(Dtype::kF32)); }

std::uint32_t MajorityFileType(const std::vector<PlannedTensor>& tensors) {
  std::map<TensorType, std::size_t> counts;
  for (const PlannedTensor& tensor : tensors) {
    if (tensor.record.shape.size() >= 2) ++counts[tensor.record.type];
  }
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == counts.end() ? 0 : NumberOf(most->first);
}

}  // namespace sluice
