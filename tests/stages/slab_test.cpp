// How expressions are cut into slabs.
#include "stages/slab.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stages/packed.h"
#include "tests/stages/expr_fixture.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Le;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

// The element counts of all slabs of an expression. Stops at a slab without progress.
std::vector<std::uint64_t> CutAll(const TensorExpr& expr, const SlabCost& cost,
                                  std::uint64_t max_bytes) {
  std::vector<std::uint64_t> counts;
  for (std::uint64_t first = 0; first < expr.elements; first += counts.back()) {
    counts.push_back(NextSlabElements(expr, cost, first, max_bytes));
    if (counts.back() == 0) break;
  }
  return counts;
}

TEST(NextSlabElements, CoversRandomExpressionsWithinTheBudget) {
  Random random(61);
  const RandomShards shards(random, 2, 80 * 1024);
  for (const Sources kind : {Sources::kMapped, Sources::kRead}) {
    const SourceSet sources = shards.Open(kind);
    ExprMaker maker(random, shards);
    for (int i = 0; i < 400; ++i) {
      const TensorExpr expr = maker.Make().expr;
      const SlabCost cost = CostOf(expr, sources);
      const std::uint64_t max_bytes =
          random.Between(1, 2 * SlabBytes(expr, cost, expr.elements) + 1);
      std::uint64_t first = 0;
      for (const std::uint64_t count : CutAll(expr, cost, max_bytes)) {
        ASSERT_GT(count, 0);
        const std::uint64_t bytes = SlabBytes(expr, cost, count);
        ASSERT_TRUE(bytes <= max_bytes || count == 1) << bytes << " of " << max_bytes;
        first += count;
      }
      ASSERT_EQ(first, expr.elements);
    }
  }
}

// One contiguous source of `rows` x `columns`; only arithmetic, no memory of that size.
TensorExpr Matrix(Dtype dtype, gguf::TensorType type, std::uint64_t rows, std::uint64_t columns) {
  TensorExpr expr;
  const std::vector<std::uint64_t> shape{rows, columns};
  expr.segments = {{0, 0, dtype, StridedView::Whole(shape).Coalesced(), rows * columns}};
  expr.type = type;
  expr.elements = rows * columns;
  expr.row_elements = columns;
  return expr;
}

TensorExpr Transposed(std::uint64_t rows, std::uint64_t columns) {
  TensorExpr expr = Matrix(Dtype::kBF16, gguf::TensorType::kBF16, rows, columns);
  const std::vector<std::uint64_t> shape{columns, rows};
  StridedView view = StridedView::Whole(shape);
  view.Swap(0, 1);
  expr.segments.front().view = view.Coalesced();
  return expr;
}

// A stack of `count` equal experts.
TensorExpr Stack(std::uint64_t count, std::uint64_t elements, std::uint64_t row) {
  TensorExpr expr;
  const std::vector<std::uint64_t> shape{elements};
  for (std::uint64_t i = 1; i <= count; ++i) {
    expr.segments.push_back(
        {0, 0, Dtype::kF32, StridedView::Whole(shape).Coalesced(), i * elements});
  }
  expr.type = gguf::TensorType::kF16;
  expr.elements = count * elements;
  expr.row_elements = row;
  return expr;
}

constexpr SlabCost kEncodes{0, 0, true};
constexpr SlabCost kGathers{0, 2, false};

TEST(NextSlabElements, WholeRowsWhenARowFits) {
  Random random(62);
  for (int i = 0; i < 500; ++i) {
    const std::uint64_t columns = random.Between(1, 3000);
    const TensorExpr expr =
        Matrix(Dtype::kF32, gguf::TensorType::kF16, random.Between(1, 500), columns);
    const std::uint64_t max_bytes = random.Between(2 * columns, 40 * columns);
    for (const std::uint64_t count : CutAll(expr, kEncodes, max_bytes)) {
      ASSERT_EQ(count % columns, 0);
      ASSERT_LE(2 * count, max_bytes);
    }
  }
}

TEST(NextSlabElements, PartsOfARowWhenNoRowFits) {
  const TensorExpr expr = Matrix(Dtype::kF32, gguf::TensorType::kF16, 3, 1000);
  const std::vector<std::uint64_t> counts = CutAll(expr, kEncodes, 500);
  EXPECT_EQ(counts.front(), 250);
  EXPECT_THAT(counts, Each(Le(250)));
}

TEST(NextSlabElements, OneBlockEvenBeyondTheBudget) {
  const TensorExpr expr = Matrix(Dtype::kF64, gguf::TensorType::kF32, 2, 3);
  EXPECT_THAT(CutAll(expr, {8, 8, true}, 7), ElementsAre(1, 1, 1, 1, 1, 1));
}

TEST(NextSlabElements, StopsAtTheEndOfALargeSegment) {
  const TensorExpr expr = Stack(3, 1000, 100);
  EXPECT_THAT(CutAll(expr, kEncodes, 2 * 400),
              ElementsAre(400, 400, 200, 400, 400, 200, 400, 400, 200));
}

TEST(NextSlabElements, TakesSeveralSmallSegmentsAtOnce) {
  const TensorExpr expr = Stack(10, 100, 100);
  EXPECT_THAT(CutAll(expr, kEncodes, 2 * 450), ElementsAre(400, 400, 200));
  EXPECT_THAT(CutAll(expr, kEncodes, kMiB), ElementsAre(1000));
}

TEST(NextSlabElements, StaysModestWhenMemoryIsPlentiful) {
  // Many slabs of some MiB each: cores share one large tensor, and progress moves.
  constexpr std::uint64_t kPlenty = std::uint64_t{1} << 40;
  const TensorExpr copied = Matrix(Dtype::kBF16, gguf::TensorType::kBF16, 100'000, 4096);
  for (const std::uint64_t count :
       {NextSlabElements(copied, {}, 0, kPlenty), NextSlabElements(copied, {}, 4096, kPlenty)}) {
    EXPECT_GE(2 * count, kMiB);
    EXPECT_LE(2 * count, 8 * kMiB);
  }
  const TensorExpr transposed = Transposed(100'000, 4096);
  const std::uint64_t count = NextSlabElements(transposed, kGathers, 0, kPlenty);
  EXPECT_GE(2 * count, kMiB);
  EXPECT_LE(2 * count, 8 * kMiB);
}

TEST(NextSlabElements, TranspositionsTakeLongRunsFromEachSourceRow) {
  // 14336 source rows: a slab of 2 MiB would take only 73 elements, 146 bytes, from each.
  constexpr std::uint64_t kPlenty = std::uint64_t{1} << 40;
  const TensorExpr expr = Transposed(20'000, 14336);
  const std::uint64_t rows = NextSlabElements(expr, kGathers, 0, kPlenty) / 14336;
  EXPECT_GE(2 * rows, 256);
  // The budget still comes first.
  EXPECT_LE(2 * NextSlabElements(expr, kGathers, 0, kMiB), kMiB);
}

TEST(NextSlabElements, CountsBeyond32Bits) {
  const TensorExpr expr =
      Matrix(Dtype::kBF16, gguf::TensorType::kBF16, std::uint64_t{1} << 32, 1 << 10);
  const std::uint64_t almost = expr.elements - 1024;
  EXPECT_EQ(NextSlabElements(expr, {}, almost, kMiB), 1024);
}

TEST(SlabCost, NothingForAMappedCopy) {
  Random random(63);
  const RandomShards shards(random, 1, 4096);
  const TensorExpr expr = Matrix(Dtype::kBF16, gguf::TensorType::kBF16, 4, 8);
  EXPECT_EQ(SlabBytes(expr, CostOf(expr, shards.Open(Sources::kMapped)), 32), 0);
  EXPECT_EQ(SlabBytes(expr, CostOf(expr, shards.Open(Sources::kRead)), 32), 64);
}

TEST(SlabCost, AddsUpWhatEachStageHolds) {
  Random random(64);
  const RandomShards shards(random, 1, 4096);
  TensorExpr expr = Transposed(8, 4);
  expr.type = gguf::TensorType::kF32;
  const SlabCost mapped = CostOf(expr, shards.Open(Sources::kMapped));
  EXPECT_EQ(SlabBytes(expr, mapped, 10), 10 * (2 + 4));  // gathered and encoded
  const SlabCost read = CostOf(expr, shards.Open(Sources::kRead));
  EXPECT_EQ(SlabBytes(expr, read, 10), 10 * (2 + 2 + 4));  // staged, too
}

TEST(SlabCost, CountsWhatIsReadAheadOfPackedSources) {
  Random random(66);
  const RandomShards shards(random, 1, 4096);
  PackedSource packed{1, 4, 8};
  packed.codes.bytes = 32;
  packed.scales.bytes = kMiB;
  TensorExpr expr = Matrix(Dtype::kF32, gguf::TensorType::kF32, 4, 8);
  expr.segments.front().packed = std::make_shared<const PackedSource>(packed);
  const SlabCost mapped = CostOf(expr, shards.Open(Sources::kMapped));
  EXPECT_EQ(SlabBytes(expr, mapped, 10), 10 * 4);  // the values
  const SlabCost read = CostOf(expr, shards.Open(Sources::kRead));
  EXPECT_EQ(read.reader_bytes, 32 + 64 * 1024);
  EXPECT_EQ(SlabBytes(expr, read, 10), 10 * 4 + read.reader_bytes);
}

TEST(SlabCost, OfAStackIsThatOfItsWorstSegment) {
  Random random(65);
  const RandomShards shards(random, 1, 4096);
  TensorExpr expr = Stack(2, 10, 10);
  expr.type = gguf::TensorType::kF32;  // as the sources are
  EXPECT_EQ(SlabBytes(expr, CostOf(expr, shards.Open(Sources::kMapped)), 10), 0);
  expr.segments[1].dtype = Dtype::kF64;
  const SlabCost cost = CostOf(expr, shards.Open(Sources::kRead));
  EXPECT_EQ(cost.staging_bytes, 8);
  EXPECT_TRUE(cost.encodes);
}

}  // namespace
}  // namespace sluice
