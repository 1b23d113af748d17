// Encoding from F32: the bits and the overflow counts of the scalar reference, on every SIMD
// target.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "formats/quant/float_formats.h"
#include "simd_targets.h"
#include "stages/kernels/cast.h"
#include "tests/stages/guard.h"
#include "tests/stages/random.h"

namespace sluice {
namespace {

using testing::ForEachSimdTarget;
using testing::kGuard;
using testing::kGuardBytes;
using testing::kManyCounts;
using testing::Random;

using Kernel = std::uint64_t (*)(std::span<const float>, std::byte*);
using Scalar = std::uint16_t (*)(float);

struct Format {
  Kernel kernel;
  Scalar scalar;
  std::uint16_t infinity;
};
constexpr Format kF16{kernels::EncodeF16, quant::F32ToF16, 0x7C00};
constexpr Format kBf16{kernels::EncodeBf16, quant::F32ToBf16, 0x7F80};

void CheckEncode(const Format& format, std::span<const float> values, std::size_t misaligned) {
  std::vector<std::byte> target(kGuardBytes + misaligned + 2 * values.size() + kGuardBytes, kGuard);
  std::byte* const out = target.data() + kGuardBytes + misaligned;
  const std::uint64_t overflowed = format.kernel(values, out);
  std::uint64_t expected_overflow = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t actual;
    std::memcpy(&actual, out + 2 * i, sizeof actual);
    const std::uint16_t expected = format.scalar(values[i]);
    ASSERT_EQ(actual, expected) << "of the F32 with bits 0x" << std::hex
                                << std::bit_cast<std::uint32_t>(values[i]);
    const bool became_infinite = (expected & 0x7FFF) == format.infinity;
    if (became_infinite && std::isfinite(values[i])) ++expected_overflow;
  }
  ASSERT_EQ(overflowed, expected_overflow);
  for (std::size_t i = 0; i < kGuardBytes; ++i) {
    ASSERT_EQ(target[i], kGuard);
    ASSERT_EQ(target[target.size() - 1 - i], kGuard);
  }
}

void CheckOnEveryTarget(const Format& format, std::span<const float> values) {
  ForEachSimdTarget([&] { ASSERT_NO_FATAL_FAILURE(CheckEncode(format, values, 1)); });
}

void AppendBothSigns(std::uint32_t magnitude, std::vector<float>& values) {
  values.push_back(std::bit_cast<float>(magnitude));
  values.push_back(std::bit_cast<float>(magnitude | quant::kF32SignMask));
}

// Every F16 and every middle between two of them, with the F32 values next to each.
std::vector<float> F16Boundaries() {
  std::vector<float> values;
  for (std::uint32_t half = 0; half < 0x7C00; ++half) {
    const auto here =
        std::bit_cast<std::uint32_t>(quant::F16ToF32(static_cast<std::uint16_t>(half)));
    // Beyond the largest F16 the next step would be 2^16.
    const float next =
        half == 0x7BFF ? 0x1p16F : quant::F16ToF32(static_cast<std::uint16_t>(half + 1));
    const float middle = (std::bit_cast<float>(here) + next) / 2;  // exact: F32 has 13 more bits
    for (const std::uint32_t bits : {here, std::bit_cast<std::uint32_t>(middle)}) {
      for (std::uint32_t near = bits < 2 ? 0 : bits - 2; near <= bits + 2; ++near) {
        AppendBothSigns(near, values);
      }
    }
  }
  return values;
}

// Every upper half, with lower halves around the places where rounding changes.
std::vector<float> Bf16Boundaries() {
  std::vector<float> values;
  for (std::uint32_t upper = 0; upper <= 0xFFFF; ++upper) {
    for (const std::uint32_t lower : {0x0000U, 0x0001U, 0x7FFFU, 0x8000U, 0x8001U, 0xFFFFU}) {
      values.push_back(std::bit_cast<float>(upper << 16 | lower));
    }
  }
  return values;
}

// Every kind of bit pattern: a prime step through all 2^32.
std::vector<float> DenseSample() {
  constexpr std::uint64_t kStep = 2039;
  std::vector<float> values;
  for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 32; bits += kStep) {
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  }
  return values;
}

TEST(EncodeF16, BoundariesOfEveryValue) { CheckOnEveryTarget(kF16, F16Boundaries()); }

TEST(EncodeF16, SampleOfAllPatterns) { CheckOnEveryTarget(kF16, DenseSample()); }

TEST(EncodeBf16, BoundariesOfEveryValue) { CheckOnEveryTarget(kBf16, Bf16Boundaries()); }

TEST(EncodeBf16, SampleOfAllPatterns) { CheckOnEveryTarget(kBf16, DenseSample()); }

// Values of which every lane position meets ordinary, overflowing, infinite and NaN ones.
std::vector<float> MixedValues() {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> kinds{1.5F,  -0.0F,     65519.996F, 65520.0F, 1e38F, -3.4e38F,
                                 3e-8F, kInfinity, -kInfinity, kNan,     -kNan};
  std::vector<float> values;
  while (values.size() < 2 * kManyCounts) {
    values.insert(values.end(), kinds.begin(), kinds.end());
  }
  return values;
}

void CheckEveryCount(const Format& format) {
  const std::vector<float> values = MixedValues();
  ForEachSimdTarget([&] {
    for (std::size_t count = 0; count <= kManyCounts; ++count) {
      for (const std::size_t misaligned : {0, 1, 2, 7}) {
        const auto part = std::span(values).subspan(count % 11, count);
        ASSERT_NO_FATAL_FAILURE(CheckEncode(format, part, misaligned)) << count << " values";
      }
    }
  });
}

TEST(EncodeF16, EveryCountAtUnalignedAddresses) { CheckEveryCount(kF16); }

TEST(EncodeBf16, EveryCountAtUnalignedAddresses) { CheckEveryCount(kBf16); }

TEST(EncodeF16, CountsFiniteValuesThatBecomeInfinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> values(40, 1.0F);
  values[0] = 65504.0F;    // the largest F16
  values[1] = 65519.996F;  // rounds down to it
  values[2] = 65520.0F;    // the first that rounds up
  values[20] = -65520.0F;  // in the middle of vectors
  values[38] = 3.4e38F;    // in the tail behind the last vector of 4, 8 or 16
  values[39] = kInfinity;  // was infinite before
  values[30] = std::numeric_limits<float>::quiet_NaN();
  ForEachSimdTarget([&] {
    std::vector<std::byte> out(2 * values.size());
    EXPECT_EQ(kernels::EncodeF16(values, out.data()), 3);
  });
}

TEST(EncodeBf16, CountsFiniteValuesThatBecomeInfinite) {
  std::vector<float> values(40, 1.0F);
  values[0] = std::bit_cast<float>(0x7F7F'7FFFU);   // rounds down to the largest BF16
  values[1] = std::bit_cast<float>(0x7F7F'8000U);   // the first that rounds up
  values[25] = std::bit_cast<float>(0xFF7F'FFFFU);  // the lowest F32
  values[39] = std::bit_cast<float>(0x7F7F'FFFFU);
  values[30] = std::numeric_limits<float>::infinity();
  ForEachSimdTarget([&] {
    std::vector<std::byte> out(2 * values.size());
    EXPECT_EQ(kernels::EncodeBf16(values, out.data()), 3);
  });
}

TEST(EncodeF16, DecodingGivesBackEveryF16) {
  // Against the decoder: a pair of compensating errors in both references would not pass here and
  // in DecodeToF32.AllF16 alike.
  std::vector<std::uint16_t> halves;
  for (std::uint32_t half = 0; half <= 0xFFFF; ++half) {
    if ((half & 0x7FFF) <= 0x7C00) halves.push_back(static_cast<std::uint16_t>(half));
  }
  ForEachSimdTarget([&] {
    std::vector<float> values(halves.size());
    kernels::DecodeToF32(Dtype::kF16, std::as_bytes(std::span(halves)).data(), values);
    std::vector<std::uint16_t> again(halves.size());
    kernels::EncodeF16(values, std::as_writable_bytes(std::span(again)).data());
    ASSERT_EQ(again, halves);
  });
}

}  // namespace
}  // namespace sluice
