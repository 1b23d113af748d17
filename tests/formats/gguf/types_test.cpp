// The tables of tensor types and value types.
#include "formats/gguf/types.h"

#include <gtest/gtest.h>

#include <array>
#include <cctype>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::gguf {
namespace {

struct Row {
  std::uint32_t number;
  std::string_view name;
  std::uint32_t block_elements;
  std::uint32_t block_bytes;
};

// ggml's own numbers (ggml.h) and block sizes (sizeof of the block structs in ggml-common.h).
constexpr std::array kRows{
    Row{0, "F32", 1, 4},         Row{1, "F16", 1, 2},         Row{2, "Q4_0", 32, 18},
    Row{3, "Q4_1", 32, 20},      Row{6, "Q5_0", 32, 22},      Row{7, "Q5_1", 32, 24},
    Row{8, "Q8_0", 32, 34},      Row{9, "Q8_1", 32, 36},      Row{10, "Q2_K", 256, 84},
    Row{11, "Q3_K", 256, 110},   Row{12, "Q4_K", 256, 144},   Row{13, "Q5_K", 256, 176},
    Row{14, "Q6_K", 256, 210},   Row{15, "Q8_K", 256, 292},   Row{16, "IQ2_XXS", 256, 66},
    Row{17, "IQ2_XS", 256, 74},  Row{18, "IQ3_XXS", 256, 98}, Row{19, "IQ1_S", 256, 50},
    Row{20, "IQ4_NL", 32, 18},   Row{21, "IQ3_S", 256, 110},  Row{22, "IQ2_S", 256, 82},
    Row{23, "IQ4_XS", 256, 136}, Row{24, "I8", 1, 1},         Row{25, "I16", 1, 2},
    Row{26, "I32", 1, 4},        Row{27, "I64", 1, 8},        Row{28, "F64", 1, 8},
    Row{29, "IQ1_M", 256, 56},   Row{30, "BF16", 1, 2},       Row{34, "TQ1_0", 256, 54},
    Row{35, "TQ2_0", 256, 66},   Row{39, "MXFP4", 32, 17},    Row{40, "NVFP4", 64, 36},
    Row{41, "Q1_0", 128, 18},    Row{42, "Q2_0", 64, 18},
};

TEST(TensorTypes, TableIsThatOfGgml) {
  for (const Row& row : kRows) {
    const TensorTypeInfo* const info = FindTensorType(row.number);
    ASSERT_NE(info, nullptr) << row.name;
    EXPECT_EQ(static_cast<std::uint32_t>(info->type), row.number);
    EXPECT_EQ(info->name, row.name);
    EXPECT_EQ(info->block_elements, row.block_elements) << row.name;
    EXPECT_EQ(info->block_bytes, row.block_bytes) << row.name;
    EXPECT_EQ(&InfoOf(info->type), info) << row.name;
  }
}

TEST(TensorTypes, RetiredAndUnknownNumbersAreNone) {
  for (const std::uint32_t number : {4U, 5U, 31U, 32U, 33U, 36U, 37U, 38U, 43U, 1000U, ~0U}) {
    EXPECT_EQ(FindTensorType(number), nullptr) << number;
  }
  std::size_t known = 0;
  for (std::uint32_t number = 0; number < 256; ++number) known += FindTensorType(number) != nullptr;
  EXPECT_EQ(known, kRows.size());
}

TEST(TensorTypes, AreFoundByNameIgnoringCase) {
  for (const Row& row : kRows) {
    std::string lower(row.name);
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    ASSERT_NE(FindTensorType(row.name), nullptr) << row.name;
    EXPECT_EQ(FindTensorType(row.name)->name, row.name);
    EXPECT_EQ(FindTensorType(std::string_view(lower)), FindTensorType(row.name)) << lower;
  }
  for (const std::string_view name : {"", "Q4", "Q4_", "Q4_00", "Q4-0", "F32 ", "Q4_K_M"}) {
    EXPECT_EQ(FindTensorType(name), nullptr) << name;
  }
}

TEST(TensorBytes, CountsWholeBlocks) {
  EXPECT_EQ(TensorBytes(TensorType::kF32, 7), 28U);
  EXPECT_EQ(TensorBytes(TensorType::kQ8_0, 64), 68U);
  EXPECT_EQ(TensorBytes(TensorType::kQ6_K, 512), 420U);
  EXPECT_EQ(TensorBytes(TensorType::kQ8_0, 0), 0U);
  EXPECT_EQ(TensorBytes(TensorType::kQ8_0, 33), std::nullopt);
  EXPECT_EQ(TensorBytes(TensorType::kQ6_K, 32), std::nullopt);
}

TEST(TensorBytes, RejectsOverflow) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(TensorBytes(TensorType::kI8, kMax), kMax);
  EXPECT_EQ(TensorBytes(TensorType::kF32, kMax / 4), kMax / 4 * 4);
  EXPECT_EQ(TensorBytes(TensorType::kF32, kMax / 4 + 1), std::nullopt);
  // Q8_0 takes more bytes than elements, IQ1_S fewer.
  EXPECT_EQ(TensorBytes(TensorType::kQ8_0, kMax / 32 * 32), std::nullopt);
  EXPECT_EQ(TensorBytes(TensorType::kIQ1_S, kMax / 256 * 256), kMax / 256 * 50);
}

struct ValueRow {
  ValueType type;
  std::uint32_t number;
  std::string_view name;
  std::uint32_t bytes;
};

constexpr std::array kValueRows{
    ValueRow{ValueType::kU8, 0, "u8", 1},      ValueRow{ValueType::kI8, 1, "i8", 1},
    ValueRow{ValueType::kU16, 2, "u16", 2},    ValueRow{ValueType::kI16, 3, "i16", 2},
    ValueRow{ValueType::kU32, 4, "u32", 4},    ValueRow{ValueType::kI32, 5, "i32", 4},
    ValueRow{ValueType::kF32, 6, "f32", 4},    ValueRow{ValueType::kBool, 7, "bool", 1},
    ValueRow{ValueType::kString, 8, "str", 0}, ValueRow{ValueType::kArray, 9, "arr", 0},
    ValueRow{ValueType::kU64, 10, "u64", 8},   ValueRow{ValueType::kI64, 11, "i64", 8},
    ValueRow{ValueType::kF64, 12, "f64", 8},
};

TEST(ValueTypes, TableIsThatOfGguf) {
  for (const ValueRow& row : kValueRows) {
    EXPECT_EQ(static_cast<std::uint32_t>(row.type), row.number) << row.name;
    EXPECT_EQ(ValueTypeName(row.type), row.name);
    EXPECT_EQ(ValueBytes(row.type), row.bytes) << row.name;
    EXPECT_EQ(ParseValueType(row.name), row.type) << row.name;
  }
  for (const std::string_view name : {"", "U32", "u", "u128", "string"}) {
    EXPECT_EQ(ParseValueType(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace sluice::gguf
