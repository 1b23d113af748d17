// The fast encoders: the bytes of the scalar codecs, on every SIMD target.
#include "stages/kernels/quant/encode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "formats/gguf/types.h"
#include "formats/quant/codec.h"
#include "simd_targets.h"
#include "tests/stages/guard.h"
#include "tests/stages/random.h"

namespace sluice {
namespace {

using quant::Importance;
using testing::ForEachSimdTarget;
using testing::kGuard;
using testing::kGuardBytes;
using testing::Random;

// ---- Values -------------------------------------------------------------------------------------

// About normal: the sum of twelve uniform numbers, so that all libraries give the same.
float Normal(Random& random) {
  constexpr std::uint64_t kSteps = std::uint64_t{1} << 20;
  float sum = -6;
  for (int i = 0; i < 12; ++i) sum += static_cast<float>(random.Between(0, kSteps - 1)) * 0x1p-20F;
  return sum;
}

int Integer(Random& random, int least, int most) {
  const auto range = static_cast<std::uint64_t>(most - least);
  return least + static_cast<int>(random.Between(0, range));
}

struct Distribution {
  const char* name;
  float (*value)(Random& random, std::size_t index);
};

float AnyFiniteBits(Random& random, std::size_t) {
  for (;;) {
    const auto bits = static_cast<std::uint32_t>(random.Between(0, 0xFFFF'FFFF));
    const float value = std::bit_cast<float>(bits);
    if (std::isfinite(value)) return value;
  }
}

float NotAlwaysFinite(Random& random, std::size_t) {
  if (random.OneIn(300)) return std::numeric_limits<float>::infinity();
  if (random.OneIn(300)) return -std::numeric_limits<float>::quiet_NaN();
  return Normal(random);
}

// A scale for each group of `size` elements, from 2^low to 2^high, repeating after a while.
template <std::size_t kSize, int kLow, int kHigh>
float ScaledGroups(Random& random, std::size_t i) {
  constexpr int kSpan = kHigh - kLow + 1;
  return std::ldexp(Normal(random), kLow + static_cast<int>(i / kSize * 7 % kSpan));
}

constexpr Distribution kDistributions[] = {
    {"normal", [](Random& r, std::size_t) { return 0.02F * Normal(r); }},
    {"normal as BF16",
     [](Random& r, std::size_t) {
       return std::bit_cast<float>(std::bit_cast<std::uint32_t>(0.02F * Normal(r)) & 0xFFFF'0000);
     }},
    {"heavy tails", [](Random& r, std::size_t) { return std::pow(Normal(r), 5.0F); }},
    {"zeros", [](Random&, std::size_t i) { return i % 7 == 3 ? -0.0F : 0.0F; }},
    {"a constant", [](Random&, std::size_t) { return 0.37F; }},
    {"a negative constant", [](Random&, std::size_t) { return -0.25F; }},
    {"one and minus one", [](Random&, std::size_t i) { return i % 2 == 0 ? -1.0F : 1.0F; }},
    {"a ramp", [](Random&, std::size_t i) { return static_cast<float>(i % 509) * 0.01F - 2.0F; }},
    {"ties", [](Random& r, std::size_t) { return 0.25F * static_cast<float>(Integer(r, -4, 4)); }},
    {"positive", [](Random& r, std::size_t) { return 0.5F + std::abs(Normal(r)); }},
    {"negative", [](Random& r, std::size_t) { return -0.5F - std::abs(Normal(r)); }},
    {"outliers", [](Random& r, std::size_t i) { return Normal(r) * (i % 97 == 3 ? 100 : 0.01F); }},
    {"sparse", [](Random& r, std::size_t) { return r.OneIn(20) ? Normal(r) : 0.0F; }},
    {"zero groups",
     [](Random& r, std::size_t i) {
       return i / 16 % 3 == 0 ? 0.0F : i % 5 == 0 ? -0.0F : Normal(r);
     }},
    {"groups of 16 of all sizes", ScaledGroups<16, 0, 12>},
    {"groups of 32 of all sizes", ScaledGroups<32, 0, 12>},
    {"F16 subnormal scales", [](Random& r, std::size_t) { return 1e-7F * Normal(r); }},
    {"about to be negligible", ScaledGroups<8, -70, -40>},
    {"tiny", ScaledGroups<16, -126, -80>},
    {"subnormal",
     [](Random& r, std::size_t) { return std::ldexp(Normal(r), Integer(r, -150, -126)); }},
    {"huge", ScaledGroups<32, 30, 110>},
    {"any finite bits", AnyFiniteBits},
    {"not always finite", NotAlwaysFinite},
};

// How important the elements of a row are.
constexpr Distribution kImportances[] = {
    {"uniform",
     [](Random& r, std::size_t) { return 0.001F * static_cast<float>(Integer(r, 1, 1000)); }},
    {"some zeros", [](Random& r, std::size_t) { return r.OneIn(4) ? 0.0F : std::abs(Normal(r)); }},
    {"zero", [](Random&, std::size_t) { return 0.0F; }},
    {"wild", [](Random& r, std::size_t) { return std::ldexp(1.0F, Integer(r, -60, 20)); }},
};

std::vector<float> Draw(const Distribution& distribution, std::size_t count, Random& random) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = distribution.value(random, i);
  return values;
}

// ---- Comparison ---------------------------------------------------------------------------------

struct Rows {
  std::span<const float> values;
  std::size_t length;
  std::span<const float> importance;
  bool exact;
};

// Bytes and counts of the scalar codec.
std::uint64_t EncodeScalar(const quant::Codec& codec, const Rows& rows, std::byte* out) {
  std::uint64_t differing = 0;
  for (std::size_t at = 0; at < rows.values.size(); at += rows.length) {
    differing +=
        codec.encode(rows.values.subspan(at, rows.length), rows.importance, rows.exact, out);
    out += *gguf::TensorBytes(codec.type, rows.length);
  }
  return differing;
}

void CheckRows(const quant::Codec& codec, const Rows& rows) {
  constexpr std::size_t kMisaligned = 1;
  const std::size_t bytes = *gguf::TensorBytes(codec.type, rows.values.size());
  std::vector<std::byte> expected(bytes);
  const std::uint64_t expected_differing = EncodeScalar(codec, rows, expected.data());
  ForEachSimdTarget([&] {
    std::vector<std::byte> target(2 * kGuardBytes + bytes, kGuard);
    std::byte* const out = target.data() + kMisaligned;
    const std::uint64_t differing =
        kernels::EncodeRows(codec.type, rows.values, rows.length, rows.importance, rows.exact, out);
    const auto [at, _] = std::mismatch(expected.begin(), expected.end(), out);
    ASSERT_EQ(at - expected.begin(), static_cast<std::ptrdiff_t>(bytes))
        << "first byte that differs";
    ASSERT_EQ(differing, expected_differing);
    ASSERT_EQ(target[0], kGuard);
    ASSERT_TRUE(std::all_of(out + bytes, target.data() + target.size(),
                            [](std::byte b) { return b == kGuard; }));
  });
}

// Elements of a draw: enough blocks to fill the widest vectors and to leave some over, of the types
// with slow searches fewer.
std::size_t ElementsFor(gguf::TensorType type) {
  const gguf::TensorTypeInfo& info = gguf::InfoOf(type);
  const bool is_slow = info.name.starts_with("IQ") && type != gguf::TensorType::kIQ4_NL &&
                       type != gguf::TensorType::kIQ4_XS;
  return is_slow ? 8192 : info.block_elements == 256 ? 16384 : 8192;
}

// How often all distributions are drawn: as many times as the environment asks for.
std::uint64_t Rounds() {
  constexpr std::uint64_t kDefault = 5;  // each distribution with each kind of importance
  const char* const rounds = std::getenv("SLUICE_TEST_ROUNDS");
  return rounds ? std::strtoull(rounds, nullptr, 10) : kDefault;
}

class QuantKernels : public ::testing::TestWithParam<const quant::Codec*> {
 protected:
  const quant::Codec& codec() const { return *GetParam(); }
  std::size_t block() const { return gguf::InfoOf(codec().type).block_elements; }

  // Rows of any number and length, without importance or with one of the kinds.
  void CheckDraw(const Distribution& values, const Distribution* importance, Random& random) {
    const std::size_t elements = ElementsFor(codec().type);
    const std::size_t length = block() * random.Between(1, elements / block());
    const std::size_t num_rows = random.Between(1, elements / length);
    const std::vector<float> x = Draw(values, length * num_rows + 1, random);
    const auto misaligned = std::span(x).subspan(1);
    std::vector<float> weights;
    if (importance != nullptr) weights = Draw(*importance, length, random);
    CheckRows(codec(), {misaligned, length, weights, random.OneIn(2)});
    num_blocks_ += misaligned.size() / block();
  }

  // The kinds of importance that make a difference to the type; nullptr: without.
  std::vector<const Distribution*> Importances() const {
    std::vector<const Distribution*> kinds;
    if (codec().importance != Importance::kRequired) kinds.push_back(nullptr);
    for (const Distribution& importance : kImportances) kinds.push_back(&importance);
    if (codec().importance == Importance::kIgnored) kinds.resize(2);
    return kinds;
  }

  std::size_t num_blocks_ = 0;
};

TEST_P(QuantKernels, GiveTheBytesOfTheScalarCodec) {
  const std::vector<const Distribution*> importances = Importances();
  for (std::uint64_t round = 1; round <= Rounds(); ++round) {
    Random random(round);
    std::uint64_t kind = round;
    for (const Distribution& values : kDistributions) {
      const Distribution* const importance = importances[kind++ % importances.size()];
      SCOPED_TRACE(::testing::Message() << "round " << round << ", " << values.name << ", "
                                        << (importance ? importance->name : "no importance"));
      ASSERT_NO_FATAL_FAILURE(CheckDraw(values, importance, random));
    }
  }
  RecordProperty("blocks", std::to_string(num_blocks_));
}

TEST_P(QuantKernels, EncodeOneBlock) {
  Random random(2);
  const std::vector<float> x = Draw(kDistributions[0], block(), random);
  const std::vector<float> weights = Draw(kImportances[0], block(), random);
  CheckRows(codec(), {x, block(), weights, true});
}

std::string CodecName(const ::testing::TestParamInfo<const quant::Codec*>& info) {
  return std::string(gguf::InfoOf(info.param->type).name);
}

INSTANTIATE_TEST_SUITE_P(Types, QuantKernels,
                         ::testing::ValuesIn(quant::Codecs().begin(), quant::Codecs().end()),
                         CodecName);

// log2f rounds up to the power of two just below it, from where depends on the exponent.
TEST(QuantKernelsMXFP4, FindsTheExponentNextToEveryPowerOfTwo) {
  constexpr int kSteps = 66;
  const quant::Codec& codec = *quant::FindCodec(gguf::TensorType::kMXFP4);
  const std::size_t block = gguf::InfoOf(codec.type).block_elements;
  for (int exponent = -149; exponent <= 127; ++exponent) {
    const auto power = std::bit_cast<std::uint32_t>(std::ldexp(1.0F, exponent));
    const std::uint32_t first = power < kSteps ? 0 : power - kSteps;
    std::vector<float> x;
    for (std::uint32_t bits = first; bits <= power + 2; ++bits) {
      x.push_back(std::bit_cast<float>(bits));
      x.resize(x.size() + block - 1, std::bit_cast<float>(bits) / 3);
    }
    ASSERT_NO_FATAL_FAILURE(CheckRows(codec, {x, x.size(), {}, true})) << "2^" << exponent;
  }
}

// Around every border between two codes of IQ4, where the nearest one changes.
TEST(QuantKernelsIq4, ChoosesTheNearestCodeNextToEveryBorder) {
  constexpr float kBorders[] = {-115.5F, -93.5F, -74,   -57,   -42, -28.5F, -16, -4.5F,
                                7,       19,     31.5F, 45.5F, 61,  79,     101};
  const quant::Codec& codec = *quant::FindCodec(gguf::TensorType::kIQ4_NL);
  const std::size_t block = gguf::InfoOf(codec.type).block_elements;
  // The scale that is found is exactly 1: all elements with a weight are values of codes.
  std::vector<float> x;
  for (const float border : kBorders) {
    float value = border;
    for (int step = 0; step < 8; ++step) value = std::nextafter(value, -200.0F);
    for (int step = -8; step <= 8; ++step) {
      x.resize(x.size() + block - 2, 1.0F);
      x.insert(x.end(), {-127.0F, value});
      value = std::nextafter(value, 200.0F);
    }
  }
  std::vector<float> weights(x.size(), 1.0F);
  for (std::size_t i = block - 1; i < weights.size(); i += block) weights[i] = 0;
  CheckRows(codec, {x, x.size(), weights, true});
}

// ---- What has fast encoders ---------------------------------------------------------------------

TEST(QuantKernelsTypes, AllButF32HaveFastEncoders) {
  for (const quant::Codec* codec : quant::Codecs()) {
    EXPECT_EQ(kernels::HasFastEncoder(codec->type), codec->type != gguf::TensorType::kF32)
        << gguf::InfoOf(codec->type).name;
  }
  EXPECT_EQ(quant::Codecs().size(), 28);
}

// That the comparisons above are of as many encoders as this processor can run.
TEST(QuantKernelsTypes, TargetsAreThoseOfTheProcessor) {
  const std::vector<std::int64_t> targets = hwy::SupportedAndGeneratedTargets();
  const auto has = [&](std::int64_t target) { return std::ranges::count(targets, target) == 1; };
  EXPECT_TRUE(has(HWY_SCALAR) || has(HWY_EMU128));
#if defined(__x86_64__)
  EXPECT_TRUE(has(HWY_SSE4));
  EXPECT_EQ(has(HWY_AVX2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  EXPECT_EQ(has(HWY_AVX3),
            __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
#endif
}

}  // namespace
}  // namespace sluice
