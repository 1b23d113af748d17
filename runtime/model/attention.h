// Multi-head latent attention over a cache of latents.
//
// Two forms give the same result up to rounding. The naive one expands every cached latent to the
// key and value of each head; the absorbed one takes the queries to the space of the latents
// (EmbedQ), attends there as with one shared head, and takes the result back (UnembedOut).
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/model/absorbed_attention.h"
#include "runtime/model/config.h"
#include "runtime/model/kv_cache.h"
#include "runtime/model/pass.h"
#include "runtime/model/weights.h"
#include "runtime/parallel/float_buffer.h"
#include "runtime/parallel/workers.h"

namespace sluice::runtime {

// kCheaper: for each sequence the form with fewer multiplications.
enum class AttentionForm : std::uint8_t { kCheaper, kNaive, kAbsorbed };

// Used by one thread at a time; what it refers to must outlive it.
class Attention {
 public:
  Attention(const Config& config, AttentionForm form, Workers& workers, KvCache& cache)
      : config_(config), form_(form), workers_(workers), cache_(cache), absorbed_(workers) {}

  // Writes the cache rows of all tokens of the pass in layer `layer`, and to `out` [queries, H] the
  // attention output of the queries. `inputs` [rows of the pass, H] are normed.
  void Run(const AttentionWeights& weights, std::uint32_t layer, const Pass& pass,
           const Queries& queries, const float* inputs, float* out);

 private:
  void Project(const AttentionWeights& weights, const Pass& pass, const Queries& queries,
               const float* inputs);
  void WriteCache(const AttentionWeights& weights, std::uint32_t layer, const Pass& pass);
  void MakeQueries(const AttentionWeights& weights, const Pass& pass, const Queries& queries);
  void Attend(const AttentionWeights& weights, std::uint32_t layer, const Pass& pass,
              const Queries& queries);
  [[nodiscard]] bool IsNaive(const AttentionJob& job) const;

  const Config& config_;
  const AttentionForm form_;
  Workers& workers_;
  KvCache& cache_;
  AbsorbedAttention absorbed_;

  FloatBuffer low_rank_;  // [queries, rq]
  FloatBuffer queries_;   // [queries, A, dq]
  FloatBuffer rows_;      // [rows of the pass, rk + dr], what goes into the cache
  FloatBuffer heads_;     // [queries, A, dv]
};

}  // namespace sluice::runtime
