// Decoding to F32: the bits of the scalar reference, on every SIMD target.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "formats/quant/float_formats.h"
#include "simd_targets.h"
#include "stages/kernels/cast.h"
#include "tests/stages/random.h"

namespace sluice {
namespace {

using testing::ForEachSimdTarget;
using testing::kManyCounts;
using testing::Random;

constexpr float kUntouched = -12345.5F;

// The bytes of `values`, starting at an address that is `misaligned` off; ends with the last value.
template <typename T>
class Unaligned {
 public:
  Unaligned(std::span<const T> values, std::size_t misaligned)
      : bytes_(misaligned), misaligned_(misaligned) {
    const auto bytes = std::as_bytes(values);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  [[nodiscard]] const std::byte* data() const { return bytes_.data() + misaligned_; }

 private:
  std::vector<std::byte> bytes_;
  std::size_t misaligned_;
};

template <typename T, class Reference>
void CheckDecode(Dtype dtype, std::span<const T> values, std::size_t misaligned,
                 const Reference& reference) {
  const Unaligned<T> in(values, misaligned);
  std::vector<float> out(values.size() + 32, kUntouched);
  kernels::DecodeToF32(dtype, in.data(), std::span(out).first(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]),
              std::bit_cast<std::uint32_t>(static_cast<float>(reference(values[i]))))
        << "value " << i << " of " << values.size() << ", misaligned by " << misaligned;
  }
  for (std::size_t i = values.size(); i < out.size(); ++i) ASSERT_EQ(out[i], kUntouched);
}

// All values at once, then every short count at every alignment.
template <typename T, class Reference>
void CheckAll(Dtype dtype, std::span<const T> values, const Reference& reference) {
  ForEachSimdTarget([&] {
    ASSERT_NO_FATAL_FAILURE(CheckDecode(dtype, values, 0, reference));
    ASSERT_NO_FATAL_FAILURE(CheckDecode(dtype, values, 1, reference));
    for (std::size_t count = 0; count <= kManyCounts; ++count) {
      const auto part = values.subspan(count * 37 % (values.size() - kManyCounts), count);
      ASSERT_NO_FATAL_FAILURE(CheckDecode(dtype, part, count % 8, reference));
    }
  });
}

template <typename T>
std::vector<T> AllValues() {
  std::vector<T> values(std::size_t{1} << (8 * sizeof(T)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(i);
  return values;
}

TEST(DecodeToF32, AllF16) {
  CheckAll<std::uint16_t>(Dtype::kF16, AllValues<std::uint16_t>(), quant::F16ToF32);
}

TEST(DecodeToF32, AllBf16) {
  CheckAll<std::uint16_t>(Dtype::kBF16, AllValues<std::uint16_t>(), quant::Bf16ToF32);
}

TEST(DecodeToF32, AllF8E4M3) {
  CheckAll<std::uint8_t>(Dtype::kF8E4M3, AllValues<std::uint8_t>(), quant::F8E4M3ToF32);
}

TEST(DecodeToF32, AllF8E5M2) {
  CheckAll<std::uint8_t>(Dtype::kF8E5M2, AllValues<std::uint8_t>(), quant::F8E5M2ToF32);
}

TEST(DecodeToF32, F32KeepsEveryBit) {
  Random random(31);
  std::vector<std::uint32_t> bits(5000);
  for (std::uint32_t& pattern : bits) {
    pattern = static_cast<std::uint32_t>(random.Between(0, 0xFFFF'FFFF));
  }
  bits.insert(bits.end(), {0x7F80'0001, 0xFFC0'1234, 0x0000'0001, 0x8000'0000});
  const auto same = [](std::uint32_t pattern) { return std::bit_cast<float>(pattern); };
  CheckAll<std::uint32_t>(Dtype::kF32, bits, same);
}

TEST(DecodeToF32, F64RoundsToNearestEven) {
  Random random(32);
  std::vector<double> values;
  for (int i = 0; i < 3000; ++i) {
    // A float, and doubles at and beside the middle to the next one.
    const auto bits = static_cast<std::uint32_t>(random.Between(0, 0x7F7F'FFFE));
    const double low = std::bit_cast<float>(bits);
    const double middle = low + (std::bit_cast<float>(bits + 1) - low) / 2;
    values.insert(values.end(), {low, -middle, std::nextafter(middle, 0.0),
                                 std::nextafter(middle, std::numeric_limits<double>::max())});
  }
  values.insert(values.end(), {1e300, -1e300, std::numeric_limits<double>::infinity(), 1e-300});
  const auto rounded = [](double value) { return static_cast<float>(value); };
  CheckAll<double>(Dtype::kF64, values, rounded);

  std::vector<float> out(4);
  const std::vector<double> named{16777217.0, 16777219.0, 1e39, -0.0};
  kernels::DecodeToF32(Dtype::kF64, std::as_bytes(std::span(named)).data(), out);
  EXPECT_EQ(out[0], 16777216.0F);
  EXPECT_EQ(out[1], 16777220.0F);
  EXPECT_EQ(out[2], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::signbit(out[3]));
}

TEST(DecodeToF32, F64NanStaysNan) {
  const std::vector<double> nan{std::numeric_limits<double>::quiet_NaN()};
  std::vector<float> out(1);
  kernels::DecodeToF32(Dtype::kF64, std::as_bytes(std::span(nan)).data(), out);
  EXPECT_TRUE(std::isnan(out[0]));
}

TEST(HasNonFinite, FindsOneAnywhere) {
  // More than a vector of any target, and elements that are left.
  for (const std::size_t count : {1, 5, 37}) {
    const std::vector<float> finite(count, -std::numeric_limits<float>::max());
    EXPECT_FALSE(kernels::HasNonFinite(finite));
    for (std::size_t i = 0; i < count; ++i) {
      for (const float bad :
           {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
            -std::numeric_limits<float>::quiet_NaN()}) {
        std::vector<float> values = finite;
        values[i] = bad;
        EXPECT_TRUE(kernels::HasNonFinite(values)) << bad << " at " << i;
      }
    }
  }
  EXPECT_FALSE(kernels::HasNonFinite({}));
}

}  // namespace
}  // namespace sluice
