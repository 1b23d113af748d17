#include "formats/gguf/types.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "core/checked.h"

namespace sluice::gguf {
namespace {

using enum TensorType;

constexpr std::array kTypes{
    TensorTypeInfo{kF32, "F32", 1, 4},
    TensorTypeInfo{kF16, "F16", 1, 2},
    TensorTypeInfo{kQ4_0, "Q4_0", 32, 18},
    TensorTypeInfo{kQ4_1, "Q4_1", 32, 20},
    TensorTypeInfo{kQ5_0, "Q5_0", 32, 22},
    TensorTypeInfo{kQ5_1, "Q5_1", 32, 24},
    TensorTypeInfo{kQ8_0, "Q8_0", 32, 34},
    TensorTypeInfo{kQ8_1, "Q8_1", 32, 36},
    TensorTypeInfo{kQ2_K, "Q2_K", 256, 84},
    TensorTypeInfo{kQ3_K, "Q3_K", 256, 110},
    TensorTypeInfo{kQ4_K, "Q4_K", 256, 144},
    TensorTypeInfo{kQ5_K, "Q5_K", 256, 176},
    TensorTypeInfo{kQ6_K, "Q6_K", 256, 210},
    TensorTypeInfo{kQ8_K, "Q8_K", 256, 292},
    TensorTypeInfo{kIQ2_XXS, "IQ2_XXS", 256, 66},
    TensorTypeInfo{kIQ2_XS, "IQ2_XS", 256, 74},
    TensorTypeInfo{kIQ3_XXS, "IQ3_XXS", 256, 98},
    TensorTypeInfo{kIQ1_S, "IQ1_S", 256, 50},
    TensorTypeInfo{kIQ4_NL, "IQ4_NL", 32, 18},
    TensorTypeInfo{kIQ3_S, "IQ3_S", 256, 110},
    TensorTypeInfo{kIQ2_S, "IQ2_S", 256, 82},
    TensorTypeInfo{kIQ4_XS, "IQ4_XS", 256, 136},
    TensorTypeInfo{kI8, "I8", 1, 1},
    TensorTypeInfo{kI16, "I16", 1, 2},
    TensorTypeInfo{kI32, "I32", 1, 4},
    TensorTypeInfo{kI64, "I64", 1, 8},
    TensorTypeInfo{kF64, "F64", 1, 8},
    TensorTypeInfo{kIQ1_M, "IQ1_M", 256, 56},
    TensorTypeInfo{kBF16, "BF16", 1, 2},
    TensorTypeInfo{kTQ1_0, "TQ1_0", 256, 54},
    TensorTypeInfo{kTQ2_0, "TQ2_0", 256, 66},
    TensorTypeInfo{kMXFP4, "MXFP4", 32, 17},
    TensorTypeInfo{kNVFP4, "NVFP4", 64, 36},
    TensorTypeInfo{kQ1_0, "Q1_0", 128, 18},
    TensorTypeInfo{kQ2_0, "Q2_0", 64, 18},
};

struct ValueTypeInfo {
  std::string_view name;
  std::uint32_t bytes;
};

// Indexed by ValueType.
constexpr std::array kValueTypes{
    ValueTypeInfo{"u8", 1},  ValueTypeInfo{"i8", 1},   ValueTypeInfo{"u16", 2},
    ValueTypeInfo{"i16", 2}, ValueTypeInfo{"u32", 4},  ValueTypeInfo{"i32", 4},
    ValueTypeInfo{"f32", 4}, ValueTypeInfo{"bool", 1}, ValueTypeInfo{"str", 0},
    ValueTypeInfo{"arr", 0}, ValueTypeInfo{"u64", 8},  ValueTypeInfo{"i64", 8},
    ValueTypeInfo{"f64", 8},
};

bool EqualIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::toupper(x) == std::toupper(y);
  });
}

}  // namespace

const TensorTypeInfo* FindTensorType(std::uint32_t number) {
  for (const TensorTypeInfo& info : kTypes) {
    if (static_cast<std::uint32_t>(info.type) == number) return &info;
  }
  return nullptr;
}

const TensorTypeInfo* FindTensorType(std::string_view name) {
  for (const TensorTypeInfo& info : kTypes) {
    if (EqualIgnoringCase(info.name, name)) return &info;
  }
  return nullptr;
}

const TensorTypeInfo& InfoOf(TensorType type) {
  return *FindTensorType(static_cast<std::uint32_t>(type));
}

std::optional<std::uint64_t> TensorBytes(TensorType type, std::uint64_t elements) {
  const TensorTypeInfo& info = InfoOf(type);
  if (elements % info.block_elements != 0) return std::nullopt;
  return CheckedMul(elements / info.block_elements, info.block_bytes);
}

std::uint32_t ValueBytes(ValueType type) {
  return kValueTypes[static_cast<std::size_t>(type)].bytes;
}

std::string_view ValueTypeName(ValueType type) {
  return kValueTypes[static_cast<std::size_t>(type)].name;
}

std::optional<ValueType> ParseValueType(std::string_view name) {
  for (std::size_t i = 0; i < kValueTypes.size(); ++i) {
    if (kValueTypes[i].name == name) return static_cast<ValueType>(i);
  }
  return std::nullopt;
}

}  // namespace sluice::gguf
