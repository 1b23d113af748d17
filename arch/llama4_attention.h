// Attention of Llama 4: most blocks rotate queries and keys and attend to a chunk of the text;
// every so many blocks one does neither and scales queries by their position. What readers take for
// given.
#pragma once

#include <optional>

#include "arch/spec.h"

namespace sluice::arch {

// ---- Values of keys that only Ollama's engine reads; absent where its own default is right

HpValue NoRopeInterval(const HParams& hparams);
HpValue TemperatureTuning(const HParams& hparams);
HpValue AttentionScale(const HParams& hparams);
HpValue FloorScale(const HParams& hparams);

// attention.sliding_window 0, by which llama.cpp knows that no block attends to chunks.
HpValue NoSlidingWindow(const HParams& hparams);

// ---- Findings
// -------------------------------------------------------------------------------------

// no_rope_layers has an entry for each block.
std::optional<Finding> NoRopeLayersFit(const HParams& hparams);

// What llama.cpp has no keys for and computes in one way only (src/models/llama4.cpp).
std::optional<Finding> LlamaCppRotatesTheSameBlocks(const HParams& hparams);
std::optional<Finding> LlamaCppTakesTheSameChunks(const HParams& hparams);
std::optional<Finding> LlamaCppTunesAlike(const HParams& hparams);

// What Ollama's engine has no keys for (model/models/llama4/model_text.go).
std::optional<Finding> OllamaRotatesTheSameBlocks(const HParams& hparams);
std::optional<Finding> OllamaTakesTheSameChunks(const HParams& hparams);

}  // namespace sluice::arch
