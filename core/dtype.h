// Element types of checkpoint tensors, named as safetensors names them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

enum class Dtype : std::uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
};

// "BF16" -> kBF16; nullopt for a name that is not in the list above.
[[nodiscard]] std::optional<Dtype> ParseDtype(std::string_view name);

[[nodiscard]] std::string_view DtypeName(Dtype dtype);

[[nodiscard]] std::uint32_t DtypeBytes(Dtype dtype);

// Whether elements are real numbers that a conversion can turn into floats by themselves (F8_E8M0
// holds scales of other tensors, the integer types hold packed codes).
[[nodiscard]] bool IsFloat(Dtype dtype);

}  // namespace sluice
