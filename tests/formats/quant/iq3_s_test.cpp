// IQ3_S and the reference's defect: after a sub-block of zeros it writes codes to the wrong place.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "formats/quant/codec.h"
#include "golden_vectors.h"
#include "random_rows.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kBlock = 256;
constexpr std::size_t kSub = 32;
constexpr std::size_t kBlockBytes = 110;

using testing::Encoded;

Encoded Encode(std::span<const float> row, bool exact) {
  return testing::EncodeRows(kCodecIQ3_S, row, row.size(), {}, exact);
}

double SquaredError(std::span<const float> x, std::span<const float> y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double e = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += e * e;
  }
  return sum;
}

bool BlockDiffers(const Encoded& a, const Encoded& b, std::size_t block) {
  const std::size_t at = block * kBlockBytes;
  return !std::equal(a.bytes.begin() + at, a.bytes.begin() + at + kBlockBytes,
                     b.bytes.begin() + at);
}

std::uint64_t CountDifferingBlocks(const Encoded& a, const Encoded& b) {
  std::uint64_t count = 0;
  for (std::size_t block = 0; block < a.bytes.size() / kBlockBytes; ++block) {
    count += BlockDiffers(a, b, block) ? 1 : 0;
  }
  return count;
}

// Normal blocks whose sub-blocks are zeros where a bit of the block's number is set.
std::vector<float> BlocksWithZeros() {
  testing::RandomRows random(1);
  std::vector<float> row = random.NormalRow(256 * kBlock, 0.05F);
  for (std::size_t i = 0; i < row.size(); ++i) {
    if ((i / kBlock >> (i % kBlock / kSub) & 1) != 0) row[i] = 0;
  }
  return row;
}

TEST(IQ3_S, CountsTheBlocksThatTheReferenceGetsWrong) {
  const std::vector<float> row = BlocksWithZeros();
  const Encoded ours = Encode(row, /*exact=*/false);
  const Encoded reference = Encode(row, /*exact=*/true);
  // All but those whose zeros have nothing behind them: block numbers of k high bits set, k = 0
  // .. 8.
  EXPECT_EQ(ours.differing_blocks, 256 - 9);
  EXPECT_EQ(reference.differing_blocks, ours.differing_blocks);
  EXPECT_EQ(CountDifferingBlocks(ours, reference), ours.differing_blocks);
}

TEST(IQ3_S, DecodesRightWhereTheReferenceIsWrong) {
  const std::vector<float> row = BlocksWithZeros();
  const Encoded ours = Encode(row, /*exact=*/false);
  const Encoded reference = Encode(row, /*exact=*/true);
  const auto our_values = testing::Decode(kCodecIQ3_S, ours.bytes, row.size());
  const auto reference_values = testing::Decode(kCodecIQ3_S, reference.bytes, row.size());
  const std::vector<float> zeros(kBlock);
  for (std::size_t block = 0; block + 1 < row.size() / kBlock; ++block) {
    const auto part = [&](const std::vector<float>& values) {
      return std::span(values).subspan(block * kBlock, kBlock);
    };
    const double energy = SquaredError(part(row), zeros);
    const double error = SquaredError(part(row), part(our_values));
    const double reference_error = SquaredError(part(row), part(reference_values));
    EXPECT_LT(error, 0.06 * energy) << block;
    if (BlockDiffers(ours, reference, block)) {
      EXPECT_GT(reference_error, 3 * error) << block;
    }
  }
}

TEST(IQ3_S, GoldenRowsDifferOnlyWhereCounted) {
  const testing::QuantGolden& golden = testing::Golden();
  for (const bool weighted : {false, true}) {
    const auto importance = weighted ? std::span(golden.importance) : std::span<const float>();
    const Encoded ours = testing::EncodeRows(kCodecIQ3_S, golden.inputs, golden.row_elements,
                                             importance, /*exact=*/false);
    const Encoded reference = testing::EncodeRows(kCodecIQ3_S, golden.inputs, golden.row_elements,
                                                  importance, /*exact=*/true);
    EXPECT_GT(ours.differing_blocks, 0);
    EXPECT_EQ(CountDifferingBlocks(ours, reference), ours.differing_blocks);
  }
}

}  // namespace
}  // namespace sluice::quant
