#include "stages/encode.h"

#include <array>
#include <cstring>
#include <optional>

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

// Whether the piece is in the target's encoding already.
bool Passes(const TensorExpr& expr, const Piece& piece) {
  return !expr.quantizing && expr.steps.empty() && IsSameEncoding(*piece.segment, expr.type);
}

// One target whose bytes of a piece have to be made.
struct Encoding {
  SlabTarget* target = nullptr;
  std::span<std::byte> out;
};

// Decodes pieces batch by batch, each batch once, and encodes it for all targets.
class PieceEncoder {
 public:
  PieceEncoder(Slab& slab, std::span<SlabTarget* const> targets)
      : slab_(slab), targets_(targets), expr_(*slab.expr) {
    const bool quantizes = std::ranges::any_of(
        targets, [](const SlabTarget* target) { return target->expr->quantizing.has_value(); });
    if (quantizes) {
      const std::uint64_t bytes = QuantizeScratch::Bytes(expr_, targets.size());
      scratch_.emplace(expr_, targets.size(), slab.buffers->Take(bytes));
      weights_.values = scratch_->weights();
    }
  }

  // Adds the piece to the payload of each target. `first`: its place in the tensor. `out`: what is
  // left of the slab's target bytes.
  Status Encode(const Piece& piece, std::uint64_t first, std::span<std::byte>& out) {
    std::vector<Encoding> encodings;
    for (SlabTarget* const target : targets_) {
      if (Passes(*target->expr, piece)) {
        target->payload.push_back(piece.raw);
        continue;
      }
      const std::uint64_t bytes = target->expr->BytesOf(piece.elements);
      encodings.push_back({target, out.first(bytes)});
      target->payload.push_back(out.first(bytes));
      out = out.subspan(bytes);
    }
    if (encodings.empty()) return Ok();
    return EncodeBatches(piece, first, encodings);
  }

 private:
  Status EncodeBatches(const Piece& piece, std::uint64_t first, std::span<Encoding> encodings) {
    alignas(64) std::array<float, kTileElements> tile;
    const std::span<float> memory = scratch_ ? scratch_->values() : std::span<float>(tile);
    for (std::uint64_t done = 0; done < piece.elements; done += memory.size()) {
      const std::uint64_t count = std::min<std::uint64_t>(memory.size(), piece.elements - done);
      const std::span<float> values = memory.first(count);
      const std::uint64_t lost = DecodeValues(expr_, piece, done, values);
      slab_.decoded_values += count;
      for (Encoding& encoding : encodings) {
        encoding.target->overflowed += lost;
        SLUICE_TRY(EncodeBatch(piece, first, done, values, encoding));
      }
    }
    return Ok();
  }

  Status EncodeBatch(const Piece& piece, std::uint64_t first, std::uint64_t done,
                     std::span<float> values, Encoding& encoding) {
    SlabTarget& target = *encoding.target;
    const TensorExpr& expr = *target.expr;
    std::byte* const out = encoding.out.data() + expr.BytesOf(done);
    if (!expr.quantizing) {
      target.overflowed += EncodeTile(expr.type, values, out);
      return Ok();
    }
    const std::uint64_t row = (first + done) / expr.row_elements;
    SLUICE_ASSIGN(const std::span<const float> rounded,
                  RoundedValues(expr, piece, row, values, *scratch_, target));
    return QuantizeRows(expr, row, rounded, weights_, out, target);
  }

  Slab& slab_;
  std::span<SlabTarget* const> targets_;
  const TensorExpr& expr_;  // what all targets have in common
  std::optional<QuantizeScratch> scratch_;
  LoadedWeights weights_;
};

}  // namespace

Status Encode(const SourceSet& sources, Slab& slab) {
  const std::vector<SlabTarget*> targets = slab.Targets();
  std::uint64_t bytes = 0;
  for (const Piece& piece : slab.pieces) {
    for (const SlabTarget* target : targets) {
      if (Passes(*target->expr, piece)) continue;
      bytes += target->expr->BytesOf(piece.elements);
    }
  }
  std::span<std::byte> out = slab.buffers->Take(bytes);
  PieceEncoder encoder(slab, targets);
  std::uint64_t first = slab.first;
  for (const Piece& piece : slab.pieces) {
    const std::size_t before = out.size();
    SLUICE_TRY(encoder.Encode(piece, first, out));
    first += piece.elements;
    if (out.size() < before) SLUICE_TRY(sources.CheckIntact(piece.segment->shard));
  }
  return Ok();
}

}  // namespace sluice
