#include "stages/encode.h"

#include <array>
#include <cstring>

#include "stages/decode.h"
#include "stages/kernels/cast.h"
#include "stages/quantize.h"

namespace sluice {
namespace {

// Floats of one tile: 16 KiB, half of a first-level data cache.
constexpr std::size_t kTileElements = 4096;

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

void EncodePiece(const TensorExpr& expr, const Piece& piece, std::span<std::byte> out,
                 std::uint64_t& overflowed) {
  alignas(64) std::array<float, kTileElements> tile;
  for (std::uint64_t done = 0; done < piece.elements; done += kTileElements) {
    const std::uint64_t count = std::min<std::uint64_t>(kTileElements, piece.elements - done);
    const std::span<float> values = std::span(tile).first(count);
    overflowed += DecodeValues(expr, piece, done, values);
    overflowed += EncodeTile(expr.type, values, out.data() + expr.BytesOf(done));
  }
}

}  // namespace

Status Encode(const SourceSet& sources, Slab& slab) {
  const TensorExpr& expr = *slab.expr;
  const auto passes = [&](const Piece& piece) {
    return !expr.quantizing && expr.steps.empty() && IsSameEncoding(*piece.segment, expr.type);
  };
  std::uint64_t bytes = 0;
  for (const Piece& piece : slab.pieces) {
    if (!passes(piece)) bytes += expr.BytesOf(piece.elements);
  }
  std::span<std::byte> out = slab.buffers->Take(bytes);
  const std::span<std::byte> scratch =
      slab.buffers->Take(expr.quantizing ? QuantizeScratchBytes(expr) : 0);
  std::uint64_t first = slab.first;
  for (const Piece& piece : slab.pieces) {
    if (passes(piece)) {
      slab.payload.push_back(piece.raw);
      continue;
    }
    const auto encoded = out.first(expr.BytesOf(piece.elements));
    out = out.subspan(encoded.size());
    if (expr.quantizing) {
      SLUICE_TRY(QuantizePiece(expr, piece, first, encoded, scratch, slab));
    } else {
      EncodePiece(expr, piece, encoded, slab.overflowed);
    }
    first += piece.elements;
    slab.payload.push_back(encoded);
    SLUICE_TRY(sources.CheckIntact(piece.segment->shard));
  }
  return Ok();
}

}  // namespace sluice
