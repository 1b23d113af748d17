// Measuring instead of encoding: what tensor types would leave of a slab's values.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/result.h"
#include "stages/slab.h"
#include "stages/source_set.h"

namespace sluice {

// Sums over values x, in double. Weights are those of the importance matrix, 1 where there is none.
struct ValueSums {
  std::uint64_t elements = 0;
  double squares = 0;           // of x^2
  double weighted_squares = 0;  // of w x^2

  void Add(const ValueSums& more);
};

// Sums over values x and what a type leaves of them, y.
struct ErrorSums {
  double squared_error = 0;   // of (x - y)^2
  double weighted_error = 0;  // of w (x - y)^2
  double largest_error = 0;   // the largest |x - y|
  double products = 0;        // of x y
  double squares = 0;         // of y^2

  void Add(const ErrorSums& more);
};

struct TensorErrors {
  ValueSums values;
  std::vector<ErrorSums> types;  // in the order of the types that were asked for
};

// The part of SlabBuffers that MeasureSlab needs. REQUIRES: expr.quantizing.
[[nodiscard]] std::uint64_t MeasureScratchBytes(const TensorExpr& expr);

// Encodes the rows of a gathered slab to each of `types`, decodes them again and sums up in
// `errors`, row by row, whatever expr.type is. x are the values that an encoder gets. Nothing is
// lost by a type that all of the source has already. kCorrupt, with row and column, for NaN and
// infinity unless they become zero, and when a mapped shard shrank meanwhile. REQUIRES: Transform
// succeeded; expr.quantizing; whole rows, which fill the blocks of every type; importance where a
// type cannot do without.
Status MeasureSlab(const SourceSet& sources, std::span<const gguf::TensorType> types, Slab& slab,
                   TensorErrors& errors);

}  // namespace sluice
