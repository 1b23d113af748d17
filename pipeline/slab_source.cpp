#include "pipeline/slab_source.h"

namespace sluice {

SlabSource::SlabSource(const SourceSet& sources, std::span<const GraphOutput> outputs,
                       std::uint64_t max_slab_bytes)
    : sources_(sources), outputs_(outputs), max_slab_bytes_(max_slab_bytes) {}

// The tensor of the next slab, past all that are finished.
const PlannedTensor* SlabSource::Current() {
  while (output_ < outputs_.size()) {
    const std::vector<PlannedTensor>& tensors = outputs_[output_].plan->tensors;
    if (tensor_ < tensors.size()) return &tensors[tensor_];
    ++output_;
    tensor_ = 0;
  }
  return nullptr;
}

std::uint64_t SlabSource::PaddingAfter(const FilePlan& file, std::size_t tensor) const {
  const gguf::TensorRecord& record = file.tensors[tensor].record;
  const bool is_last = tensor + 1 == file.tensors.size();
  const std::uint64_t next =
      is_last ? file.data_bytes : file.tensors[tensor + 1].record.data_offset;
  return next - record.data_offset - record.bytes;
}

std::optional<Slab> SlabSource::Next() {
  const PlannedTensor* tensor = Current();
  if (tensor == nullptr) return std::nullopt;
  if (element_ == 0) cost_ = CostOf(tensor->expr, sources_);
  Slab slab;
  slab.index = index_++;
  slab.output = output_;
  slab.tensor = tensor_;
  slab.expr = &tensor->expr;
  slab.first = element_;
  slab.count = NextSlabElements(tensor->expr, cost_, element_, max_slab_bytes_);
  slab.buffer_bytes = SlabBytes(tensor->expr, cost_, slab.count);
  element_ += slab.count;
  if (element_ == tensor->expr.elements) {
    slab.padding = PaddingAfter(*outputs_[output_].plan, tensor_);
    element_ = 0;
    ++tensor_;
  }
  return slab;
}

}  // namespace sluice
