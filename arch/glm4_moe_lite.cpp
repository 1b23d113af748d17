// GLM-4 MoE Lite (GLM-4.7-Flash): multi-head latent attention and a mixture of experts.
// Model: Glm4MoeLiteForCausalLM of transformers. Odd: kv_b_proj is split into the two matrices of
// absorbed attention; llama.cpp reads the family as deepseek2; published checkpoints carry
// multi-token-prediction layers after the last block.
#include <charconv>
#include <cmath>

#include "arch/blocks.h"
#include "arch/registry.h"
#include "arch/spec_check.h"

namespace sluice::arch {
namespace {

constexpr std::array<std::string_view, 2> kNames{"Glm4MoeLiteForCausalLM", "GLM4MoeLite"};

// ---- Derived values -----------------------------------------------------------------------------

constexpr std::uint32_t kSigmoidGating = 2;  // llama.cpp: LLAMA_EXPERT_GATING_FUNC_TYPE_SIGMOID
constexpr double kOllamaTheta = 1'000'000.0;
constexpr double kTransformersTheta = 10'000.0;
constexpr std::string_view kDense = "dense";

// The list wins: transformers reads nothing else.
HpValue LeadingDense(const HParams& hparams) {
  if (!hparams.Has(kMlpLayerTypes)) {
    return hparams.Has(kFirstDense) ? hparams.Count(kFirstDense) : std::uint64_t{1};
  }
  std::uint64_t count = 0;
  for (const std::string& type : hparams.Texts(kMlpLayerTypes)) {
    if (type != kDense) break;
    ++count;
  }
  return count;
}
HpValue QRankOrZero(const HParams& hparams) {
  return hparams.Has(kQRank) ? hparams.Count(kQRank) : std::uint64_t{0};
}
HpValue HeadKeyLength(const HParams& hparams) {
  return hparams.Count(kNope) + hparams.Count(kRope);
}
HpValue LatentKeyLength(const HParams& hparams) {
  return hparams.Count(kKvRank) + hparams.Count(kRope);
}
HpValue BlocksWithMtp(const HParams& hparams) {
  return hparams.Count(kBlocks) + hparams.Count(kKeptMtpBlocks);
}
HpValue ThetaOrOllamaDefault(const HParams& hparams) {
  return hparams.Has(kRopeTheta) ? hparams.Real(kRopeTheta) : kOllamaTheta;
}
HpValue ThetaOrTransformersDefault(const HParams& hparams) {
  return hparams.Has(kRopeTheta) ? hparams.Real(kRopeTheta) : kTransformersTheta;
}
HpValue YarnLogMultiplier(const HParams& hparams) {
  if (!hparams.Has(kRopeMscaleAllDim)) return {};
  return 0.1 * hparams.Real(kRopeMscaleAllDim);
}
// Group counts are facts only where there is more than one group.
HpValue GroupsIfSeveral(const HParams& hparams) {
  return hparams.Count(kExpertGroups) > 1 ? hparams.Get(kExpertGroups) : HpValue();
}
HpValue UsedGroupsIfSeveral(const HParams& hparams) {
  return hparams.Count(kExpertGroups) > 1 ? hparams.Get(kUsedExpertGroups) : HpValue();
}

// ---- Block tests --------------------------------------------------------------------------------

bool HasQRank(const HParams& hparams, std::uint64_t) { return hparams.Has(kQRank); }
bool HasNoQRank(const HParams& hparams, std::uint64_t) { return !hparams.Has(kQRank); }
bool IsDense(const HParams& hparams, std::uint64_t block) {
  return block < hparams.Count(kDenseBlocks);
}
bool IsSparse(const HParams& hparams, std::uint64_t block) { return !IsDense(hparams, block); }
bool HasSharedExperts(const HParams& hparams, std::uint64_t block) {
  return IsSparse(hparams, block) && hparams.Count(kSharedExperts) > 0;
}
bool IsDroppedMtp(const HParams& hparams, std::uint64_t block) {
  return block >= hparams.Count(kBlocks) && hparams.Count(kKeptMtpBlocks) == 0;
}

// ---- Findings -----------------------------------------------------------------------------------

std::optional<Finding> DenseBlocksLead(const HParams& hparams) {
  if (!hparams.Has(kMlpLayerTypes)) {
    if (hparams.Has(kFirstDense)) return std::nullopt;
    return Finding{FindingKind::kWarning,
                   "neither mlp_layer_types nor first_k_dense_replace is given: taking 1 dense "
                   "block"};
  }
  const std::vector<std::string>& types = hparams.Texts(kMlpLayerTypes);
  if (types.size() != hparams.Count(kBlocks)) {
    return Finding{FindingKind::kInvalid, "mlp_layer_types has not one entry for each layer"};
  }
  for (std::size_t i = 0; i < types.size(); ++i) {
    if ((types[i] == kDense) != (i < hparams.Count(kDenseBlocks))) {
      return Finding{FindingKind::kUnsupported,
                     "mlp_layer_types does not have all dense layers first: readers of this "
                     "architecture know only how many lead"};
    }
  }
  return std::nullopt;
}
std::optional<Finding> RopeIsInterleaved(const HParams& hparams) {
  if (hparams.Flag(kRopeInterleave)) return std::nullopt;
  return Finding{FindingKind::kUnsupported,
                 "rope_interleave false: readers of this architecture rotate neighbouring pairs"};
}
std::string Short(double number) {
  std::array<char, 32> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), number, std::chars_format::general, 4);
  return {text.data(), end.ptr};
}
// How much longer contexts sharpen attention, as transformers has it of both scalings.
double AttentionScale(const HParams& hparams, double weight) {
  const double factor = hparams.Has(kRopeFactor) ? hparams.Real(kRopeFactor) : 1.0;
  return factor <= 1 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}
double RealOrZero(const HParams& hparams, Hp id) {
  return hparams.Has(id) ? hparams.Real(id) : 0.0;
}
std::optional<Finding> LinearHasNoMscale(const HParams& hparams) {
  const double scale = AttentionScale(hparams, RealOrZero(hparams, kRopeMscaleAllDim));
  if (hparams.Text(kRopeType) != "linear" || scale == 1.0) return std::nullopt;
  return Finding{
      FindingKind::kNotWritten,
      "mscale_all_dim of linear rope scaling is not written, for readers know it of yarn "
      "alone: they leave out the factor " +
          Short(scale * scale) + " of all attention scores"};
}
// Readers take mscale for equal to mscale_all_dim, and so turn without a multiplier.
std::optional<Finding> YarnMscalesAreEqual(const HParams& hparams) {
  const double all_dim = RealOrZero(hparams, kRopeMscaleAllDim);
  if (hparams.Text(kRopeType) != "yarn" || all_dim == 0 || hparams.Has(kRopeAttentionFactor)) {
    return std::nullopt;
  }
  const double one = RealOrZero(hparams, kRopeMscale);
  const double multiplier = one == 0
                                ? AttentionScale(hparams, 1.0)
                                : AttentionScale(hparams, one) / AttentionScale(hparams, all_dim);
  if (multiplier == 1.0) return std::nullopt;
  return Finding{FindingKind::kNotWritten,
                 "mscale of yarn is not written: readers take it for equal to mscale_all_dim and "
                 "leave out the factor " +
                     Short(multiplier) + " of rotated queries and keys"};
}
std::optional<Finding> YarnTruncates(const HParams& hparams) {
  if (hparams.Text(kRopeType) != "yarn" || hparams.Flag(kRopeTruncate)) return std::nullopt;
  return Finding{FindingKind::kNotWritten,
                 "truncate false of yarn is not written: readers round the edges of the ramp to "
                 "whole dimensions, which scales some frequencies otherwise"};
}
std::optional<Finding> GroupsDivideExperts(const HParams& hparams) {
  const std::uint64_t groups = hparams.Count(kExpertGroups);
  if (groups == 1 || (hparams.Count(kExperts) % groups == 0 && groups < hparams.Count(kExperts) &&
                      hparams.Count(kUsedExpertGroups) <= groups)) {
    return std::nullopt;
  }
  return Finding{FindingKind::kInvalid, "n_group and topk_group do not fit n_routed_experts"};
}
std::optional<Finding> OllamaThetaIsGiven(const HParams& hparams) {
  if (hparams.Has(kRopeTheta)) return std::nullopt;
  return Finding{FindingKind::kWarning, "rope_theta is not given: taking 1000000, as Ollama does"};
}
std::optional<Finding> LlamaCppThetaIsGiven(const HParams& hparams) {
  if (hparams.Has(kRopeTheta)) return std::nullopt;
  return Finding{FindingKind::kWarning,
                 "rope_theta is not given: taking 10000, as transformers does"};
}

// ---- Tables -------------------------------------------------------------------------------------

constexpr auto kHParams =
    Join(kDecoderHParams, kRopeHParams,
         std::array{
             Optional(Real(kRopeTheta, kRopeThetaPaths)),
             Default(Flag(kRopeInterleave, {"rope_interleave"}), 1),
             Default(Real(kRmsEps, {"rms_norm_eps"}), 1e-5),
             Default(Flag(kTied, {"tie_word_embeddings"}), 0),
             Default(Flag(kAttentionBias, {"attention_bias"}), 0),
             Count(kFfn, {"intermediate_size"}),
             Count(kKvRank, {"kv_lora_rank"}),
             Count(kNope, {"qk_nope_head_dim"}),
             Count(kRope, {"qk_rope_head_dim"}),
             Count(kVHead, {"v_head_dim"}),
             Optional(Count(kQRank, {"q_lora_rank"})),
             Count(kExperts, {"n_routed_experts", "num_local_experts"}),
             Count(kUsedExperts, {"num_experts_per_tok"}),
             Count(kExpertFfn, {"moe_intermediate_size"}),
             Default(CountOrZero(kSharedExperts, {"n_shared_experts"}), 1),
             Default(Count(kExpertGroups, {"n_group"}), 1),
             Default(Count(kUsedExpertGroups, {"topk_group"}), 1),
             Default(Flag(kNormTopk, {"norm_topk_prob"}), 1),
             Default(Real(kRoutedScale, {"routed_scaling_factor"}), 1.8),
             Optional(CountOrZero(kFirstDense, {"first_k_dense_replace"})),
             List(kMlpLayerTypes, HpKind::kTexts, {"mlp_layer_types"}),
             Default(CountOrZero(kMtpBlocks, {"num_nextn_predict_layers"}), 0),
         });
constexpr auto kDerived =
    Join(kDecoderDerived, std::array{DerivedRule{kDenseBlocks, LeadingDense}});
constexpr std::array kFindings{ActivationIsSilu,  RopeIsWhole,     ProjectionsHaveNoBias,
                               RopeIsInterleaved, DenseBlocksLead, GroupsDivideExperts};
constexpr std::array kLlamaCppFindings{RopeScalingHasKeys, LinearHasNoMscale, YarnMscalesAreEqual,
                                       YarnTruncates, LlamaCppThetaIsGiven};
constexpr std::array kOllamaFindings{RopeIsUnscaled, OllamaThetaIsGiven};

constexpr std::array kOllamaKvs{
    KvRule{"general.file_type", KvType::kU32, FileType{}},
    KvRule{"general.type", KvType::kString, std::string_view("model")},
    KvRule{".block_count", KvType::kU32, kBlocks},
    KvRule{".context_length", KvType::kU32, kContext},
    KvRule{".embedding_length", KvType::kU32, kHidden},
    KvRule{".feed_forward_length", KvType::kU32, kFfn},
    KvRule{".attention.head_count", KvType::kU32, kHeads},
    KvRule{".attention.head_count_kv", KvType::kU32, kKvHeads},
    KvRule{".attention.key_length", KvType::kU32, HeadKeyLength},
    KvRule{".attention.value_length", KvType::kU32, kVHead},
    KvRule{".attention.key_length_mla", KvType::kU32, LatentKeyLength},
    KvRule{".attention.value_length_mla", KvType::kU32, kKvRank},
    KvRule{".attention.kv_lora_rank", KvType::kU32, kKvRank},
    KvRule{".attention.q_lora_rank", KvType::kU32, QRankOrZero},
    KvRule{".attention.layer_norm_rms_epsilon", KvType::kF32, kRmsEps},
    KvRule{".rope.dimension_count", KvType::kU32, kRope},
    KvRule{".rope.freq_base", KvType::kF32, ThetaOrOllamaDefault},
    KvRule{".expert_count", KvType::kU32, kExperts},
    KvRule{".expert_used_count", KvType::kU32, kUsedExperts},
    KvRule{".expert_shared_count", KvType::kU32, kSharedExperts},
    KvRule{".expert_feed_forward_length", KvType::kU32, kExpertFfn},
    KvRule{".expert_gating_func", KvType::kU32, kSigmoidGating},
    KvRule{".expert_group_count", KvType::kU32, GroupsIfSeveral},
    KvRule{".expert_group_used_count", KvType::kU32, UsedGroupsIfSeveral},
    KvRule{".expert_weights_norm", KvType::kBool, kNormTopk},
    KvRule{".expert_weights_scale", KvType::kF32, kRoutedScale},
    KvRule{".leading_dense_block_count", KvType::kU32, kDenseBlocks},
};

constexpr auto kLlamaCppKvs = Join(
    std::array{
        KvRule{".block_count", KvType::kU32, BlocksWithMtp},
        KvRule{".context_length", KvType::kU32, kContext},
        KvRule{".embedding_length", KvType::kU32, kHidden},
        KvRule{".feed_forward_length", KvType::kU32, kFfn},
        KvRule{".attention.head_count", KvType::kU32, kHeads},
        // The absorbed form is attention with a single key and value head.
        KvRule{".attention.head_count_kv", KvType::kU32, std::uint32_t{1}},
        KvRule{".rope.scaling.type", KvType::kString, RopeScalingType},
        KvRule{".rope.scaling.factor", KvType::kF32, RopeScalingFactor},
        KvRule{".rope.scaling.original_context_length", KvType::kU32, YarnOriginalContext},
        KvRule{".rope.scaling.yarn_attn_factor", KvType::kF32, kRopeAttentionFactor},
        KvRule{".rope.scaling.yarn_beta_fast", KvType::kF32, kRopeBetaFast},
        KvRule{".rope.scaling.yarn_beta_slow", KvType::kF32, kRopeBetaSlow},
        KvRule{".rope.freq_base", KvType::kF32, ThetaOrTransformersDefault},
        KvRule{".attention.layer_norm_rms_epsilon", KvType::kF32, kRmsEps},
        KvRule{".expert_count", KvType::kU32, kExperts},
        KvRule{".expert_used_count", KvType::kU32, kUsedExperts},
        KvRule{".expert_group_count", KvType::kU32, kExpertGroups},
        KvRule{".expert_group_used_count", KvType::kU32, kUsedExpertGroups},
    },
    kFileTypeKv,
    std::array{
        KvRule{".leading_dense_block_count", KvType::kU32, kDenseBlocks},
        KvRule{".vocab_size", KvType::kU32, kVocab},
        KvRule{".attention.q_lora_rank", KvType::kU32, kQRank},
        KvRule{".attention.kv_lora_rank", KvType::kU32, kKvRank},
        KvRule{".attention.key_length", KvType::kU32, LatentKeyLength},
        KvRule{".attention.value_length", KvType::kU32, kKvRank},
        KvRule{".attention.key_length_mla", KvType::kU32, HeadKeyLength},
        KvRule{".attention.value_length_mla", KvType::kU32, kVHead},
        KvRule{".expert_feed_forward_length", KvType::kU32, kExpertFfn},
        KvRule{".expert_shared_count", KvType::kU32, kSharedExperts},
        KvRule{".expert_weights_scale", KvType::kF32, kRoutedScale},
        KvRule{".expert_weights_norm", KvType::kBool, kNormTopk, When::kTrue},
        // llama.cpp's converter leaves it out and loaders then guess by model size.
        KvRule{".expert_gating_func", KvType::kU32, kSigmoidGating},
        KvRule{".rope.dimension_count", KvType::kU32, kRope},
        KvRule{".rope.scaling.yarn_log_multiplier", KvType::kF32, YarnLogMultiplier},
        KvRule{".nextn_predict_layers", KvType::kU32, kKeptMtpBlocks, When::kNonZero},
    });

constexpr Extent kHeadRows = kHeads * (kNope + kRope);
constexpr Extent kLatentRows = kKvRank + kRope;
constexpr Extent kKvBRows = kHeads * (kNope + kVHead);

constexpr std::array kLatentAttention{
    TensorRule{
        "self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight", {kLatentRows, kHidden}},
    Norm("self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight", {kKvRank}),
    // Published layout, then its transpose, then the split that mlx-lm stores.
    Shared({"self_attn.kv_b_proj.weight",
            "attn_k_b.weight",
            {kKvBRows, kKvRank},
            {Split{0, kHeads}, Take{1, 0, kNope}, Swap{1, 2}}}),
    Shared({"self_attn.kv_b_proj.weight",
            "attn_k_b.weight",
            {kKvRank, kKvBRows},
            {Split{1, kHeads}, Take{2, 0, kNope}, Swap{0, 1}}}),
    TensorRule{"self_attn.embed_q.weight", "attn_k_b.weight", {kHeads, kKvRank, kNope}},
    Shared({"self_attn.kv_b_proj.weight",
            "attn_v_b.weight",
            {kKvBRows, kKvRank},
            {Split{0, kHeads}, Take{1, kNope, kVHead}}}),
    Shared({"self_attn.kv_b_proj.weight",
            "attn_v_b.weight",
            {kKvRank, kKvBRows},
            {Split{1, kHeads}, Take{2, kNope, kVHead}, Swap{0, 1}, Swap{1, 2}}}),
    TensorRule{"self_attn.unembed_out.weight", "attn_v_b.weight", {kHeads, kVHead, kKvRank}},
    TensorRule{"self_attn.o_proj.weight", "attn_output.weight", {kHidden, kHeads* kVHead}},
};
constexpr auto kAttention = Join(kBlockNormRules, kLatentAttention);

constexpr std::array kLowRankQuery{
    TensorRule{"self_attn.q_a_proj.weight", "attn_q_a.weight", {kQRank, kHidden}},
    Norm("self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight", {kQRank}),
    TensorRule{"self_attn.q_b_proj.weight", "attn_q_b.weight", {kHeadRows, kQRank}},
};
constexpr std::array kPlainQuery{
    TensorRule{"self_attn.q_proj.weight", "attn_q.weight", {kHeadRows, kHidden}},
};

// In the order in which llama.cpp's converter writes the three stacks. Experts come one by one, as
// three stacks, as transformers 5 saves them (gate and up in one stack, gate first), or as mlx-lm
// does.
constexpr std::array kExpertRules{
    TensorRule{"experts.{xid}.down_proj.weight",
               "ffn_down_exps.weight",
               {kHidden, kExpertFfn},
               {StackExperts{}}},
    TensorRule{"experts.down_proj.weight", "ffn_down_exps.weight", {kExperts, kHidden, kExpertFfn}},
    TensorRule{"experts.down_proj", "ffn_down_exps.weight", {kExperts, kHidden, kExpertFfn}},
    TensorRule{
        "switch_mlp.down_proj.weight", "ffn_down_exps.weight", {kExperts, kHidden, kExpertFfn}},
    TensorRule{"experts.{xid}.gate_proj.weight",
               "ffn_gate_exps.weight",
               {kExpertFfn, kHidden},
               {StackExperts{}}},
    TensorRule{"experts.gate_proj.weight", "ffn_gate_exps.weight", {kExperts, kExpertFfn, kHidden}},
    Shared({"experts.gate_up_proj",
            "ffn_gate_exps.weight",
            {kExperts, Extent(2) * kExpertFfn, kHidden},
            {Take{1, 0, kExpertFfn}}}),
    TensorRule{
        "switch_mlp.gate_proj.weight", "ffn_gate_exps.weight", {kExperts, kExpertFfn, kHidden}},
    TensorRule{"experts.{xid}.up_proj.weight",
               "ffn_up_exps.weight",
               {kExpertFfn, kHidden},
               {StackExperts{}}},
    TensorRule{"experts.up_proj.weight", "ffn_up_exps.weight", {kExperts, kExpertFfn, kHidden}},
    Shared({"experts.gate_up_proj",
            "ffn_up_exps.weight",
            {kExperts, Extent(2) * kExpertFfn, kHidden},
            {Take{1, kExpertFfn, kExpertFfn}}}),
    TensorRule{"switch_mlp.up_proj.weight", "ffn_up_exps.weight", {kExperts, kExpertFfn, kHidden}},
    Norm("gate.weight", "ffn_gate_inp.weight", {kExperts, kHidden}),
    Norm("gate.e_score_correction_bias", "exp_probs_b.bias", {kExperts}),
};
constexpr Extent kSharedFfn = kSharedExperts * kExpertFfn;
constexpr std::array kSharedExpertRules{
    TensorRule{"shared_experts.down_proj.weight", "ffn_down_shexp.weight", {kHidden, kSharedFfn}},
    TensorRule{"shared_experts.gate_proj.weight", "ffn_gate_shexp.weight", {kSharedFfn, kHidden}},
    TensorRule{"shared_experts.up_proj.weight", "ffn_up_shexp.weight", {kSharedFfn, kHidden}},
};
constexpr std::array kMtpRules{
    TensorRule{"eh_proj.weight", "nextn.eh_proj.weight", {kHidden, Extent(2) * kHidden}},
    TensorRule{"embed_tokens.weight", "nextn.embed_tokens.weight", {kVocab, kHidden}},
    Norm("enorm.weight", "nextn.enorm.weight", {kHidden}),
    Norm("hnorm.weight", "nextn.hnorm.weight", {kHidden}),
    TensorRule{"shared_head.head.weight", "nextn.shared_head_head.weight", {kVocab, kHidden}},
    Norm("shared_head.norm.weight", "nextn.shared_head_norm.weight", {kHidden}),
};

constexpr TensorGroup InBlocks(std::span<const TensorRule> rules, BlockTest where = nullptr) {
  return Group({"model.layers.{bid}."}, "blk.{bid}.", rules, kBlocks, where);
}
constexpr TensorGroup InMlp(std::span<const TensorRule> rules, BlockTest where) {
  return Group({"model.layers.{bid}.mlp."}, "blk.{bid}.", rules, kBlocks, where);
}
// The same rules for the multi-token-prediction layers, which are present whole or not at all.
constexpr TensorGroup Mtp(TensorGroup group) {
  group.first = kBlocks;
  group.count = kKeptMtpBlocks;
  group.all_or_none = true;
  return group;
}

constexpr std::array kTrunk{
    // Absent: readers tie the output to the embedding.
    Group({""}, "", kTiedHeadRules, kNone, IsUntied),
    Group({"model."}, "", kEmbeddingRules),
    InBlocks(kAttention),
    InBlocks(kLowRankQuery, HasQRank),
    InBlocks(kPlainQuery, HasNoQRank),
    InMlp(kGatedFfnRules, IsDense),
    InMlp(kExpertRules, IsSparse),
    InMlp(kSharedExpertRules, HasSharedExperts),
};
constexpr auto kLlamaCppGroups = Join(kTrunk, std::array{
                                                  Mtp(InBlocks(kMtpRules)),
                                                  Mtp(InBlocks(kAttention)),
                                                  Mtp(InBlocks(kLowRankQuery, HasQRank)),
                                                  Mtp(InBlocks(kPlainQuery, HasNoQRank)),
                                                  Mtp(InMlp(kExpertRules, IsSparse)),
                                                  Mtp(InMlp(kSharedExpertRules, HasSharedExperts)),
                                              });
constexpr auto kOllamaGroups =
    Join(kTrunk, std::array{Group({""}, "", kTiedHeadRules, kNone, IsTied)});

constexpr std::array kOllamaDropped{
    DroppedTensors{"model.layers.{bid}.", "", IsDroppedMtp,
                   "multi-token-prediction layers are not part of this dialect"},
};
constexpr std::array kLlamaCppDropped{
    DroppedTensors{"model.layers.{bid}.", "", IsDroppedMtp,
                   "multi-token-prediction layers: --no-mtp, or num_nextn_predict_layers is 0"},
    // llama.cpp ties the output to the embedding when there is no output tensor.
    DroppedTensors{"", "lm_head.weight", IsTied, "lm_head.weight: tie_word_embeddings is true"},
};

// llama.cpp finds these by text when the tokenizer's configuration names none.
constexpr std::array kLlamaCppTokens{
    SpecialToken{"bos", "[gMASK]"},
    SpecialToken{"eot", "<|user|>"},
    SpecialToken{"unk", "<|endoftext|>"},
    SpecialToken{"eom", "<|observation|>"},
};

constexpr std::array kFiles{
    FileSpec{
        .dialect = Dialect::kLlamaCpp,
        .gguf_arch = "deepseek2",
        .loaded_by = "llama.cpp 0c1e570, Ollama fb30760",
        .hf_architectures = kNames,
        .key_values = kLlamaCppKvs,
        .groups = kLlamaCppGroups,
        .dropped = kLlamaCppDropped,
        .generated = {},
        .findings = kLlamaCppFindings,
        .tokenizer = {"llama-bpe", "glm4", kLlamaCppTokens},
    },
    FileSpec{
        .dialect = Dialect::kOllama,
        .gguf_arch = "glm4moelite",
        .loaded_by =
            "Ollama older than fb30760; fb30760 translates it while loading; not llama.cpp",
        .hf_architectures = kNames,
        .key_values = kOllamaKvs,
        .groups = kOllamaGroups,
        .dropped = kOllamaDropped,
        .generated = {},
        .findings = kOllamaFindings,
        .tokenizer = {"llama-bpe", "glm4", {}},
    },
};

}  // namespace

constexpr Family kGlm4MoeLite{"GLM-4 MoE Lite", kHParams, kDerived, kFindings, kFiles};
static_assert(Check(kGlm4MoeLite) == Defect::kNone);

}  // namespace sluice::arch
