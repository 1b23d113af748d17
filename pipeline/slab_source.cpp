#include "pipeline/slab_source.h"

#include <utility>

namespace sluice {
namespace {

// Zero bytes between a tensor and the next one, or the end of the data section.
std::uint64_t PaddingAfter(const FilePlan& file, std::size_t tensor) {
  const gguf::TensorRecord& record = file.tensors[tensor].record;
  const bool is_last = tensor + 1 == file.tensors.size();
  const std::uint64_t next =
      is_last ? file.data_bytes : file.tensors[tensor + 1].record.data_offset;
  return next - record.data_offset - record.bytes;
}

}  // namespace

SlabSource::SlabSource(const SourceSet& sources, std::span<const GraphOutput> outputs,
                       std::uint64_t max_slab_bytes)
    : sources_(sources),
      outputs_(outputs),
      max_slab_bytes_(max_slab_bytes),
      groups_(GroupTensors(outputs)) {}

SlabTarget SlabSource::TargetAt(const TensorPlace& place, bool ends) const {
  SlabTarget target;
  target.output = place.output;
  target.tensor = place.tensor;
  target.expr = &TensorAt(outputs_, place).expr;
  if (ends) target.padding = PaddingAfter(*outputs_[place.output].plan, place.tensor);
  return target;
}

std::optional<Slab> SlabSource::Next() {
  if (group_ == groups_.size()) return std::nullopt;
  const PlaceGroup& group = groups_[group_];
  const ExprGroup exprs = ExprsOf(outputs_, group);
  if (element_ == 0) cost_ = CostOf(exprs, sources_);
  Slab slab;
  slab.index = index_++;
  slab.first = element_;
  slab.count = NextSlabElements(exprs, cost_, element_, max_slab_bytes_);
  slab.buffer_bytes = SlabBytes(exprs, cost_, slab.count);
  element_ += slab.count;
  const bool ends = element_ == exprs.front().elements;
  static_cast<SlabTarget&>(slab) = TargetAt(group.front(), ends);
  for (const TensorPlace& place : std::span(group).subspan(1)) {
    slab.twins.push_back(TargetAt(place, ends));
  }
  if (ends) {
    element_ = 0;
    ++group_;
  }
  return slab;
}

}  // namespace sluice
