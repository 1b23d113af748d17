#include "pipeline/measure/run.h"

#include <oneapi/tbb/parallel_pipeline.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "pipeline/arena.h"
#include "stages/read.h"
#include "stages/transform.h"

namespace sluice {
namespace {

// Elements of a unit, at least a row: fractions of a second of work for the slowest encoders.
constexpr std::uint64_t kUnitElements = std::uint64_t{1} << 18;

// One share of the memory budget: the buffers of one unit in flight, and what became of it.
struct UnitToken {
  SlabBuffers buffers;
  Slab slab;
  TensorErrors errors;
  Status status = Ok();
};

// Cuts the jobs into units, in order.
class UnitSource {
 public:
  UnitSource(const SourceSet& sources, std::span<const MeasureJob> jobs, std::uint64_t max_units)
      : sources_(sources), jobs_(jobs), max_units_(max_units) {}

  // The next unit, without pieces or buffers; nullopt after the last one.
  std::optional<Slab> Next() {
    for (; job_ < jobs_.size(); ++job_, unit_ = 0) {
      const TensorExpr& expr = jobs_[job_].expr;
      const std::uint64_t elements =
          std::max<std::uint64_t>(1, kUnitElements / expr.row_elements) * expr.row_elements;
      const std::uint64_t units = (expr.elements + elements - 1) / elements;
      const std::uint64_t taken = max_units_ == 0 ? units : std::min(units, max_units_);
      if (unit_ < taken) return Unit(unit_++ * units / taken * elements, elements);
    }
    return std::nullopt;
  }

 private:
  Slab Unit(std::uint64_t first, std::uint64_t elements) {
    Slab slab;
    slab.index = index_++;
    slab.tensor = job_;
    slab.expr = &jobs_[job_].expr;
    slab.first = first;
    slab.count = std::min(elements, slab.expr->elements - first);
    SlabCost cost = CostOf(*slab.expr, sources_);
    cost.encodes = false;  // nothing is kept of what is encoded
    cost.scratch_bytes = MeasureScratchBytes(*slab.expr);
    slab.buffer_bytes = SlabBytes(*slab.expr, cost, slab.count);
    return slab;
  }

  const SourceSet& sources_;
  std::span<const MeasureJob> jobs_;
  std::uint64_t max_units_;
  std::uint64_t index_ = 0;
  std::size_t job_ = 0;
  std::uint64_t unit_ = 0;  // of the job
};

// Source bytes of a unit, if all segments of its tensor are alike.
std::uint64_t SourceBytesOf(const Slab& slab) {
  const Segment& segment = slab.expr->segments.front();
  return SourceBytes(segment, slab.count);
}

class Measuring {
 public:
  Measuring(const SourceSet& sources, std::span<const MeasureJob> jobs, std::uint64_t max_units,
            const GraphOptions& options)
      : sources_(sources),
        jobs_(jobs),
        options_(options),
        units_(sources, jobs, max_units),
        results_(jobs.size()) {
    std::uint64_t largest = 1;
    UnitSource ahead = units_;
    while (const std::optional<Slab> unit = ahead.Next()) {
      largest = std::max(largest, unit->buffer_bytes);
      progress_.bytes_total += SourceBytesOf(*unit);
    }
    for (std::size_t i = 0; i < jobs.size(); ++i) results_[i].types.resize(jobs[i].types.size());
    const std::uint64_t affordable = std::max<std::uint64_t>(1, options.memory_bytes / largest);
    const std::uint64_t wanted = NumTokens(options.threads);
    for (std::uint64_t i = 0; i < std::min(wanted, affordable); ++i) {
      tokens_.push_back(std::make_unique<UnitToken>());
    }
  }

  Result<std::vector<TensorErrors>> Run() {
    const auto source = [this](tbb::flow_control& control) { return Admit(control); };
    const auto measure = [this](UnitToken* token) {
      token->status = Guarded([&] { return Measure(*token); });
      return token;
    };
    const auto collect = [this](UnitToken* token) { Collect(*token); };
    tbb::parallel_pipeline(
        tokens_.size(),
        tbb::make_filter<void, UnitToken*>(tbb::filter_mode::serial_in_order, source) &
            tbb::make_filter<UnitToken*, UnitToken*>(tbb::filter_mode::parallel, measure) &
            tbb::make_filter<UnitToken*, void>(tbb::filter_mode::serial_in_order, collect));
    SLUICE_TRY(std::move(status_));
    if (cancelled_) return MakeError(ErrorCode::kCancelled, "cancelled");
    return std::move(results_);
  }

 private:
  // Units leave in the order in which they came, so a token is free again when it is the next
  // unit's turn to have it.
  UnitToken* Admit(tbb::flow_control& control) {
    cancelled_ = options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed);
    std::optional<Slab> unit;
    if (!cancelled_ && !failed_.load(std::memory_order_relaxed)) unit = units_.Next();
    if (!unit) {
      control.stop();
      return nullptr;
    }
    UnitToken* const token = tokens_[unit->index % tokens_.size()].get();
    token->slab = *std::move(unit);
    token->slab.buffers = &token->buffers;
    token->errors = {};
    return token;
  }

  Status Measure(UnitToken& token) const {
    const MeasureJob& job = jobs_[token.slab.tensor];
    SLUICE_TRY(Read(sources_, token.slab));
    SLUICE_TRY(Transform(sources_, token.slab));
    Status measured = MeasureSlab(sources_, job.types, token.slab, token.errors);
    if (measured || !measured.error().file.empty()) return measured;
    return std::move(measured).error().At(job.name);
  }

  void Collect(UnitToken& token) {
    if (!status_) return;
    if (!token.status) {
      status_ = std::move(token.status);
      failed_.store(true, std::memory_order_relaxed);
      return;
    }
    TensorErrors& result = results_[token.slab.tensor];
    result.values.Add(token.errors.values);
    for (std::size_t i = 0; i < result.types.size(); ++i) {
      result.types[i].Add(token.errors.types[i]);
    }
    ReleaseBehind(sources_, token.slab);
    progress_.bytes_done += SourceBytesOf(token.slab);
    progress_.tensor = jobs_[token.slab.tensor].name;
    if (options_.on_progress) options_.on_progress(progress_);
  }

  const SourceSet& sources_;
  std::span<const MeasureJob> jobs_;
  const GraphOptions& options_;
  UnitSource units_;
  std::vector<std::unique_ptr<UnitToken>> tokens_;
  bool cancelled_ = false;
  std::atomic<bool> failed_{false};
  Status status_ = Ok();
  std::vector<TensorErrors> results_;
  Progress progress_;
};

}  // namespace

Result<std::vector<TensorErrors>> MeasureErrors(const SourceSet& sources,
                                                std::span<const MeasureJob> jobs,
                                                std::uint64_t max_units,
                                                const GraphOptions& options) {
  return InArena(options.threads,
                 [&] { return Measuring(sources, jobs, max_units, options).Run(); });
}

}  // namespace sluice
