#include "pipeline/graph.h"

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>

#include "pipeline/arena.h"
#include "pipeline/slab_source.h"
#include "stages/encode.h"
#include "stages/read.h"
#include "stages/transform.h"

namespace sluice {
namespace {

namespace flow = tbb::flow;

// One share of the memory budget: the buffers of one slab in flight, and the slab that uses them.
struct Token {
  SlabBuffers buffers;
  Slab slab;
};

// The first error of a run; later ones are consequences of it.
class FirstError {
 public:
  void Set(Error error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    failed_.store(true, std::memory_order_release);
  }
  [[nodiscard]] bool failed() const { return failed_.load(std::memory_order_acquire); }
  // REQUIRES: no other thread uses the object any more.
  std::optional<Error> Take() { return std::move(error_); }

 private:
  std::mutex mutex_;
  std::atomic<bool> failed_{false};
  std::optional<Error> error_;
};

// Appends slabs to their outputs in order and keeps the books.
class Writer {
 public:
  Writer(const SourceSet& sources, std::span<const GraphOutput> outputs,
         const GraphOptions& options)
      : sources_(sources), outputs_(outputs), options_(options) {
    ends_.resize(outputs.size());
    for (const GraphOutput& output : outputs) {
      report_.counts.emplace_back(output.plan->tensors.size());
      progress_.bytes_total += output.plan->file_bytes();
    }
  }

  // The heads of outputs without tensors.
  Status WriteMissingHeads() {
    for (std::size_t output = 0; output < outputs_.size(); ++output) SLUICE_TRY(WriteHead(output));
    return Ok();
  }

  Status Write(Slab& slab) {
    for (SlabTarget* const target : slab.Targets()) {
      const Status written = Write(*target, slab.first);
      if (written) continue;
      // A write from a mapping fails when the source has shrunk: then that is what went wrong.
      SLUICE_TRY(sources_.CheckUnchanged());
      return written;
    }
    ReleaseBehind(sources_, slab);
    ++report_.slabs;
    report_.source_bytes += slab.source_bytes;
    report_.decoded_values += slab.decoded_values;
    progress_.tensor = NameOf(slab);
    if (options_.on_progress) options_.on_progress(progress_);
    return Ok();
  }

  [[nodiscard]] const std::string& NameOf(const SlabTarget& slab) const {
    return outputs_[slab.output].plan->tensors[slab.tensor].record.name;
  }

  GraphReport TakeReport() { return std::move(report_); }

 private:
  // The head of an output goes in front of its first slab.
  Status WriteHead(std::size_t output) {
    if (ends_[output] > 0) return Ok();
    const std::span<const std::byte> head(outputs_[output].plan->head);
    return Append(output, std::span(&head, 1));
  }

  Status Write(SlabTarget& target, std::uint64_t first) {
    SLUICE_TRY(WriteHead(target.output));
    static constexpr std::array<std::byte, 4096> kZeros{};
    for (std::uint64_t left = target.padding; left > 0;) {
      const std::uint64_t count = std::min<std::uint64_t>(left, kZeros.size());
      target.payload.push_back(std::span(kZeros).first(count));
      left -= count;
    }
    const FilePlan& plan = *outputs_[target.output].plan;
    const std::uint64_t begin = plan.head.size() + plan.tensors[target.tensor].record.data_offset +
                                target.expr->BytesOf(first);
    if (begin != ends_[target.output]) {
      SLUICE_TRY(outputs_[target.output].sink->Seek(begin));
      ends_[target.output] = begin;
    }
    SLUICE_TRY(Append(target.output, target.payload));
    TensorCounts& counts = report_.counts[target.output][target.tensor];
    counts.overflowed += target.overflowed;
    counts.zeroed += target.zeroed;
    counts.corrected += target.corrected;
    return Ok();
  }

  Status Append(std::size_t output, std::span<const std::span<const std::byte>> spans) {
    SLUICE_TRY(outputs_[output].sink->Append(spans));
    for (const auto bytes : spans) {
      ends_[output] += bytes.size();
      progress_.bytes_done += bytes.size();
    }
    return Ok();
  }

  const SourceSet& sources_;
  std::span<const GraphOutput> outputs_;
  const GraphOptions& options_;
  std::vector<std::uint64_t> ends_;  // where the next Append of each output would go on
  Progress progress_;
  GraphReport report_;
};

class ConversionGraph {
 public:
  ConversionGraph(const SourceSet& sources, std::span<const GraphOutput> outputs,
                  const GraphOptions& options)
      : sources_(sources),
        options_(options),
        slabs_(sources, outputs, options.memory_bytes / NumTokens(options.threads)),
        writer_(sources, outputs, options) {
    for (std::size_t i = 0; i < NumTokens(options.threads); ++i) {
      tokens_.push_back(std::make_unique<Token>());
    }
  }

  Result<GraphReport> Run() {
    Wire();
    if (!first_error_.failed()) {  // heads of outputs without tensors
      Guard([&] { return writer_.WriteMissingHeads(); });
    }
    if (std::optional<Error> error = first_error_.Take()) return *std::move(error);
    return writer_.TakeReport();
  }

 private:
  // Runs one stage of a slab. A stage that fails cancels the graph; after that the others only pass
  // tokens on until the graph has drained.
  template <class Stage>
  Token* Step(Token* token, const Stage& stage) {
    if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
      Fail(MakeError(ErrorCode::kCancelled, "cancelled"));
    }
    if (!first_error_.failed()) Guard([&] { return stage(token->slab); });
    return token;
  }

  // Turns what `work` returns or throws into the run's error.
  template <class Work>
  void Guard(const Work& work) {
    Status status = Guarded(work);
    if (!status) Fail(std::move(status).error());
  }

  void Fail(Error error) {
    first_error_.Set(std::move(error));
    graph_.cancel();
  }

  //  source -+-> admit -> read -> transform -> encode -> order -> write -+
  //  tokens -+                                                           |
  //     ^----------------------------------------------------------------+
  void Wire() {
    using Admitted = std::tuple<Slab, Token*>;
    flow::input_node<Slab> source(graph_, [this](tbb::flow_control& control) {
      std::optional<Slab> slab;
      if (!first_error_.failed()) slab = slabs_.Next();
      if (!slab) control.stop();
      return slab.value_or(Slab{});
    });
    // Tokens meet slabs in slab order, so the slab that the writer waits for always has one.
    flow::buffer_node<Token*> tokens(graph_);
    flow::join_node<Admitted, flow::reserving> admit(graph_);
    flow::function_node<Admitted, Token*> read(
        graph_, flow::unlimited, [this](const Admitted& admitted) {
          Token* const token = std::get<1>(admitted);
          token->slab = std::get<0>(admitted);
          token->slab.buffers = &token->buffers;
          return Step(token, [this](Slab& slab) { return Read(sources_, slab); });
        });
    flow::function_node<Token*, Token*> transform(graph_, flow::unlimited, [this](Token* token) {
      return Step(token, [this](Slab& slab) { return Transform(sources_, slab); });
    });
    flow::function_node<Token*, Token*> encode(graph_, flow::unlimited, [this](Token* token) {
      return Step(token, [this](Slab& slab) -> Status {
        Status encoded = Encode(sources_, slab);
        if (encoded || !encoded.error().file.empty()) return encoded;
        return std::move(encoded).error().At(writer_.NameOf(slab));
      });
    });
    flow::sequencer_node<Token*> order(graph_, [](Token* token) { return token->slab.index; });
    flow::function_node<Token*, Token*> write(graph_, flow::serial, [this](Token* token) {
      return Step(token, [this](Slab& slab) { return writer_.Write(slab); });
    });
    flow::make_edge(source, flow::input_port<0>(admit));
    flow::make_edge(tokens, flow::input_port<1>(admit));
    flow::make_edge(admit, read);
    flow::make_edge(read, transform);
    flow::make_edge(transform, encode);
    flow::make_edge(encode, order);
    flow::make_edge(order, write);
    flow::make_edge(write, tokens);
    for (const auto& token : tokens_) tokens.try_put(token.get());
    source.activate();
    graph_.wait_for_all();
  }

  const SourceSet& sources_;
  const GraphOptions& options_;
  SlabSource slabs_;
  Writer writer_;
  FirstError first_error_;
  std::vector<std::unique_ptr<Token>> tokens_;
  flow::graph graph_;
};

}  // namespace

Result<GraphReport> RunGraph(const SourceSet& sources, std::span<const GraphOutput> outputs,
                             const GraphOptions& options) {
  return InArena(options.threads, [&] {
    ConversionGraph graph(sources, outputs, options);
    return graph.Run();
  });
}

}  // namespace sluice
