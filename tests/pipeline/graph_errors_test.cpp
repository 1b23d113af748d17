// The flow graph when something goes wrong: the first error is returned, and nothing hangs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>

#include "result_matchers.h"
#include "tests/pipeline/graph_fixture.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words

class GraphErrors : public ::testing::Test {
 protected:
  GraphErrors() {
    files_.push_back(MakeFile(random_, LargeExprs(shards_), 32, true));
    files_.push_back(MakeFile(random_, SmallExprs(random_, shards_, 10), 32, true));
  }

  Random random_{111};
  RandomShards shards_{random_, 2, kLargeShardBytes};
  std::vector<KnownFile> files_;
};

TEST_F(GraphErrors, SinkThatFailsAtAnyAppend) {
  const SourceSet sources = shards_.Open(Sources::kMapped);
  GraphRun whole(files_);
  ASSERT_THAT(whole.Run(sources, Options(1, kMinMemoryBytes)), IsOk());
  const int appends = whole.sinks[0]->appends();
  ASSERT_GT(appends, 10);
  for (const int threads : kThreadCounts) {
    for (int at = 1; at <= appends; at += at < 4 || at > appends - 4 ? 1 : 3) {
      GraphRun run(files_);
      run.sinks[0]->on_append = [&](int number) -> Status {
        EXPECT_LE(number, at) << "appended after a failure";
        if (number < at) return Ok();
        return MakeError(ErrorCode::kIo, "the disk is on fire").In("out.gguf");
      };
      // The slab boundaries depend on the threads, so some runs end before append `at`.
      const Result<GraphReport> result = run.Run(sources, Options(threads, kMinMemoryBytes));
      if (run.sinks[0]->appends() < at) continue;
      ASSERT_THAT(result, Fails(ErrorCode::kIo, "out.gguf: the disk is on fire"));
      const std::string& written = run.sinks[0]->bytes();
      EXPECT_EQ(written, files_[0].bytes.substr(0, written.size()));
      EXPECT_EQ(run.sinks[1]->appends(), 0);
    }
  }
}

TEST_F(GraphErrors, SecondSinkFails) {
  const SourceSet sources = shards_.Open(Sources::kRead);
  for (const int threads : kThreadCounts) {
    GraphRun run(files_);
    run.sinks[1]->on_append = [](int number) -> Status {
      if (number < 5) return Ok();
      return MakeError(ErrorCode::kResource, "disk full");
    };
    EXPECT_THAT(run.Run(sources, Options(threads, kPlenty)),
                Fails(ErrorCode::kResource, "disk full"));
    EXPECT_TRUE(run.sinks[0]->bytes() == files_[0].bytes);
  }
}

TEST_F(GraphErrors, ShardThatShrankBeforeTheRun) {
  for (const Sources kind : {Sources::kMapped, Sources::kRead}) {
    for (const int threads : kThreadCounts) {
      Random random(112);
      const RandomShards shards(random, 1, kLargeShardBytes);
      const SourceSet sources = shards.Open(kind);
      std::filesystem::resize_file(shards.path(0), 4096);
      GraphRun run(files_);
      EXPECT_THAT(run.Run(sources, Options(threads, kMinMemoryBytes)),
                  Fails(ErrorCode::kCorrupt, shards.path(0)));
    }
  }
}

TEST_F(GraphErrors, ShardThatShrinksDuringTheRun) {
  for (const Sources kind : {Sources::kMapped, Sources::kRead}) {
    Random random(113);
    const RandomShards shards(random, 2, kLargeShardBytes);
    const SourceSet sources = shards.Open(kind);
    GraphRun run(files_);
    GraphOptions options = Options(2, kMinMemoryBytes);
    options.on_progress = [&](const Progress&) {
      std::filesystem::resize_file(shards.path(0), 4096);
    };
    EXPECT_THAT(run.Run(sources, options), Fails(ErrorCode::kCorrupt, shards.path(0)));
  }
}

TEST_F(GraphErrors, WriteThatFailsBecauseTheShardChangedBlamesTheShard) {
  // A write out of the mapping of a shrunken file fails with "Bad address", which says nothing.
  Random random(114);
  const RandomShards shards(random, 2, kLargeShardBytes);
  const SourceSet sources = shards.Open(Sources::kMapped);
  GraphRun run(files_);
  run.sinks[0]->on_append = [&](int number) -> Status {
    if (number == 1) return Ok();
    std::filesystem::resize_file(shards.path(0), 4096);
    return MakeError(ErrorCode::kIo, "Bad address");
  };
  EXPECT_THAT(run.Run(sources, Options(1, kMinMemoryBytes)),
              Fails(ErrorCode::kCorrupt, shards.path(0) + ": file changed while it was read"));
}

TEST_F(GraphErrors, CancelledBeforeTheRun) {
  const SourceSet sources = shards_.Open(Sources::kMapped);
  const std::atomic<bool> cancel{true};
  for (const int threads : kThreadCounts) {
    GraphRun run(files_);
    GraphOptions options = Options(threads, kPlenty);
    options.cancel = &cancel;
    EXPECT_THAT(run.Run(sources, options), Fails(ErrorCode::kCancelled, "cancelled"));
    EXPECT_EQ(run.sinks[0]->appends(), 0);
  }
}

TEST_F(GraphErrors, CancelledFromAProgressCallback) {
  const SourceSet sources = shards_.Open(Sources::kMapped);
  for (const int threads : kThreadCounts) {
    for (const int at : {1, 2, 9}) {
      std::atomic<bool> cancel{false};
      GraphRun run(files_);
      GraphOptions options = Options(threads, kMinMemoryBytes);
      options.cancel = &cancel;
      int calls = 0;
      options.on_progress = [&](const Progress&) {
        EXPECT_FALSE(cancel) << "a slab was written after the cancellation";
        if (++calls == at) cancel = true;
      };
      EXPECT_THAT(run.Run(sources, options), Fails(ErrorCode::kCancelled, "cancelled"));
      EXPECT_EQ(calls, at);
    }
  }
}

TEST_F(GraphErrors, CancelledDuringTheLastSlabOrAfterIt) {
  // Nothing is left to stop; the whole output is there and the run says so.
  const SourceSet sources = shards_.Open(Sources::kMapped);
  std::atomic<bool> cancel{false};
  GraphRun run(files_);
  GraphOptions options = Options(2, kPlenty);
  options.cancel = &cancel;
  options.on_progress = [&](const Progress& progress) {
    cancel = progress.bytes_done == progress.bytes_total;
  };
  EXPECT_THAT(run.Run(sources, options), IsOk());
  EXPECT_TRUE(run.sinks[1]->bytes() == files_[1].bytes);
}

TEST_F(GraphErrors, CancelFlagThatStaysDownChangesNothing) {
  const SourceSet sources = shards_.Open(Sources::kMapped);
  const std::atomic<bool> cancel{false};
  GraphRun run(files_);
  GraphOptions options = Options(2, kPlenty);
  options.cancel = &cancel;
  EXPECT_THAT(run.Run(sources, options), IsOk());
}

TEST_F(GraphErrors, OutOfMemoryIsAnError) {
  const SourceSet sources = shards_.Open(Sources::kMapped);
  GraphRun run(files_);
  run.sinks[0]->on_append = [](int number) -> Status {
    if (number == 3) throw std::bad_alloc();
    return Ok();
  };
  EXPECT_THAT(run.Run(sources, Options(2, kMinMemoryBytes)),
              Fails(ErrorCode::kResource, "out of memory"));
}

TEST_F(GraphErrors, ForeignExceptionsDoNotEscape) {
  const SourceSet sources = shards_.Open(Sources::kMapped);
  GraphRun run(files_);
  GraphOptions options = Options(2, kMinMemoryBytes);
  options.on_progress = [](const Progress&) { throw std::runtime_error("no terminal"); };
  EXPECT_THAT(run.Run(sources, options),
              Fails(ErrorCode::kBug, "unexpected exception: got no terminal"));
}

TEST_F(GraphErrors, ExceptionsInFrontOfTheFirstSlabDoNotEscape) {
  // Heads of files without tensors are written outside of the graph.
  std::vector<KnownFile> files;
  files.push_back(MakeFile(random_, {}, 32, true));
  GraphRun run(files);
  run.sinks[0]->on_append = [](int) -> Status { throw std::bad_alloc(); };
  EXPECT_THAT(run.Run(shards_.Open(Sources::kMapped), Options(1, kPlenty)),
              Fails(ErrorCode::kResource, "out of memory"));
}

TEST_F(GraphErrors, NextRunStartsAfresh) {
  const SourceSet sources = shards_.Open(Sources::kMapped);
  GraphRun failing(files_);
  failing.sinks[0]->on_append = [](int) -> Status { return MakeError(ErrorCode::kIo, "no"); };
  EXPECT_THAT(failing.Run(sources, Options(2, kPlenty)), Fails(ErrorCode::kIo, "no"));
  GraphRun run(files_);
  ASSERT_THAT(run.Run(sources, Options(2, kPlenty)), IsOk());
  EXPECT_TRUE(run.sinks[0]->bytes() == files_[0].bytes);
}

}  // namespace
}  // namespace sluice
