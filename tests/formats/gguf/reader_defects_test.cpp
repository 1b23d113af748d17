// The catalogue of defects of a GGUF head, section by section, each with all that its error must
// say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "error_line.h"
#include "formats/gguf/reader.h"
#include "gguf/gguf_bytes.h"
#include "result_matchers.h"

namespace sluice::gguf {
namespace {

using testing::Fails;
using testing::FailsWith;
using testing::GgufBytes;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::SmallGguf;

struct Defect {
  std::string name;
  GgufBytes file;
  std::string line;  // after the name of the file
};

void PrintTo(const Defect& defect, std::ostream* out) { *out << defect.name; }

std::string NameOf(const ::testing::TestParamInfo<Defect>& info) { return info.param.name; }

class GgufDefect : public ::testing::TestWithParam<Defect> {};

TEST_P(GgufDefect, IsRejected) {
  EXPECT_THAT(ReadHead(GetParam().file.bytes(), "dir/f"),
              FailsWith(ErrorCode::kCorrupt, "dir/f: " + GetParam().line));
}

// "at byte N: text"
std::string At(std::uint64_t offset, const std::string& text) {
  return "at byte " + std::to_string(offset) + ": " + text;
}
std::string At(const char* tensor, std::uint64_t offset, const std::string& text) {
  return "tensor '" + std::string(tensor) + "' " + At(offset, text);
}
std::string Ends(std::uint64_t offset, std::uint64_t wanted, std::uint64_t left) {
  return At(offset, "file ends inside its metadata: expected " + std::to_string(wanted) +
                        " more bytes, got " + std::to_string(left));
}

constexpr std::uint64_t kStartBytes = 24;  // magic, version, counts

std::vector<Defect> StartDefects() {
  const auto raw = [](std::string_view text) {
    GgufBytes file;
    file.Raw(text);
    return file;
  };
  GgufBytes many_tensors;
  many_tensors.Start(2, 0).Raw(std::string(39, '\0'));
  GgufBytes huge_tensors;
  huge_tensors.Start(~std::uint64_t{0}, 0);
  GgufBytes many_values;
  many_values.Start(0, 2).Raw(std::string(15, '\0'));
  return {
      {"Empty", raw(""), Ends(0, 4, 0)},
      {"MagicCutOff", raw("GGU"), Ends(0, 4, 3)},
      {"BadMagic", raw("GGML\3\0\0\0"), At(0, "no GGUF file: expected the magic 'GGUF'")},
      {"VersionCutOff", raw("GGUF\3"), Ends(4, 4, 1)},
      {"MoreTensorsThanBytes", many_tensors,
       At(8, "impossible number of tensors: expected at most 1, got 2")},
      {"HugeNumberOfTensors", huge_tensors,
       At(8, "impossible number of tensors: expected at most 0, got 18446744073709551615")},
      {"MoreValuesThanBytes", many_values,
       At(16, "impossible number of key-values: expected at most 1, got 2")},
  };
}

std::vector<Defect> ValueDefects() {
  std::vector<Defect> defects;
  const auto add = [&](const char* name, const GgufBytes& values, std::uint64_t count,
                       const std::string& line) {
    GgufBytes file;
    file.Start(0, count).Raw(values.text());
    defects.push_back({name, file, line});
  };
  const auto empty = [] { return GgufBytes(); };
  constexpr std::uint64_t kValue = kStartBytes + 8 + 1 + 4;  // behind a key of one letter
  add("EmptyKey", empty().Key("", 4).U32(1), 1, At(kStartBytes, "empty key"));
  add("KeyTwice", empty().Key("k", 4).U32(1).Key("k", 0).U8(1), 2,
      At(kValue + 4, "key 'k' stands twice"));
  add("KeyPastTheEnd", empty().U64(5).Raw("only"), 1, Ends(kStartBytes + 8, 5, 4));
  add("KeyOf2To64", empty().U64(~std::uint64_t{0}).Raw("k"), 1,
      Ends(kStartBytes + 8, ~std::uint64_t{0}, 1));
  add("UnknownValueType", empty().Key("k", 13).U32(1), 1,
      At(kValue - 4, "unknown value type: got 13"));
  add("HugeValueType", empty().Key("k", ~0U).U32(1), 1,
      At(kValue - 4, "unknown value type: got 4294967295"));
  add("NumberCutOff", empty().Key("k", 10).U32(1), 1, Ends(kValue, 8, 4));
  add("StringPastTheEnd", empty().Key("k", 8).U64(100).Raw("text"), 1, Ends(kValue + 8, 100, 4));
  add("ArrayOfArrays", empty().Key("k", 9).U32(9).U64(1).U32(4).U64(0), 1,
      At(kValue, "array of arrays"));
  add("ArrayOfUnknownType", empty().Key("k", 9).U32(99).U64(1), 1,
      At(kValue, "unknown value type: got 99"));
  add("ArrayPastTheEnd", empty().Key("k", 9).U32(5).U64(3).U64(0), 1,
      At(kValue + 4, "impossible number of array elements: expected at most 2, got 3"));
  add("ArrayThatOverflows", empty().Key("k", 9).U32(12).U64(std::uint64_t{1} << 61).U64(0), 1,
      At(kValue + 4,
         "impossible number of array elements: expected at most 1, got 2305843009213693952"));
  add("MoreStringsThanBytes", empty().Key("k", 9).U32(8).U64(3).U64(0).U64(0), 1,
      At(kValue + 4, "impossible number of strings: expected at most 2, got 3"));
  add("StringOfAnArrayPastTheEnd", empty().Key("k", 9).U32(8).U64(2).String("").U64(9).Raw("x"), 1,
      Ends(kValue + 12 + 16, 9, 1));
  return defects;
}

std::vector<Defect> TensorDefects() {
  std::vector<Defect> defects;
  const auto add = [&](const char* name, const GgufBytes& records, std::uint64_t count,
                       const std::string& line) {
    GgufBytes file;
    // Enough data for every record, so that only the defect is wrong.
    file.Start(count, 0).Raw(records.text()).PadTo(32).Raw(std::string(256, 'x'));
    defects.push_back({name, file, line});
  };
  const auto empty = [] { return GgufBytes(); };
  constexpr std::uint64_t kRank = kStartBytes + 8 + 1;  // behind a name of one letter
  constexpr std::uint64_t kType = kRank + 4 + 8;        // behind one extent
  const std::string too_long(64, 'n');
  add("NameEmpty", empty().Tensor("", {1}, 0, 0), 1,
      At(kStartBytes, "impossible length of a tensor name: expected 1 to 63 bytes, got 0"));
  add("NameOf64Bytes", empty().Tensor(too_long, {1}, 0, 0), 1,
      At(kStartBytes, "impossible length of a tensor name: expected 1 to 63 bytes, got 64"));
  add("RankFive", empty().Tensor("t", {1, 1, 1, 1, 1}, 0, 0), 1,
      At("t", kRank, "too many dimensions: expected at most 4, got 5"));
  add("HugeRank", empty().String("t").U32(~0U), 1,
      At("t", kRank, "too many dimensions: expected at most 4, got 4294967295"));
  add("RetiredType", empty().Tensor("t", {32}, 4, 0), 1,
      At("t", kType, "unknown or retired tensor type: got 4"));
  add("UnknownType", empty().Tensor("t", {32}, 43, 0), 1,
      At("t", kType, "unknown or retired tensor type: got 43"));
  return defects;
}

INSTANTIATE_TEST_SUITE_P(Start, GgufDefect, ::testing::ValuesIn(StartDefects()), NameOf);
INSTANTIATE_TEST_SUITE_P(Values, GgufDefect, ::testing::ValuesIn(ValueDefects()), NameOf);
INSTANTIATE_TEST_SUITE_P(Tensors, GgufDefect, ::testing::ValuesIn(TensorDefects()), NameOf);

TEST(GgufReader, RejectsOtherVersionsAsUnsupported) {
  const auto expect = [](std::uint32_t version, const std::string& what) {
    GgufBytes file;
    file.Start(0, 0, version);
    EXPECT_THAT(
        ReadHead(file.bytes(), "dir/f"),
        FailsWith(ErrorCode::kUnsupported, "dir/f: at byte 4: " + what +
                                               ": expected version 2 or 3, little endian, got " +
                                               std::to_string(version)));
  };
  expect(0, "unsupported GGUF version");
  expect(1, "unsupported GGUF version");
  expect(4, "unsupported GGUF version");
  expect(0x0200'0000, "big-endian GGUF file");
  expect(0x0300'0000, "big-endian GGUF file");
}

TEST(GgufReader, TellsAGitLfsPointer) {
  GgufBytes file;
  file.Raw("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 17\n");
  EXPECT_THAT(ReadHead(file.bytes(), "dir/f"),
              Fails(ErrorCode::kCorrupt,
                    "dir/f: this is a Git LFS pointer, not the file itself\n  fetch the real"));
}

// These errors are found when all records are known. The offset, which the contract of ReadHead
// promises for every error, is tested apart: `message` is what, expected and actual.
struct LateDefect {
  std::string name;
  GgufBytes file;
  std::string tensor;
  std::string message;
};

void PrintTo(const LateDefect& defect, std::ostream* out) { *out << defect.name; }

std::string LateNameOf(const ::testing::TestParamInfo<LateDefect>& info) { return info.param.name; }

class GgufLateDefect : public ::testing::TestWithParam<LateDefect> {};

TEST_P(GgufLateDefect, IsRejected) {
  const Result<Head> head = ReadHead(GetParam().file.bytes(), "dir/f");
  ASSERT_FALSE(head.has_value());
  Error error = head.error();
  EXPECT_EQ(error.tensor, GetParam().tensor);
  error.offset.reset();
  error.tensor.clear();
  EXPECT_THAT(Result<Head>(error), FailsWith(ErrorCode::kCorrupt, "dir/f: " + GetParam().message));
}

std::vector<LateDefect> LateDefects() {
  std::vector<LateDefect> defects;
  const auto add_alignment = [&](const char* name, const GgufBytes& value, const char* actual) {
    GgufBytes file;
    file.Start(0, 1).Raw(value.text()).PadTo(256);
    defects.push_back(
        {name, file, "",
         std::string("general.alignment is unusable: expected a u32 power of two, got ") + actual});
  };
  const auto empty = [] { return GgufBytes(); };
  add_alignment("AlignmentZero", empty().Key("general.alignment", 4).U32(0), "0");
  add_alignment("AlignmentNoPowerOfTwo", empty().Key("general.alignment", 4).U32(48), "48");
  add_alignment("AlignmentOfAnotherType", empty().Key("general.alignment", 10).U64(64), "64");
  add_alignment("AlignmentIsABoolean", empty().Key("general.alignment", 7).U8(1), "true");

  const auto add = [&](const char* name, const GgufBytes& records, std::uint64_t count,
                       const char* tensor, const std::string& message) {
    GgufBytes file;
    file.Start(count, 0).Raw(records.text()).PadTo(32).Raw(std::string(256, 'x'));
    defects.push_back({name, file, tensor, message});
  };
  add("NameTwice", empty().Tensor("t", {1}, 0, 0).Tensor("u", {1}, 0, 32).Tensor("t", {1}, 0, 64),
      3, "t", "the file holds this tensor twice");
  add("RowsDoNotFillBlocks", empty().Tensor("t", {33}, 8, 0), 1, "t",
      "rows do not fill whole Q8_0 blocks: expected a multiple of 32 elements, got 33");
  add("RowsDoNotFillBlocksAlthoughTheTensorDoes", empty().Tensor("t", {16, 2}, 8, 0), 1, "t",
      "rows do not fill whole Q8_0 blocks: expected a multiple of 32 elements, got 16");
  add("FirstOffsetNotZero", empty().Tensor("t", {1}, 0, 32), 1, "t",
      "unexpected data offset: expected 0, got 32");
  add("OffsetNotPadded", empty().Tensor("t", {1}, 0, 0).Tensor("u", {1}, 0, 4), 2, "u",
      "unexpected data offset: expected 32, got 4");
  add("OffsetLeavesAGap", empty().Tensor("t", {1}, 0, 0).Tensor("u", {1}, 0, 64), 2, "u",
      "unexpected data offset: expected 32, got 64");
  add("OffsetNear2To64", empty().Tensor("t", {1}, 0, ~std::uint64_t{0}), 1, "t",
      "unexpected data offset: expected 0, got 18446744073709551615");
  add("OffsetsOutOfOrder", empty().Tensor("t", {1}, 0, 32).Tensor("u", {1}, 0, 0), 2, "t",
      "unexpected data offset: expected 0, got 32");
  return defects;
}

INSTANTIATE_TEST_SUITE_P(Checks, GgufLateDefect, ::testing::ValuesIn(LateDefects()), LateNameOf);

TEST(GgufReader, LocatesEveryDefect) {
  for (const LateDefect& defect : LateDefects()) {
    const Result<Head> head = ReadHead(defect.file.bytes(), "dir/f");
    ASSERT_FALSE(head.has_value()) << defect.name;
    EXPECT_TRUE(head.error().offset.has_value()) << head.error().Format();
  }
}

TEST(GgufReader, RejectsDataPastTheEndOfTheFile) {
  const GgufBytes whole = SmallGguf();
  const std::span<const std::byte> cut = whole.bytes().first(whole.size() - 1);
  EXPECT_THAT(
      ReadHead(cut, "dir/f"),
      FailsWith(ErrorCode::kCorrupt,
                "dir/f: tensor 'blk.0.weight' at byte " + std::to_string(whole.size() - 34) +
                    ": data passes the end of the file: expected 34 bytes, got a file of " +
                    std::to_string(cut.size()) + " bytes"));
}

TEST(GgufReader, RejectsAFileThatEndsBeforeTheDataSection) {
  GgufBytes file;
  file.Start(1, 0).Tensor("t", {1}, 0, 0);
  ASSERT_NE(file.size() % 32, 0U);
  EXPECT_THAT(ReadHead(file.bytes(), "dir/f"),
              FailsWith(ErrorCode::kCorrupt,
                        "dir/f: tensor 't' at byte 64: data passes the end of the file: expected "
                        "4 bytes, got a file of " +
                            std::to_string(file.size()) + " bytes"));
}

// Code and tensor; a message about rows would send the user the wrong way.
TEST(GgufReader, RejectsShapesWhoseSizeOverflows) {
  constexpr std::uint64_t kTwo32 = std::uint64_t{1} << 32;
  for (const std::vector<std::uint64_t>& ne :
       {std::vector<std::uint64_t>{kTwo32, kTwo32}, std::vector<std::uint64_t>{kTwo32 << 30, 1}}) {
    GgufBytes file;
    file.Start(1, 0).Tensor("t", ne, 0, 0).PadTo(32).Raw(std::string(64, 'x'));
    const Result<Head> head = ReadHead(file.bytes(), "dir/f");
    ASSERT_THAT(head, Fails(ErrorCode::kCorrupt, "dir/f: tensor 't'"));
    EXPECT_THAT(head.error().Format(), Not(HasSubstr("a multiple of 1 elements")));
  }
}

// ggml keeps extents as signed numbers: 2^63 is a negative one there, also beside a zero.
TEST(GgufReader, RejectsExtentsThatGgmlCannotHold) {
  GgufBytes file;
  file.Start(1, 0).Tensor("t", {std::uint64_t{1} << 63, 0}, 0, 0).PadTo(32);
  EXPECT_THAT(ReadHead(file.bytes(), "dir/f"), Fails(ErrorCode::kCorrupt, "dir/f: tensor 't'"));
}

}  // namespace
}  // namespace sluice::gguf
