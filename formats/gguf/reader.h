// Reads the head of a GGUF file and checks it as llama.cpp's loader would.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/mapped_file.h"
#include "core/result.h"
#include "formats/gguf/value.h"
#include "formats/gguf/writer.h"

namespace sluice::gguf {

struct Head {
  std::uint32_t version = 0;
  std::uint32_t alignment = kDefaultAlignment;
  Metadata metadata;
  std::vector<TensorRecord> tensors;  // in file order
  std::uint64_t data_start = 0;       // of the data section, from the start of the file
};

// `file` is the whole file; only its head is touched. kCorrupt with a byte offset for anything that
// is not valid GGUF of version 2 or 3, kUnsupported for other versions and big-endian files.
// Every count is bounded by the bytes that are left before anything of its size is allocated.
Result<Head> ReadHead(std::span<const std::byte> file, const std::string& path);

// The same of a mapped file; kCorrupt also when it has shrunk meanwhile.
Result<Head> ReadHead(const MappedFile& file);

// Whether a file begins like a GGUF file.
[[nodiscard]] bool HasMagic(std::span<const std::byte> file);

}  // namespace sluice::gguf
