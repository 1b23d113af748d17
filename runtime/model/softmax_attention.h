// Softmax attention of some queries to blocks of positions, one block at a time.
//
// A query's state is the largest score so far m, the sum l of e^(score - m), and the values mixed
// with weights e^(score - m). States over different positions of the same query can be merged.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/kernels/matrix.h"
#include "runtime/parallel/workers.h"

namespace sluice::runtime {

// States of the queries [n]; owned by somebody else.
struct AttentionStates {
  std::span<float> largest;  // [n]
  std::span<float> sum;      // [n]
  float* mixed = nullptr;    // [n, width of a value], `stride` floats from one to the next
  std::size_t stride = 0;
};

// Makes the states those of no position at all. `width` is that of a value.
void ClearStates(const AttentionStates& states, std::size_t width);

// Adds positions to the states: position r has the key keys[r] and the value values[r].
// visible[i] says how many of them, from the first on, query i sees. Uses scratch.floats[0].
// REQUIRES: keys and values are F32, F16 or BF16 with equally many rows.
void Attend(const FloatRows& queries, std::span<const std::uint32_t> visible, const Matrix& keys,
            const Matrix& values, float scale, const AttentionStates& states, Scratch& scratch);

// Adds the state `from` of a query to its state `into`.
void MergeState(const AttentionStates& from, const AttentionStates& into, std::size_t query,
                std::size_t width);

// Divides the mixed values of a query by the sum of its weights. REQUIRES: it saw a position.
void FinishState(const AttentionStates& states, std::size_t query, std::size_t width);

}  // namespace sluice::runtime
