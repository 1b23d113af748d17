#include "runtime/kernels/weighted_sum.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernel_fixture.h"
#include "simd_targets.h"

namespace sluice::runtime {
namespace {

using gguf::TensorType;
using sluice::testing::ForEachSimdTarget;
using testing::EncodedMatrix;
using testing::RandomFloats;

void ExpectSums(TensorType type, std::uint64_t rows, std::uint64_t columns, std::size_t outputs,
                RandomFloats& random) {
  const EncodedMatrix values(type, rows, columns, random);
  const std::vector<float> weights = random.Take(outputs * rows);
  const std::vector<float> before = random.Take(outputs * (columns + 2));
  ForEachSimdTarget([&] {
    std::vector<float> out = before;
    AddWeightedRows({weights.data(), rows, outputs}, values.matrix, out.data(), columns + 2);
    for (std::size_t i = 0; i < outputs; ++i) {
      for (std::size_t k = 0; k < columns + 2; ++k) {
        double want = before[i * (columns + 2) + k];
        for (std::size_t r = 0; k < columns && r < rows; ++r) {
          want += static_cast<double>(weights[i * rows + r]) * values.Row(r)[k];
        }
        ASSERT_NEAR(out[i * (columns + 2) + k], want, 1e-6 * (1 + static_cast<double>(rows)))
            << "output " << i << " column " << k;
      }
    }
  });
}

TEST(WeightedSum, AddsRowsOfEveryPlainType) {
  RandomFloats random;
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    ExpectSums(type, 20, 256, 9, random);
  }
}

TEST(WeightedSum, TakesAnyShape) {
  RandomFloats random;
  for (const std::uint64_t columns : {1, 7, 16, 40, 97, 113}) {
    for (const std::size_t outputs : {1, 3, 4, 5}) {
      ExpectSums(TensorType::kF32, 6, columns, outputs, random);
      ExpectSums(TensorType::kBF16, 1, columns, outputs, random);
    }
  }
}

// A matrix may be the first columns of wider rows.
TEST(WeightedSum, HonoursTheDistanceOfRows) {
  const std::vector<float> rows{1, 2, 99, 3, 4, 99};
  const Matrix matrix{TensorType::kF32, reinterpret_cast<const std::byte*>(rows.data()), 2, 2,
                      3 * sizeof(float)};
  const std::vector<float> weights{10, 100};
  std::vector<float> out{0, 0};
  AddWeightedRows({weights.data(), 2, 1}, matrix, out.data(), 2);
  EXPECT_EQ(out, (std::vector<float>{310, 420}));
}

}  // namespace
}  // namespace sluice::runtime
