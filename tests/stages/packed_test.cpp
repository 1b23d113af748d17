// Which bytes the elements of packed weights need: what is released behind a reader and read ahead
// of it. Their values are tested through the command line, by tests/golden/test_prequantized.py.
#include "stages/packed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace sluice {
namespace {

using ::testing::ElementsAre;

constexpr std::uint64_t kMatrices = 2;
constexpr std::uint64_t kRows = 24;
constexpr std::uint64_t kColumns = 32;

struct Layout {
  std::string name;
  PackedField field;
};

PackedField FieldOf(PackedNumber number, std::uint64_t bytes, PackedAxis matrix, PackedAxis row,
                    PackedAxis column) {
  PackedField field;
  field.bytes = bytes;
  field.number = number;
  field.matrix = matrix;
  field.row = row;
  field.column = column;
  return field;
}

std::vector<Layout> Layouts() {
  using enum PackedNumber;
  return {
      {"codes in bytes", FieldOf(kE4M3, 1536, {1, 24 * 32 * 8}, {1, 32 * 8}, {1, 8})},
      {"codes in half bytes", FieldOf(kE2M1, 768, {1, 24 * 32 * 4}, {1, 32 * 4}, {1, 4})},
      {"codes in words along the rows",
       FieldOf(kUnsigned4, 768, {1, 24 * 4 * 32}, {1, 4 * 32}, {8, 32, 4, true})},
      {"codes in words along the columns",
       FieldOf(kUnsigned4, 768, {1, 3 * 32 * 32}, {8, 32 * 32, 4}, {1, 32})},
      {"scales of blocks", FieldOf(kF32, 2 * 3 * 4 * 4, {1, 3 * 4 * 32}, {10, 4 * 32}, {9, 32})},
      {"scales of rows", FieldOf(kF16, 2 * 24 * 2, {1, 24 * 16}, {1, 16}, {32, 16})},
      {"scales of columns", FieldOf(kBF16, 2 * 32 * 2, {1, 32 * 16}, {24, 32 * 16}, {1, 16})},
      {"one scale for all", FieldOf(kF32, 4, {2, 32}, {24, 32}, {32, 32})},
      {"zeros in words along the rows of groups",
       FieldOf(kUnsigned4, 2 * 3 * 4 * 4, {1, 3 * 4 * 32}, {8, 4 * 32}, {8, 32, 4})},
  };
}

// The bytes [first, past) of one element's number.
std::pair<std::uint64_t, std::uint64_t> BytesAround(const PackedField& field,
                                                    std::uint64_t element) {
  const std::uint64_t column = element % kColumns;
  const std::uint64_t row = element / kColumns % kRows;
  const std::uint64_t bit = field.matrix.Word(element / kColumns / kRows) + field.row.Word(row) +
                            field.row.Shift(row) + field.column.Word(column) +
                            field.column.Shift(column);
  return {bit / 8, (bit + BitsOf(field.number) + 7) / 8};
}

TEST(PackedAxis, FindsNumbersInWords) {
  const PackedAxis plain{4, 32, 8};
  EXPECT_EQ(plain.Word(6) + plain.Shift(6), 32 + 16);
  const PackedAxis interleaved{8, 32, 4, true};
  std::vector<std::uint64_t> shifts;
  for (std::uint64_t lane = 8; lane < 16; ++lane) shifts.push_back(interleaved.Shift(lane) / 4);
  EXPECT_THAT(shifts, ElementsAre(0, 4, 1, 5, 2, 6, 3, 7));
  EXPECT_EQ(interleaved.Word(15), 32);
}

TEST(PackedBytes, BoundWhatElementsNeed) {
  PackedSource packed{kMatrices, kRows, kColumns};
  const std::uint64_t count = packed.elements();
  for (const Layout& layout : Layouts()) {
    SCOPED_TRACE(layout.name);
    const PackedField& field = layout.field;
    ASSERT_EQ(BytesAround(field, count - 1).second, field.bytes);
    EXPECT_EQ(LowestByte(packed, field, 0), 0);
    EXPECT_EQ(LowestByte(packed, field, count), field.bytes);
    EXPECT_EQ(PastByte(packed, field, 0), 0);
    EXPECT_EQ(PastByte(packed, field, count), field.bytes);
    std::uint64_t past = 0;
    for (std::uint64_t element = 0; element < count; ++element) {
      past = std::max(past, BytesAround(field, element).second);
      EXPECT_GE(PastByte(packed, field, element + 1), past) << element;
      EXPECT_LE(PastByte(packed, field, element + 1), field.bytes) << element;
      EXPECT_LE(LowestByte(packed, field, element), LowestByte(packed, field, element + 1));
    }
    std::uint64_t lowest = field.bytes;
    for (std::uint64_t element = count; element-- > 0;) {
      lowest = std::min(lowest, BytesAround(field, element).first);
      EXPECT_LE(LowestByte(packed, field, element), lowest) << element;
    }
  }
}

TEST(PackedBytes, FollowAReaderClosely) {
  // All but the last words of codes are behind a reader that is at the last row.
  PackedSource packed{kMatrices, kRows, kColumns};
  for (const Layout& layout : Layouts()) {
    if (layout.field.number == PackedNumber::kF32) continue;
    SCOPED_TRACE(layout.name);
    const std::uint64_t last_row = packed.elements() - kColumns;
    EXPECT_GT(LowestByte(packed, layout.field, last_row), layout.field.bytes / 3);
    EXPECT_LT(PastByte(packed, layout.field, kColumns), layout.field.bytes * 2 / 3);
  }
}

TEST(PackedBytes, OfGroupsByListAreNotFollowed) {
  PackedSource packed{1, kRows, kColumns};
  packed.zeros.emplace();
  EXPECT_THAT(WalkedFields(packed), ElementsAre(&packed.codes, &packed.scales, &*packed.zeros));
  packed.groups.emplace();
  EXPECT_THAT(WalkedFields(packed), ElementsAre(&packed.codes));
}

}  // namespace
}  // namespace sluice
