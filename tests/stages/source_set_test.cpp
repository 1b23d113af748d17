// Open shards: files that change under the run must never become silent zeros.
#include "stages/source_set.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "result_matchers.h"
#include "tests/stages/expr_fixture.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words

// Several pages, whatever their size.
constexpr std::size_t kShardBytes = 512 * 1024;

TensorExpr WholeShard(gguf::TensorType type) {
  TensorExpr expr;
  const std::vector<std::uint64_t> shape{kShardBytes / 4};
  expr.segments = {{0, 0, Dtype::kF32, StridedView::Whole(shape).Coalesced(), shape[0]}};
  expr.type = type;
  expr.elements = shape[0];
  expr.row_elements = 1024;
  return expr;
}

std::vector<ShardFile> StatAll(const RandomShards& shards) { return {*StatShard(shards.path(0))}; }

TEST(SourceSet, ReadsTheSameBytesInEveryMode) {
  Random random(71);
  const RandomShards shards(random, 2, 5000);
  const std::vector<std::byte>& content = shards.contents()[1];
  const SourceSet mapped = shards.Open(Sources::kMapped);
  EXPECT_FALSE(mapped.MustRead(1));
  EXPECT_TRUE(std::equal(content.begin(), content.end(), mapped.Bytes(1).begin()));
  const SourceSet read = shards.Open(Sources::kRead);
  EXPECT_TRUE(read.MustRead(1));
  EXPECT_TRUE(read.Bytes(1).empty());
  std::vector<std::byte> part(1234);
  ASSERT_THAT(read.ReadAt(1, 3000, part), IsOk());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), content.begin() + 3000));
  const SourceSet generated = shards.Open(Sources::kGenerated);
  EXPECT_FALSE(generated.MustRead(1));
  EXPECT_TRUE(std::equal(content.begin(), content.end(), generated.Bytes(1).begin()));
  EXPECT_THAT(generated.CheckUnchanged(), IsOk());
}

TEST(SourceSet, NumbersGeneratedSourcesAfterTheShards) {
  Random random(72);
  const RandomShards shards(random, 1, 100);
  const Result<SourceSet> set = SourceSet::Open(StatAll(shards), IoMode::kRead, {random.Bytes(7)});
  ASSERT_THAT(set, IsOk());
  EXPECT_TRUE(set->MustRead(0));
  EXPECT_FALSE(set->MustRead(1));
  EXPECT_EQ(set->Bytes(1).size(), 7);
}

TEST(SourceSet, AutoMapsLocalFiles) {
  Random random(73);
  const RandomShards shards(random, 1, 100);
  const Result<SourceSet> set = SourceSet::Open(StatAll(shards), IoMode::kAuto, {});
  ASSERT_THAT(set, IsOk());
  EXPECT_FALSE(set->MustRead(0));
}

// How many pages of a file the page cache holds.
std::size_t CachedPages(const std::string& path) {
  Result<File> file = File::OpenForReading(path);
  const std::size_t bytes = *file->Size();
  void* const map = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file->descriptor(), 0);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> resident((bytes + page - 1) / page);
  EXPECT_EQ(::mincore(map, bytes, resident.data()), 0);
  ::munmap(map, bytes);
  return static_cast<std::size_t>(
      std::ranges::count_if(resident, [](unsigned char state) { return (state & 1) != 0; }));
}

class PageCache : public ::testing::TestWithParam<IoMode> {};
INSTANTIATE_TEST_SUITE_P(, PageCache, ::testing::Values(IoMode::kMmap, IoMode::kRead));

TEST_P(PageCache, ForgetsOnlyShardsThatAreLargeForTheMachine) {
  const std::string path = "page_cache_test.bin";  // here: /tmp may be memory itself
  std::ofstream(path) << std::string(kShardBytes, 'x');
  ASSERT_THAT(File::Open(path, O_RDWR)->Sync(), IsOk());
  const std::vector<ShardFile> shards{*StatShard(path)};
  std::vector<std::byte> buffer(kShardBytes);
  for (const std::uint64_t machine_memory : {4 * kShardBytes, kShardBytes}) {
    const Result<SourceSet> set = SourceSet::Open(shards, GetParam(), {}, machine_memory);
    ASSERT_THAT(set, IsOk());
    if (set->MustRead(0)) {
      ASSERT_THAT(set->ReadAt(0, 0, buffer), IsOk());
    } else {
      ASSERT_THAT(set->Populate(0, 0, kShardBytes), IsOk());
    }
    const std::size_t before = CachedPages(path);
    EXPECT_GT(before, 0);
    set->Release(0, 0, kShardBytes);
    EXPECT_EQ(CachedPages(path), machine_memory > 2 * kShardBytes ? before : 0);
  }
  std::filesystem::remove(path);
}

TEST(SourceSet, StatOfAMissingShard) {
  const TempFolder folder;
  EXPECT_THAT(StatShard(folder.Path("none")), Fails(ErrorCode::kMissing, "none: cannot stat"));
}

TEST(SourceSet, OpenRejectsAShardThatGrewSinceThePlan) {
  Random random(74);
  const RandomShards shards(random, 1, 100);
  const std::vector<ShardFile> planned = StatAll(shards);
  std::filesystem::resize_file(shards.path(0), 140);
  for (const IoMode mode : {IoMode::kMmap, IoMode::kRead}) {
    EXPECT_THAT(SourceSet::Open(planned, mode, {}),
                Fails(ErrorCode::kCorrupt,
                      shards.path(0) + ": file changed while it was read: expected 100 bytes, "
                                       "unmodified, got 140 bytes"));
  }
}

TEST(SourceSet, OpenRejectsAShardOfTheSameSizeThatWasRewritten) {
  Random random(75);
  const RandomShards shards(random, 1, 100);
  const std::vector<ShardFile> planned = StatAll(shards);
  // A moment later than planned, by the file's own clock.
  timespec times[2]{{0, UTIME_OMIT}, {planned[0].modified_ns / 1'000'000'000 + 1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, shards.path(0).c_str(), times, 0), 0);
  EXPECT_THAT(SourceSet::Open(planned, IoMode::kMmap, {}),
              Fails(ErrorCode::kCorrupt, "file changed while it was read"));
}

TEST(SourceSet, OpenRejectsAShardThatIsGone) {
  Random random(76);
  const RandomShards shards(random, 1, 100);
  const std::vector<ShardFile> planned = StatAll(shards);
  std::filesystem::remove(shards.path(0));
  EXPECT_THAT(SourceSet::Open(planned, IoMode::kMmap, {}),
              Fails(ErrorCode::kMissing, "cannot stat"));
}

TEST(SourceSet, CheckUnchangedSeesALaterChange) {
  Random random(77);
  const RandomShards shards(random, 1, 100);
  const SourceSet sources = shards.Open(Sources::kMapped);
  EXPECT_THAT(sources.CheckUnchanged(), IsOk());
  std::filesystem::resize_file(shards.path(0), 99);
  EXPECT_THAT(sources.CheckUnchanged(),
              Fails(ErrorCode::kCorrupt, "expected 100 bytes, unmodified, got 99 bytes"));
}

// Whatever the stage and the mode, a slab beyond the new end is an error with the shard's name.
class ShrinkingShard : public ::testing::TestWithParam<Sources> {};
INSTANTIATE_TEST_SUITE_P(, ShrinkingShard, ::testing::Values(Sources::kMapped, Sources::kRead),
                         NameOf);

TEST_P(ShrinkingShard, FailsBeforeTheSlabIsRead) {
  Random random(78);
  const RandomShards shards(random, 1, kShardBytes);
  const SourceSet sources = shards.Open(GetParam());
  std::filesystem::resize_file(shards.path(0), kShardBytes / 8);
  for (const gguf::TensorType type : {gguf::TensorType::kF32, gguf::TensorType::kF16}) {
    const TensorExpr expr = WholeShard(type);
    SlabBuffers buffers;
    Slab slab = MakeSlab(expr, 0, expr.elements, buffers);
    EXPECT_THAT(RunStages(sources, slab), Fails(ErrorCode::kCorrupt, shards.path(0)));
  }
}

// The run cannot succeed any more, so it ends as soon as that shows.
TEST_P(ShrinkingShard, SlabsInFrontOfTheNewEndFailWhereThatShows) {
  Random random(79);
  const RandomShards shards(random, 1, kShardBytes);
  const SourceSet sources = shards.Open(GetParam());
  std::filesystem::resize_file(shards.path(0), kShardBytes / 2);
  const TensorExpr expr = WholeShard(gguf::TensorType::kF16);
  SlabBuffers buffers;
  Slab slab = MakeSlab(expr, 0, expr.elements / 4, buffers);
  if (GetParam() == Sources::kRead) {
    EXPECT_THAT(RunStages(sources, slab), IsOk());
  } else {
    EXPECT_THAT(RunStages(sources, slab), Fails(ErrorCode::kCorrupt, shards.path(0)));
  }
}

TEST(ShardThatShrinks, FailsBetweenReadAndTransform) {
  Random random(80);
  const RandomShards shards(random, 1, kShardBytes);
  const SourceSet sources = shards.Open(Sources::kMapped);
  TensorExpr expr = WholeShard(gguf::TensorType::kF32);
  const std::vector<std::uint64_t> shape{256, kShardBytes / 1024};
  StridedView view = StridedView::Whole(shape);
  view.Swap(0, 1);
  expr.segments.front().view = view.Coalesced();
  SlabBuffers buffers;
  Slab slab = MakeSlab(expr, 0, expr.elements, buffers);
  ASSERT_THAT(Read(sources, slab), IsOk());
  std::filesystem::resize_file(shards.path(0), kShardBytes / 8);
  EXPECT_THAT(Transform(sources, slab),
              Fails(ErrorCode::kCorrupt, "file changed while it was read"));
}

TEST(ShardThatShrinks, FailsBetweenTransformAndEncode) {
  Random random(81);
  const RandomShards shards(random, 1, kShardBytes);
  const SourceSet sources = shards.Open(Sources::kMapped);
  const TensorExpr expr = WholeShard(gguf::TensorType::kF16);
  SlabBuffers buffers;
  Slab slab = MakeSlab(expr, 0, expr.elements, buffers);
  ASSERT_THAT(Read(sources, slab), IsOk());
  ASSERT_THAT(Transform(sources, slab), IsOk());
  std::filesystem::resize_file(shards.path(0), kShardBytes / 8);
  EXPECT_THAT(Encode(sources, slab), Fails(ErrorCode::kCorrupt, "file changed while it was read"));
}

}  // namespace
}  // namespace sluice
