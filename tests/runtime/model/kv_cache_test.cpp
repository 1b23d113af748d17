#include "runtime/model/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/kernels/multiply.h"

namespace sluice::runtime {
namespace {

using gguf::TensorType;
using ::testing::Each;
using ::testing::ElementsAre;

constexpr std::uint32_t kBlock = KvCache::kBlockTokens;

// A row that says where it belongs.
std::vector<float> RowOf(std::uint32_t layer, std::uint32_t position) {
  return {static_cast<float>(layer), static_cast<float>(position), 0.5F};
}

void WriteAll(KvCache& cache, KvCache::Sequence& sequence, std::uint32_t first) {
  for (std::uint32_t layer = 0; layer < 2; ++layer) {
    for (std::uint32_t position = first; position < sequence.length(); ++position) {
      cache.Write(sequence, layer, position, RowOf(layer, position));
    }
  }
}

std::vector<float> ReadRow(const KvCache& cache, const KvCache::Sequence& sequence,
                           std::uint32_t layer, std::uint32_t position) {
  std::vector<float> row(3);
  const std::uint64_t at = position % kBlock;
  DecodeRows(cache.Rows(sequence, layer, position / kBlock), {at, at + 1}, row.data());
  return row;
}

TEST(KvCache, KeepsRowsOfEveryTypeLayerAndPosition) {
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    KvCache cache({2, 3, type});
    KvCache::Sequence sequence;
    cache.Grow(sequence, 100);
    WriteAll(cache, sequence, 0);
    cache.Grow(sequence, 100);
    WriteAll(cache, sequence, 100);
    for (std::uint32_t layer = 0; layer < 2; ++layer) {
      for (const std::uint32_t position : {0U, 99U, 100U, 127U, 128U, 199U}) {
        EXPECT_EQ(ReadRow(cache, sequence, layer, position), RowOf(layer, position));
      }
    }
  }
}

TEST(KvCache, RoundsToItsType) {
  KvCache cache({1, 3, TensorType::kBF16});
  KvCache::Sequence sequence;
  cache.Grow(sequence, 1);
  cache.Write(sequence, 0, 0, std::vector<float>{1.003F, 257, -3});
  EXPECT_THAT(ReadRow(cache, sequence, 0, 0), ElementsAre(1, 256, -3));
}

TEST(KvCache, BlocksEndWithTheSequence) {
  KvCache cache({1, 3, TensorType::kF32});
  KvCache::Sequence sequence;
  cache.Grow(sequence, kBlock + 7);
  EXPECT_EQ(cache.Rows(sequence, 0, 0).rows, kBlock);
  EXPECT_EQ(cache.Rows(sequence, 0, 1).rows, 7);
  EXPECT_EQ(cache.bytes_per_token(), 3 * sizeof(float));
}

TEST(KvCache, TruncatingKeepsWhatIsInFront) {
  KvCache cache({2, 3, TensorType::kF32});
  KvCache::Sequence sequence;
  cache.Grow(sequence, 2 * kBlock);
  WriteAll(cache, sequence, 0);
  cache.Truncate(sequence, kBlock - 1);
  EXPECT_EQ(sequence.length(), kBlock - 1);
  EXPECT_EQ(cache.Rows(sequence, 1, 0).rows, kBlock - 1);
  EXPECT_EQ(ReadRow(cache, sequence, 1, kBlock - 2), RowOf(1, kBlock - 2));
  cache.Truncate(sequence, 0);
  EXPECT_EQ(sequence.length(), 0U);
}

TEST(KvCache, BlocksOfOneSequenceServeAnother) {
  KvCache cache({1, 3, TensorType::kF32});
  KvCache::Sequence first;
  KvCache::Sequence second;
  cache.Grow(first, 1);
  const std::byte* const block = cache.Rows(first, 0, 0).data;
  cache.Truncate(first, 0);
  cache.Grow(second, 1);
  EXPECT_EQ(cache.Rows(second, 0, 0).data, block);
  cache.Grow(first, 1);
  EXPECT_NE(cache.Rows(first, 0, 0).data, block);
}

}  // namespace
}  // namespace sluice::runtime
