// Scales that are no numbers: found wherever the decoder would meet them.
#include "formats/quant/scales.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "formats/quant/codec.h"
#include "tests/stages/random.h"

namespace sluice::quant {
namespace {

using gguf::TensorType;
using testing::Random;

bool IsFloat(TensorType type) {
  return type == TensorType::kF32 || type == TensorType::kF16 || type == TensorType::kBF16;
}

TEST(FindUnusableBlock, FindsWhatTheDecoderCannotUse) {
  // The scale is the only thing in a block that can make a value infinite or NaN, and does so. FP4
  // blocks have no F16 scale.
  Random random(171);
  for (const Codec* codec : Codecs()) {
    const gguf::TensorTypeInfo& info = gguf::InfoOf(codec->type);
    if (IsFloat(codec->type) || codec->type == TensorType::kMXFP4) continue;
    std::size_t found = 0;
    for (int i = 0; i < 3000; ++i) {
      const std::vector<std::byte> block = random.Bytes(info.block_bytes);
      std::vector<float> values(info.block_elements);
      codec->decode(block.data(), values);
      const bool is_usable = std::ranges::all_of(values, [](float x) { return std::isfinite(x); });
      ASSERT_EQ(FindUnusableBlock(codec->type, block).has_value(), !is_usable) << info.name;
      found += is_usable ? 0 : 1;
    }
    EXPECT_EQ(found > 0, codec->type != TensorType::kNVFP4) << info.name;
  }
}

TEST(FindUnusableBlock, GivesTheFirst) {
  const gguf::TensorTypeInfo& info = gguf::InfoOf(TensorType::kQ8_0);
  std::vector<std::byte> blocks(5 * info.block_bytes);
  EXPECT_EQ(FindUnusableBlock(TensorType::kQ8_0, blocks), std::nullopt);
  blocks[4 * info.block_bytes + 1] = std::byte{0xFC};  // minus infinity
  EXPECT_EQ(FindUnusableBlock(TensorType::kQ8_0, blocks), 4);
  blocks[2 * info.block_bytes + 1] = std::byte{0x7E};  // NaN
  EXPECT_EQ(FindUnusableBlock(TensorType::kQ8_0, blocks), 2);
  EXPECT_EQ(FindUnusableBlock(TensorType::kQ8_0, {}), std::nullopt);
}

TEST(FindUnusableBlock, TheLastExponentOfMxfp4IsNone) {
  std::vector<std::byte> blocks(2 * gguf::InfoOf(TensorType::kMXFP4).block_bytes);
  blocks[17] = std::byte{254};
  EXPECT_EQ(FindUnusableBlock(TensorType::kMXFP4, blocks), std::nullopt);
  blocks[17] = std::byte{255};
  EXPECT_EQ(FindUnusableBlock(TensorType::kMXFP4, blocks), 1);
}

TEST(FindUnusableBlock, ValuesTooLargeForTheScale) {
  // 1e30 / 127 is no F16.
  std::vector<float> row(64, 1.0F);
  row[40] = 1e30F;
  std::vector<std::byte> blocks(*gguf::TensorBytes(TensorType::kQ8_0, row.size()));
  kCodecQ8_0.encode(row, {}, false, blocks.data());
  EXPECT_EQ(FindUnusableBlock(TensorType::kQ8_0, blocks), 1);
}

}  // namespace
}  // namespace sluice::quant
