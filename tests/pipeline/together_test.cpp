// Several models of the same sources in one graph: each has the bytes that it has alone, and the
// sources are read and decoded once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipeline/join.h"
#include "result_matchers.h"
#include "tests/pipeline/graph_fixture.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words
using gguf::TensorType;
using ::testing::ElementsAre;

// The same tensors in another type.
std::vector<KnownExpr> InType(TensorType type, const std::vector<KnownExpr>& tensors,
                              const RandomShards& shards) {
  std::vector<KnownExpr> typed;
  for (const KnownExpr& known : tensors) {
    TensorExpr expr = known.expr;
    expr.type = type;
    typed.push_back(Known(std::move(expr), shards));
  }
  return typed;
}

// Gives every file a model of its own.
void NumberModels(GraphRun& run) {
  for (std::size_t i = 0; i < run.outputs.size(); ++i) run.outputs[i].model = i;
}

TEST(Together, EveryModelHasItsBytesInWhateverOrder) {
  Random random(131);
  const RandomShards shards(random, 2, kLargeShardBytes);
  std::vector<KnownExpr> tensors = LargeExprs(shards);
  for (KnownExpr& known : SmallExprs(random, shards, 30)) tensors.push_back(std::move(known));
  std::vector<KnownFile> files;
  files.push_back(MakeFile(random, InType(TensorType::kBF16, tensors, shards), 32, true));
  files.push_back(MakeFile(random, InType(TensorType::kF32, tensors, shards), 64, false));
  std::vector<KnownExpr> reversed = InType(TensorType::kF16, tensors, shards);
  std::reverse(reversed.begin(), reversed.end());
  reversed.push_back(SmallExprs(random, shards, 1).front());  // that no other model has
  files.push_back(MakeFile(random, std::move(reversed), 32, false));
  for (const Sources kind : {Sources::kMapped, Sources::kRead}) {
    const SourceSet sources = shards.Open(kind);
    for (const int threads : kThreadCounts) {
      for (const std::uint64_t memory : {kMinMemoryBytes, kPlenty}) {
        GraphRun run(files);
        NumberModels(run);
        ASSERT_THAT(run.Run(sources, Options(threads, memory)), IsOk());
        for (std::size_t i = 0; i < files.size(); ++i) {
          ASSERT_TRUE(run.sinks[i]->bytes() == files[i].bytes)
              << "model " << i << ", " << threads << " threads, " << memory << " bytes";
          EXPECT_EQ(run.sinks[i]->written(), files[i].bytes.size()) << "each byte once";
        }
        EXPECT_EQ(run.sinks[0]->seeks(), 0);
        EXPECT_EQ(run.sinks[1]->seeks(), 0) << "the same order as the first";
        EXPECT_GT(run.sinks[2]->seeks(), 0);
      }
    }
  }
}

// Three matrices in one type, quantized if it has blocks; values that are not finite become 0.
FilePlan Matrices(TensorType type) {
  FilePlan plan;
  std::vector<TensorExpr> exprs{MatrixExpr(Dtype::kF8E5M2, type, 700, 1024, false, 1),
                                MatrixExpr(Dtype::kF16, type, 1024, 600, true, 6),
                                MatrixExpr(Dtype::kF8E4M3, type, 40, 16384, false, 99)};
  exprs.front().steps = {PointwiseStep::kTanh};
  for (TensorExpr& expr : exprs) {
    if (type != TensorType::kF32) {
      expr.quantizing = Quantizing{.rounded = TensorType::kBF16, .zero_non_finite = true};
    }
    PlannedTensor& tensor = plan.tensors.emplace_back();
    tensor.record.type = type;
    tensor.record.bytes = expr.bytes();
    tensor.record.data_offset = plan.data_bytes;
    plan.data_bytes += expr.bytes();
    tensor.expr = std::move(expr);
  }
  return plan;
}

constexpr std::uint64_t kMatrixElements = 700 * 1024 + 1024 * 600 + 40 * 16384;
constexpr std::uint64_t kMatrixSourceBytes = 700 * 1024 + 2 * 1024 * 600 + 40 * 16384;

TEST(Together, SourcesAreReadAndDecodedOnce) {
  Random random(132);
  const RandomShards shards(random, 1, kLargeShardBytes);
  const std::vector<FilePlan> plans{Matrices(TensorType::kQ4_K), Matrices(TensorType::kF32),
                                    Matrices(TensorType::kQ8_0)};
  for (const Sources kind : {Sources::kMapped, Sources::kRead}) {
    const SourceSet sources = shards.Open(kind);
    std::vector<std::string> alone;
    std::vector<std::vector<TensorCounts>> counts;
    for (const FilePlan& plan : plans) {
      RecordingSink sink;
      const std::vector<GraphOutput> outputs{{&plan, &sink}};
      const Result<GraphReport> report = RunGraph(sources, outputs, Options(2, kPlenty));
      ASSERT_THAT(report, IsOk());
      EXPECT_EQ(report->source_bytes, kMatrixSourceBytes);
      EXPECT_EQ(report->decoded_values, kMatrixElements);
      alone.push_back(sink.bytes());
      counts.push_back(report->counts.front());
    }
    EXPECT_GT(counts[0][1].zeroed, 0);
    for (const int threads : kThreadCounts) {
      std::vector<RecordingSink> sinks(plans.size());
      std::vector<GraphOutput> outputs;
      for (std::size_t i = 0; i < plans.size(); ++i) outputs.push_back({&plans[i], &sinks[i], i});
      const Result<GraphReport> report =
          RunGraph(sources, outputs, Options(threads, kMinMemoryBytes));
      ASSERT_THAT(report, IsOk());
      EXPECT_EQ(report->source_bytes, kMatrixSourceBytes);
      EXPECT_EQ(report->decoded_values, kMatrixElements);
      EXPECT_EQ(report->counts, counts);
      for (std::size_t i = 0; i < plans.size(); ++i) {
        EXPECT_TRUE(sinks[i].bytes() == alone[i]) << "model " << i << ", " << threads << " threads";
      }
    }
  }
}

TEST(Together, BuffersOfAllModelsShareTheBudget) {
  Random random(133);
  const RandomShards shards(random, 1, kLargeShardBytes);
  const SourceSet sources = shards.Open(Sources::kRead);
  const std::vector<FilePlan> plans{Matrices(TensorType::kQ4_K), Matrices(TensorType::kF32),
                                    Matrices(TensorType::kQ8_0), Matrices(TensorType::kQ6_K)};
  for (const int threads : kThreadCounts) {
    std::vector<PeakSink> sinks(plans.size());
    std::vector<GraphOutput> outputs;
    for (std::size_t i = 0; i < plans.size(); ++i) outputs.push_back({&plans[i], &sinks[i], i});
    const std::uint64_t before = HeapBytesInUse();
    ASSERT_THAT(RunGraph(sources, outputs, Options(threads, kMinMemoryBytes)), IsOk());
    for (const PeakSink& sink : sinks) {
      EXPECT_LE(sink.peak() - before, kMinMemoryBytes + kBookkeepingBytes) << threads << " threads";
    }
  }
}

TEST(Together, OrderThatAPipeCannotTakeIsAnError) {
  // PeakSink has no Seek of its own, like a pipe.
  Random random(134);
  const RandomShards shards(random, 1, kLargeShardBytes);
  const FilePlan first = Matrices(TensorType::kF32);
  FilePlan second = Matrices(TensorType::kQ8_0);
  std::swap(second.tensors[0].expr, second.tensors[2].expr);
  PeakSink sinks[2];
  const std::vector<GraphOutput> outputs{{&first, &sinks[0], 0}, {&second, &sinks[1], 1}};
  EXPECT_THAT(RunGraph(shards.Open(Sources::kMapped), outputs, Options(2, kPlenty)),
              Fails(ErrorCode::kUsage, "in order"));
}

TEST(Together, AnyOutputThatFailsEndsTheRun) {
  Random random(135);
  const RandomShards shards(random, 1, kLargeShardBytes);
  const SourceSet sources = shards.Open(Sources::kMapped);
  const std::vector<FilePlan> plans{Matrices(TensorType::kF32), Matrices(TensorType::kQ8_0)};
  for (const std::size_t failing : {0, 1}) {
    std::vector<RecordingSink> sinks(plans.size());
    std::vector<GraphOutput> outputs;
    for (std::size_t i = 0; i < plans.size(); ++i) outputs.push_back({&plans[i], &sinks[i], i});
    sinks[failing].on_append = [](int number) -> Status {
      if (number < 3) return Ok();
      return MakeError(ErrorCode::kResource, "disk full");
    };
    EXPECT_THAT(RunGraph(sources, outputs, Options(2, kMinMemoryBytes)),
                Fails(ErrorCode::kResource, "disk full"));
  }
}

// ---- JoinSources --------------------------------------------------------------------------------

Plan PlanWith(std::vector<ShardFile> shards, std::vector<std::string> generated) {
  Plan plan;
  FilePlan& file = plan.files.emplace_back();
  for (std::size_t i = 0; i < shards.size() + generated.size(); ++i) {
    Segment segment;
    segment.shard = static_cast<std::uint32_t>(i);
    file.tensors.emplace_back().expr.segments = {segment};
  }
  plan.shards = std::move(shards);
  for (const std::string& text : generated) {
    const auto bytes = std::as_bytes(std::span(text));
    plan.generated.emplace_back(bytes.begin(), bytes.end());
  }
  return plan;
}

std::vector<std::uint32_t> ShardsOf(const Plan& plan) {
  std::vector<std::uint32_t> shards;
  for (const PlannedTensor& tensor : plan.files.front().tensors) {
    shards.push_back(tensor.expr.segments.front().shard);
  }
  return shards;
}

TEST(JoinSources, SharesShardsAndEqualGeneratedTensors) {
  const std::vector<ShardFile> shards{{"a", 10, 1}, {"b", 20, 2}};
  Plan first = PlanWith(shards, {"one", "two"});
  Plan second = PlanWith(shards, {"three", "one"});
  Plan third = PlanWith(shards, {});
  Plan* const plans[] = {&first, &second, &third};
  const auto generated = JoinSources(plans);
  ASSERT_THAT(generated, IsOk());
  std::vector<std::string> texts;
  for (const auto& bytes : *generated) {
    texts.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  EXPECT_THAT(texts, ElementsAre("one", "two", "three"));
  EXPECT_THAT(ShardsOf(first), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(ShardsOf(second), ElementsAre(0, 1, 4, 2));
  EXPECT_THAT(ShardsOf(third), ElementsAre(0, 1));
}

TEST(JoinSources, RefusesShardsThatChanged) {
  const std::vector<std::vector<ShardFile>> others{
      {{"a", 10, 1}, {"b", 20, 3}}, {{"a", 10, 1}, {"b", 21, 2}}, {{"a", 10, 1}}};
  for (const std::vector<ShardFile>& other : others) {
    Plan first = PlanWith({{"a", 10, 1}, {"b", 20, 2}}, {});
    Plan second = PlanWith(other, {});
    Plan* const plans[] = {&first, &second};
    EXPECT_THAT(JoinSources(plans), Fails(ErrorCode::kCorrupt, "b: file changed"));
  }
}

}  // namespace
}  // namespace sluice
