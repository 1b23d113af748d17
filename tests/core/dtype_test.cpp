// The table of checkpoint dtypes.
#include "core/dtype.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {
namespace {

struct Expected {
  Dtype dtype;
  std::string_view name;
  std::uint32_t bytes;
  bool is_float;
};

// By the names of the safetensors format.
constexpr std::array kExpected{
    Expected{Dtype::kBool, "BOOL", 1, false},     Expected{Dtype::kU8, "U8", 1, false},
    Expected{Dtype::kI8, "I8", 1, false},         Expected{Dtype::kF8E5M2, "F8_E5M2", 1, true},
    Expected{Dtype::kF8E4M3, "F8_E4M3", 1, true}, Expected{Dtype::kF8E8M0, "F8_E8M0", 1, false},
    Expected{Dtype::kI16, "I16", 2, false},       Expected{Dtype::kU16, "U16", 2, false},
    Expected{Dtype::kF16, "F16", 2, true},        Expected{Dtype::kBF16, "BF16", 2, true},
    Expected{Dtype::kI32, "I32", 4, false},       Expected{Dtype::kU32, "U32", 4, false},
    Expected{Dtype::kF32, "F32", 4, true},        Expected{Dtype::kF64, "F64", 8, true},
    Expected{Dtype::kI64, "I64", 8, false},       Expected{Dtype::kU64, "U64", 8, false},
};

TEST(Dtype, TableIsThatOfSafetensors) {
  for (const Expected& expected : kExpected) {
    EXPECT_EQ(DtypeName(expected.dtype), expected.name);
    EXPECT_EQ(DtypeBytes(expected.dtype), expected.bytes) << expected.name;
    EXPECT_EQ(IsFloat(expected.dtype), expected.is_float) << expected.name;
    EXPECT_EQ(ParseDtype(expected.name), expected.dtype) << expected.name;
  }
}

TEST(Dtype, ParseRefusesOtherNames) {
  for (const std::string_view name :
       {"", "f32", "F3", "F321", "F4", "float32", " F32", "F8_E4M3FN"}) {
    EXPECT_EQ(ParseDtype(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace sluice
