// Casts between runs of plain floating-point elements, vectorised with run-time dispatch. The bits
// are those of formats/quant/float_formats.h on every target.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/dtype.h"

namespace sluice::kernels {

// Decodes `out.size()` elements of `dtype`, stored without gaps at `in` (any alignment).
// F64 is rounded to nearest even. REQUIRES: IsFloat(dtype).
void DecodeToF32(Dtype dtype, const std::byte* in, std::span<float> out);

// Encodes to `out` (2 bytes an element, any alignment) and returns how many finite values became
// infinite.
std::uint64_t EncodeF16(std::span<const float> in, std::byte* out);
std::uint64_t EncodeBf16(std::span<const float> in, std::byte* out);

// Whether any value is NaN or infinite.
[[nodiscard]] bool HasNonFinite(std::span<const float> values);

}  // namespace sluice::kernels
