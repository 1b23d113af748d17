// Hyperparameters: the facts of config.json under one name each, whatever the family calls them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace sluice::arch {

// Every hyperparameter that some family uses. The comment gives the unit or the usual config field.
enum class Hp : std::uint8_t {
  kNone,  // the absent factor of an Extent
  // Text decoder
  kHidden,         // hidden_size
  kBlocks,         // num_hidden_layers, without multi-token-prediction layers
  kVocab,          // vocab_size
  kContext,        // max_position_embeddings, tokens
  kHeads,          // num_attention_heads
  kKvHeads,        // num_key_value_heads
  kHeadDim,        // head_dim
  kFfn,            // width of a dense feed-forward block
  kRmsEps,         // rms_norm_eps
  kLayerNormEps,   // layer_norm_eps
  kTied,           // tie_word_embeddings
  kLayerTypes,     // layer_types, one text a block
  kHiddenAct,      // hidden_act
  kAttentionBias,  // attention_bias
  kMlpBias,        // mlp_bias
  // Rotary embedding
  kRopeTheta,
  kRopeType,  // "default", "linear", "llama3", "yarn"
  kRopeFactor,
  kRopeLowFreqFactor,
  kRopeHighFreqFactor,
  kRopeOriginalContext,
  kRopeAttentionFactor,
  kRopeBetaFast,
  kRopeBetaSlow,
  kRopeMscale,
  kRopeMscaleAllDim,
  kRopeTruncate,
  kPartialRotary,   // partial_rotary_factor
  kRopeInterleave,  // rope_interleave
  // Mixture of experts
  kExperts,        // routed experts of a block
  kUsedExperts,    // num_experts_per_tok
  kSharedExperts,  // n_shared_experts
  kExpertFfn,      // width of one expert
  kExpertGroups,
  kUsedExpertGroups,
  kExpertBias,     // use_expert_bias
  kNormTopk,       // norm_topk_prob
  kRoutedScale,    // routed_scaling_factor
  kDenseBlocks,    // leading blocks without experts
  kFirstDense,     // first_k_dense_replace, where another field may say otherwise
  kMlpLayerTypes,  // mlp_layer_types, one text a block
  kMoeStep,        // interleave_moe_layer_step
  kMoeLayers,      // moe_layers, block numbers
  // Multi-head latent attention
  kQRank,          // q_lora_rank
  kKvRank,         // kv_lora_rank
  kNope,           // qk_nope_head_dim
  kRope,           // qk_rope_head_dim
  kVHead,          // v_head_dim
  kMtpBlocks,      // num_nextn_predict_layers: multi-token-prediction layers after the last block
  kKeptMtpBlocks,  // of those, how many this conversion keeps
  // Llama 4
  kUseQkNorm,
  kChunk,            // attention_chunk_size, tokens
  kNoRopeLayers,     // no_rope_layers, 0 for each block that does not rotate
  kNoRopeInterval,   // no_rope_layer_interval
  kAttentionTuning,  // attn_temperature_tuning
  kAttentionScale,   // attn_scale
  kFloorScale,       // floor_scale, tokens
  // MLlama
  kCrossLayers,  // cross_attention_layers, block numbers
  // LFM2
  kConvCache,      // conv_L_cache
  kConvBias,       // conv_bias
  kFullAttention,  // full_attn_idxs, block numbers
  kFfnAdjust,      // block_auto_adjust_ff_dim
  kFfnMultiplier,  // block_ffn_dim_multiplier
  kFfnMultipleOf,  // block_multiple_of
  kFfnRaw,         // intermediate_size before the adjustment
  // Vision tower
  kVisionBlocks,
  kVisionGlobalBlocks,  // num_global_layers
  kVisionHidden,
  kVisionFfn,
  kVisionHeads,
  kVisionEps,
  kVisionTheta,
  kVisionImage,  // image_size, pixels
  kVisionPatch,  // patch_size, pixels
  kVisionChannels,
  kVisionTiles,      // max_num_tiles
  kVisionTaps,       // intermediate_layers_indices, block numbers
  kVisionOutput,     // vision_output_dim
  kVisionPositions,  // patches of a tile, and one for the class embedding
  kVisionAspects,    // supported aspect ratios, and one for none
  kVisionAct,        // hidden_act
  kPixelShuffle,     // pixel_shuffle_ratio
  kProjectorIn,      // projector_input_dim
  kProjectorOut,     // projector_output_dim
  kImageMean,        // image_mean of preprocessor_config.json, one number a channel
  kImageStd,
  kHpCount
};

using HpValue =
    std::variant<std::monostate, std::uint64_t, double, bool, std::string,
                 std::vector<std::int64_t>, std::vector<double>, std::vector<std::string>>;

// The hyperparameters of one checkpoint. The typed getters REQUIRE that the value is present and of
// that type, which the family's list of HParamRules guarantees.
class HParams {
 public:
  void Set(Hp id, HpValue value, bool given) {
    values_[Index(id)] = std::move(value);
    given_[Index(id)] = given;
  }

  [[nodiscard]] const HpValue& Get(Hp id) const { return values_[Index(id)]; }
  [[nodiscard]] bool Has(Hp id) const { return Get(id).index() != 0; }
  // Whether config.json states it; false for defaults and derived values.
  [[nodiscard]] bool Given(Hp id) const { return given_[Index(id)]; }

  [[nodiscard]] std::uint64_t Count(Hp id) const { return std::get<std::uint64_t>(Get(id)); }
  [[nodiscard]] double Real(Hp id) const { return std::get<double>(Get(id)); }
  [[nodiscard]] bool Flag(Hp id) const { return std::get<bool>(Get(id)); }
  [[nodiscard]] const std::string& Text(Hp id) const { return std::get<std::string>(Get(id)); }
  [[nodiscard]] const std::vector<std::int64_t>& Integers(Hp id) const {
    return std::get<std::vector<std::int64_t>>(Get(id));
  }
  [[nodiscard]] const std::vector<std::string>& Texts(Hp id) const {
    return std::get<std::vector<std::string>>(Get(id));
  }

 private:
  static constexpr std::size_t kSize = static_cast<std::size_t>(Hp::kHpCount);
  static std::size_t Index(Hp id) { return static_cast<std::size_t>(id); }

  std::array<HpValue, kSize> values_;
  std::array<bool, kSize> given_{};
};

}  // namespace sluice::arch
