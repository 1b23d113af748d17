// The weights of GLM-4 MoE Lite, layer by layer, as the forward pass uses them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "runtime/kernels/matrix.h"
#include "runtime/model/config.h"
#include "runtime/model/weight_source.h"

namespace sluice::runtime {

// The symbols are those of Config.
struct AttentionWeights {
  std::vector<float> norm;          // [H]
  Matrix q_a;                       // [rq, H]; without low rank absent
  std::vector<float> q_norm;        // [rq]
  Matrix q;                         // [A * dq, rq or H]
  Matrix kv_a;                      // [rk + dr, H]
  std::vector<float> latent_norm;   // [rk]
  std::vector<Matrix> embed_q;      // A times [rk, dn]: takes a query to the space of the latents
  std::vector<Matrix> unembed_out;  // A times [dv, rk]: takes a mix of latents to a head's output
  Matrix out;                       // [H, A * dv]
};

// silu(gate x) * (up x), then down: [width, H], [width, H], [H, width].
struct MlpWeights {
  Matrix gate;
  Matrix up;
  Matrix down;
};

struct FeedForwardWeights {
  std::vector<float> norm;          // [H]
  std::optional<MlpWeights> dense;  // either this, of width ffn, or what follows
  Matrix router;                    // [E, H]
  std::vector<float> router_bias;   // [E]
  std::vector<MlpWeights> experts;  // E, of width M
  std::optional<MlpWeights> shared;
};

struct LayerWeights {
  AttentionWeights attention;
  FeedForwardWeights feed_forward;
};

// A tensor by its GGUF name, as the matrices above: one, or one for each expert or head.
struct WeightTensor {
  std::string name;
  std::vector<Matrix> matrices;
};

struct Weights {
  Matrix embedding;  // [V, H]
  std::vector<LayerWeights> layers;
  std::vector<float> norm;            // [H]
  Matrix output;                      // [V, H]; the embedding where that is tied
  std::vector<WeightTensor> tensors;  // all of the above that are matrices
};

// Finds every tensor of the model in `source`, which the result points into, and checks its shape.
// All problems are reported in one Error, up to the first block of which nothing is there.
// kMissing, kMismatch: tensors. kUnsupported: a type without values, or a tensor outside the
// multi-token-prediction layers that nothing uses.
Result<Weights> LoadWeights(WeightSource& source, const Config& config);

}  // namespace sluice::runtime
