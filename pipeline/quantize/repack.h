// Packed weights whose codes and scales are those of a quantized type's blocks: they are moved to
// their places in the blocks, bit by bit, not decoded and encoded.
#pragma once

#include <vector>

#include "pipeline/plan.h"

namespace sluice {

// Makes `tensor` one of `type`, made of its source's own blocks, and gives true, where that is
// possible: the source has such blocks, the views keep them whole, and a scale of the scales, which
// blocks do not have, can stand in a tensor of its own. That is so for llama.cpp's loader and the
// tensors for which it looks for one; with `ollama` it never is.
bool Repack(gguf::TensorType type, bool ollama, PlannedTensor& tensor);

// Inserts, behind every repacked tensor `X.weight` whose source has scales of the scales, `X.scale`
// with one F32 for each matrix (llama.cpp: llama-model.cpp, the optional "scale" tensors).
void AddScales(std::vector<PlannedTensor>& tensors);

}  // namespace sluice
