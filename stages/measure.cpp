#include "stages/measure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "formats/quant/codec.h"
#include "stages/decode.h"
#include "stages/kernels/quant/encode.h"
#include "stages/quantize.h"

namespace sluice {
namespace {

// Sums of a row are made in lanes, column i in lane i % kLanes: the order is the same on every
// machine and leaves room for vectors.
constexpr std::size_t kLanes = 8;
using Lanes = std::array<double, kLanes>;

double SumOf(const Lanes& lanes) { return std::accumulate(lanes.begin(), lanes.end(), 0.0); }

// Calls `step(column, lane)` for every column of a row.
template <class Step>
void ForEachColumn(std::size_t columns, const Step& step) {
  std::size_t first = 0;
  for (; first + kLanes <= columns; first += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) step(first + lane, lane);
  }
  for (std::size_t lane = 0; first + lane < columns; ++lane) step(first + lane, lane);
}

// `weights` may be empty here and below.
ValueSums SumsOf(std::span<const float> row, std::span<const float> weights) {
  Lanes squares{};
  Lanes weighted{};
  ForEachColumn(row.size(), [&](std::size_t i, std::size_t lane) {
    const double x = row[i];
    squares[lane] += x * x;
    if (!weights.empty()) weighted[lane] += static_cast<double>(weights[i]) * (x * x);
  });
  const double sum = SumOf(squares);
  return {row.size(), sum, weights.empty() ? sum : SumOf(weighted)};
}

ErrorSums ErrorsOf(std::span<const float> row, std::span<const float> decoded,
                   std::span<const float> weights) {
  Lanes squared{};
  Lanes weighted{};
  Lanes largest{};
  Lanes products{};
  Lanes squares{};
  ForEachColumn(row.size(), [&](std::size_t i, std::size_t lane) {
    const double x = row[i];
    const double y = decoded[i];
    const double error = x - y;
    squared[lane] += error * error;
    if (!weights.empty()) weighted[lane] += static_cast<double>(weights[i]) * (error * error);
    largest[lane] = std::max(largest[lane], std::abs(error));
    products[lane] += x * y;
    squares[lane] += y * y;
  });
  const double sum = SumOf(squared);
  return {sum, weights.empty() ? sum : SumOf(weighted),
          *std::max_element(largest.begin(), largest.end()), SumOf(products), SumOf(squares)};
}

// Of a batch decoded, and encoded: no type takes more than the four bytes of an F32.
std::uint64_t RecodeBytes(const TensorExpr& expr) {
  return 2 * QuantizeScratch::BatchElements(expr) * sizeof(float);
}

// The memory of a batch besides QuantizeScratch.
struct Scratch {
  std::span<float> decoded;
  std::span<std::byte> encoded;

  Scratch(const TensorExpr& expr, std::span<std::byte> memory)
      : decoded(reinterpret_cast<float*>(memory.data()), QuantizeScratch::BatchElements(expr)),
        encoded(memory.subspan(decoded.size_bytes())) {}
};

class BatchMeasurer {
 public:
  BatchMeasurer(const TensorExpr& expr, std::span<const gguf::TensorType> types,
                const Scratch& scratch, TensorErrors& errors)
      : expr_(expr), types_(types), scratch_(scratch), errors_(errors) {}

  void Measure(const Piece& piece, const RowBatch& batch) {
    ForEachRow(batch, [&](std::span<const float> row, std::size_t /*first*/) {
      errors_.values.Add(SumsOf(row, batch.weights));
    });
    for (std::size_t t = 0; t < types_.size(); ++t) {
      const std::span<const float> decoded = Recode(piece, batch, types_[t]);
      ForEachRow(batch, [&](std::span<const float> row, std::size_t first) {
        errors_.types[t].Add(ErrorsOf(row, decoded.subspan(first, row.size()), batch.weights));
      });
    }
  }

 private:
  template <class Visit>
  void ForEachRow(const RowBatch& batch, const Visit& visit) const {
    for (std::size_t first = 0; first < batch.values.size(); first += expr_.row_elements) {
      visit(batch.values.subspan(first, expr_.row_elements), first);
    }
  }

  // What `type` leaves of the batch.
  std::span<const float> Recode(const Piece& piece, const RowBatch& batch, gguf::TensorType type) {
    if (expr_.steps.empty() && IsSameEncoding(*piece.segment, type)) return batch.values;
    kernels::EncodeRows(type, batch.values, expr_.row_elements, batch.weights,
                        expr_.quantizing->exact, scratch_.encoded.data());
    const std::span<float> decoded = scratch_.decoded.first(batch.values.size());
    quant::FindCodec(type)->decode(scratch_.encoded.data(), decoded);
    return decoded;
  }

  const TensorExpr& expr_;
  std::span<const gguf::TensorType> types_;
  const Scratch& scratch_;
  TensorErrors& errors_;
};

}  // namespace

void ValueSums::Add(const ValueSums& more) {
  elements += more.elements;
  squares += more.squares;
  weighted_squares += more.weighted_squares;
}

void ErrorSums::Add(const ErrorSums& more) {
  squared_error += more.squared_error;
  weighted_error += more.weighted_error;
  largest_error = std::max(largest_error, more.largest_error);
  products += more.products;
  squares += more.squares;
}

std::uint64_t MeasureScratchBytes(const TensorExpr& expr) {
  return QuantizeScratch::Bytes(expr, 1) + RecodeBytes(expr);
}

Status MeasureSlab(const SourceSet& sources, std::span<const gguf::TensorType> types, Slab& slab,
                   TensorErrors& errors) {
  const TensorExpr& expr = *slab.expr;
  const QuantizeScratch rows(expr, 1, slab.buffers->Take(QuantizeScratch::Bytes(expr, 1)));
  const Scratch scratch(expr, slab.buffers->Take(RecodeBytes(expr)));
  LoadedWeights weights{rows.weights()};
  errors.types.resize(types.size());
  BatchMeasurer measurer(expr, types, scratch, errors);
  std::uint64_t first = slab.first;
  for (const Piece& piece : slab.pieces) {
    for (std::uint64_t done = 0; done < piece.elements; done += rows.values().size()) {
      const std::uint64_t left = piece.elements - done;
      const auto values = rows.values().first(std::min<std::uint64_t>(rows.values().size(), left));
      slab.overflowed += DecodeValues(expr, piece, done, values);
      const std::uint64_t row = (first + done) / expr.row_elements;
      SLUICE_ASSIGN(const std::span<const float> rounded,
                    RoundedValues(expr, piece, row, values, rows, slab));
      SLUICE_TRY(ForEachBatch(expr, row, rounded, weights, [&](const RowBatch& batch) {
        measurer.Measure(piece, batch);
        return Ok();
      }));
    }
    first += piece.elements;
    SLUICE_TRY(sources.CheckIntact(piece.segment->shard));
  }
  return Ok();
}

}  // namespace sluice
