// Output files of random tensors with the bytes they must have, and sinks that remember.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/graph.h"
#include "pipeline/slab_source.h"
#include "tests/pipeline/heap.h"
#include "tests/stages/expr_fixture.h"

namespace sluice::testing {

inline constexpr int kThreadCounts[] = {1, 2, 7};

// What the heap holds beside buffers: tasks, queues, the boxes of a slab.
inline constexpr std::uint64_t kBookkeepingBytes = std::uint64_t{1} << 20;

// Keeps nothing, so that all the heap that grows meanwhile is the graph's.
class PeakSink : public Sink {
 public:
  Status Append(std::span<const std::span<const std::byte>>) override {
    peak_ = std::max(peak_, HeapBytesInUse());
    return Ok();
  }
  Status Finish() override { return Ok(); }
  [[nodiscard]] std::uint64_t peak() const { return peak_; }

 private:
  std::uint64_t peak_ = 0;
};

// Records what it gets, and reports calls that overlap: sinks are promised one thread at a time.
class RecordingSink : public Sink {
 public:
  Status Append(std::span<const std::span<const std::byte>> spans) override {
    if (busy_.exchange(true)) ADD_FAILURE() << "two threads append at once";
    ++appends_;
    Status status = on_append ? on_append(appends_) : Ok();
    for (const auto span : spans) {
      if (!status) break;
      bytes_.resize(std::max(bytes_.size(), position_ + span.size()));
      bytes_.replace(position_, span.size(), reinterpret_cast<const char*>(span.data()),
                     span.size());
      position_ += span.size();
      written_ += span.size();
    }
    busy_ = false;
    return status;
  }
  Status Seek(std::uint64_t offset) override {
    ++seeks_;
    position_ = offset;
    return Ok();
  }
  Status Finish() override {
    finished_ = true;
    return Ok();
  }

  // Called before each append with its number, from 1; an Error refuses the bytes.
  std::function<Status(int)> on_append;

  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  [[nodiscard]] int appends() const { return appends_; }
  [[nodiscard]] int seeks() const { return seeks_; }
  [[nodiscard]] std::uint64_t written() const { return written_; }  // twice, what is written twice
  [[nodiscard]] bool finished() const { return finished_; }

 private:
  std::atomic<bool> busy_{false};
  std::string bytes_;
  std::uint64_t position_ = 0;
  std::uint64_t written_ = 0;
  int appends_ = 0;
  int seeks_ = 0;
  bool finished_ = false;
};

// A file plan and the bytes of the whole file.
struct KnownFile {
  FilePlan plan;
  std::string bytes;
};

// Lays out a file of these tensors behind a random head.
inline KnownFile MakeFile(Random& random, std::vector<KnownExpr> tensors, std::uint64_t alignment,
                          bool pad_last) {
  KnownFile file;
  file.plan.head = random.Bytes(random.Between(24, 300));
  file.bytes.assign(reinterpret_cast<const char*>(file.plan.head.data()), file.plan.head.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    PlannedTensor& planned = file.plan.tensors.emplace_back();
    planned.record.name = "tensor." + std::to_string(i);
    planned.record.type = tensors[i].expr.type;
    planned.record.shape = {tensors[i].expr.elements};
    planned.record.bytes = tensors[i].bytes.size();
    planned.record.data_offset = file.plan.data_bytes;
    planned.expr = std::move(tensors[i].expr);
    const std::uint64_t end = file.plan.data_bytes + planned.record.bytes;
    const bool pads = pad_last || i + 1 < tensors.size();
    file.plan.data_bytes = pads ? RoundUp(end, alignment) : end;
    file.bytes += tensors[i].bytes;
    file.bytes.append(file.plan.data_bytes - end, '\0');
  }
  return file;
}

inline KnownExpr Known(TensorExpr expr, const RandomShards& shards) {
  KnownExpr known;
  known.bytes = ReferenceBytes(expr, shards);
  known.expr = std::move(expr);
  return known;
}

// A matrix at some place of a shard, transposed or not.
inline TensorExpr MatrixExpr(Dtype dtype, gguf::TensorType type, std::uint64_t rows,
                             std::uint64_t columns, bool transposed, std::uint64_t byte_offset) {
  TensorExpr expr;
  const std::vector<std::uint64_t> shape{rows, columns};
  StridedView view = StridedView::Whole(shape);
  if (transposed) view.Swap(0, 1);
  expr.segments = {{0, byte_offset, dtype, view.Coalesced(), rows * columns}};
  expr.type = type;
  expr.elements = rows * columns;
  expr.row_elements = transposed ? rows : columns;
  return expr;
}

// Bytes of the shards below: enough for every LargeExpr.
inline constexpr std::size_t kLargeShardBytes = 7 << 20;

// One tensor of each kind that needs several slabs even with the default memory: copied, encoded,
// gathered, gathered and encoded, with a pointwise step.
inline std::vector<KnownExpr> LargeExprs(const RandomShards& shards) {
  using gguf::TensorType;
  std::vector<KnownExpr> known;
  const auto add = [&](TensorExpr expr) { known.push_back(Known(std::move(expr), shards)); };
  add(MatrixExpr(Dtype::kBF16, TensorType::kBF16, 1700, 2000, false, 1));
  add(MatrixExpr(Dtype::kF32, TensorType::kF16, 1300, 1100, false, 4));
  add(MatrixExpr(Dtype::kF16, TensorType::kF16, 900, 1400, true, 6));
  add(MatrixExpr(Dtype::kBF16, TensorType::kF32, 1000, 700, true, 3));
  TensorExpr steps = MatrixExpr(Dtype::kF8E4M3, TensorType::kF32, 300, 1000, false, 99);
  steps.steps = {PointwiseStep::kTanh, PointwiseStep::kOneMinus};
  add(std::move(steps));
  return known;
}

inline std::vector<KnownExpr> SmallExprs(Random& random, const RandomShards& shards,
                                         std::size_t count) {
  ExprMaker maker(random, shards);
  std::vector<KnownExpr> known;
  while (known.size() < count) known.push_back(maker.Make());
  return known;
}

// Runs files through the graph into sinks of their own.
struct GraphRun {
  std::vector<std::unique_ptr<RecordingSink>> sinks;
  std::vector<GraphOutput> outputs;

  explicit GraphRun(const std::vector<KnownFile>& files) {
    for (const KnownFile& file : files) {
      sinks.push_back(std::make_unique<RecordingSink>());
      outputs.push_back({&file.plan, sinks.back().get()});
    }
  }
  Result<GraphReport> Run(const SourceSet& sources, const GraphOptions& options) {
    return RunGraph(sources, outputs, options);
  }
};

inline GraphOptions Options(int threads, std::uint64_t memory_bytes) {
  GraphOptions options;
  options.threads = threads;
  options.memory_bytes = memory_bytes;
  return options;
}

inline constexpr std::uint64_t kPlenty = std::uint64_t{1} << 30;

}  // namespace sluice::testing
