#include "runtime/model/weights.h"

#include <fmt/format.h>

#include <set>
#include <string>

#include "core/shape.h"
#include "pipeline/quantize/tensor_class.h"
#include "runtime/kernels/multiply.h"

namespace sluice::runtime {
namespace {

using Shape = std::vector<std::uint64_t>;

// Takes tensors out of a source and collects what is wrong with them.
class Taker {
 public:
  Taker(WeightSource& source, const Config& config) : source_(source), config_(config) {
    for (const std::string_view name : source.names()) {
      if (const auto block = BlockOf(name)) blocks_.insert(*block);
    }
  }

  // Whether any tensor of a block is there.
  [[nodiscard]] bool HasBlock(std::uint32_t block) const { return blocks_.contains(block); }
  [[nodiscard]] bool Has(const std::string& name) const { return source_.ShapeOf(name) != nullptr; }

  // `count` matrices of one tensor, stacked along its outermost axis if `stacked`; none, and a
  // problem, when the tensor is not of that shape.
  std::vector<Matrix> Stack(const std::string& name, std::uint64_t count, std::uint64_t rows,
                            std::uint64_t columns, bool stacked = true) {
    const Shape expected = stacked ? Shape{count, rows, columns} : Shape{rows, columns};
    if (!Check(name, expected)) return {};
    std::vector<Matrix> matrices(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      Result<Matrix> matrix = source_.At(name, i, rows, columns);
      if (!matrix || !CanMultiply(*matrix)) {
        problems_.push_back(matrix ? WithoutValues(name, matrix->type) : std::move(matrix).error());
        break;
      }
      matrices[i] = *matrix;
    }
    tensors_.push_back({name, matrices});
    return matrices;
  }
  Matrix Take(const std::string& name, std::uint64_t rows, std::uint64_t columns) {
    const std::vector<Matrix> matrices = Stack(name, 1, rows, columns, false);
    return matrices.empty() ? Matrix{} : matrices.front();
  }
  std::vector<float> TakeVector(const std::string& name, std::uint64_t elements) {
    if (!Check(name, {elements})) return {};
    Result<Matrix> matrix = source_.At(name, 0, 1, elements);
    if (!matrix || !CanMultiply(*matrix)) {
      problems_.push_back(matrix ? WithoutValues(name, matrix->type) : std::move(matrix).error());
      return {};
    }
    std::vector<float> values(elements);
    DecodeRows(*matrix, {0, 1}, values.data());
    return values;
  }

  // The size of a tensor along its outermost axis; 1 and a problem when there is none.
  std::uint64_t OutermostOf(const std::string& name) {
    const Shape* shape = source_.ShapeOf(name);
    if (shape != nullptr && !shape->empty()) return shape->front();
    problems_.push_back(MakeError(ErrorCode::kMissing, "tensor of the model is missing").At(name));
    return 1;
  }

  // What the model would need to know about, had it a use for it.
  void ReportUnused() {
    for (const std::string_view name : source_.names()) {
      const auto block = BlockOf(name);
      const bool predicts_further = block && *block >= config_.layers;
      if (predicts_further || used_.contains(std::string(name))) continue;
      problems_.push_back(
          MakeError(ErrorCode::kUnsupported, "tensor that this model family does not have")
              .At(name));
    }
  }
  Status Problems() { return problems_.empty() ? Ok() : JoinErrors(std::move(problems_)); }
  std::vector<WeightTensor> Tensors() { return std::move(tensors_); }

 private:
  bool Check(const std::string& name, const Shape& expected) {
    used_.insert(name);
    const Shape* shape = source_.ShapeOf(name);
    if (shape == nullptr) {
      problems_.push_back(MakeError(ErrorCode::kMissing, "tensor of the model is missing")
                              .At(name)
                              .Expected(fmt::format("shape {}", ShapeText(expected))));
      return false;
    }
    if (*shape == expected) return true;
    problems_.push_back(MakeError(ErrorCode::kMismatch, "shape")
                            .At(name)
                            .Expected(ShapeText(expected))
                            .Actual(ShapeText(*shape)));
    return false;
  }
  static Error WithoutValues(const std::string& name, gguf::TensorType type) {
    return MakeError(ErrorCode::kUnsupported, "tensor type without values")
        .At(name)
        .Actual(gguf::InfoOf(type).name);
  }

  WeightSource& source_;
  const Config& config_;
  std::set<std::uint64_t> blocks_;
  std::set<std::string> used_;
  std::vector<Error> problems_;
  std::vector<WeightTensor> tensors_;
};

AttentionWeights TakeAttention(Taker& taker, const Config& c, const std::string& prefix) {
  AttentionWeights w;
  const std::uint64_t q_rows = std::uint64_t{c.heads} * c.query_width();
  w.norm = taker.TakeVector(prefix + "attn_norm.weight", c.hidden);
  if (c.q_rank > 0) {
    w.q_a = taker.Take(prefix + "attn_q_a.weight", c.q_rank, c.hidden);
    w.q_norm = taker.TakeVector(prefix + "attn_q_a_norm.weight", c.q_rank);
    w.q = taker.Take(prefix + "attn_q_b.weight", q_rows, c.q_rank);
  } else {
    w.q = taker.Take(prefix + "attn_q.weight", q_rows, c.hidden);
  }
  w.kv_a = taker.Take(prefix + "attn_kv_a_mqa.weight", c.cache_width(), c.hidden);
  w.latent_norm = taker.TakeVector(prefix + "attn_kv_a_norm.weight", c.kv_rank);
  w.embed_q = taker.Stack(prefix + "attn_k_b.weight", c.heads, c.kv_rank, c.nope);
  w.unembed_out = taker.Stack(prefix + "attn_v_b.weight", c.heads, c.v_head, c.kv_rank);
  w.out = taker.Take(prefix + "attn_output.weight", c.hidden, std::uint64_t{c.heads} * c.v_head);
  return w;
}

// The plain MLP whose tensors end in `suffix`.
MlpWeights TakeMlp(Taker& taker, const Config& c, const std::string& prefix,
                   const std::string& suffix, std::uint64_t width) {
  return {taker.Take(prefix + "ffn_gate" + suffix, width, c.hidden),
          taker.Take(prefix + "ffn_up" + suffix, width, c.hidden),
          taker.Take(prefix + "ffn_down" + suffix, c.hidden, width)};
}

std::vector<MlpWeights> TakeExperts(Taker& taker, const Config& c, const std::string& prefix) {
  const auto gate = taker.Stack(prefix + "ffn_gate_exps.weight", c.experts, c.expert_ffn, c.hidden);
  const auto up = taker.Stack(prefix + "ffn_up_exps.weight", c.experts, c.expert_ffn, c.hidden);
  const auto down = taker.Stack(prefix + "ffn_down_exps.weight", c.experts, c.hidden, c.expert_ffn);
  std::vector<MlpWeights> experts;
  if (gate.empty() || up.empty() || down.empty()) return experts;
  for (std::size_t e = 0; e < c.experts; ++e) experts.push_back({gate[e], up[e], down[e]});
  return experts;
}

FeedForwardWeights TakeFeedForward(Taker& taker, const Config& c, const std::string& prefix,
                                   bool dense) {
  FeedForwardWeights w;
  w.norm = taker.TakeVector(prefix + "ffn_norm.weight", c.hidden);
  if (dense) {
    w.dense = TakeMlp(taker, c, prefix, ".weight", c.ffn);
    return w;
  }
  w.router = taker.Take(prefix + "ffn_gate_inp.weight", c.experts, c.hidden);
  w.router_bias = taker.TakeVector(prefix + "exp_probs_b.bias", c.experts);
  w.experts = TakeExperts(taker, c, prefix);
  if (c.shared_experts > 0) {
    w.shared =
        TakeMlp(taker, c, prefix, "_shexp.weight", std::uint64_t{c.shared_experts} * c.expert_ffn);
  }
  return w;
}

}  // namespace

Result<Weights> LoadWeights(WeightSource& source, const Config& config) {
  constexpr const char* kEmbedding = "token_embd.weight";
  constexpr const char* kOutput = "output.weight";
  Taker taker(source, config);
  Weights weights;
  const std::uint64_t vocab = taker.OutermostOf(kEmbedding);
  weights.embedding = taker.Take(kEmbedding, vocab, config.hidden);
  for (std::uint32_t i = 0; i < config.layers; ++i) {
    const std::string prefix = fmt::format("blk.{}.", i);
    weights.layers.push_back({TakeAttention(taker, config, prefix),
                              TakeFeedForward(taker, config, prefix, i < config.dense_layers)});
    if (!taker.HasBlock(i)) break;  // the rest is missing as well: a key may claim any number
  }
  weights.norm = taker.TakeVector("output_norm.weight", config.hidden);
  weights.output =
      taker.Has(kOutput) ? taker.Take(kOutput, vocab, config.hidden) : weights.embedding;
  taker.ReportUnused();
  SLUICE_TRY(taker.Problems());
  weights.tensors = taker.Tensors();
  return weights;
}

}  // namespace sluice::runtime
