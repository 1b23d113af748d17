#include "stages/encode.h"

#include <array>
#include <cmath>
#include <cstring>

#include "stages/kernels/cast.h"

namespace sluice {
namespace {

// Floats of one tile: 16 KiB, half of a first-level data cache.
constexpr std::size_t kTileElements = 4096;

void Apply(PointwiseStep step, std::span<float> values) {
  switch (step) {
    case PointwiseStep::kTanh:
      for (float& value : values) value = std::tanh(value);
      return;
    case PointwiseStep::kOneMinus:
      for (float& value : values) value = 1.0F - value;
      return;
  }
}

// Encodes a tile and returns how many values overflowed.
std::uint64_t EncodeTile(gguf::TensorType type, std::span<const float> values, std::byte* out) {
  switch (type) {
    case gguf::TensorType::kF16:
      return kernels::EncodeF16(values, out);
    case gguf::TensorType::kBF16:
      return kernels::EncodeBf16(values, out);
    default:  // F32
      std::memcpy(out, values.data(), values.size_bytes());
      return 0;
  }
}

// Finite F64 values that no F32 holds.
std::uint64_t CountLostF64(const std::byte* in, std::span<const float> decoded) {
  std::uint64_t lost = 0;
  for (std::size_t i = 0; i < decoded.size(); ++i) {
    double value = 0;
    std::memcpy(&value, in + i * sizeof value, sizeof value);
    if (std::isinf(decoded[i]) && !std::isinf(value)) ++lost;
  }
  return lost;
}

void EncodePiece(const TensorExpr& expr, const Piece& piece, std::span<std::byte> out,
                 std::uint64_t& overflowed) {
  alignas(64) std::array<float, kTileElements> tile;
  const std::uint64_t width = DtypeBytes(piece.segment->dtype);
  const gguf::TensorTypeInfo& info = gguf::InfoOf(expr.type);
  for (std::uint64_t done = 0; done < piece.elements; done += kTileElements) {
    const std::uint64_t count = std::min<std::uint64_t>(kTileElements, piece.elements - done);
    const std::span<float> values = std::span(tile).first(count);
    const std::byte* const in = piece.raw.data() + done * width;
    kernels::DecodeToF32(piece.segment->dtype, in, values);
    if (piece.segment->dtype == Dtype::kF64) overflowed += CountLostF64(in, values);
    for (const PointwiseStep step : expr.steps) Apply(step, values);
    overflowed +=
        EncodeTile(expr.type, values, out.data() + done / info.block_elements * info.block_bytes);
  }
}

}  // namespace

Status Encode(const SourceSet& sources, Slab& slab) {
  const TensorExpr& expr = *slab.expr;
  const auto passes = [&](const Piece& piece) {
    return expr.steps.empty() && IsSameEncoding(piece.segment->dtype, expr.type);
  };
  std::uint64_t bytes = 0;
  for (const Piece& piece : slab.pieces) {
    if (!passes(piece)) bytes += *gguf::TensorBytes(expr.type, piece.elements);
  }
  std::span<std::byte> out = slab.buffers->Take(bytes);
  for (const Piece& piece : slab.pieces) {
    if (passes(piece)) {
      slab.payload.push_back(piece.raw);
      continue;
    }
    const auto encoded = out.first(*gguf::TensorBytes(expr.type, piece.elements));
    out = out.subspan(encoded.size());
    EncodePiece(expr, piece, encoded, slab.overflowed);
    slab.payload.push_back(encoded);
    SLUICE_TRY(sources.CheckIntact(piece.segment->shard));
  }
  return Ok();
}

}  // namespace sluice
