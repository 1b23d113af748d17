// The header of a safetensors file: what tensors it holds and where.
//
//   byte 0        8              8 + n
//   | n (u64 le) | n bytes JSON | data section ................ end of file |
//
// The JSON maps each tensor name to its dtype, shape (outermost dimension first) and data_offsets
// [begin, end), counted from the start of the data section. The ranges must tile the data section.
// Described byte by byte in docs/formats/safetensors.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/file.h"
#include "core/result.h"

namespace sluice::safetensors {

// Upper bound on n that the reference implementation enforces (safetensors crate, MAX_HEADER_SIZE).
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<std::uint64_t> shape;  // outermost dimension first; empty for a scalar
  std::uint64_t offset = 0;          // of the first byte, from the start of the file
  std::uint64_t bytes = 0;
};

struct Header {
  std::vector<TensorInfo> tensors;                            // in byte order of their names
  std::vector<std::pair<std::string, std::string>> metadata;  // the `__metadata__` entry
};

// Reads and checks the header: every length, offset and shape product against the size of the file.
// kCorrupt, with tensor and byte offset where they are known; kUnsupported for an unknown dtype.
Result<Header> ReadHeader(const File& file);

// The same for the JSON text alone. `file_bytes` is the size of the whole file, `path` serves error
// messages.
Result<Header> ParseHeader(std::string_view json, std::uint64_t file_bytes,
                           const std::string& path);

}  // namespace sluice::safetensors
