// Codes, scales and biases of the MLX layouts: known numbers, corner cases, error bounds.
#include "formats/mlx/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "formats/quant/float_formats.h"
#include "quant/random_rows.h"

namespace sluice::mlx {
namespace {

using sluice::testing::RandomRows;
using ::testing::Each;
using ::testing::ElementsAre;

constexpr Encoding kInt4{Mode::kAffine, 4, 64, Dtype::kBF16};
constexpr Encoding kInt8{Mode::kAffine, 8, 64, Dtype::kBF16};

// The parts of a row, and what they decode to.
struct Encoded {
  Encoded(const Encoding& encoding, std::span<const float> values) {
    const std::size_t groups = values.size() / encoding.group;
    const auto encode = [&](Part part, std::vector<std::byte>& bytes) {
      const EncodedPart one{encoding, part};
      bytes.resize(groups * one.group_bytes());
      EncodePart(one, values, bytes.data());
    };
    encode(Part::kCodes, codes);
    encode(Part::kScales, scales);
    if (encoding.has_biases()) encode(Part::kBiases, biases);
    decoded.resize(values.size());
    Decode(encoding, {codes.data(), scales.data(), biases.data()}, decoded);
  }

  [[nodiscard]] std::vector<std::uint32_t> Words() const {
    std::vector<std::uint32_t> words(codes.size() / sizeof(std::uint32_t));
    std::memcpy(words.data(), codes.data(), codes.size());
    return words;
  }
  [[nodiscard]] static float Bf16At(const std::vector<std::byte>& bytes, std::size_t i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + 2 * i, sizeof bits);
    return quant::Bf16ToF32(bits);
  }

  std::vector<std::byte> codes;
  std::vector<std::byte> scales;
  std::vector<std::byte> biases;
  std::vector<float> decoded;
};

std::vector<Encoding> AllEncodings() {
  std::vector<Encoding> all;
  for (const std::uint32_t bits : {4, 8}) {
    for (const std::uint32_t group : {32, 64, 128}) {
      for (const Dtype scales : {Dtype::kBF16, Dtype::kF16, Dtype::kF32}) {
        all.push_back({Mode::kAffine, bits, group, scales});
      }
    }
  }
  for (const Mode mode : {Mode::kNvfp4, Mode::kMxfp4, Mode::kMxfp8}) {
    all.push_back(*EncodingOf(mode));
  }
  return all;
}

// ---- Known numbers ------------------------------------------------------------------------------

TEST(MlxAffine, RampHasTheKnownCodes) {
  std::vector<float> ramp(64);
  for (std::size_t i = 0; i < ramp.size(); ++i) ramp[i] = static_cast<float>(i % 16);
  const Encoded encoded(kInt4, ramp);
  EXPECT_EQ(Encoded::Bf16At(encoded.scales, 0), -1.0F);
  EXPECT_EQ(Encoded::Bf16At(encoded.biases, 0), 15.0F);
  EXPECT_THAT(encoded.Words(), ElementsAre(0x89abcdef, 0x01234567, 0x89abcdef, 0x01234567,
                                           0x89abcdef, 0x01234567, 0x89abcdef, 0x01234567));
  EXPECT_EQ(encoded.decoded, ramp);
}

TEST(MlxAffine, ElementsOfAWordComeFromItsLowBitsUp) {
  const std::vector<std::uint32_t> words{0x87654321, 0, 0, 0};
  const float one = 1;
  const float zero = 0;
  const auto bytes = [](const auto& value) { return reinterpret_cast<const std::byte*>(&value); };
  std::vector<float> decoded(32);
  Decode({Mode::kAffine, 4, 32, Dtype::kF32}, {bytes(words[0]), bytes(one), bytes(zero)}, decoded);
  EXPECT_THAT(std::span(decoded).first(8), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  const std::vector<std::uint32_t> wide{0x04030201, 0, 0, 0, 0, 0, 0, 0};
  Decode({Mode::kAffine, 8, 32, Dtype::kF32}, {bytes(wide[0]), bytes(one), bytes(zero)}, decoded);
  EXPECT_THAT(std::span(decoded).first(5), ElementsAre(1, 2, 3, 4, 0));
}

TEST(MlxNvfp4, KnownGroup) {
  std::vector<float> group{0, 0.5F, 1, 1.5F, 2, 3, 4, 6, 0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
  const Encoded encoded(*EncodingOf(Mode::kNvfp4), group);
  EXPECT_THAT(encoded.scales, ElementsAre(std::byte{0x38}));
  EXPECT_THAT(encoded.Words(), ElementsAre(0x76543210, 0x76543210));
  EXPECT_EQ(encoded.decoded, group);
}

TEST(MlxNvfp4, TakesTheFactorOfTheTensor) {
  const std::vector<float> group{6, -6, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const Encoding encoding = *EncodingOf(Mode::kNvfp4);
  const Encoded encoded(encoding, group);
  std::vector<float> decoded(16);
  Decode(encoding, {encoded.codes.data(), encoded.scales.data(), nullptr, 0.25F}, decoded);
  EXPECT_THAT(std::span(decoded).first(4), ElementsAre(1.5F, -1.5F, 0.75F, 0.25F));
}

// ---- Corner cases -------------------------------------------------------------------------------

TEST(MlxAffine, GroupsOfOneValue) {
  for (const Encoding& encoding : {kInt4, kInt8}) {
    for (const float value : {0.0F, 5.0F, -3.0F}) {
      const Encoded encoded(encoding, std::vector<float>(64, value));
      EXPECT_THAT(encoded.decoded, Each(value));
      EXPECT_THAT(encoded.codes, Each(std::byte{0}));
      EXPECT_EQ(Encoded::Bf16At(encoded.scales, 0), quant::Bf16ToF32(quant::F32ToBf16(-1e-7F)));
    }
  }
}

// The scale is negative when the maximum dominates; then the maximum has code 0, else the minimum.
TEST(MlxAffine, TheFartherEndHasCodeZeroAndItsValueAsBias) {
  std::vector<float> values(64, 0.25F);
  values[3] = -2;
  values[7] = 1;
  const Encoded low(kInt8, values);
  EXPECT_GT(Encoded::Bf16At(low.scales, 0), 0);
  EXPECT_EQ(Encoded::Bf16At(low.biases, 0), -2);
  EXPECT_EQ(low.codes[3], std::byte{0});
  values[7] = 4;
  const Encoded high(kInt8, values);
  EXPECT_LT(Encoded::Bf16At(high.scales, 0), 0);
  EXPECT_EQ(Encoded::Bf16At(high.biases, 0), 4);
  EXPECT_EQ(high.codes[7], std::byte{0});
}

TEST(MlxNvfp4, TiesGoToTheSmallerMagnitude) {
  // The largest value makes the scale 1.
  const std::vector<float> group{6,     0.25F,  0.75F,  1.25F,  1.75F,  2.5F,  3.5F,  5,
                                 -0.2F, -0.25F, -0.75F, -1.25F, -1.75F, -2.5F, -3.5F, -5};
  const Encoded encoded(*EncodingOf(Mode::kNvfp4), group);
  EXPECT_THAT(encoded.Words(), ElementsAre(0x65432107, 0xedcba900));
}

TEST(MlxNvfp4, AGroupWhoseScaleVanishesIsZero) {
  const Encoded encoded(*EncodingOf(Mode::kNvfp4), std::vector<float>(16, 1e-4F));
  EXPECT_THAT(encoded.scales, ElementsAre(std::byte{0}));
  EXPECT_THAT(encoded.codes, Each(std::byte{0}));
}

TEST(MlxPowersOfTwo, AreTheLeastThatCutNothingOff) {
  const auto scale_of = [](Mode mode, float largest) {
    std::vector<float> group(32, 0.0F);
    group[5] = -largest;
    return std::to_integer<int>(Encoded(*EncodingOf(mode), group).scales[0]);
  };
  EXPECT_EQ(scale_of(Mode::kMxfp4, 6), 127);
  EXPECT_EQ(scale_of(Mode::kMxfp4, 6.01F), 128);
  EXPECT_EQ(scale_of(Mode::kMxfp4, 3), 126);
  EXPECT_EQ(scale_of(Mode::kMxfp4, 0), 127);
  EXPECT_EQ(scale_of(Mode::kMxfp4, 1e-40F), 0);
  EXPECT_EQ(scale_of(Mode::kMxfp8, 448), 127);
  EXPECT_EQ(scale_of(Mode::kMxfp8, 449), 128);
  EXPECT_EQ(scale_of(Mode::kMxfp8, 3e38F), 247);
}

TEST(MlxPowersOfTwo, TheHighestScaleCodeIsNoNumber) {
  const Encoding encoding = *EncodingOf(Mode::kMxfp4);
  const auto value = [&](int code) {
    const auto stored = static_cast<std::byte>(code);
    return ScaleValue(encoding, &stored);
  };
  EXPECT_TRUE(std::isnan(value(255)));
  EXPECT_EQ(value(254), 0x1p127F);
  EXPECT_EQ(value(1), 0x1p-126F);
  EXPECT_EQ(value(0), 0x1p-127F);
}

// ---- All encodings ------------------------------------------------------------------------------

TEST(MlxCodec, WhatItDecodesItEncodesTheSameWay) {
  RandomRows random(3);
  for (const Encoding& encoding : AllEncodings()) {
    if (encoding.has_biases()) continue;  // their stored scales are rounded
    const Encoded first(encoding, random.NormalRow(1024, 0.1F));
    const Encoded second(encoding, first.decoded);
    EXPECT_EQ(first.decoded, second.decoded) << ModeName(encoding.mode);
  }
}

// Largest error in units of the group's largest magnitude. Affine: a step, because zero's code may
// cut half of one off an end, and the rounding of scale and bias where they are BF16.
TEST(MlxCodec, ErrorsAreBounded) {
  RandomRows random(4);
  for (const Encoding& encoding : AllEncodings()) {
    const std::vector<float> row = random.NormalRow(4096, 0.5F);
    const Encoded encoded(encoding, row);
    const double rounding = encoding.scale_dtype == Dtype::kF32 ? 1e-6 : 3.0 / 256;
    double bound = 0;
    if (encoding.has_biases()) {
      bound = 2.0 / (encoding.bits == 4 ? 15 : 255) + rounding;
    } else {
      bound = encoding.bits == 8 ? 1.0 / 16 : 0.34;
    }
    for (std::size_t at = 0; at < row.size(); at += encoding.group) {
      float largest = 0;
      for (std::size_t i = at; i < at + encoding.group; ++i) {
        largest = std::max(largest, std::abs(row[i]));
      }
      for (std::size_t i = at; i < at + encoding.group; ++i) {
        ASSERT_NEAR(encoded.decoded[i], row[i], bound * largest)
            << ModeName(encoding.mode) << " " << encoding.bits << " bits";
      }
    }
  }
}

TEST(MlxEncoding, KnowsWhatItCanDecode) {
  for (const Encoding& encoding : AllEncodings()) EXPECT_TRUE(IsKnown(encoding));
  EXPECT_FALSE(IsKnown({Mode::kAffine, 3, 64, Dtype::kBF16}));
  EXPECT_FALSE(IsKnown({Mode::kAffine, 4, 16, Dtype::kBF16}));
  EXPECT_FALSE(IsKnown({Mode::kAffine, 4, 64, Dtype::kU8}));
  EXPECT_FALSE(IsKnown({Mode::kNvfp4, 4, 32, Dtype::kU8}));
  EXPECT_EQ(ParseMode("mxfp8"), Mode::kMxfp8);
  EXPECT_EQ(ParseMode("fp8"), std::nullopt);
}

}  // namespace
}  // namespace sluice::mlx
