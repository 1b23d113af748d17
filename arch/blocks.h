// Tables and derived values that several families share.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "arch/spec.h"

namespace sluice::arch {

using enum Hp;

// ---- Derived values: pure functions of the hyperparameters --------------------------------------

HpValue HiddenPerHead(const HParams& hparams);  // hidden_size / num_attention_heads
HpValue SameAsHeads(const HParams& hparams);
HpValue RopeTypeIsDefault(const HParams& hparams);

// Text of rope.scaling.type as llama.cpp knows it; absent for "default" and "llama3" (the latter is
// expressed by the tensor rope_freqs.weight).
HpValue RopeScalingType(const HParams& hparams);
// rope.scaling.factor; absent where the type is.
HpValue RopeScalingFactor(const HParams& hparams);
HpValue YarnOriginalContext(const HParams& hparams);

// rope_freqs.weight: one divisor for each rotary frequency, from rope_type "llama3" (the published
// formula of Llama 3.1); empty for other types. llama.cpp's converter works in binary32 and on
// head_dim values, Ollama's takes the wavelength in binary64 and hidden_size / heads values.
std::vector<float> RopeFactorsLlamaCpp(const HParams& hparams);
std::vector<float> RopeFactorsOllama(const HParams& hparams);

// ---- Findings -----------------------------------------------------------------------------------

std::optional<Finding> ActivationIsSilu(const HParams& hparams);
std::optional<Finding> RopeIsWhole(const HParams& hparams);
// attention_bias is false: readers look for no biases of the projections.
std::optional<Finding> ProjectionsHaveNoBias(const HParams& hparams);
// rope_type is one that the llama.cpp key-values can express.
std::optional<Finding> RopeScalingIsKnown(const HParams& hparams);
// The same where no tensor holds the factors of "llama3".
std::optional<Finding> RopeScalingHasKeys(const HParams& hparams);
// rope_type is "default": the dialect has no keys for any other.
std::optional<Finding> RopeIsUnscaled(const HParams& hparams);
// The same for the tensors and keys of the Ollama dialect: "default", "linear" and "llama3".
std::optional<Finding> OllamaRopeScalingIsKnown(const HParams& hparams);

// ---- Block tests --------------------------------------------------------------------------------

bool IsTied(const HParams& hparams, std::uint64_t block);
bool IsUntied(const HParams& hparams, std::uint64_t block);

// ---- Hyperparameters of a text decoder ----------------------------------------------------------

inline constexpr std::array kDecoderHParams{
    Count(kHidden, {"hidden_size", "n_embd"}),
    Count(kBlocks, {"num_hidden_layers", "n_layers", "n_layer"}),
    Count(kVocab, {"vocab_size"}),
    Count(kContext, {"max_position_embeddings", "n_ctx"}),
    Count(kHeads, {"num_attention_heads", "n_head"}),
    Optional(Count(kKvHeads, {"num_key_value_heads"})),
    Text(kHiddenAct, {"hidden_act"}),
};

// Both spellings: rope_parameters (transformers 5), rope_theta and rope_scaling (published files).
inline constexpr std::array kRopeHParams{
    Text(kRopeType, {"rope_parameters.rope_type", "rope_parameters.type", "rope_scaling.rope_type",
                     "rope_scaling.type"}),
    Optional(Real(kRopeFactor, {"rope_parameters.factor", "rope_scaling.factor"})),
    Default(Real(kRopeLowFreqFactor,
                 {"rope_parameters.low_freq_factor", "rope_scaling.low_freq_factor"}),
            1.0),
    Default(Real(kRopeHighFreqFactor,
                 {"rope_parameters.high_freq_factor", "rope_scaling.high_freq_factor"}),
            4.0),
    Optional(Count(kRopeOriginalContext, {"rope_parameters.original_max_position_embeddings",
                                          "rope_scaling.original_max_position_embeddings",
                                          "original_max_position_embeddings"})),
    Optional(Real(kRopeAttentionFactor,
                  {"rope_parameters.attention_factor", "rope_scaling.attention_factor"})),
    Optional(Real(kRopeBetaFast, {"rope_parameters.beta_fast", "rope_scaling.beta_fast"})),
    Optional(Real(kRopeBetaSlow, {"rope_parameters.beta_slow", "rope_scaling.beta_slow"})),
    Optional(Real(kRopeMscale, {"rope_parameters.mscale", "rope_scaling.mscale"})),
    Optional(
        Real(kRopeMscaleAllDim, {"rope_parameters.mscale_all_dim", "rope_scaling.mscale_all_dim"})),
    Default(Flag(kRopeTruncate, {"rope_parameters.truncate", "rope_scaling.truncate"}), 1),
    Default(
        Real(kPartialRotary, {"rope_parameters.partial_rotary_factor", "partial_rotary_factor"}),
        1.0),
};

inline constexpr Paths kRopeThetaPaths{"rope_parameters.rope_theta", "rope_theta",
                                       "rope_scaling.rope_theta"};

inline constexpr std::array kDecoderDerived{
    DerivedRule{kKvHeads, SameAsHeads},
    DerivedRule{kRopeType, RopeTypeIsDefault},
};

// ---- Key-values ---------------------------------------------------------------------------------

// What llama.cpp's converter writes first for every text model, in its order.
inline constexpr std::array kLlamaCppDecoderKvs{
    KvRule{".block_count", KvType::kU32, kBlocks},
    KvRule{".context_length", KvType::kU32, kContext},
    KvRule{".embedding_length", KvType::kU32, kHidden},
    KvRule{".feed_forward_length", KvType::kU32, kFfn},
    KvRule{".attention.head_count", KvType::kU32, kHeads},
    KvRule{".attention.head_count_kv", KvType::kU32, kKvHeads},
};
inline constexpr std::array kLlamaCppRopeKvs{
    KvRule{".rope.scaling.type", KvType::kString, RopeScalingType},
    KvRule{".rope.scaling.factor", KvType::kF32, RopeScalingFactor},
    KvRule{".rope.scaling.original_context_length", KvType::kU32, YarnOriginalContext},
    KvRule{".rope.scaling.yarn_attn_factor", KvType::kF32, kRopeAttentionFactor},
    KvRule{".rope.scaling.yarn_beta_fast", KvType::kF32, kRopeBetaFast},
    KvRule{".rope.scaling.yarn_beta_slow", KvType::kF32, kRopeBetaSlow},
    KvRule{".rope.freq_base", KvType::kF32, kRopeTheta},
    KvRule{".attention.layer_norm_rms_epsilon", KvType::kF32, kRmsEps},
};
inline constexpr std::array kHeadLengthKvs{
    KvRule{".attention.key_length", KvType::kU32, kHeadDim},
    KvRule{".attention.value_length", KvType::kU32, kHeadDim},
};
inline constexpr std::array kFileTypeKv{
    KvRule{"general.file_type", KvType::kU32, FileType{}},
};

// The base Llama keys of the Ollama dialect, under whatever architecture inherits them.
inline constexpr std::array kOllamaLlamaKvs{
    KvRule{"general.file_type", KvType::kU32, FileType{}},
    KvRule{".vocab_size", KvType::kU32, kVocab},
    KvRule{".block_count", KvType::kU32, kBlocks},
    KvRule{".context_length", KvType::kU32, kContext},
    KvRule{".embedding_length", KvType::kU32, kHidden},
    KvRule{".feed_forward_length", KvType::kU32, kFfn},
    KvRule{".attention.head_count", KvType::kU32, kHeads},
    KvRule{".rope.dimension_count", KvType::kU32, HiddenPerHead},
    KvRule{".attention.head_dim", KvType::kU32, kHeadDim, When::kGiven},
    KvRule{".attention.key_length", KvType::kU32, kHeadDim, When::kGiven},
    KvRule{".attention.value_length", KvType::kU32, kHeadDim, When::kGiven},
    KvRule{".rope.freq_base", KvType::kF32, kRopeTheta},
    KvRule{".rope.scaling.type", KvType::kString, RopeScalingType},
    KvRule{".rope.scaling.factor", KvType::kF32, RopeScalingFactor},
    KvRule{".attention.head_count_kv", KvType::kU32, kKvHeads, When::kGiven},
    KvRule{".attention.layer_norm_rms_epsilon", KvType::kF32, kRmsEps},
    KvRule{".attention.layer_norm_epsilon", KvType::kF32, kLayerNormEps, When::kGiven},
};

// ---- Tensors ------------------------------------------------------------------------------------

inline constexpr Extent kQueryRows = kHeads * kHeadDim;
inline constexpr Extent kKvRows = kKvHeads * kHeadDim;

inline constexpr std::array kHeadRules{
    TensorRule{"lm_head.weight", "output.weight", {kVocab, kHidden}},
};
inline constexpr std::array kTiedHeadRules{Optional(kHeadRules[0])};

inline constexpr std::array kEmbeddingRules{
    TensorRule{"embed_tokens.weight", "token_embd.weight", {kVocab, kHidden}},
    Norm("norm.weight", "output_norm.weight", {kHidden}),
};

inline constexpr std::array kBlockNormRules{
    Norm("input_layernorm.weight", "attn_norm.weight", {kHidden}),
    Norm("post_attention_layernorm.weight", "ffn_norm.weight", {kHidden}),
};

// Attention whose rotary halves are stored side by side and read as interleaved pairs.
inline constexpr std::array kPermutedAttentionRules{
    TensorRule{
        "self_attn.q_proj.weight", "attn_q.weight", {kQueryRows, kHidden}, {RopePairs{kHeads}}},
    TensorRule{
        "self_attn.k_proj.weight", "attn_k.weight", {kKvRows, kHidden}, {RopePairs{kKvHeads}}},
    TensorRule{"self_attn.v_proj.weight", "attn_v.weight", {kKvRows, kHidden}},
    TensorRule{"self_attn.o_proj.weight", "attn_output.weight", {kHidden, kQueryRows}},
};

// The same without permutation.
inline constexpr std::array kAttentionRules{
    TensorRule{"self_attn.q_proj.weight", "attn_q.weight", {kQueryRows, kHidden}},
    TensorRule{"self_attn.k_proj.weight", "attn_k.weight", {kKvRows, kHidden}},
    TensorRule{"self_attn.v_proj.weight", "attn_v.weight", {kKvRows, kHidden}},
    TensorRule{"self_attn.o_proj.weight", "attn_output.weight", {kHidden, kQueryRows}},
};

inline constexpr std::array kGatedFfnRules{
    TensorRule{"gate_proj.weight", "ffn_gate.weight", {kFfn, kHidden}},
    TensorRule{"up_proj.weight", "ffn_up.weight", {kFfn, kHidden}},
    TensorRule{"down_proj.weight", "ffn_down.weight", {kHidden, kFfn}},
};

}  // namespace sluice::arch
