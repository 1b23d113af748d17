#include "stages/kernels/quant/encode.h"

#include <array>

#include "formats/quant/codec.h"
#include "stages/kernels/cast.h"
#include "stages/kernels/quant/encoders.h"

namespace sluice::kernels {
namespace {

using gguf::TensorType;

struct FastEncoder {
  TensorType type;
  Encoder encode;
};

// Single elements. Values that become infinite are found with the other unusable blocks.
template <std::uint64_t (*kCast)(std::span<const float>, std::byte*)>
std::uint64_t EncodeHalves(const EncodeJob& job) {
  kCast({job.rows, job.num_rows * job.row_length}, job.out);
  return 0;
}

constexpr std::array kFastEncoders{
    FastEncoder{TensorType::kF16, EncodeHalves<EncodeF16>},
    FastEncoder{TensorType::kBF16, EncodeHalves<EncodeBf16>},
    FastEncoder{TensorType::kQ4_0, EncodeQ4_0},
    FastEncoder{TensorType::kQ4_1, EncodeQ4_1},
    FastEncoder{TensorType::kQ5_0, EncodeQ5_0},
    FastEncoder{TensorType::kQ5_1, EncodeQ5_1},
    FastEncoder{TensorType::kQ8_0, EncodeQ8_0},
    FastEncoder{TensorType::kQ2_K, EncodeQ2_K},
    FastEncoder{TensorType::kQ3_K, EncodeQ3_K},
    FastEncoder{TensorType::kQ4_K, EncodeQ4_K},
    FastEncoder{TensorType::kQ5_K, EncodeQ5_K},
    FastEncoder{TensorType::kQ6_K, EncodeQ6_K},
    FastEncoder{TensorType::kIQ1_S, EncodeIQ1_S},
    FastEncoder{TensorType::kIQ1_M, EncodeIQ1_M},
    FastEncoder{TensorType::kIQ2_XXS, EncodeIQ2_XXS},
    FastEncoder{TensorType::kIQ2_XS, EncodeIQ2_XS},
    FastEncoder{TensorType::kIQ2_S, EncodeIQ2_S},
    FastEncoder{TensorType::kIQ3_XXS, EncodeIQ3_XXS},
    FastEncoder{TensorType::kIQ3_S, EncodeIQ3_S},
    FastEncoder{TensorType::kIQ4_NL, EncodeIQ4_NL},
    FastEncoder{TensorType::kIQ4_XS, EncodeIQ4_XS},
    FastEncoder{TensorType::kTQ1_0, EncodeTQ1_0},
    FastEncoder{TensorType::kTQ2_0, EncodeTQ2_0},
    FastEncoder{TensorType::kQ1_0, EncodeQ1_0},
    FastEncoder{TensorType::kQ2_0, EncodeQ2_0},
    FastEncoder{TensorType::kMXFP4, EncodeMXFP4},
    FastEncoder{TensorType::kNVFP4, EncodeNVFP4},
};

Encoder FindEncoder(TensorType type) {
  for (const FastEncoder& fast : kFastEncoders) {
    if (fast.type == type) return fast.encode;
  }
  return nullptr;
}

std::uint64_t EncodeWithCodec(const quant::Codec& codec, std::span<const float> rows,
                              std::size_t row_length, std::span<const float> importance, bool exact,
                              std::byte* out) {
  const std::uint64_t row_bytes = *gguf::TensorBytes(codec.type, row_length);
  std::uint64_t differing = 0;
  for (std::size_t at = 0; at < rows.size(); at += row_length, out += row_bytes) {
    differing += codec.encode(rows.subspan(at, row_length), importance, exact, out);
  }
  return differing;
}

}  // namespace

bool HasFastEncoder(TensorType type) { return FindEncoder(type) != nullptr; }

std::uint64_t EncodeRows(TensorType type, std::span<const float> rows, std::size_t row_length,
                         std::span<const float> importance, bool exact, std::byte* out) {
  if (const Encoder encode = FindEncoder(type)) {
    return encode({.rows = rows.data(),
                   .num_rows = rows.size() / row_length,
                   .row_length = row_length,
                   .importance = importance.empty() ? nullptr : importance.data(),
                   .exact = exact,
                   .out = out});
  }
  return EncodeWithCodec(*quant::FindCodec(type), rows, row_length, importance, exact, out);
}

}  // namespace sluice::kernels
