#include "runtime/model/attention.h"

#include <span>

#include "runtime/kernels/vector_ops.h"
#include "runtime/model/naive_attention.h"
#include "runtime/model/rope.h"
#include "runtime/parallel/products.h"

namespace sluice::runtime {
// The first products of queries and latents, which read the same inputs.
void Attention::Project(const AttentionWeights& weights, const Pass& pass, const Queries& queries,
                        const float* inputs) {
  const Config& c = config_;
  const std::size_t num_queries = queries.rows.size();
  const std::size_t query_floats = std::size_t{c.heads} * c.query_width();
  float* const made = queries_.Reserve(num_queries * query_floats);
  float* const low_rank = low_rank_.Reserve(num_queries * c.q_rank);
  float* const rows = rows_.Reserve(std::size_t{pass.num_rows} * c.cache_width());
  const FloatRows of_queries{inputs, c.hidden, num_queries, queries.rows.data()};
  const FloatRows of_all{inputs, c.hidden, pass.num_rows};
  const Product to_query = c.q_rank > 0 ? Product{weights.q_a, of_queries, low_rank, c.q_rank}
                                        : Product{weights.q, of_queries, made, query_floats};
  const Product products[] = {to_query, {weights.kv_a, of_all, rows, c.cache_width()}};
  MultiplyAll(workers_, products);
}

// Norms the latents, rotates the shared keys, and stores both.
void Attention::WriteCache(const AttentionWeights& weights, std::uint32_t layer, const Pass& pass) {
  const Config& c = config_;
  float* const rows = rows_.data();
  workers_.ForRows(pass.num_rows, [&](std::size_t r) {
    const std::span<float> row(rows + r * c.cache_width(), c.cache_width());
    RmsNorm(row.first(c.kv_rank), weights.latent_norm, c.latent_eps, row.data());
    RotatePairs(pass.AnglesOf(r), row.subspan(c.kv_rank));
    const Slice& slice = pass.SliceOf(r);
    cache_.Write(*slice.sequence, layer, slice.PositionOf(r), row);
  });
}

void Attention::MakeQueries(const AttentionWeights& weights, const Pass& pass,
                            const Queries& queries) {
  const Config& c = config_;
  const std::size_t num_queries = queries.rows.size();
  const std::size_t query_floats = std::size_t{c.heads} * c.query_width();
  float* const made = queries_.data();
  if (c.q_rank > 0) {
    float* const low_rank = low_rank_.data();
    workers_.ForRows(num_queries, [&](std::size_t i) {
      const std::span<float> row(low_rank + i * c.q_rank, c.q_rank);
      RmsNorm(row, weights.q_norm, c.latent_eps, row.data());
    });
    const Product product{weights.q, {low_rank, c.q_rank, num_queries}, made, query_floats};
    MultiplyAll(workers_, {&product, 1});
  }
  workers_.ForRows(num_queries, [&](std::size_t i) {
    for (std::uint32_t head = 0; head < c.heads; ++head) {
      float* const query = made + i * query_floats + std::size_t{head} * c.query_width();
      RotatePairs(pass.AnglesOf(queries.rows[i]), {query + c.nope, c.rope});
    }
  });
}

// Counts the multiplications of a head in both forms.
bool Attention::IsNaive(const AttentionJob& job) const {
  if (form_ != AttentionForm::kCheaper) return form_ == AttentionForm::kNaive;
  const Config& c = config_;
  const double queries = job.num_queries;
  const double length = job.sequence.length();
  const double pairs = queries * (length - (queries - 1) / 2);
  const double kv_rank = c.kv_rank;
  const double change = kv_rank * (c.nope + c.v_head);
  const double naive = length * change + pairs * (c.query_width() + c.v_head);
  const double absorbed = queries * change + pairs * (c.cache_width() + c.kv_rank);
  return naive < absorbed;
}

void Attention::Attend(const AttentionWeights& weights, std::uint32_t layer, const Pass& pass,
                       const Queries& queries) {
  const Config& c = config_;
  float* const heads = heads_.Reserve(queries.rows.size() * std::size_t{c.heads} * c.v_head);
  std::vector<AttentionJob> naive;
  std::vector<AttentionJob> absorbed;
  for (std::size_t s = 0; s < pass.slices.size(); ++s) {
    const auto& [begin, end] = queries.of_slice[s];
    if (begin == end) continue;
    const AttentionJob job{c,
                           weights,
                           cache_,
                           *pass.slices[s].sequence,
                           layer,
                           static_cast<std::uint32_t>(end - begin),
                           queries_.data() + begin * c.heads * c.query_width(),
                           heads + begin * c.heads * c.v_head};
    (IsNaive(job) ? naive : absorbed).push_back(job);
  }
  workers_.For(naive.size() * c.heads, [&](std::size_t i, Scratch& scratch) {
    AttendNaive(naive[i / c.heads], static_cast<std::uint32_t>(i % c.heads), scratch);
  });
  absorbed_.Run(absorbed);
}

void Attention::Run(const AttentionWeights& weights, std::uint32_t layer, const Pass& pass,
                    const Queries& queries, const float* inputs, float* out) {
  const Config& c = config_;
  Project(weights, pass, queries, inputs);
  WriteCache(weights, layer, pass);
  if (queries.rows.empty()) return;
  MakeQueries(weights, pass, queries);
  Attend(weights, layer, pass, queries);
  const std::size_t head_floats = std::size_t{c.heads} * c.v_head;
  const FloatRows heads{heads_.data(), head_floats, queries.rows.size()};
  const Product product{weights.out, heads, out, c.hidden};
  MultiplyAll(workers_, {&product, 1});
}

}  // namespace sluice::runtime
