#include "runtime/model/softmax_attention.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/kernels/multiply.h"
#include "runtime/kernels/vector_ops.h"
#include "runtime/kernels/weighted_sum.h"

namespace sluice::runtime {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

using Mixed = Eigen::Map<Eigen::ArrayXf>;

Mixed MixedOf(const AttentionStates& states, std::size_t query, std::size_t width) {
  return {states.mixed + query * states.stride, static_cast<Eigen::Index>(width)};
}

// Turns a query's scores into weights relative to its new largest score, and what it has mixed so
// far with them. What it does not see gets weight 0.
void Weigh(std::span<float> scores, std::uint32_t visible, float scale,
           const AttentionStates& states, std::size_t query, std::size_t width) {
  const auto seen = scores.first(visible);
  std::ranges::fill(scores.subspan(visible), 0.0F);
  if (seen.empty()) return;
  const float largest = std::max(states.largest[query], Largest(seen) * scale);
  const float shrink = std::exp(states.largest[query] - largest);
  states.largest[query] = largest;
  states.sum[query] = states.sum[query] * shrink + ExpAndSum(seen, scale, largest);
  if (shrink != 1) MixedOf(states, query, width) *= shrink;
}

}  // namespace

void ClearStates(const AttentionStates& states, std::size_t width) {
  std::ranges::fill(states.largest, kNothing);
  std::ranges::fill(states.sum, 0.0F);
  for (std::size_t i = 0; i < states.sum.size(); ++i) {
    MixedOf(states, i, width).setZero();
  }
}

void Attend(const FloatRows& queries, std::span<const std::uint32_t> visible, const Matrix& keys,
            const Matrix& values, float scale, const AttentionStates& states, Scratch& scratch) {
  float* const scores = scratch.floats[0].Reserve(queries.count * keys.rows);
  Multiply(keys, {0, keys.rows}, queries, scores, keys.rows, scratch.panel);
  for (std::size_t i = 0; i < queries.count; ++i) {
    Weigh({scores + i * keys.rows, keys.rows}, visible[i], scale, states, i, values.columns);
  }
  AddWeightedRows({scores, keys.rows, queries.count}, values, states.mixed, states.stride);
}

void MergeState(const AttentionStates& from, const AttentionStates& into, std::size_t query,
                std::size_t width) {
  if (from.sum[query] == 0) return;
  const float largest = std::max(from.largest[query], into.largest[query]);
  const float keep = std::exp(into.largest[query] - largest);
  const float add = std::exp(from.largest[query] - largest);
  into.largest[query] = largest;
  into.sum[query] = into.sum[query] * keep + from.sum[query] * add;
  Mixed mixed = MixedOf(into, query, width);
  mixed = mixed * keep + MixedOf(from, query, width) * add;
}

void FinishState(const AttentionStates& states, std::size_t query, std::size_t width) {
  MixedOf(states, query, width) /= states.sum[query];
}

}  // namespace sluice::runtime
