// The best mix of types within a size: one candidate for each tensor, least error in all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "formats/gguf/types.h"

namespace sluice {

struct Candidate {
  gguf::TensorType type = gguf::TensorType::kF32;
  std::uint64_t bytes = 0;  // what the choice takes of the budget
  double error = 0;         // finite, from 0 up
};
using Candidates = std::vector<Candidate>;

// The candidate of fewest bytes, the better among equals. REQUIRES: not empty.
[[nodiscard]] std::size_t SmallestOf(const Candidates& candidates);

struct Mix {
  std::vector<std::size_t> chosen;  // of each tensor's candidates
  std::uint64_t bytes = 0;
  double error = 0;
  // No choice within the budget has a smaller error than this. `error` exceeds it by less than
  // what the first step that did not fit would have saved.
  double lower_bound = 0;
};

// Chooses one candidate of each tensor. From the smallest ones on, steps along the lower convex
// hulls of (bytes, error) are taken in the order of error saved a byte, which is the optimum of
// the Lagrangian for every budget that they end at; then whatever still fits and saves most, and
// exchanges between two tensors that save error.
// REQUIRES: no tensor without candidates; the smallest ones fit `budget`.
[[nodiscard]] Mix ChooseMix(std::span<const Candidates> tensors, std::uint64_t budget);

}  // namespace sluice
