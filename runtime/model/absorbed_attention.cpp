#include "runtime/model/absorbed_attention.h"

#include <algorithm>

#include "runtime/kernels/multiply.h"

namespace sluice::runtime {
namespace {

constexpr std::uint32_t kBlock = KvCache::kBlockTokens;

// With fewer queries than this, threads share the positions of a job; else its queries.
constexpr std::uint32_t kManyQueries = 8;
constexpr std::uint32_t kSpanPositions = 4 * kBlock;
// Rows of a task, one for each query and head: enough for the kernels, few enough for the cache.
// With few queries less, so that there are tasks for several threads.
constexpr std::uint32_t kRowsOfTask = 64;
constexpr std::uint32_t kFewRowsOfTask = 6;

std::uint32_t CeilDiv(std::uint32_t a, std::uint32_t b) { return (a + b - 1) / b; }

}  // namespace

std::vector<AbsorbedAttention::Part> AbsorbedAttention::Place(std::span<const AttentionJob> jobs) {
  std::vector<Part> parts;
  std::size_t queries = 0;
  std::size_t states = 0;
  for (const AttentionJob& job : jobs) {
    const bool share = job.num_queries < kManyQueries;
    const std::uint32_t spans = share ? CeilDiv(job.sequence.length(), kSpanPositions) : 1;
    parts.push_back({job, spans, queries, states});
    queries += job.num_queries;
    states += std::size_t{spans} * job.num_queries * job.config.heads;
  }
  const Config& c = jobs.front().config;
  embedded_.Reserve(queries * c.heads * c.cache_width());
  largest_.Reserve(states);
  sums_.Reserve(states);
  mixed_.Reserve(states * c.kv_rank);
  return parts;
}

AttentionStates AbsorbedAttention::StatesFrom(const Part& part, std::size_t state,
                                              std::size_t count) {
  const std::size_t width = part.job.config.kv_rank;
  const std::size_t first = part.first_state + state;
  return {{largest_.data() + first, count},
          {sums_.data() + first, count},
          mixed_.data() + first * width,
          width};
}

FloatRows AbsorbedAttention::QueriesOf(const AttentionJob& job, std::uint32_t head) {
  const std::size_t width = job.config.query_width();
  return {job.queries + head * width, job.config.heads * width, job.num_queries};
}

FloatRows AbsorbedAttention::MixedOf(const Part& part, std::uint32_t head) const {
  const Config& c = part.job.config;
  return {mixed_.data() + (part.first_state + head) * c.kv_rank, std::size_t{c.heads} * c.kv_rank,
          part.job.num_queries};
}

void AbsorbedAttention::Embed(const Part& part, std::uint32_t head, Scratch& scratch) {
  const AttentionJob& job = part.job;
  const Config& c = job.config;
  const std::size_t out_stride = std::size_t{c.heads} * c.cache_width();
  const FloatRows queries = QueriesOf(job, head);
  float* const out =
      embedded_.data() + part.first_query * out_stride + std::size_t{head} * c.cache_width();
  Multiply(job.weights.embed_q[head], {0, c.kv_rank}, queries, out, out_stride, scratch.panel);
  for (std::size_t i = 0; i < job.num_queries; ++i) {
    std::copy_n(queries[i] + c.nope, c.rope, out + i * out_stride + c.kv_rank);
  }
}

void AbsorbedAttention::AttendSpan(const Part& part, std::uint32_t span, std::uint32_t first_row,
                                   std::uint32_t num_rows, Scratch& scratch) {
  const AttentionJob& job = part.job;
  const Config& c = job.config;
  const float* const base =
      embedded_.data() + (part.first_query * c.heads + first_row) * c.cache_width();
  const FloatRows queries{base, c.cache_width(), num_rows};
  const std::size_t states_of_span = std::size_t{job.num_queries} * c.heads;
  const AttentionStates states = StatesFrom(part, span * states_of_span + first_row, num_rows);
  ClearStates(states, c.kv_rank);
  const std::uint32_t length = job.VisibleTo((first_row + num_rows - 1) / c.heads);
  const std::uint32_t begin = part.spans == 1 ? 0 : span * kSpanPositions;
  const std::uint32_t end = part.spans == 1 ? length : std::min(begin + kSpanPositions, length);
  std::vector<std::uint32_t> visible(num_rows);
  for (std::uint32_t first = begin; first < end; first += kBlock) {
    const Matrix keys = job.cache.Rows(job.sequence, job.layer, first / kBlock);
    const auto count = static_cast<std::uint32_t>(keys.rows);
    for (std::uint32_t r = 0; r < num_rows; ++r) {
      visible[r] = job.VisibleTo((first_row + r) / c.heads, first, count);
    }
    Matrix latents = keys;  // the first elements of each row
    latents.columns = c.kv_rank;
    Attend(queries, visible, keys, latents, c.score_scale(), states, scratch);
  }
}

void AbsorbedAttention::AttendAll(std::span<const Part> parts) {
  struct Task {
    const Part* part;
    std::uint32_t span;
    std::uint32_t first_row;
    std::uint32_t num_rows;
  };
  std::vector<Task> tasks;
  for (const Part& part : parts) {
    const std::uint32_t rows = part.job.num_queries * part.job.config.heads;
    const std::uint32_t step = part.job.num_queries < kManyQueries ? kFewRowsOfTask : kRowsOfTask;
    for (std::uint32_t span = 0; span < part.spans; ++span) {
      for (std::uint32_t row = 0; row < rows; row += step) {
        tasks.push_back({&part, span, row, std::min(step, rows - row)});
      }
    }
  }
  workers_.For(tasks.size(), [&](std::size_t i, Scratch& scratch) {
    const Task& task = tasks[i];
    AttendSpan(*task.part, task.span, task.first_row, task.num_rows, scratch);
  });
}

void AbsorbedAttention::Unembed(const Part& part, std::uint32_t head, Scratch& scratch) {
  const AttentionJob& job = part.job;
  const Config& c = job.config;
  const std::size_t states_of_span = std::size_t{job.num_queries} * c.heads;
  const AttentionStates merged = StatesFrom(part, 0, states_of_span);
  for (std::size_t i = 0; i < job.num_queries; ++i) {
    const std::size_t state = i * c.heads + head;
    for (std::size_t span = 1; span < part.spans; ++span) {
      MergeState(StatesFrom(part, span * states_of_span, states_of_span), merged, state, c.kv_rank);
    }
    FinishState(merged, state, c.kv_rank);
  }
  Multiply(job.weights.unembed_out[head], {0, c.v_head}, MixedOf(part, head),
           job.out + std::size_t{head} * c.v_head, std::size_t{c.heads} * c.v_head, scratch.panel);
}

void AbsorbedAttention::Run(std::span<const AttentionJob> jobs) {
  if (jobs.empty()) return;
  const std::vector<Part> parts = Place(jobs);
  const std::size_t heads = jobs.front().config.heads;
  const auto part_of = [&](std::size_t task) -> const Part& { return parts[task / heads]; };
  const auto head_of = [&](std::size_t task) { return static_cast<std::uint32_t>(task % heads); };
  workers_.For(parts.size() * heads,
               [&](std::size_t i, Scratch& scratch) { Embed(part_of(i), head_of(i), scratch); });
  AttendAll(parts);
  workers_.For(parts.size() * heads,
               [&](std::size_t i, Scratch& scratch) { Unembed(part_of(i), head_of(i), scratch); });
  for (std::size_t i = 0; i < parts.size() * heads; ++i) {
    const AttentionWeights& weights = part_of(i).job.weights;
    workers_.Show(weights.embed_q[head_of(i)], QueriesOf(part_of(i).job, head_of(i)));
    workers_.Show(weights.unembed_out[head_of(i)], MixedOf(part_of(i), head_of(i)));
  }
}

}  // namespace sluice::runtime
