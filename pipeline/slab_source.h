// Cuts the tensors of all outputs into slabs, in file order of the first model.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "pipeline/graph.h"
#include "pipeline/tensor_groups.h"
#include "stages/slab.h"

namespace sluice {

// Used by one thread at a time; the outputs must outlive it.
class SlabSource {
 public:
  // No slab takes more than `max_slab_bytes`, unless a block, or a row that is quantized, needs
  // more.
  SlabSource(const SourceSet& sources, std::span<const GraphOutput> outputs,
             std::uint64_t max_slab_bytes);

  // The next slab, without pieces or buffers; nullopt after the last one.
  std::optional<Slab> Next();

 private:
  // `ends`: whether the slab is the tensor's last.
  [[nodiscard]] SlabTarget TargetAt(const TensorPlace& place, bool ends) const;

  const SourceSet& sources_;
  std::span<const GraphOutput> outputs_;
  std::uint64_t max_slab_bytes_;
  std::vector<PlaceGroup> groups_;
  std::uint64_t index_ = 0;
  std::size_t group_ = 0;
  std::uint64_t element_ = 0;
  SlabCost cost_;
};

}  // namespace sluice
