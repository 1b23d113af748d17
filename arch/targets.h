// What a GGUF reader expects of each target tensor, stated once and independently of the rules that
// make it, so that a rule which pairs the wrong source with a target does not compile.
//
// Names and shapes: llama.cpp's loader (llama-model.cpp, clip.cpp) and Ollama's models, read back
// from the files in tests/golden. Shapes are outermost dimension first. A row with an architecture
// counts for that one alone and goes before the general row of the same name.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "arch/extent.h"

namespace sluice::arch {

struct TargetShape {
  std::string_view name;
  Shape shape;
  std::string_view gguf_arch = "";
};

namespace target_shapes {
using enum Hp;

inline constexpr Extent kQueryRows = kHeads * kHeadDim;
inline constexpr Extent kKvRows = kKvHeads * kHeadDim;
inline constexpr Extent kMlaQueryRows = kHeads * (kNope + kRope);
inline constexpr Extent kMlaOutput = kHeads * kVHead;
inline constexpr Extent kLatentRows = kKvRank + kRope;
inline constexpr Extent kSharedFfn = kSharedExperts * kExpertFfn;
inline constexpr Extent kPatchValues = Extent(kVisionChannels) * (kVisionPatch * kVisionPatch);

inline constexpr std::array kText{
    // Eight rows for tokens that the output never predicts (the image token and reserved ones).
    TargetShape{"token_embd.weight", {Extent(kVocab) + Extent(8), kHidden}, "mllama"},
    TargetShape{"token_embd.weight", {kVocab, kHidden}},
    TargetShape{"output.weight", {kVocab, kHidden}},
    TargetShape{"output_norm.weight", {kHidden}},
    TargetShape{"token_embd_norm.weight", {kHidden}},
    TargetShape{"blk.{bid}.attn_norm.weight", {kHidden}},
    TargetShape{"blk.{bid}.ffn_norm.weight", {kHidden}},
    TargetShape{"blk.{bid}.attn_q.weight", {kMlaQueryRows, kHidden}, "deepseek2"},
    TargetShape{"blk.{bid}.attn_q.weight", {kMlaQueryRows, kHidden}, "glm4moelite"},
    TargetShape{"blk.{bid}.attn_q.weight", {kQueryRows, kHidden}},
    TargetShape{"blk.{bid}.attn_k.weight", {kKvRows, kHidden}},
    TargetShape{"blk.{bid}.attn_v.weight", {kKvRows, kHidden}},
    TargetShape{"blk.{bid}.attn_q.bias", {kQueryRows}},
    TargetShape{"blk.{bid}.attn_k.bias", {kKvRows}},
    TargetShape{"blk.{bid}.attn_v.bias", {kKvRows}},
    TargetShape{"blk.{bid}.attn_output.weight", {kHidden, kMlaOutput}, "deepseek2"},
    TargetShape{"blk.{bid}.attn_output.weight", {kHidden, kMlaOutput}, "glm4moelite"},
    TargetShape{"blk.{bid}.attn_output.weight", {kHidden, kQueryRows}},
    TargetShape{"blk.{bid}.attn_output.bias", {kHidden}},
    TargetShape{"blk.{bid}.attn_q_norm.weight", {kHeadDim}},
    TargetShape{"blk.{bid}.attn_k_norm.weight", {kHeadDim}},
    TargetShape{"blk.{bid}.attn_q_a.weight", {kQRank, kHidden}},
    TargetShape{"blk.{bid}.attn_q_a_norm.weight", {kQRank}},
    TargetShape{"blk.{bid}.attn_q_b.weight", {kMlaQueryRows, kQRank}},
    TargetShape{"blk.{bid}.attn_kv_a_mqa.weight", {kLatentRows, kHidden}},
    TargetShape{"blk.{bid}.attn_kv_a_norm.weight", {kKvRank}},
    TargetShape{"blk.{bid}.attn_k_b.weight", {kHeads, kKvRank, kNope}},
    TargetShape{"blk.{bid}.attn_v_b.weight", {kHeads, kVHead, kKvRank}},
    TargetShape{"blk.{bid}.ffn_gate.weight", {kFfn, kHidden}},
    TargetShape{"blk.{bid}.ffn_up.weight", {kFfn, kHidden}},
    TargetShape{"blk.{bid}.ffn_down.weight", {kHidden, kFfn}},
    TargetShape{"blk.{bid}.ffn_gate.bias", {kFfn}},
    TargetShape{"blk.{bid}.ffn_up.bias", {kFfn}},
    TargetShape{"blk.{bid}.ffn_down.bias", {kHidden}},
    TargetShape{"blk.{bid}.ffn_gate_inp.weight", {kExperts, kHidden}},
    TargetShape{"blk.{bid}.exp_probs_b.bias", {kExperts}},
    TargetShape{"blk.{bid}.ffn_gate_exps.weight", {kExperts, kExpertFfn, kHidden}},
    TargetShape{"blk.{bid}.ffn_up_exps.weight", {kExperts, kExpertFfn, kHidden}},
    TargetShape{"blk.{bid}.ffn_down_exps.weight", {kExperts, kHidden, kExpertFfn}},
    TargetShape{"blk.{bid}.ffn_gate_shexp.weight", {kExpertFfn, kHidden}, "llama4"},
    TargetShape{"blk.{bid}.ffn_up_shexp.weight", {kExpertFfn, kHidden}, "llama4"},
    TargetShape{"blk.{bid}.ffn_down_shexp.weight", {kHidden, kExpertFfn}, "llama4"},
    TargetShape{"blk.{bid}.ffn_gate_shexp.weight", {kSharedFfn, kHidden}},
    TargetShape{"blk.{bid}.ffn_up_shexp.weight", {kSharedFfn, kHidden}},
    TargetShape{"blk.{bid}.ffn_down_shexp.weight", {kHidden, kSharedFfn}},
    TargetShape{"blk.{bid}.nextn.eh_proj.weight", {kHidden, Extent(2) * kHidden}},
    TargetShape{"blk.{bid}.nextn.enorm.weight", {kHidden}},
    TargetShape{"blk.{bid}.nextn.hnorm.weight", {kHidden}},
    TargetShape{"blk.{bid}.nextn.embed_tokens.weight", {kVocab, kHidden}},
    TargetShape{"blk.{bid}.nextn.shared_head_head.weight", {kVocab, kHidden}},
    TargetShape{"blk.{bid}.nextn.shared_head_norm.weight", {kHidden}},
    TargetShape{"blk.{bid}.cross_attn_q_proj.weight", {kQueryRows, kHidden}},
    TargetShape{"blk.{bid}.cross_attn_k_proj.weight", {kKvRows, kHidden}},
    TargetShape{"blk.{bid}.cross_attn_v_proj.weight", {kKvRows, kHidden}},
    TargetShape{"blk.{bid}.cross_attn_o_proj.weight", {kHidden, kQueryRows}},
    TargetShape{"blk.{bid}.cross_attn_q_norm.weight", {kHeadDim}},
    TargetShape{"blk.{bid}.cross_attn_k_norm.weight", {kHeadDim}},
    TargetShape{"blk.{bid}.cross_attn_attn_gate", {1}},
    TargetShape{"blk.{bid}.cross_attn_mlp_gate", {1}},
    TargetShape{"blk.{bid}.shortconv.conv.weight", {kHidden, kConvCache}},
    TargetShape{"blk.{bid}.shortconv.conv.bias", {kHidden}},
    TargetShape{"blk.{bid}.shortconv.in_proj.weight", {Extent(3) * kHidden, kHidden}},
    TargetShape{"blk.{bid}.shortconv.in_proj.bias", {Extent(3) * kHidden}},
    TargetShape{"blk.{bid}.shortconv.out_proj.weight", {kHidden, kHidden}},
    TargetShape{"blk.{bid}.shortconv.out_proj.bias", {kHidden}},
};

// The vision towers repeat the same block under their own prefixes.
inline constexpr std::array kVisionBlock{
    TargetShape{"attn_norm.weight", {kVisionHidden}},
    TargetShape{"attn_norm.bias", {kVisionHidden}},
    TargetShape{"ffn_norm.weight", {kVisionHidden}},
    TargetShape{"ffn_norm.bias", {kVisionHidden}},
    TargetShape{"ln1.weight", {kVisionHidden}},
    TargetShape{"ln1.bias", {kVisionHidden}},
    TargetShape{"ln2.weight", {kVisionHidden}},
    TargetShape{"ln2.bias", {kVisionHidden}},
    TargetShape{"attn_q.weight", {kVisionHidden, kVisionHidden}},
    TargetShape{"attn_q.bias", {kVisionHidden}},
    TargetShape{"attn_k.weight", {kVisionHidden, kVisionHidden}},
    TargetShape{"attn_k.bias", {kVisionHidden}},
    TargetShape{"attn_v.weight", {kVisionHidden, kVisionHidden}},
    TargetShape{"attn_v.bias", {kVisionHidden}},
    TargetShape{"attn_output.weight", {kVisionHidden, kVisionHidden}},
    TargetShape{"attn_output.bias", {kVisionHidden}},
    TargetShape{"attn_out.weight", {kVisionHidden, kVisionHidden}},
    TargetShape{"attn_out.bias", {kVisionHidden}},
    TargetShape{"ffn_up.weight", {kVisionFfn, kVisionHidden}},
    TargetShape{"ffn_up.bias", {kVisionFfn}},
    TargetShape{"ffn_down.weight", {kVisionHidden, kVisionFfn}},
    TargetShape{"ffn_down.bias", {kVisionHidden}},
    TargetShape{"mlp.fc1.weight", {kVisionFfn, kVisionHidden}},
    TargetShape{"mlp.fc1.bias", {kVisionFfn}},
    TargetShape{"mlp.fc2.weight", {kVisionHidden, kVisionFfn}},
    TargetShape{"mlp.fc2.bias", {kVisionHidden}},
    TargetShape{"attn_gate", {1}},
    TargetShape{"ffn_gate", {1}},
};

inline constexpr std::array kVision{
    TargetShape{"v.class_embd", {kVisionHidden}},
    TargetShape{"v.class_embedding", {kVisionHidden}},
    TargetShape{"v.patch_embd.weight",
                {kVisionHidden, kVisionChannels, kVisionPatch, kVisionPatch},
                "mllama"},
    TargetShape{"v.patch_embd.weight", {kVisionHidden, kPatchValues}},
    TargetShape{"v.patch_embedding.weight", {kVisionHidden, kPatchValues}},
    TargetShape{"v.position_embd.weight", {kVisionPositions, kVisionHidden}},
    TargetShape{"v.positional_embedding_vlm", {kVisionPositions, kVisionHidden}},
    TargetShape{"v.position_embd.gate", {1}},
    TargetShape{"v.tile_position_embd.gate", {1}},
    TargetShape{"v.tile_position_embd.weight",
                {kVisionAspects, kVisionTiles* kVisionPositions* Extent(kVisionHidden)}},
    TargetShape{"v.pre_tile_position_embd.gate", {1}},
    TargetShape{"v.pre_tile_position_embd.weight", {kVisionAspects, kVisionTiles* kVisionHidden}},
    TargetShape{"v.post_tile_position_embd.gate", {1}},
    TargetShape{"v.post_tile_position_embd.weight", {kVisionAspects, kVisionTiles* kVisionHidden}},
    TargetShape{"v.pre_ln.weight", {kVisionHidden}},
    TargetShape{"v.pre_ln.bias", {kVisionHidden}},
    TargetShape{"v.post_ln.weight", {kVisionHidden}},
    TargetShape{"v.post_ln.bias", {kVisionHidden}},
    TargetShape{"v.layernorm_pre.weight", {kVisionHidden}},
    TargetShape{"v.layernorm_pre.bias", {kVisionHidden}},
    TargetShape{"v.layernorm_post.weight", {kVisionHidden}},
    TargetShape{"v.layernorm_post.bias", {kVisionHidden}},
    TargetShape{"v.vision_adapter.mlp.fc1.weight", {kProjectorIn, kVisionFfn}},
    TargetShape{"v.vision_adapter.mlp.fc2.weight", {kProjectorOut, kProjectorOut}},
    TargetShape{"mm.model.mlp.1.weight", {kProjectorIn, kVisionFfn}},
    TargetShape{"mm.model.mlp.2.weight", {kProjectorOut, kProjectorOut}},
    TargetShape{"mm.model.fc.weight", {kHidden, kVisionOutput}},
    TargetShape{"mm.linear_1.weight", {kHidden, kVisionOutput}},
    TargetShape{"mm.0.weight", {kHidden, kVisionOutput}},
    TargetShape{"mm.0.bias", {kHidden}},
};

inline constexpr std::array<std::string_view, 2> kVisionPrefixes{"v.blk.{bid}.",
                                                                 "v.global.blk.{bid}."};
}  // namespace target_shapes

// The shape of target `prefix` + `name` in a file of architecture `gguf_arch`; nullopt for a name
// that no reader knows.
constexpr std::optional<Shape> ExpectedShape(std::string_view gguf_arch, std::string_view prefix,
                                             std::string_view name) {
  const auto is_whole = [&](std::string_view row) {
    return row.size() == prefix.size() + name.size() && row.starts_with(prefix) &&
           row.ends_with(name);
  };
  for (const std::string_view vision : target_shapes::kVisionPrefixes) {
    if (prefix != vision) continue;
    for (const TargetShape& row : target_shapes::kVisionBlock) {
      if (row.name == name) return row.shape;
    }
    return std::nullopt;
  }
  const auto find = [&](const auto& table) -> std::optional<Shape> {
    for (const TargetShape& row : table) {
      if (is_whole(row.name) && (row.gguf_arch.empty() || row.gguf_arch == gguf_arch)) {
        return row.shape;
      }
    }
    return std::nullopt;
  };
  if (const auto shape = find(target_shapes::kText)) return shape;
  return find(target_shapes::kVision);
}

}  // namespace sluice::arch
