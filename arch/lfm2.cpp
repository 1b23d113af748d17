// LFM2 and LFM2-MoE: blocks of short convolution alternate with blocks of full attention.
// Model: Lfm2ForCausalLM, Lfm2MoeForCausalLM of transformers. Odd: a block without attention is
// told by 0 key/value heads in a per-block array; the feed-forward width of the dense family is
// rounded by three more fields; the dialects name the final norm differently.
#include "arch/blocks.h"
#include "arch/registry.h"
#include "arch/spec_check.h"

#include <algorithm>
#include <cmath>

namespace sluice::arch {
namespace {

constexpr std::array<std::string_view, 2> kNames{"Lfm2ForCausalLM", "LFM2ForCausalLM"};
constexpr std::array<std::string_view, 1> kMoeNames{"Lfm2MoeForCausalLM"};

constexpr std::string_view kConv = "conv";
constexpr std::string_view kFull = "full_attention";

// ---- Derived values -----------------------------------------------------------------------------

// From full_attn_idxs, the older spelling; every block attends when neither is given.
HpValue LayerTypesFromIndices(const HParams& hparams) {
  // A block count that no checkpoint can have must not become an allocation; the planner refuses
  // it.
  constexpr std::uint64_t kMostBlocks = 65'536;
  if (hparams.Count(kBlocks) > kMostBlocks) return std::vector<std::string>();
  const bool all = !hparams.Has(kFullAttention);
  std::vector<std::string> types(hparams.Count(kBlocks), std::string(all ? kFull : kConv));
  if (all) return types;
  for (const std::int64_t block : hparams.Integers(kFullAttention)) {
    if (block >= 0 && static_cast<std::uint64_t>(block) < types.size()) {
      types[static_cast<std::size_t>(block)] = kFull;
    }
  }
  return types;
}
// Any that a width can be multiplied with.
bool IsSaneMultiplier(double multiplier) {
  constexpr double kMostMultiplier = 1e6;
  return multiplier > 0 && multiplier < kMostMultiplier;
}
// The published rule: two thirds of the width, scaled, rounded up to a multiple. A multiplier that
// is not sane is refused later (WidthIsSane).
HpValue AdjustedFfn(const HParams& hparams) {
  std::uint64_t width = hparams.Count(kFfnRaw);
  if (!hparams.Flag(kFfnAdjust) || !IsSaneMultiplier(hparams.Real(kFfnMultiplier))) return width;
  width = 2 * width / 3;
  width = static_cast<std::uint64_t>(hparams.Real(kFfnMultiplier) * static_cast<double>(width));
  const std::uint64_t multiple = hparams.Count(kFfnMultipleOf);
  return (width + multiple - 1) / multiple * multiple;
}
HpValue KvHeadsOfBlocks(const HParams& hparams) {
  std::vector<std::int64_t> heads;
  for (const std::string& type : hparams.Texts(kLayerTypes)) {
    heads.push_back(type == kFull ? static_cast<std::int64_t>(hparams.Count(kKvHeads)) : 0);
  }
  return heads;
}

// ---- Block tests --------------------------------------------------------------------------------

bool Attends(const HParams& hparams, std::uint64_t block) {
  return hparams.Texts(kLayerTypes)[block] == kFull;
}
bool Convolves(const HParams& hparams, std::uint64_t block) { return !Attends(hparams, block); }
bool IsDense(const HParams& hparams, std::uint64_t block) {
  return block < hparams.Count(kDenseBlocks);
}
bool IsSparse(const HParams& hparams, std::uint64_t block) { return !IsDense(hparams, block); }
bool HasConvBias(const HParams& hparams, std::uint64_t block) {
  return Convolves(hparams, block) && hparams.Flag(kConvBias);
}
bool HasExpertBias(const HParams& hparams, std::uint64_t block) {
  return IsSparse(hparams, block) && hparams.Flag(kExpertBias);
}
bool LacksExpertBias(const HParams& hparams, std::uint64_t block) {
  return IsSparse(hparams, block) && !hparams.Flag(kExpertBias);
}

// ---- Findings -----------------------------------------------------------------------------------

std::optional<Finding> LayerTypesFit(const HParams& hparams) {
  const std::vector<std::string>& types = hparams.Texts(kLayerTypes);
  if (types.size() != hparams.Count(kBlocks)) {
    return Finding{FindingKind::kInvalid, "layer_types has not one entry for each layer"};
  }
  for (const std::string& type : types) {
    if (type != kConv && type != kFull) {
      return Finding{FindingKind::kUnsupported,
                     "layer type '" + type + "': only 'conv' and 'full_attention' are known"};
    }
  }
  return std::nullopt;
}
// llama.cpp refuses files with tensors that it does not look for.
std::optional<Finding> LlamaCppHasNoConvBias(const HParams& hparams) {
  if (!hparams.Flag(kConvBias)) return std::nullopt;
  return Finding{FindingKind::kUnsupported,
                 "conv_bias true: llama.cpp knows no biases of the convolution"};
}
std::optional<Finding> OllamaAddsNoConvBias(const HParams& hparams) {
  if (!hparams.Flag(kConvBias)) return std::nullopt;
  return Finding{FindingKind::kWarning,
                 "conv_bias is true, but Ollama does not add the bias of the convolution itself: "
                 "logits will differ from the original model"};
}
std::optional<Finding> TopExpertsAreNormalised(const HParams& hparams) {
  if (hparams.Flag(kNormTopk)) return std::nullopt;
  return Finding{FindingKind::kWarning,
                 "norm_topk_prob is false, but readers of lfm2moe always normalise the weights of "
                 "the chosen experts: logits will differ from the original model"};
}
std::optional<Finding> ExpertsAreUnscaled(const HParams& hparams) {
  if (hparams.Real(kRoutedScale) == 1.0) return std::nullopt;
  return Finding{FindingKind::kWarning,
                 "routed_scaling_factor is not 1, but readers of lfm2moe do not scale the experts' "
                 "sum: logits will differ from the original model"};
}
std::optional<Finding> WidthIsSane(const HParams& hparams) {
  if (IsSaneMultiplier(hparams.Real(kFfnMultiplier))) return std::nullopt;
  return Finding{FindingKind::kInvalid, "block_ffn_dim_multiplier is out of range"};
}

// ---- Hyperparameters ----------------------------------------------------------------------------

constexpr auto kSharedHParams =
    Join(kDecoderHParams, kRopeHParams,
         std::array{
             Default(Real(kRopeTheta, kRopeThetaPaths), 1'000'000.0),
             Default(Real(kRmsEps, {"norm_eps", "block_norm_eps", "rms_norm_eps"}), 1e-5),
             Optional(Count(kHeadDim, {"head_dim"})),
             Default(Flag(kTied, {"tie_word_embeddings", "tie_embedding"}), 1),
             Default(Count(kConvCache, {"conv_L_cache"}), 3),
             Default(Flag(kConvBias, {"conv_bias"}), 0),
             List(kLayerTypes, HpKind::kTexts, {"layer_types"}),
             List(kFullAttention, HpKind::kIntegers, {"full_attn_idxs"}),
         });
constexpr auto kHParams =
    Join(kSharedHParams, std::array{
                             Count(kFfnRaw, {"block_ff_dim", "intermediate_size"}),
                             Default(Flag(kFfnAdjust, {"block_auto_adjust_ff_dim"}), 1),
                             Default(Real(kFfnMultiplier, {"block_ffn_dim_multiplier"}), 1.0),
                             Default(Count(kFfnMultipleOf, {"block_multiple_of"}), 256),
                         });
constexpr auto kMoeHParams =
    Join(kSharedHParams, std::array{
                             Count(kFfn, {"intermediate_size"}),
                             Count(kExperts, {"num_local_experts", "num_experts"}),
                             Default(Count(kUsedExperts, {"num_experts_per_tok"}), 4),
                             Count(kExpertFfn, {"moe_intermediate_size"}),
                             Default(CountOrZero(kDenseBlocks, {"num_dense_layers"}), 2),
                             Default(Flag(kExpertBias, {"use_expert_bias"}), 1),
                             Default(Flag(kNormTopk, {"norm_topk_prob"}), 1),
                             Default(Real(kRoutedScale, {"routed_scaling_factor"}), 1.0),
                         });
constexpr auto kSharedDerived =
    Join(kDecoderDerived, std::array{
                              DerivedRule{kHeadDim, HiddenPerHead},
                              DerivedRule{kLayerTypes, LayerTypesFromIndices},
                          });
constexpr auto kDerived = Join(kSharedDerived, std::array{DerivedRule{kFfn, AdjustedFfn}});
constexpr std::array kSharedFindings{RopeIsWhole, LayerTypesFit};
constexpr auto kFindings = Join(kSharedFindings, std::array{WidthIsSane});
constexpr auto kMoeFindings =
    Join(kSharedFindings, std::array{TopExpertsAreNormalised, ExpertsAreUnscaled});
constexpr std::array kLlamaCppFindings{RopeScalingHasKeys, LlamaCppHasNoConvBias};
constexpr std::array kOllamaFindings{RopeScalingHasKeys, OllamaRopeScalingIsKnown,
                                     OllamaAddsNoConvBias};

// ---- Key-values ---------------------------------------------------------------------------------

constexpr std::array kDecoderKvs{
    KvRule{".block_count", KvType::kU32, kBlocks},
    KvRule{".context_length", KvType::kU32, kContext},
    KvRule{".embedding_length", KvType::kU32, kHidden},
    KvRule{".feed_forward_length", KvType::kU32, kFfn},
    KvRule{".attention.head_count", KvType::kU32, kHeads},
    KvRule{".attention.head_count_kv", KvType::kI32Array, KvHeadsOfBlocks},
};
constexpr std::array kGivenHeadLengthKvs{
    KvRule{".attention.key_length", KvType::kU32, kHeadDim, When::kGiven},
    KvRule{".attention.value_length", KvType::kU32, kHeadDim, When::kGiven},
};
constexpr std::array kConvKvs{
    KvRule{".vocab_size", KvType::kU32, kVocab},
    KvRule{".shortconv.l_cache", KvType::kU32, kConvCache},
};
constexpr auto kLlamaCppKvs =
    Join(kDecoderKvs, kLlamaCppRopeKvs, kGivenHeadLengthKvs, kFileTypeKv, kConvKvs);
constexpr auto kLlamaCppMoeKvs =
    Join(kDecoderKvs, kLlamaCppRopeKvs,
         std::array{
             KvRule{".expert_count", KvType::kU32, kExperts},
             KvRule{".expert_used_count", KvType::kU32, kUsedExperts},
         },
         kGivenHeadLengthKvs, kFileTypeKv,
         std::array{
             KvRule{".expert_feed_forward_length", KvType::kU32, kExpertFfn},
             KvRule{".leading_dense_block_count", KvType::kU32, kDenseBlocks},
             // llama.cpp: LLAMA_EXPERT_GATING_FUNC_TYPE_SIGMOID
             KvRule{".expert_gating_func", KvType::kU32, std::uint32_t{2}},
         },
         kConvKvs);

constexpr std::array kOllamaKvs{
    KvRule{"general.file_type", KvType::kU32, FileType{}},
    KvRule{".vocab_size", KvType::kU32, kVocab},
    KvRule{".block_count", KvType::kU32, kBlocks},
    KvRule{".context_length", KvType::kU32, kContext},
    KvRule{".embedding_length", KvType::kU32, kHidden},
    KvRule{".feed_forward_length", KvType::kU32, kFfn},
    KvRule{".attention.head_count", KvType::kU32, kHeads},
    KvRule{".attention.head_count_kv", KvType::kU32Array, KvHeadsOfBlocks},
    KvRule{".attention.key_length", KvType::kU32, HiddenPerHead},
    KvRule{".attention.value_length", KvType::kU32, HiddenPerHead},
    KvRule{".attention.layer_norm_rms_epsilon", KvType::kF32, kRmsEps},
    KvRule{".rope.freq_base", KvType::kF32, kRopeTheta},
    KvRule{".rope.scaling.type", KvType::kString, RopeScalingType},
    KvRule{".rope.scaling.factor", KvType::kF32, RopeScalingFactor},
    KvRule{".shortconv.l_cache", KvType::kU32, kConvCache},
};

// ---- Tensors ------------------------------------------------------------------------------------

constexpr std::array kLlamaCppEmbeddings{
    TensorRule{"embed_tokens.weight", "token_embd.weight", {kVocab, kHidden}},
    Norm("embedding_norm.weight", "token_embd_norm.weight", {kHidden}),
};
constexpr std::array kOllamaEmbeddings{
    TensorRule{"embed_tokens.weight", "token_embd.weight", {kVocab, kHidden}},
    Norm("embedding_norm.weight", "output_norm.weight", {kHidden}),
};
constexpr std::array kNorms{
    Norm("operator_norm.weight", "attn_norm.weight", {kHidden}),
    Norm("ffn_norm.weight", "ffn_norm.weight", {kHidden}),
};
constexpr std::array kAttention{
    TensorRule{"self_attn.q_proj.weight", "attn_q.weight", {kQueryRows, kHidden}},
    TensorRule{"self_attn.k_proj.weight", "attn_k.weight", {kKvRows, kHidden}},
    TensorRule{"self_attn.v_proj.weight", "attn_v.weight", {kKvRows, kHidden}},
    TensorRule{"self_attn.out_proj.weight", "attn_output.weight", {kHidden, kQueryRows}},
    Norm("self_attn.q_layernorm.weight", "attn_q_norm.weight", {kHeadDim}),
    Norm("self_attn.k_layernorm.weight", "attn_k_norm.weight", {kHeadDim}),
};
constexpr Extent kConvRows = Extent(3) * kHidden;
constexpr std::array kConvolution{
    TensorRule{"conv.conv.weight",
               "shortconv.conv.weight",
               {kHidden, 1, kConvCache},
               {Squeeze{1}},
               Store::kF32},
    TensorRule{"conv.in_proj.weight", "shortconv.in_proj.weight", {kConvRows, kHidden}},
    TensorRule{"conv.out_proj.weight", "shortconv.out_proj.weight", {kHidden, kHidden}},
};
constexpr std::array kConvBiases{
    Norm("conv.conv.bias", "shortconv.conv.bias", {kHidden}),
    Norm("conv.in_proj.bias", "shortconv.in_proj.bias", {kConvRows}),
    Norm("conv.out_proj.bias", "shortconv.out_proj.bias", {kHidden}),
};
constexpr std::array kFeedForward{
    TensorRule{"w1.weight", "ffn_gate.weight", {kFfn, kHidden}},
    TensorRule{"w2.weight", "ffn_down.weight", {kHidden, kFfn}},
    TensorRule{"w3.weight", "ffn_up.weight", {kFfn, kHidden}},
};
constexpr std::array kExpertRules{
    TensorRule{
        "experts.{xid}.w1.weight", "ffn_gate_exps.weight", {kExpertFfn, kHidden}, {StackExperts{}}},
    TensorRule{
        "experts.{xid}.w2.weight", "ffn_down_exps.weight", {kHidden, kExpertFfn}, {StackExperts{}}},
    TensorRule{
        "experts.{xid}.w3.weight", "ffn_up_exps.weight", {kExpertFfn, kHidden}, {StackExperts{}}},
    Norm("gate.weight", "ffn_gate_inp.weight", {kExperts, kHidden}),
};
constexpr std::array kExpertBiasRules{
    Norm("expert_bias", "exp_probs_b.bias", {kExperts}),
};

constexpr TensorGroup InBlocks(std::span<const TensorRule> rules, BlockTest where = nullptr) {
  return Group({"model.layers.{bid}."}, "blk.{bid}.", rules, kBlocks, where);
}
constexpr TensorGroup InFeedForward(std::span<const TensorRule> rules, BlockTest where = nullptr) {
  return Group({"model.layers.{bid}.feed_forward."}, "blk.{bid}.", rules, kBlocks, where);
}
constexpr std::array kSharedGroups{
    Group({"", "model."}, "", kHeadRules, kNone, IsUntied),
    Group({"", "model."}, "", kTiedHeadRules, kNone, IsTied),
    InBlocks(kNorms),
    InBlocks(kAttention, Attends),
    InBlocks(kConvolution, Convolves),
};
constexpr std::array kLlamaCppHead{Group({"model."}, "", kLlamaCppEmbeddings)};
constexpr std::array kOllamaHead{Group({"model."}, "", kOllamaEmbeddings)};
constexpr std::array kDenseGroups{InFeedForward(kFeedForward)};
constexpr std::array kConvBiasGroups{InBlocks(kConvBiases, HasConvBias)};
constexpr std::array kMoeGroups{InFeedForward(kFeedForward, IsDense),
                                InFeedForward(kExpertRules, IsSparse),
                                InFeedForward(kExpertBiasRules, HasExpertBias)};

constexpr auto kLlamaCppGroups = Join(kLlamaCppHead, kSharedGroups, kDenseGroups);
constexpr auto kOllamaGroups = Join(kOllamaHead, kSharedGroups, kDenseGroups, kConvBiasGroups);
constexpr auto kLlamaCppMoeGroups = Join(kLlamaCppHead, kSharedGroups, kMoeGroups);

// llama.cpp's loader wants a bias for the choice of experts. One of zeros changes no choice.
std::vector<float> NoExpertBias(const HParams& hparams) {
  // Weights for so many experts cannot be there; they will be missed, but nothing is allocated.
  constexpr std::uint64_t kMostExperts = 65'536;
  const std::uint64_t experts = hparams.Count(kExperts);
  return std::vector<float>(experts <= kMostExperts ? experts : 0);
}
constexpr std::array kMoeGenerated{
    GeneratedTensor{"blk.{bid}.exp_probs_b.bias", NoExpertBias, kBlocks, LacksExpertBias},
};

// ---- Files --------------------------------------------------------------------------------------

constexpr std::array kFiles{
    FileSpec{
        .dialect = Dialect::kLlamaCpp,
        .gguf_arch = "lfm2",
        .loaded_by = "llama.cpp 0c1e570, Ollama fb30760",
        .hf_architectures = kNames,
        .key_values = kLlamaCppKvs,
        .groups = kLlamaCppGroups,
        .dropped = {},
        .generated = {},
        .findings = kLlamaCppFindings,
        .tokenizer = {"llama-bpe", "lfm2", {}},
    },
    FileSpec{
        .dialect = Dialect::kOllama,
        .gguf_arch = "lfm2",
        .loaded_by =
            "Ollama older than fb30760; fb30760 translates it while loading; not llama.cpp",
        .hf_architectures = kNames,
        .key_values = kOllamaKvs,
        .groups = kOllamaGroups,
        .dropped = {},
        .generated = {},
        .findings = kOllamaFindings,
        .tokenizer = {},
    },
};
constexpr std::array kMoeFiles{
    FileSpec{
        .dialect = Dialect::kLlamaCpp,
        .gguf_arch = "lfm2moe",
        .loaded_by = "llama.cpp 0c1e570, Ollama fb30760",
        .hf_architectures = kMoeNames,
        .key_values = kLlamaCppMoeKvs,
        .groups = kLlamaCppMoeGroups,
        .dropped = {},
        .generated = kMoeGenerated,
        .findings = kLlamaCppFindings,
        .tokenizer = {"llama-bpe", "lfm2", {}},
    },
};

}  // namespace

constexpr Family kLfm2{"LFM2", kHParams, kDerived, kFindings, kFiles};
static_assert(Check(kLfm2) == Defect::kNone);

constexpr Family kLfm2Moe{"LFM2-MoE", kMoeHParams, kSharedDerived, kMoeFindings, kMoeFiles};
static_assert(Check(kLfm2Moe) == Defect::kNone);

}  // namespace sluice::arch
