// What both forms of latent attention are given: the queries of one sequence in one layer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "runtime/model/config.h"
#include "runtime/model/kv_cache.h"
#include "runtime/model/weights.h"

namespace sluice::runtime {

// The queries are those of the last tokens of the sequence, whose own rows are in the cache.
struct AttentionJob {
  const Config& config;
  const AttentionWeights& weights;
  const KvCache& cache;
  const KvCache::Sequence& sequence;
  std::uint32_t layer = 0;
  std::uint32_t num_queries = 0;
  const float* queries = nullptr;  // [num_queries, A, dq], rotated
  float* out = nullptr;            // [num_queries, A, dv]

  // Positions that query `i` sees: all up to its own.
  [[nodiscard]] std::uint32_t VisibleTo(std::uint32_t i) const {
    return sequence.length() - num_queries + i + 1;
  }
  // The same among the `count` positions from `first` on.
  [[nodiscard]] std::uint32_t VisibleTo(std::uint32_t i, std::uint32_t first,
                                        std::uint32_t count) const {
    const std::uint32_t visible = VisibleTo(i);
    return visible <= first ? 0 : std::min(visible - first, count);
  }
};

}  // namespace sluice::runtime
