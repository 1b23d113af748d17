// Products with matrices in the MLX layout, against the matrix that the codec decodes.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include "formats/mlx/codec.h"
#include "kernel_fixture.h"
#include "runtime/kernels/multiply.h"
#include "simd_targets.h"

namespace sluice::runtime {
namespace {

using sluice::testing::ForEachSimdTarget;
using testing::RandomFloats;

// A random tensor in the MLX layout at odd addresses, and its values.
class MlxFixture {
 public:
  MlxFixture(const mlx::Encoding& encoding, std::uint64_t rows, std::uint64_t columns,
             std::vector<float> factors, RandomFloats& random)
      : values_(rows * columns), columns_(columns), factors_(std::move(factors)) {
    const std::vector<float> input = random.Take(rows * columns);
    const auto encode = [&](mlx::Part part, std::vector<std::byte>& bytes) {
      const mlx::EncodedPart one{encoding, part};
      bytes.resize(rows * columns / encoding.group * one.group_bytes() + 1);
      mlx::EncodePart(one, input, bytes.data() + 1);
      return bytes.data() + 1;
    };
    whole_.encoding = encoding;
    whole_.codes = encode(mlx::Part::kCodes, codes_);
    whole_.scales = encode(mlx::Part::kScales, scales_);
    if (encoding.has_biases()) whole_.biases = encode(mlx::Part::kBiases, biases_);
    if (!factors_.empty()) {
      whole_.factors = reinterpret_cast<const std::byte*>(factors_.data());
      whole_.rows_of_factor = rows / factors_.size();
    }
    for (std::uint64_t r = 0; r < rows; ++r) DecodeRow(r);
  }

  [[nodiscard]] Matrix Rows(std::uint64_t first, std::uint64_t count) const {
    const std::uint64_t row_bytes = columns_ * whole_.encoding.bits / 8;
    return {gguf::TensorType::kI8,
            whole_.codes + first * row_bytes,
            count,
            columns_,
            row_bytes,
            &whole_};
  }
  [[nodiscard]] std::span<const float> Row(std::uint64_t row) const {
    return std::span(values_).subspan(row * columns_, columns_);
  }

 private:
  void DecodeRow(std::uint64_t row) {
    const mlx::Encoding& encoding = whole_.encoding;
    const std::uint64_t group = row * columns_ / encoding.group;
    const std::uint64_t scale_bytes = DtypeBytes(encoding.scale_dtype);
    mlx::Decode(
        encoding,
        {whole_.codes + group * encoding.group_code_bytes(), whole_.scales + group * scale_bytes,
         whole_.biases == nullptr ? nullptr : whole_.biases + group * scale_bytes,
         factors_.empty() ? 1.0F : factors_[row / whole_.rows_of_factor]},
        std::span(values_).subspan(row * columns_, columns_));
  }

  std::vector<float> values_;
  std::uint64_t columns_;
  std::vector<float> factors_;
  std::vector<std::byte> codes_;
  std::vector<std::byte> scales_;
  std::vector<std::byte> biases_;
  MlxMatrix whole_;
};

// Rows [first, first + count) times `inputs` inputs, within 1e-6 of the terms that are added up.
void ExpectProducts(const MlxFixture& tensor, const Matrix& m, std::uint64_t first,
                    const FloatRows& inputs) {
  std::vector<float> out(inputs.count * m.rows);
  Buffer panel;
  Multiply(m, {0, m.rows}, inputs, out.data(), m.rows, panel);
  for (std::size_t i = 0; i < inputs.count; ++i) {
    for (std::size_t r = 0; r < m.rows; ++r) {
      const std::span<const float> row = tensor.Row(first + r);
      double sum = 0;
      double magnitude = 0;
      for (std::size_t k = 0; k < row.size(); ++k) {
        const double term = static_cast<double>(row[k]) * inputs[i][k];
        sum += term;
        magnitude += std::abs(term);
      }
      ASSERT_NEAR(out[i * m.rows + r], sum, 1e-6 * magnitude) << "row " << r << " input " << i;
    }
  }
}

std::vector<mlx::Encoding> AllEncodings() {
  std::vector<mlx::Encoding> all;
  for (const std::uint32_t bits : {4, 8}) {
    for (const std::uint32_t group : {32, 64, 128}) {
      for (const Dtype scales : {Dtype::kBF16, Dtype::kF16, Dtype::kF32}) {
        all.push_back({mlx::Mode::kAffine, bits, group, scales});
      }
    }
  }
  for (const auto mode : {mlx::Mode::kNvfp4, mlx::Mode::kMxfp4, mlx::Mode::kMxfp8}) {
    all.push_back(*mlx::EncodingOf(mode));
  }
  return all;
}

class MlxKernels : public ::testing::TestWithParam<mlx::Encoding> {};

TEST_P(MlxKernels, ProductsEqualTheDecodedMatrix) {
  RandomFloats random;
  const MlxFixture tensor(GetParam(), 9, 384, {}, random);
  const std::vector<float> values = random.Take(7 * 384);
  ForEachSimdTarget([&] {
    for (const std::size_t count : {1, 2, 7}) {
      ExpectProducts(tensor, tensor.Rows(0, 9), 0, {values.data(), 384, count});
      ExpectProducts(tensor, tensor.Rows(4, 3), 4, {values.data(), 384, count});
    }
  });
}

TEST_P(MlxKernels, DecodesWhatTheCodecDecodes) {
  RandomFloats random;
  const MlxFixture tensor(GetParam(), 5, 256, {}, random);
  ForEachSimdTarget([&] {
    std::vector<float> decoded(3 * 256);
    DecodeRows(tensor.Rows(0, 5), {1, 4}, decoded.data());
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      const float want = tensor.Row(1 + i / 256)[i % 256];
      ASSERT_NEAR(decoded[i], want, 2e-7F * (1 + std::abs(want))) << i;
    }
  });
}

TEST_P(MlxKernels, ResultsDoNotDependOnHowRowsAreSplit) {
  RandomFloats random;
  const MlxFixture tensor(GetParam(), 23, 256, {}, random);
  const std::vector<float> values = random.Take(3 * 256);
  for (const std::size_t count : {1, 3}) {
    const FloatRows inputs{values.data(), 256, count};
    std::vector<float> whole(count * 23);
    std::vector<float> parts(count * 23);
    Buffer panel;
    Multiply(tensor.Rows(0, 23), {0, 23}, inputs, whole.data(), 23, panel);
    for (std::uint64_t begin = 0; begin < 23; begin += 5) {
      const RowRange rows{begin, std::min<std::uint64_t>(begin + 5, 23)};
      Multiply(tensor.Rows(0, 23), rows, inputs, parts.data() + begin, 23, panel);
    }
    EXPECT_EQ(whole, parts);
  }
}

INSTANTIATE_TEST_SUITE_P(Encodings, MlxKernels, ::testing::ValuesIn(AllEncodings()),
                         [](const auto& tested) {
                           const mlx::Encoding& encoding = tested.param;
                           return fmt::format("{}_{}_{}_{}", mlx::ModeName(encoding.mode),
                                              encoding.bits, encoding.group,
                                              DtypeName(encoding.scale_dtype));
                         });

TEST(MlxKernels, FactorsBelongToTheTensorTheMatrixOrTheRow) {
  RandomFloats random;
  const std::vector<float> values = random.Take(2 * 64);
  for (const auto& factors : {std::vector<float>{0.25F}, {0.5F, 3.0F}, {1, 2, 3, 4, 5, 6}}) {
    const MlxFixture tensor(*mlx::EncodingOf(mlx::Mode::kNvfp4), 6, 64, factors, random);
    for (const std::size_t count : {1, 2}) {
      ExpectProducts(tensor, tensor.Rows(0, 6), 0, {values.data(), 64, count});
      ExpectProducts(tensor, tensor.Rows(3, 3), 3, {values.data(), 64, count});
    }
  }
}

// Every code of a byte, those included that no encoder writes.
TEST(MlxKernels, EveryCodeHasTheCodecsValue) {
  std::array<std::byte, 256> codes;
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(i);
  const std::array<std::byte, 32> scales = [] {
    std::array<std::byte, 32> powers;
    for (std::size_t i = 0; i < powers.size(); ++i) powers[i] = static_cast<std::byte>(120 + i);
    return powers;
  }();
  for (const auto mode : {mlx::Mode::kNvfp4, mlx::Mode::kMxfp4, mlx::Mode::kMxfp8}) {
    const mlx::Encoding encoding = *mlx::EncodingOf(mode);
    const std::size_t elements = codes.size() * 8 / encoding.bits;
    const MlxMatrix whole{encoding, codes.data(), scales.data()};
    std::vector<float> want(elements);
    mlx::Decode(encoding, {codes.data(), scales.data()}, want);
    ForEachSimdTarget([&] {
      std::vector<float> got(elements);
      DecodeRows({gguf::TensorType::kI8, codes.data(), 1, elements, codes.size(), &whole}, {0, 1},
                 got.data());
      for (std::size_t i = 0; i < elements; ++i) {
        if (std::isnan(want[i])) {
          ASSERT_TRUE(std::isnan(got[i])) << i;
        } else {
          ASSERT_EQ(got[i], want[i]) << i;
        }
      }
    });
  }
}

TEST(MlxKernels, CanBeMultiplied) {
  RandomFloats random;
  const MlxFixture tensor(*mlx::EncodingOf(mlx::Mode::kMxfp4), 1, 32, {}, random);
  EXPECT_TRUE(CanMultiply(tensor.Rows(0, 1)));
}

}  // namespace
}  // namespace sluice::runtime
