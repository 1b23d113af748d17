// What holds for every codec, whatever its format.
#include "formats/quant/codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "golden_vectors.h"
#include "random_rows.h"

namespace sluice::quant {
namespace {

using gguf::TensorType;

constexpr std::size_t kRowElements = 1024;

std::string NameOf(const Codec& codec) { return std::string(gguf::InfoOf(codec.type).name); }

std::vector<std::byte> EncodeRow(const Codec& codec, std::span<const float> row,
                                 std::span<const float> importance) {
  return testing::EncodeRows(codec, row, row.size(), importance, /*exact=*/false).bytes;
}

// Weights for the codecs that cannot do without.
std::span<const float> LeastImportance(const Codec& codec, std::span<const float> weights) {
  return codec.importance == Importance::kRequired ? weights : std::span<const float>();
}

TEST(Codecs, AreThereForEveryTypeThatHoldsWeights) {
  const std::vector<TensorType> others{TensorType::kQ8_1, TensorType::kQ8_K, TensorType::kI8,
                                       TensorType::kI16,  TensorType::kI32,  TensorType::kI64,
                                       TensorType::kF64};
  for (std::uint32_t number = 0; number < 64; ++number) {
    const gguf::TensorTypeInfo* const info = gguf::FindTensorType(number);
    if (info == nullptr) continue;
    const Codec* const codec = FindCodec(info->type);
    const bool holds_weights = std::find(others.begin(), others.end(), info->type) == others.end();
    ASSERT_EQ(codec != nullptr, holds_weights) << info->name;
    if (holds_weights) {
      EXPECT_EQ(codec->type, info->type);
    }
  }
}

TEST(Codecs, SayWhatImportanceMeans) {
  const std::vector<TensorType> required{TensorType::kIQ1_S, TensorType::kIQ2_XXS,
                                         TensorType::kIQ2_XS};
  const std::vector<TensorType> used{TensorType::kQ4_0,  TensorType::kQ4_1,   TensorType::kQ5_0,
                                     TensorType::kQ5_1,  TensorType::kQ2_K,   TensorType::kQ3_K,
                                     TensorType::kQ4_K,  TensorType::kQ5_K,   TensorType::kQ6_K,
                                     TensorType::kIQ1_M, TensorType::kIQ2_S,  TensorType::kIQ3_XXS,
                                     TensorType::kIQ3_S, TensorType::kIQ4_NL, TensorType::kIQ4_XS};
  const auto among = [](const std::vector<TensorType>& types, TensorType type) {
    return std::find(types.begin(), types.end(), type) != types.end();
  };
  for (const Codec* codec : Codecs()) {
    const Importance expected = among(required, codec->type) ? Importance::kRequired
                                : among(used, codec->type)   ? Importance::kUsed
                                                             : Importance::kIgnored;
    EXPECT_EQ(codec->importance, expected) << NameOf(*codec);
  }
}

TEST(Codecs, UseImportanceAsTheySay) {
  testing::RandomRows random(1);
  const auto row = random.NormalRow(kRowElements, 0.02F);
  const auto weights = random.PositiveRow(kRowElements);
  const auto others = random.PositiveRow(kRowElements);
  for (const Codec* codec : Codecs()) {
    const auto bytes = EncodeRow(*codec, row, weights);
    const bool same_for_others = bytes == EncodeRow(*codec, row, others);
    EXPECT_EQ(same_for_others, codec->importance == Importance::kIgnored) << NameOf(*codec);
    if (codec->importance == Importance::kRequired) continue;
    const bool same_without = bytes == EncodeRow(*codec, row, {});
    EXPECT_EQ(same_without, codec->importance == Importance::kIgnored) << NameOf(*codec);
  }
}

// Only the 32-element types of the first generation look at the whole row, and only with
// importance.
TEST(Codecs, EncodeSuperBlocksOfARowOnTheirOwn) {
  testing::RandomRows random(2);
  auto row = random.NormalRow(kRowElements, 0.02F);
  for (std::size_t i = kRowElements / 2; i < kRowElements; ++i) row[i] *= 8;
  const auto weights = random.PositiveRow(kRowElements);
  const std::vector<TensorType> row_wide{TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0,
                                         TensorType::kQ5_1};
  const auto in_halves = [](const Codec& codec, std::span<const float> x,
                            std::span<const float> importance) {
    constexpr std::size_t kHalf = kRowElements / 2;
    const bool none = importance.empty();
    auto bytes = EncodeRow(codec, x.first(kHalf), none ? importance : importance.first(kHalf));
    const auto rest = EncodeRow(codec, x.last(kHalf), none ? importance : importance.last(kHalf));
    bytes.insert(bytes.end(), rest.begin(), rest.end());
    return bytes;
  };
  for (const Codec* codec : Codecs()) {
    const bool is_row_wide =
        std::find(row_wide.begin(), row_wide.end(), codec->type) != row_wide.end();
    EXPECT_EQ(EncodeRow(*codec, row, weights) == in_halves(*codec, row, weights), !is_row_wide)
        << NameOf(*codec);
    if (codec->importance == Importance::kRequired) continue;
    EXPECT_EQ(EncodeRow(*codec, row, {}), in_halves(*codec, row, {})) << NameOf(*codec);
  }
}

TEST(Codecs, HaveNoDefectToReproduceExceptIQ3_S) {
  const testing::QuantGolden& golden = testing::Golden();
  for (const Codec* codec : Codecs()) {
    if (codec->type == TensorType::kIQ3_S) continue;
    const auto importance = LeastImportance(*codec, golden.importance);
    const auto ours = testing::EncodeRows(*codec, golden.inputs, golden.row_elements, importance,
                                          /*exact=*/false);
    const auto exact = testing::EncodeRows(*codec, golden.inputs, golden.row_elements, importance,
                                           /*exact=*/true);
    EXPECT_EQ(ours.bytes, exact.bytes) << NameOf(*codec);
    EXPECT_EQ(ours.differing_blocks, 0) << NameOf(*codec);
    EXPECT_EQ(exact.differing_blocks, 0) << NameOf(*codec);
  }
}

// No value may lead out of a table or a buffer. What the bytes are does not matter: plans refuse
// such tensors.
TEST(Codecs, StayInBoundsForAnyFloats) {
  constexpr std::byte kGuard{0xA5};
  constexpr std::size_t kElements = 512;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::array specials{kInfinity,
                            -kInfinity,
                            std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::max(),
                            std::numeric_limits<float>::denorm_min(),
                            1e19F,
                            -1e30F,
                            -0.0F};
  testing::RandomRows random(3);
  for (int round = 0; round < 24; ++round) {
    const auto row = random.Row(kElements, [&] {
      if (round % 3 == 0) return std::bit_cast<float>(random.Bits());
      return random.Bits() % 8 == 0 ? specials[random.Bits() % specials.size()] : random.Normal();
    });
    const auto weights = random.Row(kElements, [&] {
      return random.Bits() % 8 == 0 ? specials[random.Bits() % specials.size()] : random.Uniform();
    });
    for (const Codec* codec : Codecs()) {
      const std::size_t bytes = gguf::TensorBytes(codec->type, kElements).value();
      std::vector<std::byte> out(bytes + 2, kGuard);
      codec->encode(row, round % 2 == 0 ? LeastImportance(*codec, weights) : weights, false,
                    out.data() + 1);
      EXPECT_EQ(out.front(), kGuard) << NameOf(*codec);
      EXPECT_EQ(out.back(), kGuard) << NameOf(*codec);
    }
  }
}

TEST(Codecs, StayInBoundsForAnyBytes) {
  constexpr float kGuard = 12345;
  constexpr std::size_t kElements = 512;
  testing::RandomRows random(4);
  for (int round = 0; round < 24; ++round) {
    for (const Codec* codec : Codecs()) {
      std::vector<std::byte> bytes(gguf::TensorBytes(codec->type, kElements).value());
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.Bits() & 0xFF);
      std::vector<float> out(kElements + 2, kGuard);
      codec->decode(bytes.data(), std::span(out).subspan(1, kElements));
      EXPECT_EQ(out.front(), kGuard) << NameOf(*codec);
      EXPECT_EQ(out.back(), kGuard) << NameOf(*codec);
    }
  }
}

}  // namespace
}  // namespace sluice::quant
