// The two forms of an importance matrix file (docs/formats/imatrix.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace sluice::imatrix {

// The data for one weight tensor: the columns' sums of matrix after matrix (the experts of a stack,
// the heads of latent attention).
struct Entry {
  std::string name;          // of the weight tensor
  std::uint64_t offset = 0;  // of the first sum, from the start of the file
  std::uint64_t values = 0;  // F32 sums, a multiple of divisors.size()
  // What the sums of each matrix are divided by; 0: the matrix met no activation.
  std::vector<float> divisors;
};

struct Contents {
  std::vector<Entry> entries;
  std::vector<std::string> datasets;  // what the activations were made from
  std::uint32_t num_chunks = 0;       // 0: unknown
};

// Each reads the structure of a whole file and leaves the sums alone. kCorrupt, with entry and
// offset; the errors of ReadLegacyForm lack the path.
Result<Contents> ReadGgufForm(std::span<const std::byte> file, const std::string& path);
Result<Contents> ReadLegacyForm(std::span<const std::byte> file);

inline constexpr std::string_view kType = "imatrix";  // general.type
inline constexpr std::string_view kDatasetsKey = "imatrix.datasets";
inline constexpr std::string_view kChunkCountKey = "imatrix.chunk_count";
inline constexpr std::string_view kChunkSizeKey = "imatrix.chunk_size";
inline constexpr std::string_view kSumsSuffix = ".in_sum2";
inline constexpr std::string_view kCountsSuffix = ".counts";

}  // namespace sluice::imatrix
