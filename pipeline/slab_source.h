// Cuts the tensors of all outputs into slabs, in file order.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "pipeline/graph.h"
#include "stages/slab.h"

namespace sluice {

// Used by one thread at a time; the outputs must outlive it.
class SlabSource {
 public:
  // No slab takes more than `max_slab_bytes` of buffers, unless a single block needs more.
  SlabSource(const SourceSet& sources, std::span<const GraphOutput> outputs,
             std::uint64_t max_slab_bytes);

  // The next slab, without pieces or buffers; nullopt after the last one.
  std::optional<Slab> Next();

 private:
  [[nodiscard]] const PlannedTensor* Current();
  [[nodiscard]] std::uint64_t PaddingAfter(const FilePlan& file, std::size_t tensor) const;

  const SourceSet& sources_;
  std::span<const GraphOutput> outputs_;
  std::uint64_t max_slab_bytes_;
  std::uint64_t index_ = 0;
  std::size_t output_ = 0;
  std::size_t tensor_ = 0;
  std::uint64_t element_ = 0;
  SlabCost cost_;
};

}  // namespace sluice
