// What quantization recipes read out of a tensor's name.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace sluice {

// The part a weight plays, by llama.cpp's tensor names.
enum class TensorClass : std::uint8_t {
  kOutput,
  kEmbedding,  // of tokens, also those of each layer
  kQkv,
  kKvB,  // the combined K and V up-projection of latent attention
  kV,
  kK,
  kQ,
  kAttnOutput,
  kUp,    // like the next two also of experts
  kGate,  // also a fused gate and up
  kDown,
  kOther,
};

inline constexpr std::string_view kOutputName = "output.weight";
inline constexpr std::string_view kEmbeddingName = "token_embd.weight";
inline constexpr std::string_view kLayerEmbeddingName = "per_layer_token_embd.weight";

[[nodiscard]] TensorClass ClassOf(std::string_view name);
// "attn_v" and the like, for messages.
[[nodiscard]] std::string_view ClassName(TensorClass tensor_class);

// The weights that make values for attention; recipes count them together.
[[nodiscard]] constexpr bool MakesValues(TensorClass tensor_class) {
  return tensor_class == TensorClass::kV || tensor_class == TensorClass::kQkv ||
         tensor_class == TensorClass::kKvB;
}

// The N of a name that begins with "blk.N.".
[[nodiscard]] std::optional<std::uint64_t> BlockOf(std::string_view name);

// Sorts as llama-quantize writes: tensors outside the blocks, then block by block, each by name.
// Valid as long as `name`.
using QuantizedOrder = std::pair<std::optional<std::uint64_t>, std::string_view>;
[[nodiscard]] inline QuantizedOrder QuantizedOrderOf(std::string_view name) {
  return {BlockOf(name), name};
}

// Why tensors of this name are never quantized in a model of this architecture: the part of the
// name that says so, or nullopt.
[[nodiscard]] std::optional<std::string_view> KeptByName(std::string_view name,
                                                         std::string_view architecture);
// What Ollama's files keep besides: the vision tower, its projector, norms and gates of
// cross-attention.
[[nodiscard]] bool KeptByOllama(std::string_view name);

}  // namespace sluice
