// Read, Transform and Encode together: the bytes of random expressions, however they are cut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/quant/codec.h"
#include "result_matchers.h"
#include "tests/stages/expr_fixture.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words

constexpr std::size_t kSmallShardBytes = 96 * 1024;

class StageBytes : public ::testing::TestWithParam<Sources> {};

INSTANTIATE_TEST_SUITE_P(, StageBytes,
                         ::testing::Values(Sources::kMapped, Sources::kRead, Sources::kGenerated),
                         NameOf);

TEST_P(StageBytes, RandomExpressionsInRandomSlabs) {
  Random random(41);
  const RandomShards shards(random, 3, kSmallShardBytes);
  const SourceSet sources = shards.Open(GetParam());
  ExprMaker maker(random, shards);
  SlabBuffers buffers;  // reused as a token's are
  for (int i = 0; i < 300; ++i) {
    const KnownExpr known = maker.Make();
    const std::uint64_t longest = random.Between(1, known.expr.elements);
    std::string bytes;
    for (std::uint64_t first = 0; first < known.expr.elements;) {
      const std::uint64_t count = std::min(random.Between(1, longest), known.expr.elements - first);
      Slab slab = MakeSlab(known.expr, first, count, buffers);
      ASSERT_THAT(RunStages(sources, slab), IsOk());
      bytes += PayloadOf(slab);
      first += count;
    }
    ASSERT_EQ(bytes.size(), known.expr.bytes());
    ASSERT_EQ(bytes, known.bytes) << "expression " << i;
  }
}

TEST_P(StageBytes, AnnouncedBuffersAreEnough) {
  Random random(42);
  const RandomShards shards(random, 2, kSmallShardBytes);
  const SourceSet sources = shards.Open(GetParam());
  ExprMaker maker(random, shards);
  for (int i = 0; i < 200; ++i) {
    const KnownExpr known = maker.Make();
    const SlabCost cost = CostOf(known.expr, sources);
    const std::uint64_t first = random.Between(0, known.expr.elements - 1);
    const std::uint64_t count = random.Between(1, known.expr.elements - first);
    SlabBuffers buffers;
    Slab slab = MakeSlab(known.expr, first, count, buffers);
    slab.buffer_bytes = SlabBytes(known.expr, cost, count);
    ASSERT_THAT(RunStages(sources, slab), IsOk()) << "expression " << i;
  }
}

// A matrix of Q8_0 blocks somewhere in a shard.
TensorExpr BlockExpr(std::uint64_t rows, std::uint64_t row_elements, gguf::TensorType type) {
  const std::vector<std::uint64_t> shape{rows, row_elements};
  TensorExpr expr;
  expr.type = type;
  expr.row_elements = row_elements;
  expr.elements = rows * row_elements;
  expr.segments = {{0, 7, Dtype::kF32, StridedView::Whole(shape).Coalesced(), expr.elements,
                    gguf::TensorType::kQ8_0}};
  return expr;
}

TEST_P(StageBytes, BlocksOfTheTargetPassAndOthersAreDecoded) {
  constexpr std::uint64_t kNumRows = 40;
  constexpr std::uint64_t kRowElements = 96;
  Random random(48);
  const RandomShards shards(random, 1, kSmallShardBytes);
  const SourceSet sources = shards.Open(GetParam());
  const TensorExpr same = BlockExpr(kNumRows, kRowElements, gguf::TensorType::kQ8_0);
  TensorExpr floats = BlockExpr(kNumRows, kRowElements, gguf::TensorType::kF32);
  floats.quantizing = Quantizing{.rounded = gguf::TensorType::kQ8_0, .zero_non_finite = true};
  const std::byte* const blocks = shards.contents()[0].data() + 7;
  std::vector<float> values(same.elements);
  quant::kCodecQ8_0.decode(blocks, values);
  for (float& value : values) value = std::isfinite(value) ? value : 0.0F;
  const std::string_view passed(reinterpret_cast<const char*>(blocks), same.bytes());
  const std::string_view decoded(reinterpret_cast<const char*>(values.data()), floats.bytes());
  for (const auto& [expr, expected] : {std::pair(same, passed), std::pair(floats, decoded)}) {
    SlabBuffers buffers;
    std::string bytes;
    for (std::uint64_t first = 0; first < expr.elements;) {
      const std::uint64_t rows = random.Between(1, 9);
      const std::uint64_t count = std::min(rows * kRowElements, expr.elements - first);
      Slab slab = MakeSlab(expr, first, count, buffers);
      slab.buffer_bytes = SlabBytes(expr, CostOf(expr, sources), count);
      ASSERT_THAT(RunStages(sources, slab), IsOk());
      EXPECT_EQ(slab.behind.front().offset, 7 + first / 32 * 34);
      bytes += PayloadOf(slab);
      first += count;
    }
    EXPECT_TRUE(bytes == expected) << gguf::InfoOf(expr.type).name;
  }
}

TEST_P(StageBytes, OverflowIsCountedForTheSlab) {
  const std::vector<float> values{1.0F, 1e6F, -70000.0F, 65504.0F, 1e30F};
  Random random(43);
  const RandomShards shards(random, 1, 64);
  const std::string text = BytesOf(std::span<const float>(values));
  std::ofstream(shards.path(0), std::ios::binary) << text;
  const auto bytes = std::as_bytes(std::span(values));
  const bool is_file = GetParam() != Sources::kGenerated;
  std::vector<ShardFile> files;
  if (is_file) files.push_back(*StatShard(shards.path(0)));
  std::vector<std::vector<std::byte>> generated;
  if (!is_file) generated.emplace_back(bytes.begin(), bytes.end());
  const IoMode mode = GetParam() == Sources::kRead ? IoMode::kRead : IoMode::kMmap;
  const Result<SourceSet> sources = SourceSet::Open(files, mode, std::move(generated));
  ASSERT_THAT(sources, IsOk());

  TensorExpr expr;
  const std::vector<std::uint64_t> shape{values.size()};
  expr.segments = {{0, 0, Dtype::kF32, StridedView::Whole(shape).Coalesced(), values.size()}};
  expr.type = gguf::TensorType::kF16;
  expr.elements = values.size();
  SlabBuffers buffers;
  Slab slab = MakeSlab(expr, 1, 3, buffers);
  ASSERT_THAT(RunStages(*sources, slab), IsOk());
  EXPECT_EQ(slab.overflowed, 2);
}

TEST_P(StageBytes, TilesLongerThanTheEncodersOwn) {
  // Encode works in tiles of some thousand values; a segment and a slab may be longer.
  Random random(44);
  const RandomShards shards(random, 1, kSmallShardBytes);
  const SourceSet sources = shards.Open(GetParam());
  KnownExpr known;
  const std::vector<std::uint64_t> shape{3, 7001};
  known.expr.segments = {{0, 5, Dtype::kF16, StridedView::Whole(shape).Coalesced(), 21003}};
  known.expr.type = gguf::TensorType::kBF16;
  known.expr.elements = 21003;
  known.expr.row_elements = 7001;
  for (std::uint64_t i = 0; i < known.expr.elements; ++i) {
    AppendReference(known.expr, Dtype::kF16, shards.contents()[0].data() + 5 + 2 * i, known.bytes);
  }
  SlabBuffers buffers;
  Slab slab = MakeSlab(known.expr, 0, known.expr.elements, buffers);
  ASSERT_THAT(RunStages(sources, slab), IsOk());
  EXPECT_EQ(PayloadOf(slab), known.bytes);
}

// The part of the source that a zero-copy slab must point at.
TEST(ZeroCopy, ContiguousSlabsPointIntoTheMapping) {
  Random random(45);
  const RandomShards shards(random, 1, kSmallShardBytes);
  const SourceSet sources = shards.Open(Sources::kMapped);
  TensorExpr expr;
  const std::vector<std::uint64_t> shape{16, 100};
  StridedView view = StridedView::Whole(shape);
  view.Take(0, 4, 8);  // still contiguous
  expr.segments = {{0, 33, Dtype::kBF16, view.Coalesced(), 800}};
  expr.type = gguf::TensorType::kBF16;
  expr.elements = 800;
  expr.row_elements = 100;
  EXPECT_EQ(SlabBytes(expr, CostOf(expr, sources), 800), 0);
  SlabBuffers buffers;
  Slab slab = MakeSlab(expr, 150, 500, buffers);
  ASSERT_THAT(RunStages(sources, slab), IsOk());
  ASSERT_EQ(slab.payload.size(), 1);
  EXPECT_EQ(slab.payload.front().data(), sources.Bytes(0).data() + 33 + 2 * (400 + 150));
  EXPECT_EQ(slab.payload.front().size(), 1000);
}

TEST(ZeroCopy, StackedExpertsPointIntoTheMapping) {
  Random random(46);
  const RandomShards shards(random, 2, 4096);
  const SourceSet sources = shards.Open(Sources::kMapped);
  TensorExpr expr;
  const std::vector<std::uint64_t> shape{10};
  const StridedView view = StridedView::Whole(shape).Coalesced();
  expr.segments = {{1, 7, Dtype::kF32, view, 10}, {0, 500, Dtype::kF32, view, 20}};
  expr.elements = 20;
  SlabBuffers buffers;
  Slab slab = MakeSlab(expr, 4, 12, buffers);
  ASSERT_THAT(RunStages(sources, slab), IsOk());
  ASSERT_EQ(slab.payload.size(), 2);
  EXPECT_EQ(slab.payload[0].data(), sources.Bytes(1).data() + 7 + 16);
  EXPECT_EQ(slab.payload[0].size(), 24);
  EXPECT_EQ(slab.payload[1].data(), sources.Bytes(0).data() + 500);
  EXPECT_EQ(slab.payload[1].size(), 24);
}

TEST(ZeroCopy, NotWithAPointwiseStep) {
  Random random(47);
  const RandomShards shards(random, 1, 4096);
  const SourceSet sources = shards.Open(Sources::kMapped);
  TensorExpr expr;
  const std::vector<std::uint64_t> shape{10};
  expr.segments = {{0, 0, Dtype::kF32, StridedView::Whole(shape).Coalesced(), 10}};
  expr.elements = 10;
  expr.steps = {PointwiseStep::kOneMinus};
  EXPECT_EQ(SlabBytes(expr, CostOf(expr, sources), 10), 40);
  SlabBuffers buffers;
  Slab slab = MakeSlab(expr, 0, 10, buffers);
  ASSERT_THAT(RunStages(sources, slab), IsOk());
  const auto source = LoadAs<float>(sources.Bytes(0).data() + 12);
  EXPECT_EQ(LoadAs<float>(slab.payload.front().data() + 12), 1.0F - source);
}

}  // namespace
}  // namespace sluice
