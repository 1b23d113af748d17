#include "runtime/kernels/weighted_sum.h"

#include <algorithm>
#include <utility>

#include "runtime/kernels/highway_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/weighted_sum.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "runtime/kernels/plain_formats-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::runtime::HWY_NAMESPACE {

// A tile is up to kTileOutputs outputs times kTileVectors vectors of columns.
constexpr std::size_t kTileOutputs = 4;
constexpr std::size_t kTileVectors = (kLanes == 16 || HWY_ARCH_ARM) ? 6 : 2;

// The outputs and the columns [first, first + kVectors * kLanes) of one tile.
struct Outputs {
  const FloatRows& weights;
  std::size_t first_output;
  float* out;
  std::size_t stride;
};

template <class Plain, std::size_t kOutputs, std::size_t kVectors>
HWY_INLINE void Tile(const Matrix& rows, std::size_t column, const Outputs& to) {
  Floats sums[kOutputs][kVectors];
  const float* weights[kOutputs];
  for (std::size_t i = 0; i < kOutputs; ++i) {
    weights[i] = to.weights[to.first_output + i];
    for (std::size_t v = 0; v < kVectors; ++v) {
      sums[i][v] = hn::LoadU(F32(), to.out + i * to.stride + column + v * kLanes);
    }
  }
  const std::byte* row = rows.data + column * Plain::kBytes;
  for (std::size_t r = 0; r < rows.rows; ++r, row += rows.row_bytes) {
    Floats values[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      values[v] = Plain::Load(row + v * kLanes * Plain::kBytes);
    }
    for (std::size_t i = 0; i < kOutputs; ++i) {
      const Floats weight = hn::Set(F32(), weights[i][r]);
      for (std::size_t v = 0; v < kVectors; ++v) {
        sums[i][v] = hn::MulAdd(weight, values[v], sums[i][v]);
      }
    }
  }
  for (std::size_t i = 0; i < kOutputs; ++i) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      hn::StoreU(sums[i][v], F32(), to.out + i * to.stride + column + v * kLanes);
    }
  }
}

// Columns that fill no vector.
template <class Plain>
void Tail(const Matrix& rows, std::size_t column, const Outputs& to, std::size_t outputs) {
  for (std::size_t i = 0; i < outputs; ++i) {
    const float* const weights = to.weights[to.first_output + i];
    for (std::size_t k = column; k < rows.columns; ++k) {
      float sum = to.out[i * to.stride + k];
      for (std::size_t r = 0; r < rows.rows; ++r) {
        sum += weights[r] * Plain::LoadOne(rows.data + r * rows.row_bytes + k * Plain::kBytes);
      }
      to.out[i * to.stride + k] = sum;
    }
  }
}

template <class Plain, std::size_t kOutputs>
void AllColumns(const Matrix& rows, const Outputs& to) {
  std::size_t column = 0;
  for (; column + kTileVectors * kLanes <= rows.columns; column += kTileVectors * kLanes) {
    Tile<Plain, kOutputs, kTileVectors>(rows, column, to);
  }
  for (; column + kLanes <= rows.columns; column += kLanes) {
    Tile<Plain, kOutputs, 1>(rows, column, to);
  }
  if (column < rows.columns) Tail<Plain>(rows, column, to, kOutputs);
}

void AddRows(const FloatRows& weights, const Matrix& rows, float* out, std::size_t stride) {
  WithPlainFormat(rows.type, [&]<class Plain>() {
    std::size_t i = 0;
    for (; i + kTileOutputs <= weights.count; i += kTileOutputs) {
      AllColumns<Plain, kTileOutputs>(rows, {weights, i, out + i * stride, stride});
    }
    for (; i < weights.count; ++i) {
      AllColumns<Plain, 1>(rows, {weights, i, out + i * stride, stride});
    }
  });
}

}  // namespace sluice::runtime::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::runtime {

HWY_EXPORT(AddRows);

void AddWeightedRows(const FloatRows& weights, const Matrix& rows, float* out,
                     std::size_t out_stride) {
  HWY_DYNAMIC_DISPATCH(AddRows)(weights, rows, out, out_stride);
}

}  // namespace sluice::runtime
#endif  // HWY_ONCE
