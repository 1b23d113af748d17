#include "runtime/kernels/multiply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernel_fixture.h"
#include "simd_targets.h"

namespace sluice::runtime {
namespace {

using gguf::TensorType;
using sluice::testing::ForEachSimdTarget;
using testing::EncodedMatrix;
using testing::RandomFloats;

// The product of a row and an input in binary64, and the sum of its terms' magnitudes.
struct Exact {
  double sum = 0;
  double magnitude = 0;
};
Exact DotOf(std::span<const float> row, const float* input) {
  const auto size = static_cast<Eigen::Index>(row.size());
  const Eigen::ArrayXd terms = Eigen::Map<const Eigen::ArrayXf>(row.data(), size).cast<double>() *
                               Eigen::Map<const Eigen::ArrayXf>(input, size).cast<double>();
  return {terms.sum(), terms.abs().sum()};
}

// Multiplies all rows with all inputs and compares with the decoded matrix.
void ExpectProducts(const EncodedMatrix& weights, const FloatRows& inputs) {
  const Matrix& m = weights.matrix;
  const std::size_t stride = m.rows + 3;
  std::vector<float> out(inputs.count * stride, -7.0F);
  Buffer panel;
  Multiply(m, {0, m.rows}, inputs, out.data(), stride, panel);
  for (std::size_t i = 0; i < inputs.count; ++i) {
    for (std::size_t r = 0; r < m.rows; ++r) {
      const Exact exact = DotOf(weights.Row(r), inputs[i]);
      ASSERT_NEAR(out[i * stride + r], exact.sum, 1e-6 * exact.magnitude)
          << "row " << r << " input " << i << " of " << inputs.count;
    }
    for (std::size_t r = m.rows; r < stride; ++r) ASSERT_EQ(out[i * stride + r], -7.0F);
  }
}

class MultiplyAnyType : public ::testing::TestWithParam<const quant::Codec*> {};

TEST_P(MultiplyAnyType, EqualsTheDecodedMatrixForAnyNumberOfInputs) {
  RandomFloats random;
  const EncodedMatrix weights(GetParam()->type, 9, 512, random);
  const std::vector<float> values = random.Take(14 * 512);
  ForEachSimdTarget([&] {
    for (const std::size_t count : {1, 2, 3, 5, 6, 7, 14}) {
      ExpectProducts(weights, {values.data(), 512, count});
    }
  });
}

TEST_P(MultiplyAnyType, DecodesWhatTheCodecDecodes) {
  RandomFloats random;
  const EncodedMatrix weights(GetParam()->type, 5, 768, random);
  ForEachSimdTarget([&] {
    std::vector<float> decoded(3 * 768);
    DecodeRows(weights.matrix, {1, 4}, decoded.data());
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      // A fused multiply-add may round once where the codec rounds twice.
      const float want = weights.values[768 + i];
      ASSERT_NEAR(decoded[i], want, 1e-6F * (1 + std::abs(want))) << i;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Codecs, MultiplyAnyType,
                         ::testing::ValuesIn(quant::Codecs().begin(), quant::Codecs().end()),
                         [](const auto& tested) {
                           return std::string(gguf::InfoOf(tested.param->type).name);
                         });

class MultiplyPlainType : public ::testing::TestWithParam<TensorType> {};

TEST_P(MultiplyPlainType, TakesRowsOfAnyLength) {
  RandomFloats random;
  for (const std::uint64_t columns : {1, 3, 8, 13, 24, 65, 100, 192, 1000}) {
    const EncodedMatrix weights(GetParam(), 7, columns, random);
    const std::vector<float> values = random.Take(9 * columns);
    ForEachSimdTarget([&] {
      for (const std::size_t count : {1, 4, 9}) {
        ExpectProducts(weights, {values.data(), columns, count});
      }
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Types, MultiplyPlainType,
                         ::testing::Values(TensorType::kF32, TensorType::kF16, TensorType::kBF16),
                         [](const auto& tested) {
                           return std::string(gguf::InfoOf(tested.param).name);
                         });

TEST(Multiply, TakesIndexedAndSpacedInputs) {
  RandomFloats random;
  const EncodedMatrix weights(TensorType::kQ8_0, 4, 64, random);
  const std::vector<float> values = random.Take(10 * 80);
  const std::vector<std::uint32_t> index{9, 0, 4, 4};
  ExpectProducts(weights, {values.data(), 80, index.size(), index.data()});
}

TEST(Multiply, ResultsDoNotDependOnHowRowsAreSplit) {
  RandomFloats random;
  for (const TensorType type : {TensorType::kBF16, TensorType::kQ4_0, TensorType::kQ4_K}) {
    const EncodedMatrix weights(type, 23, 512, random);
    const std::vector<float> values = random.Take(3 * 512);
    for (const std::size_t count : {1, 3}) {
      const FloatRows inputs{values.data(), 512, count};
      std::vector<float> whole(count * 23);
      std::vector<float> parts(count * 23);
      Buffer panel;
      Multiply(weights.matrix, {0, 23}, inputs, whole.data(), 23, panel);
      for (std::uint64_t begin = 0; begin < 23; begin += 5) {
        const RowRange rows{begin, std::min<std::uint64_t>(begin + 5, 23)};
        Multiply(weights.matrix, rows, inputs, parts.data() + begin, 23, panel);
      }
      EXPECT_EQ(whole, parts);
    }
  }
}

// What matters to inputs that become integers.
TEST(Multiply, TakesInputsOfAnySize) {
  RandomFloats random;
  for (const TensorType type : {TensorType::kQ8_0, TensorType::kQ4_0}) {
    const EncodedMatrix weights(type, 7, 384, random);
    for (const float size : {0.0F, 1e-25F, 1e-3F, 1e20F}) {
      std::vector<float> values = random.Take(384);
      for (float& value : values) value *= size;
      values[100] *= 10;
      ForEachSimdTarget([&] { ExpectProducts(weights, {values.data(), 384, 1}); });
    }
  }
}

TEST(Multiply, ShowsInputsThatAreNotFinite) {
  RandomFloats random;
  for (const TensorType type : {TensorType::kQ8_0, TensorType::kQ4_0}) {
    const EncodedMatrix weights(type, 5, 256, random);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      std::vector<float> values = random.Take(256);
      values[200] = bad;
      ForEachSimdTarget([&] {
        std::vector<float> out(5);
        Buffer panel;
        Multiply(weights.matrix, {0, 5}, {values.data(), 256, 1}, out.data(), 5, panel);
        for (const float sum : out) EXPECT_FALSE(std::isfinite(sum));
      });
    }
  }
}

// Matrices and inputs beyond what one run of a kernel works on.
TEST(Multiply, TakesLargeMatricesAndManyInputs) {
  RandomFloats random;
  const EncodedMatrix weights(TensorType::kQ4_0, 70, 4096, random);
  const std::vector<float> values = random.Take(100 * 4096);
  ExpectProducts(weights, {values.data(), 4096, 100});
}

TEST(Multiply, KnowsWhichTypesHoldValues) {
  EXPECT_TRUE(CanMultiply(TensorType::kIQ3_S));
  EXPECT_FALSE(CanMultiply(TensorType::kI32));
  EXPECT_FALSE(CanMultiply(TensorType::kQ8_1));
}

}  // namespace
}  // namespace sluice::runtime
