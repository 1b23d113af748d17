// The part of a GGUF file in front of its data: counts, key-values, tensor records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "formats/gguf/types.h"
#include "formats/gguf/value.h"

namespace sluice::gguf {

// One tensor of a file. `shape` is outermost dimension first; the file stores it reversed.
struct TensorRecord {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::uint64_t> shape;
  std::uint64_t data_offset = 0;  // from the start of the data section
  std::uint64_t bytes = 0;
};

// What llama.cpp's loader accepts of a record (ggml.h: GGML_MAX_NAME, GGML_MAX_DIMS).
inline constexpr std::size_t kMaxNameBytes = 63;
inline constexpr std::size_t kMaxRank = 4;

// `general.alignment` if present, else 32. kUsage when it is no u32 power of two up to
// kMaxAlignment.
Result<std::uint32_t> AlignmentOf(const Metadata& metadata);

// Fills `bytes` and `data_offset` of each record, one after the other, each padded to `alignment`.
// Returns the size of the data section, with the padding after the last tensor or without.
// kMismatch for a tensor whose rows do not fill whole blocks, a name too long, a rank above 4.
Result<std::uint64_t> AssignOffsets(std::span<TensorRecord> tensors, std::uint32_t alignment,
                                    bool pad_last);

// Magic, version 3, counts, key-values and records, zero-padded to where the data section starts.
std::vector<std::byte> SerializeHead(const Metadata& metadata,
                                     std::span<const TensorRecord> tensors,
                                     std::uint32_t alignment);

}  // namespace sluice::gguf
