// Release ranges: what a slab leaves behind is what no later slab of its tensor touches.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "result_matchers.h"
#include "tests/stages/expr_fixture.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words

// For each byte of a shard: the last slab that touches it through a segment, and the slab that
// released it, both -1 for none.
struct ByteHistory {
  std::vector<std::ptrdiff_t> touched;
  std::vector<std::ptrdiff_t> released;
};

// Cuts an expression at random places and records, segment by segment, what happens to its bytes.
std::vector<ByteHistory> RunThrough(const KnownExpr& known, const RandomShards& shards,
                                    const SourceSet& sources, Random& random) {
  std::vector<ByteHistory> histories(known.expr.segments.size());
  for (std::size_t s = 0; s < histories.size(); ++s) {
    const std::size_t bytes = shards.contents()[known.expr.segments[s].shard].size();
    histories[s] = {std::vector<std::ptrdiff_t>(bytes, -1), std::vector<std::ptrdiff_t>(bytes, -1)};
  }
  SlabBuffers buffers;
  const std::uint64_t longest = random.Between(1, known.expr.elements);
  std::ptrdiff_t number = 0;
  for (std::uint64_t first = 0; first < known.expr.elements; ++number) {
    const std::uint64_t count = std::min(random.Between(1, longest), known.expr.elements - first);
    Slab slab = MakeSlab(known.expr, first, count, buffers);
    EXPECT_THAT(Read(sources, slab), IsOk());
    EXPECT_EQ(slab.behind.size(), slab.pieces.size());
    for (std::size_t p = 0; p < slab.pieces.size(); ++p) {
      const Segment& segment = *slab.pieces[p].segment;
      const auto s = static_cast<std::size_t>(&segment - known.expr.segments.data());
      const std::uint64_t begin = segment.end - known.elements[s].size();
      const std::uint64_t width = DtypeBytes(segment.dtype);
      for (std::uint64_t i = std::max(first, begin); i < std::min(first + count, segment.end);
           ++i) {
        const std::uint64_t byte = segment.byte_offset + known.elements[s][i - begin] * width;
        std::fill_n(histories[s].touched.begin() + static_cast<std::ptrdiff_t>(byte), width,
                    number);
      }
      const ReleaseRange& range = slab.behind[p];
      EXPECT_EQ(range.shard, segment.shard);
      if (range.bytes == 0) continue;
      EXPECT_LE(range.offset + range.bytes, histories[s].released.size());
      std::fill_n(histories[s].released.begin() + static_cast<std::ptrdiff_t>(range.offset),
                  range.bytes, number);
    }
    first += count;
  }
  return histories;
}

TEST(ReleaseRange, NeverCoversWhatALaterSlabTouchesAndTogetherCoversEverything) {
  Random random(51);
  const RandomShards shards(random, 2, 80 * 1024);
  const SourceSet sources = shards.Open(Sources::kMapped);
  ExprMaker maker(random, shards);
  for (int i = 0; i < 150; ++i) {
    const KnownExpr known = maker.Make();
    for (const ByteHistory& history : RunThrough(known, shards, sources, random)) {
      for (std::size_t byte = 0; byte < history.touched.size(); ++byte) {
        if (history.touched[byte] < 0) continue;
        ASSERT_GE(history.released[byte], history.touched[byte])
            << "expression " << i << ", byte " << byte;
      }
    }
  }
}

TEST(ReleaseRange, OfARunIsTheRun) {
  Random random(52);
  const RandomShards shards(random, 1, 4096);
  const SourceSet sources = shards.Open(Sources::kMapped);
  TensorExpr expr;
  const std::vector<std::uint64_t> shape{100};
  expr.segments = {{0, 12, Dtype::kF32, StridedView::Whole(shape).Coalesced(), 100}};
  expr.elements = 100;
  SlabBuffers buffers;
  Slab slab = MakeSlab(expr, 30, 20, buffers);
  ASSERT_THAT(Read(sources, slab), IsOk());
  ASSERT_EQ(slab.behind.size(), 1);
  EXPECT_EQ(slab.behind[0].offset, 12 + 30 * 4);
  EXPECT_EQ(slab.behind[0].bytes, 20 * 4);
}

TEST(ReleaseRange, OfATranspositionComesWithTheLastSlab) {
  // Every target row touches every source row, so hardly anything is behind before the end.
  Random random(53);
  const RandomShards shards(random, 1, 4096);
  const SourceSet sources = shards.Open(Sources::kMapped);
  TensorExpr expr;
  const std::vector<std::uint64_t> shape{10, 8};
  StridedView view = StridedView::Whole(shape);
  view.Swap(0, 1);
  expr.segments = {{0, 0, Dtype::kF32, view.Coalesced(), 80}};
  expr.elements = 80;
  expr.row_elements = 10;
  SlabBuffers buffers;
  Slab first = MakeSlab(expr, 0, 40, buffers);
  ASSERT_THAT(Read(sources, first), IsOk());
  EXPECT_EQ(first.behind[0].offset, 0);
  EXPECT_EQ(first.behind[0].bytes, 4 * 4);  // columns 0 to 3 of row 0
  Slab last = MakeSlab(expr, 40, 40, buffers);
  ASSERT_THAT(Read(sources, last), IsOk());
  EXPECT_EQ(last.behind[0].offset, 4 * 4);
  EXPECT_EQ(last.behind[0].bytes, 76 * 4);
}

TEST(ReleaseRange, IsReadAgainAfterItsRelease) {
  // Releasing is about residence only: a tensor that shares the source still gets its bytes.
  Random random(54);
  const RandomShards shards(random, 1, 80 * 1024);
  const SourceSet sources = shards.Open(Sources::kMapped);
  sources.Release(0, 0, 80 * 1024);
  const auto bytes = sources.Bytes(0);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), shards.contents()[0].begin()));
  EXPECT_THAT(sources.CheckIntact(0), IsOk());
}

}  // namespace
}  // namespace sluice
