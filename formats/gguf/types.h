// The numbers GGUF files use for value types, tensor types and file types.
// Source: ggml (gguf.h, ggml.h), format version 3; the table of blocks stands in
// docs/formats/gguf.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::gguf {

enum class ValueType : std::uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

enum class TensorType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kNVFP4 = 40,
  kQ1_0 = 41,
  kQ2_0 = 42,
};

// A row of a tensor is a sequence of blocks of `block_elements` values in `block_bytes` bytes.
struct TensorTypeInfo {
  TensorType type;
  std::string_view name;  // as ggml prints it, in upper case
  std::uint32_t block_elements;
  std::uint32_t block_bytes;
};

// nullptr for a number that is no tensor type or a retired one.
[[nodiscard]] const TensorTypeInfo* FindTensorType(std::uint32_t number);
// By name, ignoring case. nullptr when there is none.
[[nodiscard]] const TensorTypeInfo* FindTensorType(std::string_view name);
[[nodiscard]] const TensorTypeInfo& InfoOf(TensorType type);

// Bytes of `elements` values, which fill whole blocks. nullopt when they do not or on overflow.
[[nodiscard]] std::optional<std::uint64_t> TensorBytes(TensorType type, std::uint64_t elements);

// Bytes of one value of a fixed-size type; 0 for strings and arrays.
[[nodiscard]] std::uint32_t ValueBytes(ValueType type);
// "u32", "str", "arr": the short names that messages and --set use.
[[nodiscard]] std::string_view ValueTypeName(ValueType type);
[[nodiscard]] std::optional<ValueType> ParseValueType(std::string_view name);

inline constexpr std::uint32_t kDefaultAlignment = 32;
// Every tensor is padded to the alignment, so a huge one only makes a huge file.
inline constexpr std::uint32_t kMaxAlignment = 65536;
inline constexpr std::string_view kAlignmentKey = "general.alignment";

}  // namespace sluice::gguf
