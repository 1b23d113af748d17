// The flow graph: the bytes of all outputs, whatever the options.
#include "pipeline/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "result_matchers.h"
#include "tests/pipeline/graph_fixture.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::SizeIs;

constexpr int kManyThreads = 7;

// Two files over the same shards: the second takes what the first has released.
struct TwoFiles {
  Random random{101};
  RandomShards shards{random, 2, kLargeShardBytes};
  std::vector<KnownFile> files;

  TwoFiles() {
    files.push_back(MakeFile(random, LargeExprs(shards), 32, true));
    files.push_back(MakeFile(random, SmallExprs(random, shards, 40), 64, false));
  }
};

TEST(Graph, BytesDoNotDependOnThreadsMemoryOrSources) {
  const TwoFiles two;
  for (const Sources kind : {Sources::kMapped, Sources::kRead, Sources::kGenerated}) {
    const SourceSet sources = two.shards.Open(kind);
    for (const int threads : {1, 2, kManyThreads}) {
      for (const std::uint64_t memory : {kMinMemoryBytes, kPlenty}) {
        GraphRun run(two.files);
        ASSERT_THAT(run.Run(sources, Options(threads, memory)), IsOk());
        for (std::size_t i = 0; i < two.files.size(); ++i) {
          ASSERT_TRUE(run.sinks[i]->bytes() == two.files[i].bytes)
              << "file " << i << ", " << threads << " threads, " << memory << " bytes";
          EXPECT_FALSE(run.sinks[i]->finished()) << "that is the caller's business";
        }
      }
    }
  }
}

TEST(Graph, WritesOneOutputAfterTheOther) {
  const TwoFiles two;
  const SourceSet sources = two.shards.Open(Sources::kMapped);
  GraphRun run(two.files);
  run.sinks[1]->on_append = [&](int) {
    EXPECT_EQ(run.sinks[0]->bytes().size(), two.files[0].bytes.size());
    return Ok();
  };
  ASSERT_THAT(run.Run(sources, Options(kManyThreads, kPlenty)), IsOk());
}

TEST(Graph, ManySlabsOfOneTensorAreInFlight) {
  const TwoFiles two;
  const SourceSet sources = two.shards.Open(Sources::kRead);
  GraphRun run(two.files);
  const Result<GraphReport> report = run.Run(sources, Options(kManyThreads, kMinMemoryBytes));
  ASSERT_THAT(report, IsOk());
  SlabSource slabs(sources, run.outputs, kMinMemoryBytes / (2 * kManyThreads + 2));
  std::uint64_t count = 0;
  while (slabs.Next()) ++count;
  EXPECT_EQ(report->slabs, count);
  EXPECT_GT(report->slabs,
            two.files[0].plan.tensors.size() + two.files[1].plan.tensors.size() + 20);
}

TEST(Graph, FilesWithoutTensorsStillGetTheirHead) {
  Random random(102);
  const RandomShards shards(random, 1, 64 * 1024);
  const SourceSet sources = shards.Open(Sources::kMapped);
  std::vector<KnownFile> files;
  files.push_back(MakeFile(random, {}, 32, true));
  files.push_back(MakeFile(random, SmallExprs(random, shards, 3), 32, true));
  files.push_back(MakeFile(random, {}, 32, true));
  files.push_back(MakeFile(random, {}, 32, true));
  GraphRun run(files);
  const Result<GraphReport> report = run.Run(sources, Options(2, kPlenty));
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->counts, ElementsAre(SizeIs(0), SizeIs(3), SizeIs(0), SizeIs(0)));
  for (std::size_t i = 0; i < files.size(); ++i) {
    EXPECT_EQ(run.sinks[i]->bytes(), files[i].bytes) << "file " << i;
  }
}

TEST(Graph, NoOutputsAtAll) {
  Random random(103);
  const RandomShards shards(random, 1, 100);
  const Result<GraphReport> report =
      RunGraph(shards.Open(Sources::kMapped), {}, Options(1, kPlenty));
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->slabs, 0);
}

TEST(Graph, PadsBetweenAndAfterTensors) {
  // Up to 32767 zeros, more than the writer holds in one piece.
  Random random(104);
  const RandomShards shards(random, 1, 64 * 1024);
  for (const bool pad_last : {true, false}) {
    std::vector<KnownFile> files;
    files.push_back(MakeFile(random, SmallExprs(random, shards, 5), 32768, pad_last));
    GraphRun run(files);
    ASSERT_THAT(run.Run(shards.Open(Sources::kMapped), Options(2, kPlenty)), IsOk());
    EXPECT_TRUE(run.sinks[0]->bytes() == files[0].bytes);
    EXPECT_EQ((files[0].bytes.size() - files[0].plan.head.size()) % 32768 == 0, pad_last);
  }
}

TEST(Graph, ProgressRisesToTheTotalAndNamesTensorsInOrder) {
  const TwoFiles two;
  const SourceSet sources = two.shards.Open(Sources::kMapped);
  const std::uint64_t total = two.files[0].bytes.size() + two.files[1].bytes.size();
  GraphRun run(two.files);
  std::uint64_t last = 0;
  std::vector<std::string> names;
  GraphOptions options = Options(kManyThreads, kMinMemoryBytes);
  std::atomic<int> calls_at_once{0};
  options.on_progress = [&](const Progress& progress) {
    EXPECT_EQ(++calls_at_once, 1);
    EXPECT_GT(progress.bytes_done, last);
    EXPECT_EQ(progress.bytes_total, total);
    EXPECT_EQ(progress.bytes_done, run.sinks[0]->bytes().size() + run.sinks[1]->bytes().size());
    last = progress.bytes_done;
    if (names.empty() || names.back() != progress.tensor) names.emplace_back(progress.tensor);
    --calls_at_once;
  };
  const Result<GraphReport> report = run.Run(sources, options);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(last, total);
  std::vector<std::string> expected;
  for (const KnownFile& file : two.files) {
    for (const PlannedTensor& tensor : file.plan.tensors) expected.push_back(tensor.record.name);
  }
  EXPECT_EQ(names, expected);
}

TEST(Graph, CountsOverflowForEachTensor) {
  Random random(105);
  const RandomShards shards(random, 1, 64);
  const float huge = 1e30F;
  std::vector<float> values(4'000'000, 1.0F);
  for (const std::size_t i : {0, 5, 1'999'999, 3'999'999}) values[i] = huge;
  const auto bytes = std::as_bytes(std::span(values));
  const Result<SourceSet> sources =
      SourceSet::Open({}, IoMode::kMmap, {{bytes.begin(), bytes.end()}});
  ASSERT_THAT(sources, IsOk());
  FilePlan plan;
  for (int i = 0; i < 2; ++i) {
    PlannedTensor& tensor = plan.tensors.emplace_back();
    const std::uint64_t rows = i == 0 ? 1 : 4000;  // the second one is the whole
    tensor.expr = MatrixExpr(Dtype::kF32, gguf::TensorType::kF16, rows, 1000, false, 0);
    tensor.record.bytes = tensor.expr.bytes();
    tensor.record.data_offset = plan.data_bytes;
    plan.data_bytes += tensor.record.bytes;
  }
  RecordingSink sink;
  const std::vector<GraphOutput> outputs{{&plan, &sink}};
  const Result<GraphReport> report = RunGraph(*sources, outputs, Options(2, kMinMemoryBytes));
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->counts,
              ElementsAre(ElementsAre(TensorCounts{2, 0, 0}, TensorCounts{4, 0, 0})));
}

class GraphMemory : public ::testing::TestWithParam<Sources> {};
INSTANTIATE_TEST_SUITE_P(, GraphMemory, ::testing::Values(Sources::kMapped, Sources::kRead),
                         NameOf);

TEST_P(GraphMemory, BuffersStayWithinTheBudget) {
  Random random(106);
  const RandomShards shards(random, 1, kLargeShardBytes);
  const SourceSet sources = shards.Open(GetParam());
  // Each kind of tensor in turn, with more slabs than there are tokens: every token serves them
  // all.
  FilePlan plan;
  for (int round = 0; round < 2; ++round) {
    for (const KnownExpr& known : LargeExprs(shards)) {
      for (int i = 0; i < 4; ++i) plan.tensors.emplace_back().expr = known.expr;
    }
  }
  for (PlannedTensor& tensor : plan.tensors) {
    tensor.record.bytes = tensor.expr.bytes();
    tensor.record.data_offset = plan.data_bytes;
    plan.data_bytes += tensor.record.bytes;
  }
  for (const int threads : {1, 2, kManyThreads}) {
    PeakSink sink;
    const std::vector<GraphOutput> outputs{{&plan, &sink}};
    const std::uint64_t before = HeapBytesInUse();
    ASSERT_THAT(RunGraph(sources, outputs, Options(threads, kMinMemoryBytes)), IsOk());
    EXPECT_LE(sink.peak() - before, kMinMemoryBytes + kBookkeepingBytes) << threads << " threads";
  }
}

}  // namespace
}  // namespace sluice
