// Looks into GGUF files, safetensors files and checkpoint folders.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/result.h"
#include "formats/gguf/value.h"
#include "formats/quant/codec.h"

namespace sluice {

// One tensor of any kind of file.
struct TensorEntry {
  std::string name;
  std::string type;                  // as the file calls it
  std::vector<std::uint64_t> shape;  // outermost dimension first
  std::uint64_t offset = 0;          // from the start of the file
  std::uint64_t bytes = 0;
  std::string file;              // which shard; empty in a single file
  std::uint64_t file_bytes = 0;  // of that shard or file
};

struct Inspection {
  std::string kind;  // "GGUF version 3", "safetensors", "checkpoint folder"
  // Of GGUF files; of safetensors files the __metadata__ strings; of folders config.json.
  gguf::Metadata metadata;
  std::vector<TensorEntry> tensors;
  std::uint64_t bytes = 0;  // of all files
  std::vector<std::string> warnings;
};

// kMissing, kCorrupt, kIo; see the readers.
Result<Inspection> InspectPath(const std::string& path);

// What the values of a tensor look like. Infinities and NaNs are counted and left out of the rest.
struct TensorStatistics {
  std::uint64_t elements = 0;
  std::uint64_t zeros = 0;
  std::uint64_t nans = 0;
  std::uint64_t infinities = 0;
  double min = 0;
  double max = 0;
  double mean = 0;
  double standard_deviation = 0;
  std::vector<float> first;  // the first values, at most eight
};

// Reads the tensor in bounded memory. kMissing when there is none of that name, kUnsupported for a
// type whose values this program cannot decode.
Result<TensorStatistics> Measure(const std::string& path, const std::string& tensor);

// A decoder for runs of tensor values, by the type's name in the file.
class ValueDecoder {
 public:
  // nullopt for a type whose elements are no real numbers.
  static std::optional<ValueDecoder> ForType(const std::string& type);
  // The fewest neighbours that are decoded together, and their bytes. Divides 256.
  [[nodiscard]] std::uint32_t block_elements() const;
  [[nodiscard]] std::uint32_t block_bytes() const;
  // Bytes of `elements` values. REQUIRES: whole blocks.
  [[nodiscard]] std::uint64_t BytesOf(std::uint64_t elements) const {
    return elements / block_elements() * block_bytes();
  }
  // REQUIRES: whole blocks.
  void Decode(const std::byte* in, std::span<float> out) const;

 private:
  ValueDecoder() = default;

  const quant::Codec* codec_ = nullptr;  // of a GGUF type that no Dtype describes
  Dtype dtype_ = Dtype::kF32;
};

}  // namespace sluice
