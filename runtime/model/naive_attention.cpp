#include "runtime/model/naive_attention.h"

#include <algorithm>
#include <vector>

#include "runtime/kernels/multiply.h"
#include "runtime/kernels/weighted_sum.h"
#include "runtime/model/softmax_attention.h"

namespace sluice::runtime {
namespace {

Matrix FloatMatrix(const float* values, std::uint64_t rows, std::uint64_t columns) {
  return {gguf::TensorType::kF32, reinterpret_cast<const std::byte*>(values), rows, columns,
          columns * sizeof(float)};
}

// One head and the memory that its blocks of positions are expanded to.
class Head {
 public:
  Head(const AttentionJob& job, std::uint32_t head, Scratch& scratch)
      : c_(job.config),
        head_(head),
        embed_(job.weights.embed_q[head]),
        unembed_(job.weights.unembed_out[head]),
        scratch_(scratch) {
    cached_ = scratch.floats[1].Reserve(std::size_t{KvCache::kBlockTokens} * c_.cache_width());
    keys_ = scratch.floats[2].Reserve(std::size_t{KvCache::kBlockTokens} *
                                      (c_.query_width() + c_.v_head));
    values_ = keys_ + std::size_t{KvCache::kBlockTokens} * c_.query_width();
    const std::size_t embed_floats = IsPlain(embed_.type) ? 0 : embed_.rows * embed_.columns;
    states_ = scratch.floats[3].Reserve(embed_floats + 2 * std::size_t{job.num_queries});
    if (embed_floats > 0) {
      DecodeRows(embed_, {0, embed_.rows}, states_);
      embed_ = FloatMatrix(states_, embed_.rows, embed_.columns);
      states_ += embed_floats;
    }
  }

  // Keys [positions, dq] and values [positions, dv] of a block of cache rows.
  void Expand(const Matrix& rows) {
    DecodeRows(rows, {0, rows.rows}, cached_);
    const FloatRows latents{cached_, c_.cache_width(), rows.rows};
    std::fill_n(keys_, rows.rows * c_.query_width(), 0.0F);
    AddWeightedRows(latents, embed_, keys_, c_.query_width());
    for (std::size_t r = 0; r < rows.rows; ++r) {
      std::copy_n(latents[r] + c_.kv_rank, c_.rope, keys_ + r * c_.query_width() + c_.nope);
    }
    Multiply(unembed_, {0, c_.v_head}, latents, values_, c_.v_head, scratch_.panel);
  }

  [[nodiscard]] Matrix Keys(std::uint64_t rows) const {
    return FloatMatrix(keys_, rows, c_.query_width());
  }
  [[nodiscard]] Matrix Values(std::uint64_t rows) const {
    return FloatMatrix(values_, rows, c_.v_head);
  }
  // The states of the queries, mixing straight into the output.
  [[nodiscard]] AttentionStates States(const AttentionJob& job) const {
    return {{states_, job.num_queries},
            {states_ + job.num_queries, job.num_queries},
            job.out + std::size_t{head_} * c_.v_head,
            std::size_t{c_.heads} * c_.v_head};
  }

 private:
  const Config& c_;
  std::uint32_t head_;
  Matrix embed_;
  const Matrix& unembed_;
  Scratch& scratch_;
  float* cached_;
  float* keys_;
  float* values_;
  float* states_;  // largest scores, then sums
};

}  // namespace

void AttendNaive(const AttentionJob& job, std::uint32_t head, Scratch& scratch) {
  const Config& c = job.config;
  Head expanded(job, head, scratch);
  const AttentionStates states = expanded.States(job);
  const FloatRows queries{job.queries + std::size_t{head} * c.query_width(),
                          std::size_t{c.heads} * c.query_width(), job.num_queries};
  ClearStates(states, c.v_head);
  std::vector<std::uint32_t> visible(job.num_queries);
  for (std::uint32_t first = 0; first < job.sequence.length(); first += KvCache::kBlockTokens) {
    const Matrix rows = job.cache.Rows(job.sequence, job.layer, first / KvCache::kBlockTokens);
    const auto count = static_cast<std::uint32_t>(rows.rows);
    for (std::uint32_t i = 0; i < job.num_queries; ++i) {
      visible[i] = job.VisibleTo(i, first, count);
    }
    expanded.Expand(rows);
    Attend(queries, visible, expanded.Keys(count), expanded.Values(count), c.score_scale(), states,
           scratch);
  }
  for (std::size_t i = 0; i < job.num_queries; ++i) FinishState(states, i, c.v_head);
}

}  // namespace sluice::runtime
