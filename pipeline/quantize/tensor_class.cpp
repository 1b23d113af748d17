#include "pipeline/quantize/tensor_class.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace sluice {
namespace {

bool Has(std::string_view name, std::string_view part) {
  return name.find(part) != std::string_view::npos;
}

struct ClassRule {
  std::string_view part;  // of the name
  TensorClass tensor_class;
};

// The first that a name has decides.
constexpr std::array kClasses{
    ClassRule{"attn_qkv.weight", TensorClass::kQkv},
    ClassRule{"attn_kv_b.weight", TensorClass::kKvB},
    ClassRule{"attn_v.weight", TensorClass::kV},
    ClassRule{"attn_k.weight", TensorClass::kK},
    ClassRule{"attn_q.weight", TensorClass::kQ},
    ClassRule{"attn_output.weight", TensorClass::kAttnOutput},
    ClassRule{"ffn_up", TensorClass::kUp},
    ClassRule{"ffn_gate", TensorClass::kGate},
    ClassRule{"ffn_down", TensorClass::kDown},
};

// Norms, routers, positions, convolutions, and small matrices that feed them.
constexpr std::array<std::string_view, 35> kKeptParts{
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
};

constexpr std::array<std::string_view, 2> kKeptNames{"position_embd.weight", "token_types.weight"};

constexpr std::array<std::string_view, 14> kKeptGlm5NextParts{
    "hc_",
    "indexer.attn_q_b",
    "indexer.attn_k",
    "indexer.proj",
    "indexer_compressor_gate",
    "indexer_compressor_ape",
    "ssm_f_a.weight",
    "ssm_f_b.weight",
    "ssm_g_a.weight",
    "ssm_g_b.weight",
    "ssm_beta.weight",
    "attn_kv_a_mqa.weight",
    "attn_k_b.weight",
    "attn_v_b.weight",
};

template <std::size_t kSize>
std::optional<std::string_view> PartOf(std::string_view name,
                                       const std::array<std::string_view, kSize>& parts) {
  const auto* part = std::find_if(parts.begin(), parts.end(),
                                  [&](std::string_view candidate) { return Has(name, candidate); });
  if (part == parts.end()) return std::nullopt;
  return *part;
}

}  // namespace

TensorClass ClassOf(std::string_view name) {
  if (name == kOutputName) return TensorClass::kOutput;
  if (name == kEmbeddingName || name == kLayerEmbeddingName) return TensorClass::kEmbedding;
  for (const ClassRule& rule : kClasses) {
    if (Has(name, rule.part)) return rule.tensor_class;
  }
  return TensorClass::kOther;
}

std::string_view ClassName(TensorClass tensor_class) {
  constexpr std::array<std::string_view, 12> kNames{
      "output", "embeddings",  "attn_qkv", "attn_kv_b", "attn_v",   "attn_k",
      "attn_q", "attn_output", "ffn_up",   "ffn_gate",  "ffn_down", "other"};
  return kNames[static_cast<std::size_t>(tensor_class)];
}

std::optional<std::uint64_t> BlockOf(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::uint64_t block = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, block);
  if (error != std::errc() || stop == end || *stop != '.') return std::nullopt;
  return block;
}

std::optional<std::string_view> KeptByName(std::string_view name, std::string_view architecture) {
  if (const auto part = PartOf(name, kKeptParts)) return part;
  if (architecture == "glm5-next") {
    if (const auto part = PartOf(name, kKeptGlm5NextParts)) return part;
  }
  const auto* whole = std::find(kKeptNames.begin(), kKeptNames.end(), name);
  if (whole == kKeptNames.end()) return std::nullopt;
  return *whole;
}

bool KeptByOllama(std::string_view name) {
  return name.starts_with("v.") || name.starts_with("mm.") ||
         (Has(name, "cross_attn_") && (Has(name, "norm") || Has(name, "gate")));
}

}  // namespace sluice
