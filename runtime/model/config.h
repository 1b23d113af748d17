// The hyperparameters of GLM-4 MoE Lite, whichever kind of file states them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"
#include "runtime/model/rope.h"

namespace sluice::runtime {

// Symbols of the shapes in this folder's comments stand in brackets.
struct Config {
  std::uint32_t hidden = 0;   // [H]
  std::uint32_t layers = 0;   // without multi-token-prediction layers
  std::uint32_t context = 0;  // tokens
  std::uint32_t heads = 0;    // [A]
  std::uint32_t q_rank = 0;   // 0: queries are not of low rank
  std::uint32_t kv_rank = 0;  // [rk], width of a latent
  std::uint32_t nope = 0;     // [dn], elements of a head's key and query without position
  std::uint32_t rope = 0;     // [dr], rotated elements; even
  std::uint32_t v_head = 0;   // [dv]
  std::uint32_t ffn = 0;      // width of the dense layers
  std::uint32_t dense_layers = 0;
  std::uint32_t experts = 0;         // [E]
  std::uint32_t used_experts = 0;    // [K]
  std::uint32_t shared_experts = 0;  // 0: none
  std::uint32_t expert_ffn = 0;      // [M]
  std::uint32_t expert_groups = 1;
  std::uint32_t used_groups = 1;
  bool norm_weights = true;  // divide the weights of the chosen experts by their sum
  float routed_scale = 1;
  float rms_eps = 0;
  float latent_eps = 0;  // of the norms in front of the second query product and of the latents
  RopeConfig rope_config;

  [[nodiscard]] std::uint32_t query_width() const { return nope + rope; }  // [dq]
  [[nodiscard]] std::uint32_t cache_width() const { return kv_rank + rope; }
  // What scores are multiplied with before the softmax.
  [[nodiscard]] float score_scale() const;
};

// Reads the key-values of either dialect: architecture glm4moelite, or deepseek2 with the
// pre-tokenizer glm4. An absent gating function means sigmoid and is noted in `warnings`.
// kUnsupported: another architecture, gating function or RoPE scaling. kMissing, kCorrupt: keys.
Result<Config> ConfigFromMetadata(const gguf::Metadata& metadata,
                                  std::vector<std::string>& warnings);

}  // namespace sluice::runtime
