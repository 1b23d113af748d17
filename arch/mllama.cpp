// MLlama (Llama 3.2 Vision): a Llama decoder with cross-attention layers and a vision encoder of
// local and global layers. Model: MllamaForConditionalGeneration of transformers. Odd: the vision
// gates are stored after tanh, the text gates raw; only Ollama reads the family.
#include "arch/blocks.h"
#include "arch/registry.h"
#include "arch/spec_check.h"

#include <algorithm>

namespace sluice::arch {
namespace {

constexpr std::array<std::string_view, 1> kNames{"MllamaForConditionalGeneration"};

constexpr std::uint64_t kMostTiles = 4096;

// ---- Derived values -----------------------------------------------------------------------------

HpValue VisionPositions(const HParams& hparams) {
  const std::uint64_t side = hparams.Count(kVisionImage) / hparams.Count(kVisionPatch);
  return side * side + 1;
}
// One embedding for each way to arrange up to max_num_tiles tiles in a rectangle, and one for none.
HpValue AspectRatios(const HParams& hparams) {
  const std::uint64_t tiles = std::min(hparams.Count(kVisionTiles), kMostTiles);
  std::uint64_t ratios = 1;
  for (std::uint64_t width = 1; width <= tiles; ++width) ratios += tiles / width;
  return ratios;
}
// One output of the last layer and one of each tapped layer, side by side.
HpValue VisionOutput(const HParams& hparams) {
  const std::size_t taps = hparams.Has(kVisionTaps) ? hparams.Integers(kVisionTaps).size() : 0;
  return hparams.Count(kVisionHidden) * (1 + taps);
}
HpValue NoBlocks(const HParams&) { return std::vector<std::int64_t>(); }

// ---- Block tests --------------------------------------------------------------------------------

bool IsCross(const HParams& hparams, std::uint64_t block) {
  const auto& layers = hparams.Integers(kCrossLayers);
  return std::find(layers.begin(), layers.end(), static_cast<std::int64_t>(block)) != layers.end();
}
bool IsSelf(const HParams& hparams, std::uint64_t block) { return !IsCross(hparams, block); }

// ---- Findings -----------------------------------------------------------------------------------

std::optional<Finding> CrossLayersExist(const HParams& hparams) {
  for (const std::int64_t layer : hparams.Integers(kCrossLayers)) {
    if (layer < 0 || static_cast<std::uint64_t>(layer) >= hparams.Count(kBlocks)) {
      return Finding{FindingKind::kInvalid, "cross_attention_layers names layer " +
                                                std::to_string(layer) + ", which does not exist"};
    }
  }
  return std::nullopt;
}
std::optional<Finding> TapsExist(const HParams& hparams) {
  for (const std::int64_t layer : hparams.Integers(kVisionTaps)) {
    if (layer < 0 || static_cast<std::uint64_t>(layer) >= hparams.Count(kVisionBlocks)) {
      return Finding{FindingKind::kInvalid, "intermediate_layers_indices names layer " +
                                                std::to_string(layer) + ", which does not exist"};
    }
  }
  return std::nullopt;
}
std::optional<Finding> TilesAreFew(const HParams& hparams) {
  if (hparams.Count(kVisionTiles) <= kMostTiles) return std::nullopt;
  return Finding{FindingKind::kInvalid, "max_num_tiles is absurdly large"};
}

// ---- Tables -------------------------------------------------------------------------------------

constexpr auto kHParams = Join(
    kDecoderHParams, kRopeHParams,
    std::array{
        Default(Real(kRopeTheta, kRopeThetaPaths), 500000.0),
        Count(kFfn, {"intermediate_size"}),
        Default(Real(kRmsEps, {"rms_norm_eps"}), 1e-5),
        Optional(Real(kLayerNormEps, {"layer_norm_eps"})),
        Optional(Count(kHeadDim, {"head_dim"})),
        Default(Flag(kTied, {"tie_word_embeddings"}), 0),
        List(kCrossLayers, HpKind::kIntegers, {"cross_attention_layers"}),
        Count(kVisionBlocks, {"num_hidden_layers"}, Section::kVision),
        Count(kVisionGlobalBlocks, {"num_global_layers"}, Section::kVision),
        Count(kVisionHidden, {"hidden_size"}, Section::kVision),
        Count(kVisionFfn, {"intermediate_size"}, Section::kVision),
        Count(kVisionHeads, {"attention_heads", "num_attention_heads"}, Section::kVision),
        Count(kVisionImage, {"image_size"}, Section::kVision),
        Count(kVisionPatch, {"patch_size"}, Section::kVision),
        Count(kVisionTiles, {"max_num_tiles"}, Section::kVision),
        Default(Count(kVisionChannels, {"num_channels"}, Section::kVision), 3),
        Default(Real(kVisionEps, {"norm_eps"}, Section::kVision), 1e-5),
        Optional(Count(kVisionOutput, {"vision_output_dim"}, Section::kVision)),
        List(kVisionTaps, HpKind::kIntegers, {"intermediate_layers_indices"}, Section::kVision),
    });
constexpr auto kDerived = Join(kDecoderDerived, std::array{
                                                    DerivedRule{kHeadDim, HiddenPerHead},
                                                    DerivedRule{kCrossLayers, NoBlocks},
                                                    DerivedRule{kVisionTaps, NoBlocks},
                                                    DerivedRule{kVisionPositions, VisionPositions},
                                                    DerivedRule{kVisionOutput, VisionOutput},
                                                    DerivedRule{kVisionAspects, AspectRatios},
                                                });
constexpr std::array kFindings{ActivationIsSilu, RopeIsWhole, CrossLayersExist, TapsExist,
                               TilesAreFew};
constexpr std::array kOllamaFindings{OllamaRopeScalingIsKnown};

constexpr auto kKvs =
    Join(kOllamaLlamaKvs,
         std::array{
             KvRule{".attention.cross_attention_layers", KvType::kI32Array, kCrossLayers},
             KvRule{".vision.block_count", KvType::kU32, kVisionBlocks},
             KvRule{".vision.global.block_count", KvType::kU32, kVisionGlobalBlocks},
             KvRule{".vision.intermediate_layers_indices", KvType::kI32Array, kVisionTaps},
             KvRule{".vision.embedding_length", KvType::kU32, kVisionHidden},
             KvRule{".vision.feed_forward_length", KvType::kU32, kVisionFfn},
             KvRule{".vision.attention.head_count", KvType::kU32, kVisionHeads},
             KvRule{".vision.attention.layer_norm_epsilon", KvType::kF32, kVisionEps},
             KvRule{".vision.image_size", KvType::kU32, kVisionImage},
             KvRule{".vision.patch_size", KvType::kU32, kVisionPatch},
             KvRule{".vision.max_num_tiles", KvType::kU32, kVisionTiles},
             KvRule{".vision.num_channels", KvType::kU32, kVisionChannels},
         });

// ---- Tensors of the text model ------------------------------------------------------------------

constexpr std::array kEmbeddings{
    TensorRule{"embed_tokens.weight", "token_embd.weight", {Extent(kVocab) + Extent(8), kHidden}},
    Norm("norm.weight", "output_norm.weight", {kHidden}),
};
constexpr std::array kCrossAttention{
    TensorRule{"cross_attn.q_proj.weight",
               "cross_attn_q_proj.weight",
               {kQueryRows, kHidden},
               {RopePairs{kHeads}}},
    TensorRule{"cross_attn.k_proj.weight",
               "cross_attn_k_proj.weight",
               {kKvRows, kHidden},
               {RopePairs{kKvHeads}}},
    TensorRule{"cross_attn.v_proj.weight", "cross_attn_v_proj.weight", {kKvRows, kHidden}},
    TensorRule{"cross_attn.o_proj.weight", "cross_attn_o_proj.weight", {kHidden, kQueryRows}},
    Norm("cross_attn.q_norm.weight", "cross_attn_q_norm.weight", {kHeadDim}),
    Norm("cross_attn.k_norm.weight", "cross_attn_k_norm.weight", {kHeadDim}),
    // Raw: the runtime applies tanh to these two.
    Norm("cross_attn_attn_gate", "cross_attn_attn_gate", {1}),
    Norm("cross_attn_mlp_gate", "cross_attn_mlp_gate", {1}),
};

constexpr TensorGroup InText(std::span<const TensorRule> rules) {
  return Group({"language_model.model.", "model.language_model."}, "", rules);
}
constexpr TensorGroup InBlocks(std::span<const TensorRule> rules, BlockTest where = nullptr) {
  return Group({"language_model.model.layers.{bid}.", "model.language_model.layers.{bid}."},
               "blk.{bid}.", rules, kBlocks, where);
}
constexpr TensorGroup InFfn(std::span<const TensorRule> rules) {
  return Group({"language_model.model.layers.{bid}.mlp.", "model.language_model.layers.{bid}.mlp."},
               "blk.{bid}.", rules, kBlocks);
}

// ---- Tensors of the vision encoder --------------------------------------------------------------

constexpr TensorRule F16(std::string_view source, std::string_view target, Shape shape,
                         Views views = {}) {
  return {source, target, shape, views, Store::kF16};
}
constexpr TensorRule Gate(std::string_view source, std::string_view target,
                          Pointwise pointwise = Pointwise::kTanh) {
  return {source, target, {1}, {}, Store::kF32, Need::kRequired, pointwise};
}

constexpr std::array kVisionBlock{
    Norm("input_layernorm.weight", "attn_norm.weight", {kVisionHidden}),
    Norm("input_layernorm.bias", "attn_norm.bias", {kVisionHidden}),
    Norm("post_attention_layernorm.weight", "ffn_norm.weight", {kVisionHidden}),
    Norm("post_attention_layernorm.bias", "ffn_norm.bias", {kVisionHidden}),
    F16("self_attn.q_proj.weight", "attn_q.weight", {kVisionHidden, kVisionHidden},
        {RopePairs{kVisionHeads}}),
    F16("self_attn.k_proj.weight", "attn_k.weight", {kVisionHidden, kVisionHidden},
        {RopePairs{kVisionHeads}}),
    F16("self_attn.v_proj.weight", "attn_v.weight", {kVisionHidden, kVisionHidden}),
    F16("self_attn.o_proj.weight", "attn_output.weight", {kVisionHidden, kVisionHidden}),
    F16("mlp.fc1.weight", "ffn_up.weight", {kVisionFfn, kVisionHidden}),
    Norm("mlp.fc1.bias", "ffn_up.bias", {kVisionFfn}),
    F16("mlp.fc2.weight", "ffn_down.weight", {kVisionHidden, kVisionFfn}),
    Norm("mlp.fc2.bias", "ffn_down.bias", {kVisionHidden}),
};
constexpr auto kGlobalBlock = Join(kVisionBlock, std::array{
                                                     Gate("gate_attn", "attn_gate"),
                                                     Gate("gate_ffn", "ffn_gate"),
                                                 });
constexpr Extent kTileValues = kVisionTiles * kVisionHidden;
constexpr Extent kPositionValues = kTileValues * Extent(kVisionPositions);
constexpr std::array kVision{
    Norm("class_embedding", "class_embd", {kVisionHidden}),
    F16("patch_embedding.weight", "patch_embd.weight",
        {kVisionHidden, kVisionChannels, kVisionPatch, kVisionPatch}),
    F16("gated_positional_embedding.embedding", "position_embd.weight",
        {kVisionPositions, kVisionHidden}),
    Norm("gated_positional_embedding.tile_embedding.weight", "tile_position_embd.weight",
         {kVisionAspects, kPositionValues}),
    Shared(Gate("gated_positional_embedding.gate", "position_embd.gate", Pointwise::kOneMinusTanh)),
    Shared(Gate("gated_positional_embedding.gate", "tile_position_embd.gate")),
    Norm("pre_tile_positional_embedding.embedding.weight", "pre_tile_position_embd.weight",
         {kVisionAspects, kTileValues}),
    Gate("pre_tile_positional_embedding.gate", "pre_tile_position_embd.gate"),
    Norm("post_tile_positional_embedding.embedding.weight", "post_tile_position_embd.weight",
         {kVisionAspects, kTileValues}),
    Gate("post_tile_positional_embedding.gate", "post_tile_position_embd.gate"),
    Norm("layernorm_pre.weight", "pre_ln.weight", {kVisionHidden}),
    Norm("layernorm_pre.bias", "pre_ln.bias", {kVisionHidden}),
    Norm("layernorm_post.weight", "post_ln.weight", {kVisionHidden}),
    Norm("layernorm_post.bias", "post_ln.bias", {kVisionHidden}),
};
constexpr std::array kProjector{
    TensorRule{"weight", "mm.0.weight", {kHidden, kVisionOutput}},
    Norm("bias", "mm.0.bias", {kHidden}),
};

constexpr std::array kGroups{
    Group({"language_model.", ""}, "", kHeadRules, kNone, IsUntied),
    Group({"language_model.", ""}, "", kTiedHeadRules, kNone, IsTied),
    InText(kEmbeddings),
    InBlocks(kBlockNormRules),
    InBlocks(kPermutedAttentionRules, IsSelf),
    InBlocks(kCrossAttention, IsCross),
    InFfn(kGatedFfnRules),
    Group({"vision_model.", "model.vision_model."}, "v.", kVision),
    Group(
        {"vision_model.transformer.layers.{bid}.", "model.vision_model.transformer.layers.{bid}."},
        "v.blk.{bid}.", kVisionBlock, kVisionBlocks),
    Group({"vision_model.global_transformer.layers.{bid}.",
           "model.vision_model.global_transformer.layers.{bid}."},
          "v.global.blk.{bid}.", kGlobalBlock, kVisionGlobalBlocks),
    Group({"multi_modal_projector.", "model.multi_modal_projector."}, "", kProjector),
};
constexpr std::array kGenerated{GeneratedTensor{"rope_freqs.weight", RopeFactorsOllama}};

constexpr std::array kFiles{
    FileSpec{
        .dialect = Dialect::kOllama,
        .gguf_arch = "mllama",
        .loaded_by =
            "Ollama versions whose Go engine has mllama; not Ollama fb30760, not llama.cpp",
        .hf_architectures = kNames,
        .key_values = kKvs,
        .groups = kGroups,
        .dropped = {},
        .generated = kGenerated,
        .findings = kOllamaFindings,
        .tokenizer = {},
    },
};

}  // namespace

constexpr Family kMllama{"MLlama", kHParams, kDerived, kFindings, kFiles};
static_assert(Check(kMllama) == Defect::kNone);

}  // namespace sluice::arch
