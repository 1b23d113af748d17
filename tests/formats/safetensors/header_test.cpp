// Valid safetensors headers.
#include "formats/safetensors/header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "guarded_bytes.h"
#include "result_matchers.h"
#include "safetensors/header_text.h"

namespace sluice::safetensors {
namespace {

using ::testing::ElementsAre;
using testing::Entry;
using testing::Fails;
using testing::FileBytes;
using testing::GuardedBytes;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Object;
using ::testing::Pair;

Header ParseOk(const std::string& text, std::uint64_t data_bytes) {
  Result<Header> header = ParseHeader(text, FileBytes(text, data_bytes), "f");
  EXPECT_THAT(header, IsOk());
  return header ? *std::move(header) : Header();
}

TEST(SafetensorsHeader, ReadsTensorsInOrderOfTheirNames) {
  const std::string text =
      Object({Entry("b", "BF16", "[2,3]", "[8,20]"), Entry("a", "F32", "[2]", "[0,8]"),
              Entry("B", "U8", "[1,1,1]", "[20,21]")});
  const Header header = ParseOk(text, 21);
  const std::uint64_t data_start = FileBytes(text, 0);
  ASSERT_EQ(header.tensors.size(), 3U);
  EXPECT_EQ(header.tensors[0].name, "B");
  EXPECT_EQ(header.tensors[0].dtype, Dtype::kU8);
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(1, 1, 1));
  EXPECT_EQ(header.tensors[0].offset, data_start + 20);
  EXPECT_EQ(header.tensors[0].bytes, 1U);
  EXPECT_EQ(header.tensors[1].name, "a");
  EXPECT_EQ(header.tensors[1].dtype, Dtype::kF32);
  EXPECT_THAT(header.tensors[1].shape, ElementsAre(2));
  EXPECT_EQ(header.tensors[1].offset, data_start);
  EXPECT_EQ(header.tensors[1].bytes, 8U);
  EXPECT_EQ(header.tensors[2].name, "b");
  EXPECT_EQ(header.tensors[2].dtype, Dtype::kBF16);
  EXPECT_THAT(header.tensors[2].shape, ElementsAre(2, 3));
  EXPECT_EQ(header.tensors[2].offset, data_start + 8);
  EXPECT_EQ(header.tensors[2].bytes, 12U);
}

TEST(SafetensorsHeader, ReadsEveryDtype) {
  for (const std::string_view name :
       {"BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "I16", "U16", "F16", "BF16", "I32",
        "U32", "F32", "F64", "I64", "U64"}) {
    const std::uint64_t bytes = 3 * DtypeBytes(*ParseDtype(name));
    const Header header =
        ParseOk(Object({Entry("t", name, "[3]", "[0," + std::to_string(bytes) + "]")}), bytes);
    ASSERT_EQ(header.tensors.size(), 1U) << name;
    EXPECT_EQ(DtypeName(header.tensors[0].dtype), name);
    EXPECT_EQ(header.tensors[0].bytes, bytes);
  }
}

TEST(SafetensorsHeader, ReadsScalars) {
  const Header header = ParseOk(Object({Entry("t", "F32", "[]", "[0,4]")}), 4);
  ASSERT_EQ(header.tensors.size(), 1U);
  EXPECT_THAT(header.tensors[0].shape, IsEmpty());
  EXPECT_EQ(header.tensors[0].bytes, 4U);
}

// Wherever they stand: before, between and after others, several at one place.
TEST(SafetensorsHeader, ReadsTensorsWithoutElements) {
  const std::string text =
      Object({Entry("e0", "F32", "[0]", "[0,0]"), Entry("a", "U8", "[4]", "[0,4]"),
              Entry("e1", "F32", "[2,0,3]", "[4,4]"), Entry("e2", "F16", "[0,0]", "[4,4]"),
              Entry("b", "U8", "[1]", "[4,5]"), Entry("e3", "I64", "[0]", "[5,5]")});
  const Header header = ParseOk(text, 5);
  ASSERT_EQ(header.tensors.size(), 6U);
  EXPECT_EQ(header.tensors[2].name, "e0");
  EXPECT_EQ(header.tensors[2].bytes, 0U);
  EXPECT_EQ(header.tensors[3].name, "e1");
  EXPECT_THAT(header.tensors[3].shape, ElementsAre(2, 0, 3));
  EXPECT_EQ(header.tensors[3].offset, FileBytes(text, 4));
}

TEST(SafetensorsHeader, ReadsHugeExtentsBesideAZero) {
  const Header header =
      ParseOk(Object({Entry("t", "F64", "[0,18446744073709551615]", "[0,0]")}), 0);
  ASSERT_EQ(header.tensors.size(), 1U);
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(0, 18446744073709551615U));
}

TEST(SafetensorsHeader, ReadsAFileWithoutTensors) {
  EXPECT_THAT(ParseOk("{}", 0).tensors, IsEmpty());
  EXPECT_THAT(ParseOk(R"({"__metadata__":{}})", 0).tensors, IsEmpty());
}

TEST(SafetensorsHeader, ReadsMetadataInFileOrder) {
  const Header header = ParseOk(
      Object({R"("__metadata__":{"format":"pt","a":"\"x\"\n"})", Entry("t", "U8", "[1]", "[0,1]")}),
      1);
  EXPECT_THAT(header.metadata, ElementsAre(Pair("format", "pt"), Pair("a", "\"x\"\n")));
  ASSERT_EQ(header.tensors.size(), 1U);
  EXPECT_EQ(header.tensors[0].name, "t");
}

TEST(SafetensorsHeader, AcceptsTrailingSpaces) {
  const std::string text = Object({Entry("t", "U8", "[1]", "[0,1]")}) + "       ";
  const Header header = ParseOk(text, 1);
  ASSERT_EQ(header.tensors.size(), 1U);
  EXPECT_EQ(header.tensors[0].offset, FileBytes(text, 0)) << "padding belongs to the header";
}

TEST(SafetensorsHeader, ReadsNamesWithEscapes) {
  const Header header =
      ParseOk(Object({Entry(R"(a\"b\\c\/\u00e9\ud83d\ude00)", "U8", "[1]", "[0,1]"),
                      Entry("", "U8", "[1]", "[1,2]"), Entry(R"(x\u0000y)", "U8", "[1]", "[2,3]")}),
              3);
  ASSERT_EQ(header.tensors.size(), 3U);
  EXPECT_EQ(header.tensors[0].name, "");
  EXPECT_EQ(header.tensors[1].name, "a\"b\\c/\u00e9\U0001F600");
  EXPECT_EQ(header.tensors[2].name, std::string("x\0y", 3));
}

TEST(SafetensorsHeader, IgnoresUnknownFieldsOfAnEntry) {
  const Header header =
      ParseOk(R"({"t":{"x":[{}],"data_offsets":[0,1],"dtype":"U8","shape":[1],"y":null}})", 1);
  ASSERT_EQ(header.tensors.size(), 1U);
  EXPECT_EQ(header.tensors[0].bytes, 1U);
}

TEST(SafetensorsHeader, MemorySafeOnEveryPrefixOfTheText) {
  const std::string text =
      Object({R"("__metadata__":{"format":"pt"})", Entry("a", "F32", "[2]", "[0,8]"),
              Entry("\\u00e9", "BF16", "[2,3]", "[8,20]")});
  for (std::size_t size = 1; size < text.size(); ++size) {
    const GuardedBytes prefix(std::string_view(text).substr(0, size));
    EXPECT_THAT(ParseHeader(prefix.Text(), FileBytes(text, 20), "f"),
                Fails(ErrorCode::kCorrupt, "f: "))
        << size;
  }
  const GuardedBytes whole(text);
  EXPECT_THAT(ParseHeader(whole.Text(), FileBytes(text, 20), "f"), IsOk());
}

}  // namespace
}  // namespace sluice::safetensors
