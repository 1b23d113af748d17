// Llama and Mistral text models: the base that Llama 4 and MLlama build on.
// Model: LlamaForCausalLM, MistralForCausalLM of transformers. Odd: rotary halves are stored side
// by side, readers expect interleaved pairs, so the rows of Q and K are permuted.
#include "arch/blocks.h"
#include "arch/registry.h"
#include "arch/spec_check.h"

namespace sluice::arch {
namespace {

constexpr std::array<std::string_view, 2> kLlamaCppNames{"LlamaForCausalLM", "MistralForCausalLM"};
constexpr std::array<std::string_view, 1> kOllamaNames{"LlamaForCausalLM"};

constexpr auto kHParams = Join(kDecoderHParams, kRopeHParams,
                               std::array{
                                   Default(Real(kRopeTheta, kRopeThetaPaths), 10000.0),
                                   Count(kFfn, {"intermediate_size", "n_inner"}),
                                   Default(Real(kRmsEps, {"rms_norm_eps"}), 1e-6),
                                   Optional(Real(kLayerNormEps, {"layer_norm_eps"})),
                                   Optional(Count(kHeadDim, {"head_dim"})),
                                   Default(Flag(kTied, {"tie_word_embeddings"}), 0),
                                   Default(Flag(kAttentionBias, {"attention_bias"}), 0),
                                   Default(Flag(kMlpBias, {"mlp_bias"}), 0),
                               });
constexpr auto kDerived = Join(kDecoderDerived, std::array{DerivedRule{kHeadDim, HiddenPerHead}});
constexpr std::array kFindings{ActivationIsSilu, RopeIsWhole};
constexpr std::array kLlamaCppFindings{RopeScalingIsKnown};
constexpr std::array kOllamaFindings{OllamaRopeScalingIsKnown};

constexpr auto kLlamaCppKvs =
    Join(kLlamaCppDecoderKvs, kLlamaCppRopeKvs, kHeadLengthKvs, kFileTypeKv,
         std::array{
             KvRule{".vocab_size", KvType::kU32, kVocab},
             KvRule{".rope.dimension_count", KvType::kU32, kHeadDim},
         });

// Present with attention_bias and mlp_bias; some checkpoints have them without saying so. llama.cpp
// permutes the biases with their rows.
constexpr std::array kAttentionBiases{
    TensorRule{
        "self_attn.q_proj.bias", "attn_q.bias", {kQueryRows}, {RopePairs{kHeads}}, Store::kF32},
    TensorRule{
        "self_attn.k_proj.bias", "attn_k.bias", {kKvRows}, {RopePairs{kKvHeads}}, Store::kF32},
    Norm("self_attn.v_proj.bias", "attn_v.bias", {kKvRows}),
    Norm("self_attn.o_proj.bias", "attn_output.bias", {kHidden}),
};
constexpr std::array kMlpBiases{
    Norm("mlp.gate_proj.bias", "ffn_gate.bias", {kFfn}),
    Norm("mlp.up_proj.bias", "ffn_up.bias", {kFfn}),
    Norm("mlp.down_proj.bias", "ffn_down.bias", {kHidden}),
};
constexpr auto kOptionalAttentionBiases = Optional(kAttentionBiases);
constexpr auto kOptionalMlpBiases = Optional(kMlpBiases);
constexpr auto kAttention = Join(kBlockNormRules, kPermutedAttentionRules);

bool HasAttentionBias(const HParams& hparams, std::uint64_t) {
  return hparams.Flag(kAttentionBias);
}
bool MayHaveAttentionBias(const HParams& hparams, std::uint64_t) {
  return !hparams.Flag(kAttentionBias);
}
bool HasMlpBias(const HParams& hparams, std::uint64_t) { return hparams.Flag(kMlpBias); }
bool MayHaveMlpBias(const HParams& hparams, std::uint64_t) { return !hparams.Flag(kMlpBias); }

constexpr TensorGroup InBlocks(std::span<const TensorRule> rules, BlockTest where = nullptr) {
  return Group({"model.layers.{bid}."}, "blk.{bid}.", rules, kBlocks, where);
}
constexpr std::array kGroups{
    Group({""}, "", kHeadRules, kNone, IsUntied),
    Group({""}, "", kTiedHeadRules, kNone, IsTied),
    Group({"model."}, "", kEmbeddingRules),
    InBlocks(kAttention),
    InBlocks(kAttentionBiases, HasAttentionBias),
    InBlocks(kOptionalAttentionBiases, MayHaveAttentionBias),
    InBlocks(kMlpBiases, HasMlpBias),
    InBlocks(kOptionalMlpBiases, MayHaveMlpBias),
    Group({"model.layers.{bid}.mlp."}, "blk.{bid}.", kGatedFfnRules, kBlocks),
};
constexpr std::array kDropped{
    DroppedTensors{"model.layers.{bid}.", "self_attn.rotary_emb.inv_freq"},
};
constexpr std::array kLlamaCppGenerated{GeneratedTensor{"rope_freqs.weight", RopeFactorsLlamaCpp}};
constexpr std::array kOllamaGenerated{GeneratedTensor{"rope_freqs.weight", RopeFactorsOllama}};

constexpr std::array kFiles{
    FileSpec{
        .dialect = Dialect::kLlamaCpp,
        .gguf_arch = "llama",
        .loaded_by = "llama.cpp 0c1e570, Ollama fb30760",
        .hf_architectures = kLlamaCppNames,
        .key_values = kLlamaCppKvs,
        .groups = kGroups,
        .dropped = kDropped,
        .generated = kLlamaCppGenerated,
        .findings = kLlamaCppFindings,
        .tokenizer = {.writes_space_prefix = true},
    },
    FileSpec{
        .dialect = Dialect::kOllama,
        .gguf_arch = "llama",
        .loaded_by = "Ollama fb30760 and older, llama.cpp 0c1e570",
        .hf_architectures = kOllamaNames,
        .key_values = kOllamaLlamaKvs,
        .groups = kGroups,
        .dropped = kDropped,
        .generated = kOllamaGenerated,
        .findings = kOllamaFindings,
        .tokenizer = {},
    },
};

}  // namespace

constexpr Family kLlama{"Llama", kHParams, kDerived, kFindings, kFiles};
static_assert(Check(kLlama) == Defect::kNone);

}  // namespace sluice::arch
