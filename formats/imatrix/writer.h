// Writes importance matrices in their GGUF form, for llama-quantize and for ourselves.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/result.h"

namespace sluice::imatrix {

// What was collected for one weight tensor.
struct Collected {
  std::string name;           // of the weight tensor
  std::vector<float> sums;    // (matrices, columns): squared activations, summed
  std::vector<float> counts;  // (matrices): rows of activations that each matrix met
};

struct Collection {
  std::vector<std::string> datasets;
  std::uint32_t num_chunks = 0;
  std::uint32_t chunk_tokens = 0;  // tokens of a chunk
  std::vector<Collected> weights;
};

// Writes `collection`, sorted by name, at the file's current position. kUsage: a weight without
// sums or counts, or sums that are no multiple of the counts; kMismatch: a name that GGUF cannot
// hold; kIo.
Status Write(const Collection& collection, File& file);

}  // namespace sluice::imatrix
