// Every element encoding that GGUF files have, row by row: the scalar reference.
//
// One file for each type or family of types, each opening with a picture of its block. The encoders
// follow ggml-quants.c operation by operation (docs/formats/quantization.md), so their bytes are
// those of llama-quantize on x86-64; the fast encoders of stages/kernels are compared with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/gguf/types.h"

namespace sluice::quant {

// What an importance matrix means to a type.
enum class Importance : std::uint8_t {
  kIgnored,   // the same bytes with and without
  kUsed,      // better codes with it
  kRequired,  // unusable without it
};

// Encodes one row; `importance` is empty or has one weight for each element. IQ3_S has a known
// defect in the reference: `exact` reproduces it, otherwise correct bytes are written. Returns the
// number of blocks in which the two differ, whichever is written. REQUIRES: row.size() is a
// multiple of the block's elements; `out` has room for the row; importance where it is required.
// Values and weights that are not finite are safe but give bytes of no use.
using EncodeRow = std::uint64_t (*)(std::span<const float> row, std::span<const float> importance,
                                    bool exact, std::byte* out);
// Decodes out.size() elements, a multiple of the block's.
using DecodeRow = void (*)(const std::byte* in, std::span<float> out);

struct Codec {
  gguf::TensorType type;
  Importance importance;
  EncodeRow encode;
  DecodeRow decode;
};

// nullptr for the types that hold no weights: integers, F64 and the activation formats Q8_1, Q8_K.
[[nodiscard]] const Codec* FindCodec(gguf::TensorType type);
// All of them.
[[nodiscard]] std::span<const Codec* const> Codecs();

// Each defined in the file of its type.
extern const Codec kCodecF32;
extern const Codec kCodecF16;
extern const Codec kCodecBF16;
extern const Codec kCodecQ4_0;
extern const Codec kCodecQ4_1;
extern const Codec kCodecQ5_0;
extern const Codec kCodecQ5_1;
extern const Codec kCodecQ8_0;
extern const Codec kCodecQ2_K;
extern const Codec kCodecQ3_K;
extern const Codec kCodecQ4_K;
extern const Codec kCodecQ5_K;
extern const Codec kCodecQ6_K;
extern const Codec kCodecIQ4_NL;
extern const Codec kCodecIQ4_XS;
extern const Codec kCodecTQ1_0;
extern const Codec kCodecTQ2_0;
extern const Codec kCodecQ1_0;
extern const Codec kCodecQ2_0;
extern const Codec kCodecMXFP4;
extern const Codec kCodecNVFP4;
extern const Codec kCodecIQ1_S;
extern const Codec kCodecIQ1_M;
extern const Codec kCodecIQ2_XXS;
extern const Codec kCodecIQ2_XS;
extern const Codec kCodecIQ2_S;
extern const Codec kCodecIQ3_XXS;
extern const Codec kCodecIQ3_S;

}  // namespace sluice::quant
