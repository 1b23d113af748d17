// GLM-4 MoE Lite: token ids in, logits out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/result.h"
#include "runtime/language_model.h"
#include "runtime/model/attention.h"
#include "runtime/model/config.h"
#include "runtime/model/feed_forward.h"
#include "runtime/model/kv_cache.h"
#include "runtime/model/rope.h"
#include "runtime/model/weight_source.h"
#include "runtime/model/weights.h"
#include "runtime/parallel/workers.h"

namespace sluice::runtime {

struct GlmOptions {
  int threads = 1;                                       // 0: all allowed cores
  gguf::TensorType cache_type = gguf::TensorType::kF32;  // or F16, BF16
  AttentionForm form = AttentionForm::kCheaper;
};

// See LanguageModel. Results do not depend on the number of threads, and on how tokens are cut into
// calls and batches only within rounding.
class Glm final : public LanguageModel {
 public:
  // Takes the weights out of `source`, whose mappings it keeps. See LoadWeights for errors.
  static Result<std::unique_ptr<Glm>> Load(std::unique_ptr<WeightSource> source, Config config,
                                           const GlmOptions& options);

  [[nodiscard]] std::uint32_t vocab_size() const override {
    return static_cast<std::uint32_t>(weights_.output.rows);
  }
  [[nodiscard]] std::uint32_t context_length() const override { return config_.context; }
  // What a token takes in the cache of its sequence.
  [[nodiscard]] std::uint64_t cache_bytes_per_token() const { return cache_.bytes_per_token(); }

  [[nodiscard]] const std::vector<WeightTensor>& tensors() const { return weights_.tensors; }

  // Shows activations to `observer` from now on; nullptr: to nobody. Only the absorbed form of
  // attention multiplies with EmbedQ and UnembedOut as they are, and logits that are not wanted
  // make the last layer leave out tokens.
  void Observe(ActivationObserver* observer) { workers_.Observe(observer); }

  Result<SequenceId> CreateSequence() override;
  void ReleaseSequence(SequenceId sequence) override;
  void TruncateSequence(SequenceId sequence, std::uint32_t length) override;

  // Beyond what LanguageModel says: kUsage for a token or a length that breaks its conditions,
  // kCorrupt when logits are not finite or a mapped file has lost bytes.
  Status Forward(std::span<const SequenceInput> batch) override;

  // Appends tokens to a sequence and gives the logits of all of them: [tokens, vocab_size].
  // Errors as of Forward.
  Status ForwardAll(SequenceId sequence, std::span<const TokenId> tokens, std::span<float> logits);

 private:
  // Tokens of one sequence that go through a pass.
  struct Part {
    KvCache::Sequence* sequence = nullptr;
    std::span<const TokenId> tokens;
    std::uint32_t wanted = 0;  // of how many of the last tokens logits are wanted
    float* logits = nullptr;   // [wanted, V]
  };

  Glm(std::unique_ptr<WeightSource> source, Weights weights, const Config& config,
      const GlmOptions& options);

  Status CheckInputs(std::span<const Part> parts) const;
  // Cuts the parts into passes and runs them; exceptions become Errors here.
  Status RunParts(std::span<const Part> parts);
  Status RunPass(std::span<const Part> parts);
  Pass Place(std::span<const Part> parts);
  void Embed(std::span<const Part> parts);
  void RunLayer(std::uint32_t layer, const Pass& pass, const Queries& queries);
  Status Logits(std::span<const Part> parts, const Queries& queries);
  void NormRows(std::size_t count, std::span<const float> weight);

  std::unique_ptr<WeightSource> source_;
  const Config config_;
  const Weights weights_;
  const Rope rope_;
  Workers workers_;
  KvCache cache_;
  Attention attention_;
  FeedForward feed_forward_;
  std::vector<std::optional<KvCache::Sequence>> sequences_;  // by SequenceId

  FloatBuffer states_;   // [rows, H], the residual stream
  FloatBuffer normed_;   // [rows, H]
  FloatBuffer changes_;  // [rows, H], the output of attention
  FloatBuffer logits_;   // [rows, V], where more than one row is wanted
};

}  // namespace sluice::runtime
