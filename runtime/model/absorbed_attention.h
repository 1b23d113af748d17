// Latent attention in the space of the latents, which all heads share.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model/attention_job.h"
#include "runtime/model/softmax_attention.h"
#include "runtime/parallel/float_buffer.h"
#include "runtime/parallel/workers.h"

namespace sluice::runtime {

// Used by one thread at a time.
class AbsorbedAttention {
 public:
  explicit AbsorbedAttention(Workers& workers) : workers_(workers) {}

  // Computes job.out of all jobs and heads. The positions of a job with few queries are cut into
  // spans that are computed at the same time; results do not depend on the number of threads.
  void Run(std::span<const AttentionJob> jobs);

 private:
  // A job and its place in the buffers. A state belongs to a head of a query and a span.
  struct Part {
    const AttentionJob& job;
    std::uint32_t spans = 1;
    std::size_t first_query = 0;  // in embedded_
    std::size_t first_state = 0;  // in largest_, sums_, mixed_: [spans, queries, A]

    [[nodiscard]] std::size_t heads() const { return job.config.heads; }
  };

  std::vector<Part> Place(std::span<const AttentionJob> jobs);
  // What a head's EmbedQ takes: the queries, of which it reads the elements without position.
  static FloatRows QueriesOf(const AttentionJob& job, std::uint32_t head);
  // What its UnembedOut takes: the latents that the queries have mixed, once they are finished.
  [[nodiscard]] FloatRows MixedOf(const Part& part, std::uint32_t head) const;
  // EmbedQ: queries [queries, A, rk + dr] against cache rows.
  void Embed(const Part& part, std::uint32_t head, Scratch& scratch);
  // Rows are those of embedded_: one for each query and head of the job.
  void AttendSpan(const Part& part, std::uint32_t span, std::uint32_t first_row,
                  std::uint32_t num_rows, Scratch& scratch);
  void AttendAll(std::span<const Part> parts);
  // Merges the spans of one head and takes what it has mixed back to its output: UnembedOut.
  void Unembed(const Part& part, std::uint32_t head, Scratch& scratch);
  [[nodiscard]] AttentionStates StatesFrom(const Part& part, std::size_t state, std::size_t count);

  Workers& workers_;
  FloatBuffer embedded_;
  FloatBuffer largest_;
  FloatBuffer sums_;
  FloatBuffer mixed_;
};

}  // namespace sluice::runtime
