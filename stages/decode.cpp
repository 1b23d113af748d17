#include "stages/decode.h"

#include <cmath>
#include <cstring>

#include "formats/quant/codec.h"
#include "stages/kernels/cast.h"

namespace sluice {
namespace {

void Apply(PointwiseStep step, std::span<float> values) {
  switch (step) {
    case PointwiseStep::kTanh:
      for (float& value : values) value = std::tanh(value);
      return;
    case PointwiseStep::kOneMinus:
      for (float& value : values) value = 1.0F - value;
      return;
    case PointwiseStep::kReciprocal:
      for (float& value : values) value = 1.0F / value;
      return;
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

}  // namespace

std::uint64_t DecodeValues(const TensorExpr& expr, const Piece& piece, std::uint64_t first,
                           std::span<float> values) {
  const Segment& segment = *piece.segment;
  const std::byte* const in = piece.raw.data() + SourceBytes(segment, first);
  std::uint64_t lost = 0;
  if (segment.blocks) {
    quant::FindCodec(*segment.blocks)->decode(in, values);
  } else {
    kernels::DecodeToF32(segment.dtype, in, values);
    if (segment.dtype == Dtype::kF64) lost = CountLostF64(in, values);
  }
  for (const PointwiseStep step : expr.steps) Apply(step, values);
  return lost;
}

}  // namespace sluice
