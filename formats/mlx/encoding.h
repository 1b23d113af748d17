// Quantized matrices as MLX stores them in safetensors: codes, scales and biases are tensors of
// their own. docs/formats/mlx.md describes them byte by byte.
//
//   X.weight  U32 [..., out, in * bits / 32]   element k of a word: bits [k * bits, (k + 1) * bits)
//   X.scales      [..., out, in / group]       one for each group of neighbours in a row
//   X.biases      [..., out, in / group]       affine only
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/dtype.h"

namespace sluice::mlx {

inline constexpr std::string_view kWeight = ".weight";
inline constexpr std::uint64_t kWordBits = 32;

enum class Mode : std::uint8_t {
  kAffine,  // s * q + b, q unsigned
  kNvfp4,   // E2M1(q) * E4M3(s), times a factor of the whole tensor where there is one
  kMxfp4,   // E2M1(q) * 2^(s - 127)
  kMxfp8,   // E4M3(q) * 2^(s - 127)
};

// As config.json names it.
[[nodiscard]] std::string_view ModeName(Mode mode);
[[nodiscard]] std::optional<Mode> ParseMode(std::string_view name);

struct Encoding {
  Mode mode = Mode::kAffine;
  std::uint32_t bits = 4;
  std::uint32_t group = 64;          // elements that share a scale
  Dtype scale_dtype = Dtype::kBF16;  // of scales and biases; U8 unless affine

  bool operator==(const Encoding&) const = default;
  [[nodiscard]] bool has_biases() const { return mode == Mode::kAffine; }
  [[nodiscard]] std::uint64_t group_code_bytes() const { return std::uint64_t{group} * bits / 8; }
};

// The only encoding of a mode that has but one; nullopt for kAffine.
[[nodiscard]] std::optional<Encoding> EncodingOf(Mode mode);
// Whether codec.h knows it: 4 or 8 bits in groups of 32, 64 or 128 with scales in BF16, F16 or F32,
// or the one encoding of another mode.
[[nodiscard]] bool IsKnown(const Encoding& encoding);

// The tensors that a matrix becomes.
enum class Part : std::uint8_t { kCodes, kScales, kBiases };

struct EncodedPart {
  Encoding encoding;
  Part part = Part::kCodes;

  [[nodiscard]] Dtype dtype() const {
    return part == Part::kCodes ? Dtype::kU32 : encoding.scale_dtype;
  }
  [[nodiscard]] std::uint64_t group_bytes() const {
    return part == Part::kCodes ? encoding.group_code_bytes() : DtypeBytes(encoding.scale_dtype);
  }
};

}  // namespace sluice::mlx
