// Importance matrices as the bytes of a file, for llama-quantize and for ourselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

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

// The GGUF form, sorted by name. kUsage: a weight without sums or counts, or sums that are no
// multiple of the counts; kMismatch: a name that GGUF cannot hold.
Result<std::vector<std::byte>> ToGgufForm(const Collection& collection);

// The legacy form, sorted by name, with the first dataset. It has one divisor for a whole tensor
// instead of a count for each matrix: sums are scaled to what they would be had every matrix met
// the tokens of as many chunks as the one that met most, and are 1 each for matrices that met
// nothing. kUsage: as above, and what does not fit 31 bits. REQUIRES: chunk_tokens > 0.
Result<std::vector<std::byte>> ToLegacyForm(const Collection& collection);

}  // namespace sluice::imatrix
