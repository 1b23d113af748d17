// The catalogue of defects of a safetensors header's text, each with all that its error must say.
#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "error_line.h"
#include "formats/safetensors/header.h"
#include "result_matchers.h"
#include "safetensors/header_text.h"

namespace sluice::safetensors {
namespace {

using testing::Entry;
using testing::Fails;
using testing::FailsWith;
using testing::FileBytes;
using testing::Object;

constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};

struct Defect {
  std::string name;
  std::string text;
  std::uint64_t data_bytes;
  std::string tensor;         // empty: the error names none
  std::uint64_t data_offset;  // where the error points to, or kNoOffset
  std::string message;        // what, expected and actual
};

// What GoogleTest calls a case.
void PrintTo(const Defect& defect, std::ostream* out) { *out << defect.text; }

// The line that the error must print.
std::string LineOf(const Defect& defect) {
  std::string line = "dir/f: ";
  if (!defect.tensor.empty()) line += "tensor '" + defect.tensor + "'";
  if (defect.data_offset != kNoOffset) {
    line += std::string(defect.tensor.empty() ? "" : " ") + "at byte " +
            std::to_string(FileBytes(defect.text, defect.data_offset));
  }
  if (!defect.tensor.empty() || defect.data_offset != kNoOffset) line += ": ";
  return line + defect.message;
}

class SafetensorsHeaderDefect : public ::testing::TestWithParam<Defect> {};

TEST_P(SafetensorsHeaderDefect, IsRejected) {
  const Defect& defect = GetParam();
  EXPECT_THAT(ParseHeader(defect.text, FileBytes(defect.text, defect.data_bytes), "dir/f"),
              FailsWith(ErrorCode::kCorrupt, LineOf(defect)));
}

std::string NameOf(const ::testing::TestParamInfo<Defect>& info) { return info.param.name; }

std::string One(const std::string& dtype, const std::string& shape, const std::string& range) {
  return Object({Entry("t", dtype, shape, range)});
}

INSTANTIATE_TEST_SUITE_P(
    Entries, SafetensorsHeaderDefect,
    ::testing::ValuesIn(std::vector<Defect>{
        {"EntryIsNoObject", R"({"t":5})", 0, "t", kNoOffset, "dtype is missing or no string"},
        {"DtypeMissing", R"({"t":{"shape":[1],"data_offsets":[0,1]}})", 1, "t", kNoOffset,
         "dtype is missing or no string"},
        {"DtypeIsNull", R"({"t":{"dtype":null,"shape":[1],"data_offsets":[0,1]}})", 1, "t",
         kNoOffset, "dtype is missing or no string"},
        {"DtypeIsANumber", R"({"t":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", 1, "t",
         kNoOffset, "dtype is missing or no string"},
        {"ShapeMissing", R"({"t":{"dtype":"U8","data_offsets":[0,1]}})", 1, "t", kNoOffset,
         "shape is missing or no array"},
        {"ShapeIsANumber", One("U8", "1", "[0,1]"), 1, "t", kNoOffset,
         "shape is missing or no array"},
        {"DataOffsetsMissing", R"({"t":{"dtype":"U8","shape":[1]}})", 1, "t", kNoOffset,
         "data_offsets is missing or no array"},
        {"DataOffsetsIsAnObject", One("U8", "[1]", "{}"), 1, "t", kNoOffset,
         "data_offsets is missing or no array"},
    }),
    NameOf);

constexpr const char* kExtentIsNoCount =
    "shape holds something that is no count: expected integers from 0 to 2^64 - 1, got ";
constexpr const char* kOffsetIsNoCount =
    "data_offsets holds something that is no count: expected integers from 0 to 2^64 - 1, got ";
constexpr const char* kNoPair = "data_offsets is no [begin, end) pair: got ";

std::string Text(const std::string& start, const std::string& rest) { return start + rest; }

INSTANTIATE_TEST_SUITE_P(
    Numbers, SafetensorsHeaderDefect,
    ::testing::ValuesIn(std::vector<Defect>{
        {"ExtentIsNegative", One("U8", "[-1]", "[0,1]"), 1, "t", kNoOffset,
         Text(kExtentIsNoCount, "-1")},
        {"ExtentIsAFraction", One("U8", "[1.5]", "[0,1]"), 1, "t", kNoOffset,
         Text(kExtentIsNoCount, "1.5")},
        {"ExtentIsAWholeFraction", One("U8", "[2,1.0]", "[0,2]"), 2, "t", kNoOffset,
         Text(kExtentIsNoCount, "1.0")},
        {"ExtentIsAString", One("U8", "[\"1\"]", "[0,1]"), 1, "t", kNoOffset,
         Text(kExtentIsNoCount, "\"1\"")},
        {"ExtentIsAnArray", One("U8", "[[1]]", "[0,1]"), 1, "t", kNoOffset,
         Text(kExtentIsNoCount, "[1]")},
        {"ExtentIsNull", One("U8", "[null]", "[0,1]"), 1, "t", kNoOffset,
         Text(kExtentIsNoCount, "null")},
        {"ExtentIsABoolean", One("U8", "[true]", "[0,1]"), 1, "t", kNoOffset,
         Text(kExtentIsNoCount, "true")},
        {"BeginIsNegative", One("U8", "[1]", "[-1,1]"), 1, "t", kNoOffset,
         Text(kOffsetIsNoCount, "-1")},
        {"EndIsNegative", One("U8", "[1]", "[0,-1]"), 1, "t", kNoOffset,
         Text(kOffsetIsNoCount, "-1")},
        {"EndIsAFraction", One("U8", "[1]", "[0,1.0]"), 1, "t", kNoOffset,
         Text(kOffsetIsNoCount, "1.0")},
        {"BeginAfterEnd", One("U8", "[1]", "[1,0]"), 1, "t", kNoOffset, Text(kNoPair, "[1, 0]")},
        {"NoOffsets", One("U8", "[1]", "[]"), 1, "t", kNoOffset, Text(kNoPair, "[]")},
        {"OneOffset", One("U8", "[1]", "[0]"), 1, "t", kNoOffset, Text(kNoPair, "[0]")},
        {"ThreeOffsets", One("U8", "[1]", "[0,1,1]"), 1, "t", kNoOffset,
         Text(kNoPair, "[0, 1, 1]")},
    }),
    NameOf);

INSTANTIATE_TEST_SUITE_P(
    Sizes, SafetensorsHeaderDefect,
    ::testing::ValuesIn(std::vector<Defect>{
        {"EndPastEndOfFile", One("F32", "[2]", "[0,8]"), 7, "t", 0,
         "data range passes the end of the file: expected at most 7 bytes of data, got a range "
         "that ends at 8"},
        {"BeginPastEndOfFile", One("U8", "[0]", "[9,9]"), 7, "t", 7,
         "data range passes the end of the file: expected at most 7 bytes of data, got a range "
         "that ends at 9"},
        {"EndNear2To64", One("U8", "[1]", "[0,18446744073709551615]"), 1, "t", 0,
         "data range passes the end of the file: expected at most 1 bytes of data, got a range "
         "that ends at 18446744073709551615"},
        {"RangeTooShortForShape", One("F32", "[2,3]", "[0,20]"), 20, "t", 0,
         "shape and data range disagree: expected 24 bytes for F32 [2, 3], got 20 bytes"},
        {"RangeTooLongForShape",
         Object({Entry("a", "U8", "[4]", "[0,4]"), Entry("t", "BF16", "[3]", "[4,12]")}), 12, "t",
         4, "shape and data range disagree: expected 6 bytes for BF16 [3], got 8 bytes"},
        {"RangeTooLongForScalar", One("F32", "[]", "[0,8]"), 8, "t", 0,
         "shape and data range disagree: expected 4 bytes for F32 [], got 8 bytes"},
        {"RangeOfAnEmptyTensor", One("F32", "[3,0]", "[0,4]"), 4, "t", 0,
         "shape and data range disagree: expected 0 bytes for F32 [3, 0], got 4 bytes"},
        {"ShapeProductOverflows", One("U8", "[4294967296,4294967296]", "[0,0]"), 0, "t", 0,
         "shape and data range disagree: expected a shape whose size fits 64 bits, got 0 bytes"},
        {"ShapeTimesDtypeOverflows", One("F64", "[2305843009213693952]", "[0,0]"), 0, "t", 0,
         "shape and data range disagree: expected a shape whose size fits 64 bits, got 0 bytes"},
    }),
    NameOf);

INSTANTIATE_TEST_SUITE_P(
    Layout, SafetensorsHeaderDefect,
    ::testing::ValuesIn(std::vector<Defect>{
        {"NameTwice",
         Object({Entry("t", "U8", "[1]", "[0,1]"), Entry("a", "U8", "[1]", "[1,2]"),
                 Entry("t", "U8", "[1]", "[2,3]")}),
         3, "t", kNoOffset, "the header names this tensor twice"},
        {"NameTwiceBehindAnEscape",
         Object({Entry("t", "U8", "[1]", "[0,1]"), Entry("\\u0074", "U8", "[1]", "[1,2]")}), 2, "t",
         kNoOffset, "the header names this tensor twice"},
        {"RangesOverlap",
         Object({Entry("a", "U8", "[4]", "[0,4]"), Entry("t", "U8", "[4]", "[3,7]")}), 7, "t", 3,
         "data ranges overlap: expected a range that begins at 4, got 3"},
        {"RangesAreTheSame",
         Object({Entry("a", "U8", "[4]", "[0,4]"), Entry("t", "U8", "[4]", "[0,4]")}), 4, "t", 0,
         "data ranges overlap: expected a range that begins at 4, got 0"},
        {"EmptyTensorInsideAnother",
         Object({Entry("a", "U8", "[4]", "[0,4]"), Entry("t", "U8", "[0]", "[2,2]")}), 4, "t", 2,
         "data ranges overlap: expected a range that begins at 4, got 2"},
        {"GapAtTheStart", One("U8", "[1]", "[1,2]"), 2, "t", 1,
         "data ranges leave a gap before this tensor: expected a range that begins at 0, got 1"},
        {"GapInside", Object({Entry("a", "U8", "[4]", "[0,4]"), Entry("t", "U8", "[4]", "[5,9]")}),
         9, "t", 5,
         "data ranges leave a gap before this tensor: expected a range that begins at 4, got 5"},
    }),
    NameOf);

TEST(SafetensorsHeader, RejectsWhatIsNotJson) {
  for (const std::string text : {"{", "{\"t\":}", "x", "    ", "{}{}"}) {
    EXPECT_THAT(ParseHeader(text, FileBytes(text, 0), "dir/f"),
                Fails(ErrorCode::kCorrupt, "dir/f: not valid JSON: got "))
        << text;
  }
}

TEST(SafetensorsHeader, RejectsNumbersFrom2To64) {
  for (const std::string& text : {One("U8", "[18446744073709551616]", "[0,1]"),
                                  One("U8", "[1]", "[0,18446744073709551616]")}) {
    EXPECT_THAT(ParseHeader(text, FileBytes(text, 1), "dir/f"), Fails(ErrorCode::kCorrupt, "dir/f"))
        << text;
  }
}

TEST(SafetensorsHeader, RejectsAHeaderThatIsNoObject) {
  EXPECT_THAT(
      ParseHeader("[]", FileBytes("[]", 0), "dir/f"),
      FailsWith(ErrorCode::kCorrupt, "dir/f: at byte 8: header is no JSON object: got an array"));
  EXPECT_THAT(
      ParseHeader("null", FileBytes("null", 0), "dir/f"),
      FailsWith(ErrorCode::kCorrupt, "dir/f: at byte 8: header is no JSON object: got null"));
}

TEST(SafetensorsHeader, RejectsAnUnknownDtypeAsUnsupported) {
  const std::string text = One("F4", "[2]", "[0,1]");
  EXPECT_THAT(ParseHeader(text, FileBytes(text, 1), "dir/f"),
              FailsWith(ErrorCode::kUnsupported, "dir/f: tensor 't': unknown dtype: got 'F4'"));
}

TEST(SafetensorsHeader, RejectsBytesAfterTheLastTensor) {
  const std::string text = One("U8", "[4]", "[0,4]");
  const std::string end = std::to_string(FileBytes(text, 4));
  EXPECT_THAT(
      ParseHeader(text, FileBytes(text, 6), "dir/f"),
      FailsWith(ErrorCode::kCorrupt,
                "dir/f: at byte " + end + ": bytes after the last tensor: expected a file of " +
                    end + " bytes, got " + std::to_string(FileBytes(text, 6)) + " bytes"));
  EXPECT_THAT(ParseHeader("{}", FileBytes("{}", 1), "dir/f"),
              FailsWith(ErrorCode::kCorrupt,
                        "dir/f: at byte 10: bytes after the last tensor: expected a file of 10 "
                        "bytes, got 11 bytes"));
}

// The subtraction of the header from the file must not wrap: with a range that wraps as well, the
// tensor of 2^64 bytes would seem to end exactly at the end of the file.
TEST(SafetensorsHeader, RejectsAFileThatEndsInsideTheHeader) {
  EXPECT_THAT(ParseHeader("{}", 9, "dir/f"), Fails(ErrorCode::kCorrupt, "dir/f: "));
  constexpr std::uint64_t kFileBytes = 50;
  // Both numbers have 20 digits, so the text's length does not depend on them.
  std::string text = One("U8", "[18446744073709551615]", "[0,18446744073709551615]");
  const std::string range = std::to_string(kFileBytes - FileBytes(text, 0));
  ASSERT_EQ(range.size(), 20U);
  text = One("U8", "[" + range + "]", "[0," + range + "]");
  EXPECT_THAT(ParseHeader(text, kFileBytes, "dir/f"), Fails(ErrorCode::kCorrupt, "dir/f: "));
}

}  // namespace
}  // namespace sluice::safetensors
