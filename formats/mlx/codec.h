// Encodes and decodes groups of the MLX layouts: the scalar reference. Codes, scales and biases are
// those of MLX 0.32.4 on the CPU (docs/formats/mlx.md).
#pragma once

#include <cstddef>
#include <span>

#include "formats/mlx/encoding.h"

namespace sluice::mlx {

// Whole groups, one after the other, in the tensors that hold them.
struct Groups {
  const std::byte* codes = nullptr;
  const std::byte* scales = nullptr;
  const std::byte* biases = nullptr;  // affine only
  float factor = 1;                   // of the whole tensor
};

// Decodes out.size() elements. REQUIRES: IsKnown(encoding), whole groups.
void Decode(const Encoding& encoding, const Groups& groups, std::span<float> out);

// Writes what `part` holds for whole groups of finite values. The parts of one group are computed
// independently of each other, from the same values. REQUIRES: IsKnown(part.encoding); `out` has
// room for part.group_bytes() bytes a group.
void EncodePart(const EncodedPart& part, std::span<const float> values, std::byte* out);

// The value of a stored scale: of affine groups by its dtype, of nvfp4 as E4M3, else as E8M0.
[[nodiscard]] float ScaleValue(const Encoding& encoding, const std::byte* scale);

}  // namespace sluice::mlx
