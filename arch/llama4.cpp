// Llama 4 (Scout, Maverick): mixture of experts with fused, transposed projections, and a vision
// tower. Model: Llama4ForConditionalGeneration, Llama4ForCausalLM of transformers. Odd: experts are
// stored [experts, in, out]; Q and K are not permuted; llama.cpp reads text and vision from two
// files, Ollama from one.
#include "arch/blocks.h"
#include "arch/llama4_attention.h"
#include "arch/registry.h"
#include "arch/spec_check.h"

namespace sluice::arch {
namespace {

constexpr std::array<std::string_view, 1> kNames{"Llama4ForConditionalGeneration"};
constexpr std::array<std::string_view, 1> kTextNames{"Llama4ForCausalLM"};

// llama.cpp's loader applies QK normalisation to every Llama 4 but the one with this many experts.
constexpr std::uint64_t kExpertsWithoutQkNorm = 128;

// ---- Derived values -----------------------------------------------------------------------------

// The transformers default; hidden_size / heads is not used even where it differs.
constexpr double kDefaultHeadDim = 128;

HpValue ScaleFactor(const HParams& hparams) {
  return static_cast<std::uint64_t>(1.0 / hparams.Real(kPixelShuffle));
}
HpValue VisionPositions(const HParams& hparams) {
  const std::uint64_t side = hparams.Count(kVisionImage) / hparams.Count(kVisionPatch);
  return side * side + 1;
}

// ---- Block tests --------------------------------------------------------------------------------

bool IsMoe(const HParams& hparams, std::uint64_t block) {
  return (block + 1) % hparams.Count(kMoeStep) == 0;
}
bool IsDense(const HParams& hparams, std::uint64_t block) { return !IsMoe(hparams, block); }

// ---- Findings -----------------------------------------------------------------------------------

std::optional<Finding> MoeLayersFollowTheStep(const HParams& hparams) {
  if (!hparams.Has(kMoeLayers)) return std::nullopt;
  const std::vector<std::int64_t>& listed = hparams.Integers(kMoeLayers);
  const std::uint64_t step = hparams.Count(kMoeStep);
  bool follows = listed.size() == hparams.Count(kBlocks) / step;
  for (std::size_t i = 0; i < listed.size() && follows; ++i) {
    follows = listed[i] >= 0 && static_cast<std::uint64_t>(listed[i]) == (i + 1) * step - 1;
  }
  if (follows) return std::nullopt;
  return Finding{FindingKind::kUnsupported,
                 "moe_layers is not what interleave_moe_layer_step gives, and readers know only "
                 "the step"};
}
std::optional<Finding> QkNormIsHonoured(const HParams& hparams) {
  const bool applied = hparams.Count(kExperts) != kExpertsWithoutQkNorm;
  if (applied == hparams.Flag(kUseQkNorm)) return std::nullopt;
  return Finding{FindingKind::kWarning,
                 std::string("use_qk_norm is ") + (applied ? "false" : "true") +
                     ", but llama.cpp decides by the number of experts and will do the opposite: "
                     "logits will differ from the original model"};
}
std::optional<Finding> VisionActivationIsGelu(const HParams& hparams) {
  if (!hparams.Has(kVisionAct) || hparams.Text(kVisionAct) == "gelu") return std::nullopt;
  return Finding{FindingKind::kUnsupported,
                 "vision hidden_act is '" + hparams.Text(kVisionAct) + "'; readers assume 'gelu'"};
}
std::optional<Finding> PixelShuffleIsAFraction(const HParams& hparams) {
  const double ratio = hparams.Real(kPixelShuffle);
  if (ratio > 0 && ratio <= 1) return std::nullopt;
  return Finding{FindingKind::kInvalid, "pixel_shuffle_ratio is not between 0 and 1"};
}

// ---- Hyperparameters ----------------------------------------------------------------------------

constexpr auto kTextHParams =
    Join(kDecoderHParams, kRopeHParams,
         std::array{
             Default(Real(kRopeTheta, kRopeThetaPaths), 500000.0),
             Default(Real(kRmsEps, {"rms_norm_eps"}), 1e-5),
             Optional(Real(kLayerNormEps, {"layer_norm_eps"})),
             Default(Flag(kTied, {"tie_word_embeddings"}), 0),
             Default(Count(kHeadDim, {"head_dim"}), kDefaultHeadDim),
             Count(kExpertFfn, {"intermediate_size"}),
             Default(Count(kFfn, {"intermediate_size_mlp"}), 16384),
             Count(kExperts, {"num_local_experts"}),
             Default(Count(kUsedExperts, {"num_experts_per_tok"}), 1),
             Default(Count(kMoeStep, {"interleave_moe_layer_step"}), 1),
             List(kMoeLayers, HpKind::kIntegers, {"moe_layers"}),
             List(kLayerTypes, HpKind::kTexts, {"layer_types"}),
             Default(Flag(kUseQkNorm, {"use_qk_norm"}), 1),
             Default(CountOrZero(kChunk, {"attention_chunk_size"}), 8192),
             Default(Flag(kAttentionBias, {"attention_bias"}), 0),
             List(kNoRopeLayers, HpKind::kIntegers, {"no_rope_layers"}),
             Default(Count(kNoRopeInterval, {"no_rope_layer_interval"}), 4),
             Default(Truth(kAttentionTuning, {"attn_temperature_tuning"}), 1),
             Default(Real(kAttentionScale, {"attn_scale"}), 0.1),
             Default(Real(kFloorScale, {"floor_scale"}), 8192.0),
         });
constexpr auto kHParams = Join(
    kTextHParams,
    std::array{
        Count(kVisionBlocks, {"num_hidden_layers"}, Section::kVision),
        Count(kVisionHidden, {"hidden_size"}, Section::kVision),
        Count(kVisionFfn, {"intermediate_size"}, Section::kVision),
        Count(kVisionHeads, {"num_attention_heads"}, Section::kVision),
        Count(kVisionImage, {"image_size"}, Section::kVision),
        Count(kVisionPatch, {"patch_size"}, Section::kVision),
        Default(Count(kVisionChannels, {"num_channels"}, Section::kVision), 3),
        Count(kVisionOutput, {"vision_output_dim"}, Section::kVision),
        Count(kProjectorIn, {"projector_input_dim"}, Section::kVision),
        Count(kProjectorOut, {"projector_output_dim"}, Section::kVision),
        Default(Real(kVisionEps, {"norm_eps"}, Section::kVision), 1e-5),
        Default(Real(kVisionTheta, {"rope_parameters.rope_theta", "rope_theta"}, Section::kVision),
                10000.0),
        Default(Real(kPixelShuffle, {"pixel_shuffle_ratio"}, Section::kVision), 0.5),
        Text(kVisionAct, {"hidden_act"}, Section::kVision),
        List(kImageMean, HpKind::kReals, {"image_mean"}, Section::kPreprocessor),
        List(kImageStd, HpKind::kReals, {"image_std"}, Section::kPreprocessor),
    });
constexpr auto kDerived =
    Join(kDecoderDerived, std::array{DerivedRule{kVisionPositions, VisionPositions}});
constexpr std::array kTextFindings{ActivationIsSilu, RopeIsWhole, ProjectionsHaveNoBias,
                                   MoeLayersFollowTheStep, NoRopeLayersFit};
constexpr auto kFindings =
    Join(kTextFindings, std::array{VisionActivationIsGelu, PixelShuffleIsAFraction});
constexpr std::array kLlamaCppFindings{RopeScalingIsKnown, QkNormIsHonoured,
                                       LlamaCppRotatesTheSameBlocks, LlamaCppTakesTheSameChunks,
                                       LlamaCppTunesAlike};
constexpr std::array kOllamaFindings{OllamaRopeScalingIsKnown, OllamaRotatesTheSameBlocks,
                                     OllamaTakesTheSameChunks};

// ---- Key-values ---------------------------------------------------------------------------------

constexpr auto kOllamaKvs = Join(
    kOllamaLlamaKvs, std::array{
                         KvRule{".expert_feed_forward_length", KvType::kU32, kExpertFfn},
                         KvRule{".expert_count", KvType::kU32, kExperts},
                         KvRule{".expert_used_count", KvType::kU32, kUsedExperts},
                         KvRule{".interleave_moe_layer_step", KvType::kU32, kMoeStep},
                         KvRule{".use_qk_norm", KvType::kBool, kUseQkNorm},
                         KvRule{".attention.chunk_size", KvType::kU32, kChunk},
                         KvRule{".no_rope_interval", KvType::kU32, NoRopeInterval},
                         KvRule{".attention.temperature_tuning", KvType::kBool, TemperatureTuning},
                         KvRule{".attention.scale", KvType::kF32, AttentionScale},
                         KvRule{".attention.floor_scale", KvType::kF32, FloorScale},
                         KvRule{".vision.block_count", KvType::kU32, kVisionBlocks},
                         KvRule{".vision.embedding_length", KvType::kU32, kVisionHidden},
                         KvRule{".vision.feed_forward_length", KvType::kU32, kVisionFfn},
                         KvRule{".vision.attention.head_count", KvType::kU32, kVisionHeads},
                         KvRule{".vision.image_size", KvType::kU32, kVisionImage},
                         KvRule{".vision.patch_size", KvType::kU32, kVisionPatch},
                         KvRule{".vision.rope.freq_base", KvType::kF32, kVisionTheta},
                         KvRule{".vision.layer_norm_epsilon", KvType::kF32, kVisionEps},
                         KvRule{".vision.pixel_shuffle_ratio", KvType::kF32, kPixelShuffle},
                     });

constexpr auto kLlamaCppKvs =
    Join(kLlamaCppDecoderKvs, kLlamaCppRopeKvs,
         std::array{
             KvRule{".expert_count", KvType::kU32, kExperts},
             KvRule{".expert_used_count", KvType::kU32, kUsedExperts},
         },
         kHeadLengthKvs, kFileTypeKv,
         std::array{
             KvRule{".vocab_size", KvType::kU32, kVocab},
             KvRule{".rope.dimension_count", KvType::kU32, kHeadDim},
             KvRule{".interleave_moe_layer_step", KvType::kU32, kMoeStep},
             KvRule{".expert_feed_forward_length", KvType::kU32, kExpertFfn},
             KvRule{".attention.sliding_window", KvType::kU32, NoSlidingWindow},
         });

constexpr auto kProjectorKvs =
    Join(kFileTypeKv,
         std::array{
             KvRule{"clip.has_vision_encoder", KvType::kBool, true},
             KvRule{"clip.vision.projection_dim", KvType::kU32, kHidden},
             KvRule{"clip.vision.image_size", KvType::kU32, kVisionImage},
             KvRule{"clip.vision.patch_size", KvType::kU32, kVisionPatch},
             KvRule{"clip.vision.embedding_length", KvType::kU32, kVisionHidden},
             KvRule{"clip.vision.feed_forward_length", KvType::kU32, kVisionFfn},
             KvRule{"clip.vision.block_count", KvType::kU32, kVisionBlocks},
             KvRule{"clip.vision.attention.head_count", KvType::kU32, kVisionHeads},
             KvRule{"clip.vision.image_mean", KvType::kF32Array, kImageMean, When::kRequired},
             KvRule{"clip.vision.image_std", KvType::kF32Array, kImageStd, When::kRequired},
             KvRule{"clip.projector_type", KvType::kString, std::string_view("llama4")},
             KvRule{"clip.vision.attention.layer_norm_epsilon", KvType::kF32, kVisionEps},
             KvRule{"clip.vision.projector.scale_factor", KvType::kU32, ScaleFactor},
             KvRule{"clip.use_gelu", KvType::kBool, true},
         });

// ---- Tensors of the text model ------------------------------------------------------------------

constexpr auto kBlockRules = Join(kBlockNormRules, kAttentionRules);

constexpr std::array kMoeRules{
    TensorRule{
        "experts.down_proj", "ffn_down_exps.weight", {kExperts, kExpertFfn, kHidden}, {Swap{1, 2}}},
    // Quantized checkpoints may have a matrix for each expert.
    TensorRule{"experts.{xid}.down_proj.weight",
               "ffn_down_exps.weight",
               {kHidden, kExpertFfn},
               {StackExperts{}}},
    Shared({"experts.gate_up_proj",
            "ffn_gate_exps.weight",
            {kExperts, kHidden, Extent(2) * kExpertFfn},
            {Take{2, 0, kExpertFfn}, Swap{1, 2}}}),
    TensorRule{"experts.{xid}.gate_proj.weight",
               "ffn_gate_exps.weight",
               {kExpertFfn, kHidden},
               {StackExperts{}}},
    Shared({"experts.gate_up_proj",
            "ffn_up_exps.weight",
            {kExperts, kHidden, Extent(2) * kExpertFfn},
            {Take{2, kExpertFfn, kExpertFfn}, Swap{1, 2}}}),
    TensorRule{"experts.{xid}.up_proj.weight",
               "ffn_up_exps.weight",
               {kExpertFfn, kHidden},
               {StackExperts{}}},
    Norm("router.weight", "ffn_gate_inp.weight", {kExperts, kHidden}),
    TensorRule{"shared_expert.gate_proj.weight", "ffn_gate_shexp.weight", {kExpertFfn, kHidden}},
    TensorRule{"shared_expert.up_proj.weight", "ffn_up_shexp.weight", {kExpertFfn, kHidden}},
    TensorRule{"shared_expert.down_proj.weight", "ffn_down_shexp.weight", {kHidden, kExpertFfn}},
};

constexpr TensorGroup InBlocks(std::span<const TensorRule> rules) {
  return Group({"language_model.model.layers.{bid}.", "model.language_model.layers.{bid}.",
                "model.layers.{bid}."},
               "blk.{bid}.", rules, kBlocks);
}
constexpr TensorGroup InFfn(std::span<const TensorRule> rules, BlockTest where) {
  return Group(
      {"language_model.model.layers.{bid}.feed_forward.",
       "model.language_model.layers.{bid}.feed_forward.", "model.layers.{bid}.feed_forward."},
      "blk.{bid}.", rules, kBlocks, where);
}

constexpr std::array kTextGroups{
    Group({"language_model.", ""}, "", kHeadRules, kNone, IsUntied),
    Group({"language_model.", ""}, "", kTiedHeadRules, kNone, IsTied),
    Group({"language_model.model.", "model.language_model.", "model."}, "", kEmbeddingRules),
    InBlocks(kBlockRules),
    InFfn(kGatedFfnRules, IsDense),
    InFfn(kMoeRules, IsMoe),
};

// ---- Tensors of the vision tower ----------------------------------------------------------------

constexpr Extent kPatchValues = Extent(kVisionChannels) * (kVisionPatch * kVisionPatch);

// A weight that Ollama's vision code reads as F16 (never BF16), and one stored as requested.
constexpr TensorRule F16(std::string_view source, std::string_view target, Shape shape) {
  return {source, target, shape, {}, Store::kF16};
}
constexpr TensorRule Matrix(std::string_view source, std::string_view target, Shape shape) {
  return {source, target, shape};
}

constexpr std::array kOllamaVisionBlock{
    Norm("input_layernorm.weight", "attn_norm.weight", {kVisionHidden}),
    Norm("input_layernorm.bias", "attn_norm.bias", {kVisionHidden}),
    Norm("post_attention_layernorm.weight", "ffn_norm.weight", {kVisionHidden}),
    Norm("post_attention_layernorm.bias", "ffn_norm.bias", {kVisionHidden}),
    F16("self_attn.q_proj.weight", "attn_q.weight", {kVisionHidden, kVisionHidden}),
    Norm("self_attn.q_proj.bias", "attn_q.bias", {kVisionHidden}),
    F16("self_attn.k_proj.weight", "attn_k.weight", {kVisionHidden, kVisionHidden}),
    Norm("self_attn.k_proj.bias", "attn_k.bias", {kVisionHidden}),
    F16("self_attn.v_proj.weight", "attn_v.weight", {kVisionHidden, kVisionHidden}),
    Norm("self_attn.v_proj.bias", "attn_v.bias", {kVisionHidden}),
    F16("self_attn.o_proj.weight", "attn_output.weight", {kVisionHidden, kVisionHidden}),
    Norm("self_attn.o_proj.bias", "attn_output.bias", {kVisionHidden}),
    F16("mlp.fc1.weight", "mlp.fc1.weight", {kVisionFfn, kVisionHidden}),
    Norm("mlp.fc1.bias", "mlp.fc1.bias", {kVisionFfn}),
    F16("mlp.fc2.weight", "mlp.fc2.weight", {kVisionHidden, kVisionFfn}),
    Norm("mlp.fc2.bias", "mlp.fc2.bias", {kVisionHidden}),
};
constexpr std::array kOllamaVision{
    Norm("class_embedding", "class_embedding", {kVisionHidden}),
    Norm("positional_embedding_vlm", "positional_embedding_vlm", {kVisionPositions, kVisionHidden}),
    F16("patch_embedding.linear.weight", "patch_embedding.weight", {kVisionHidden, kPatchValues}),
    Norm("layernorm_pre.weight", "layernorm_pre.weight", {kVisionHidden}),
    Norm("layernorm_pre.bias", "layernorm_pre.bias", {kVisionHidden}),
    Norm("layernorm_post.weight", "layernorm_post.weight", {kVisionHidden}),
    Norm("layernorm_post.bias", "layernorm_post.bias", {kVisionHidden}),
    F16("vision_adapter.mlp.fc1.weight", "vision_adapter.mlp.fc1.weight",
        {kProjectorIn, kVisionFfn}),
    F16("vision_adapter.mlp.fc2.weight", "vision_adapter.mlp.fc2.weight",
        {kProjectorOut, kProjectorOut}),
};
constexpr std::array kOllamaProjector{
    Matrix("linear_1.weight", "mm.linear_1.weight", {kHidden, kVisionOutput}),
};

constexpr std::array kClipBlock{
    Norm("input_layernorm.weight", "ln1.weight", {kVisionHidden}),
    Norm("input_layernorm.bias", "ln1.bias", {kVisionHidden}),
    // llama.cpp's converter calls these attn_post_norm, a name its own Llama 4 graph does not read.
    Norm("post_attention_layernorm.weight", "ln2.weight", {kVisionHidden}),
    Norm("post_attention_layernorm.bias", "ln2.bias", {kVisionHidden}),
    Matrix("self_attn.q_proj.weight", "attn_q.weight", {kVisionHidden, kVisionHidden}),
    Norm("self_attn.q_proj.bias", "attn_q.bias", {kVisionHidden}),
    Matrix("self_attn.k_proj.weight", "attn_k.weight", {kVisionHidden, kVisionHidden}),
    Norm("self_attn.k_proj.bias", "attn_k.bias", {kVisionHidden}),
    Matrix("self_attn.v_proj.weight", "attn_v.weight", {kVisionHidden, kVisionHidden}),
    Norm("self_attn.v_proj.bias", "attn_v.bias", {kVisionHidden}),
    Matrix("self_attn.o_proj.weight", "attn_out.weight", {kVisionHidden, kVisionHidden}),
    Norm("self_attn.o_proj.bias", "attn_out.bias", {kVisionHidden}),
    Matrix("mlp.fc1.weight", "ffn_up.weight", {kVisionFfn, kVisionHidden}),
    Norm("mlp.fc1.bias", "ffn_up.bias", {kVisionFfn}),
    Matrix("mlp.fc2.weight", "ffn_down.weight", {kVisionHidden, kVisionFfn}),
    Norm("mlp.fc2.bias", "ffn_down.bias", {kVisionHidden}),
};
constexpr std::array kClip{
    Norm("class_embedding", "v.class_embd", {kVisionHidden}),
    Norm("positional_embedding_vlm", "v.position_embd.weight", {kVisionPositions, kVisionHidden}),
    TensorRule{"patch_embedding.linear.weight",
               "v.patch_embd.weight",
               {kVisionHidden, kPatchValues},
               {},
               Store::kF32UnlessF16},
    Norm("layernorm_pre.weight", "v.pre_ln.weight", {kVisionHidden}),
    Norm("layernorm_pre.bias", "v.pre_ln.bias", {kVisionHidden}),
    Norm("layernorm_post.weight", "v.post_ln.weight", {kVisionHidden}),
    Norm("layernorm_post.bias", "v.post_ln.bias", {kVisionHidden}),
    Matrix("vision_adapter.mlp.fc1.weight", "mm.model.mlp.1.weight", {kProjectorIn, kVisionFfn}),
    Matrix("vision_adapter.mlp.fc2.weight", "mm.model.mlp.2.weight",
           {kProjectorOut, kProjectorOut}),
};
constexpr std::array kClipProjector{
    Matrix("linear_1.weight", "mm.model.fc.weight", {kHidden, kVisionOutput}),
};

constexpr TensorGroup InTower(std::string_view target, std::span<const TensorRule> rules) {
  return Group({"vision_model.", "model.vision_model."}, target, rules);
}
constexpr TensorGroup InTowerBlocks(std::span<const TensorRule> rules) {
  return Group({"vision_model.model.layers.{bid}.", "model.vision_model.model.layers.{bid}."},
               "v.blk.{bid}.", rules, kVisionBlocks);
}
constexpr TensorGroup InProjector(std::span<const TensorRule> rules) {
  return Group({"multi_modal_projector.", "model.multi_modal_projector."}, "", rules);
}

constexpr auto kOllamaGroups = Join(kTextGroups, std::array{
                                                     InTower("v.", kOllamaVision),
                                                     InTowerBlocks(kOllamaVisionBlock),
                                                     InProjector(kOllamaProjector),
                                                 });
constexpr std::array kProjectorGroups{
    InTower("", kClip),
    InTowerBlocks(kClipBlock),
    InProjector(kClipProjector),
};

// ---- Files --------------------------------------------------------------------------------------

constexpr std::array kLlamaCppGenerated{GeneratedTensor{"rope_freqs.weight", RopeFactorsLlamaCpp}};
constexpr std::array kOllamaGenerated{GeneratedTensor{"rope_freqs.weight", RopeFactorsOllama}};

constexpr FileSpec LlamaCppText(std::span<const std::string_view> names) {
  FileSpec file{};
  file.dialect = Dialect::kLlamaCpp;
  file.gguf_arch = "llama4";
  file.loaded_by = "llama.cpp 0c1e570";
  file.hf_architectures = names;
  file.key_values = kLlamaCppKvs;
  file.groups = kTextGroups;
  file.generated = kLlamaCppGenerated;
  file.findings = kLlamaCppFindings;
  return file;
}

constexpr std::array kFiles{
    LlamaCppText(kNames),
    FileSpec{
        .dialect = Dialect::kLlamaCpp,
        .role = Role::kProjector,
        .gguf_arch = "clip",
        .loaded_by = "llama.cpp 0c1e570 (mtmd), beside the model file",
        .hf_architectures = kNames,
        .key_values = kProjectorKvs,
        .groups = kProjectorGroups,
        .dropped = {},
        .generated = {},
        .findings = {},
        .tokenizer = {},
    },
    FileSpec{
        .dialect = Dialect::kOllama,
        .gguf_arch = "llama4",
        .loaded_by = "Ollama fb30760 and older; not llama.cpp",
        .hf_architectures = kNames,
        .key_values = kOllamaKvs,
        .groups = kOllamaGroups,
        .dropped = {},
        .generated = kOllamaGenerated,
        .findings = kOllamaFindings,
        .tokenizer = {},
    },
};
constexpr std::array kTextFiles{LlamaCppText(kTextNames)};

}  // namespace

constexpr Family kLlama4{"Llama 4", kHParams, kDerived, kFindings, kFiles};
static_assert(Check(kLlama4) == Defect::kNone);

constexpr Family kLlama4Text{"Llama 4 (text only)", kTextHParams, kDecoderDerived, kTextFindings,
                             kTextFiles};
static_assert(Check(kLlama4Text) == Defect::kNone);

}  // namespace sluice::arch
