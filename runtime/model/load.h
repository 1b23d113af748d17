// Opens a model to run: a GGUF file, a checkpoint folder or a manifest of Ollama's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"
#include "runtime/model/glm.h"
#include "runtime/text/tokenizer.h"

namespace sluice::runtime {

struct LoadOptions {
  GlmOptions model;
  // Epsilon of the norms inside attention. The published model uses rms_norm_eps, which is the
  // default; transformers uses 1e-6.
  std::optional<float> latent_eps;
};

struct LoadedModel {
  std::unique_ptr<Glm> model;
  gguf::Metadata metadata;  // with the tokenizer; of a checkpoint what its conversion would write
  std::vector<std::string> warnings;
};

// Opens GLM-4 MoE Lite in either GGUF dialect, or a checkpoint of it, whose shards are used where
// they are, quantized in the MLX layout or not. The path of a manifest in Ollama's store stands for
// the checkpoint that its blobs are (ollama_model.h). kUnsupported for any other model; further
// errors as of OpenGguf, MakePlan, ConfigFromMetadata and LoadWeights, with the path.
Result<LoadedModel> LoadModel(const std::string& path, const LoadOptions& options);

// The tokenizer of a model that was loaded from `path`; its warnings join the model's. A
// checkpoint's own files say more than the key-values that its conversion would write. Errors as of
// OpenTokenizer.
Result<Tokenizer> TokenizerOf(const std::string& path, LoadedModel& loaded);

}  // namespace sluice::runtime
