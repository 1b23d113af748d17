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

namespace sluice {

// One tensor of any kind of file.
struct TensorEntry {
  std::string name;
  std::string type;                  // as the file calls it
  std::vector<std::uint64_t> shape;  // outermost dimension first
  std::uint64_t offset = 0;          // from the start of the file
  std::uint64_t bytes = 0;
  std::string file;  // which shard; empty in a single file
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
  // nullopt for a type without one.
  static std::optional<ValueDecoder> ForType(const std::string& type);
  [[nodiscard]] std::uint32_t element_bytes() const;
  void Decode(const std::byte* in, std::span<float> out) const;

 private:
  explicit ValueDecoder(Dtype dtype) : dtype_(dtype) {}
  Dtype dtype_;
};

}  // namespace sluice
