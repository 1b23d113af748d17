// Typed values, arrays, key-values and their text for people.
#include "formats/gguf/value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::gguf {
namespace {

using ::testing::ElementsAre;

constexpr std::size_t kAll = 0;

template <typename T>
Array ArrayOf(std::vector<T> values) {
  return Array::Of(std::span<const T>(values));
}

std::vector<std::string> KeysOf(const Metadata& metadata) {
  std::vector<std::string> keys;
  for (const KeyValue& item : metadata.items()) keys.push_back(item.key);
  return keys;
}

TEST(GgufValue, AlternativesStandInOrderOfTheTypeNumbers) {
  EXPECT_EQ(TypeOf(std::uint8_t{1}), ValueType::kU8);
  EXPECT_EQ(TypeOf(std::int8_t{1}), ValueType::kI8);
  EXPECT_EQ(TypeOf(std::uint16_t{1}), ValueType::kU16);
  EXPECT_EQ(TypeOf(std::int16_t{1}), ValueType::kI16);
  EXPECT_EQ(TypeOf(std::uint32_t{1}), ValueType::kU32);
  EXPECT_EQ(TypeOf(std::int32_t{1}), ValueType::kI32);
  EXPECT_EQ(TypeOf(1.0F), ValueType::kF32);
  EXPECT_EQ(TypeOf(true), ValueType::kBool);
  EXPECT_EQ(TypeOf(std::string("x")), ValueType::kString);
  EXPECT_EQ(TypeOf(Array()), ValueType::kArray);
  EXPECT_EQ(TypeOf(std::uint64_t{1}), ValueType::kU64);
  EXPECT_EQ(TypeOf(std::int64_t{1}), ValueType::kI64);
  EXPECT_EQ(TypeOf(1.0), ValueType::kF64);
}

TEST(GgufArray, HoldsNumbers) {
  const Array array = ArrayOf<std::int16_t>({-1, 300, 7});
  EXPECT_EQ(array.element_type(), ValueType::kI16);
  EXPECT_EQ(array.size(), 3U);
  EXPECT_EQ(array.At<std::int16_t>(0), -1);
  EXPECT_EQ(array.At<std::int16_t>(1), 300);
  EXPECT_EQ(array.At<std::int16_t>(2), 7);
  EXPECT_EQ(array.bytes().size(), 6U);
  EXPECT_EQ(array.bytes()[2], std::byte{0x2C});  // 300, little-endian
  EXPECT_EQ(array.bytes()[3], std::byte{0x01});
}

TEST(GgufArray, HoldsStringsEmptyOnesToo) {
  const std::vector<std::string> texts{"", "one", std::string("t\0wo", 4), ""};
  Array array = Array::OfStrings(texts);
  array.Append("last");
  EXPECT_EQ(array.element_type(), ValueType::kString);
  ASSERT_EQ(array.size(), 5U);
  EXPECT_EQ(array.StringAt(0), "");
  EXPECT_EQ(array.StringAt(1), "one");
  EXPECT_EQ(array.StringAt(2), std::string_view("t\0wo", 4));
  EXPECT_EQ(array.StringAt(3), "");
  EXPECT_EQ(array.StringAt(4), "last");
}

TEST(GgufArray, IsEmptyAtFirst) {
  EXPECT_EQ(Array().size(), 0U);
  EXPECT_EQ(Array(ValueType::kF64).size(), 0U);
  EXPECT_EQ(ArrayOf<float>({}).size(), 0U);
}

TEST(GgufArray, ComparesTypeAndContent) {
  EXPECT_EQ(ArrayOf<std::uint32_t>({1, 2}), ArrayOf<std::uint32_t>({1, 2}));
  EXPECT_NE(ArrayOf<std::uint32_t>({1, 2}), ArrayOf<std::uint32_t>({1, 3}));
  EXPECT_NE(ArrayOf<std::uint32_t>({1, 2}), ArrayOf<std::int32_t>({1, 2}));
  EXPECT_EQ(Array::OfStrings(std::vector<std::string>{"ab", "c"}),
            Array::OfStrings(std::vector<std::string>{"ab", "c"}));
  // The same letters, cut elsewhere.
  EXPECT_NE(Array::OfStrings(std::vector<std::string>{"ab", "c"}),
            Array::OfStrings(std::vector<std::string>{"a", "bc"}));
}

TEST(GgufMetadata, SetReplacesInPlaceOrAppends) {
  Metadata metadata;
  metadata.Set("b", std::uint32_t{1});
  metadata.Set("a", std::uint32_t{2});
  metadata.Set("b", std::string("new"));
  EXPECT_THAT(KeysOf(metadata), ElementsAre("b", "a"));
  ASSERT_NE(metadata.Get<std::string>("b"), nullptr);
  EXPECT_EQ(*metadata.Get<std::string>("b"), "new");
}

TEST(GgufMetadata, AppendKeepsTheOrder) {
  Metadata metadata;
  metadata.Append("z", std::uint32_t{1});
  metadata.Append("a", std::uint32_t{2});
  EXPECT_THAT(KeysOf(metadata), ElementsAre("z", "a"));
}

TEST(GgufMetadata, MoveToEndReplacesAtTheEnd) {
  Metadata metadata;
  for (const char* key : {"a", "b", "c"}) metadata.Append(key, std::uint32_t{1});
  metadata.MoveToEnd("a", std::uint32_t{2});
  metadata.MoveToEnd("d", std::uint32_t{3});
  EXPECT_THAT(KeysOf(metadata), ElementsAre("b", "c", "a", "d"));
  EXPECT_EQ(*metadata.Get<std::uint32_t>("a"), 2U);
}

TEST(GgufMetadata, SortsByTheBytesOfTheKeys) {
  Metadata metadata;
  for (const char* key : {"b", "a.b", "\xC3\xA9", "a", "B", "a-b"}) metadata.Append(key, true);
  metadata.SortByKey();
  EXPECT_THAT(KeysOf(metadata), ElementsAre("B", "a", "a-b", "a.b", "b", "\xC3\xA9"));
}

TEST(GgufMetadata, GetChecksTheType) {
  Metadata metadata;
  metadata.Set("n", std::uint32_t{7});
  EXPECT_EQ(*metadata.Get<std::uint32_t>("n"), 7U);
  EXPECT_EQ(metadata.Get<std::int32_t>("n"), nullptr);
  EXPECT_EQ(metadata.Get<std::uint32_t>("m"), nullptr);
  EXPECT_NE(metadata.Find("n"), nullptr);
  EXPECT_EQ(metadata.Find("N"), nullptr);
}

TEST(GgufToText, PrintsScalars) {
  EXPECT_EQ(ToText(std::uint8_t{200}, kAll, kAll), "200");
  EXPECT_EQ(ToText(std::int8_t{-5}, kAll, kAll), "-5");
  EXPECT_EQ(ToText(std::uint64_t{18446744073709551615U}, kAll, kAll), "18446744073709551615");
  EXPECT_EQ(ToText(0.1F, kAll, kAll), "0.1");
  EXPECT_EQ(ToText(0.1, kAll, kAll), "0.1");
  EXPECT_EQ(ToText(500000.0F, kAll, kAll), "500000");
  EXPECT_EQ(ToText(true, kAll, kAll), "true");
  EXPECT_EQ(ToText(false, kAll, kAll), "false");
  EXPECT_EQ(ToText(std::string("as it is\n"), kAll, kAll), "as it is\n");
}

TEST(GgufToText, PrintsArraysOfEveryType) {
  EXPECT_EQ(ToText(ArrayOf<std::uint8_t>({1, 255}), kAll, kAll), "[1, 255]");
  EXPECT_EQ(ToText(ArrayOf<std::int8_t>({-1, 2}), kAll, kAll), "[-1, 2]");
  EXPECT_EQ(ToText(ArrayOf<std::uint16_t>({1, 65535}), kAll, kAll), "[1, 65535]");
  EXPECT_EQ(ToText(ArrayOf<std::int16_t>({-32768}), kAll, kAll), "[-32768]");
  EXPECT_EQ(ToText(ArrayOf<std::uint32_t>({4294967295}), kAll, kAll), "[4294967295]");
  EXPECT_EQ(ToText(ArrayOf<std::int32_t>({-7, 7}), kAll, kAll), "[-7, 7]");
  EXPECT_EQ(ToText(ArrayOf<float>({0.5F, -1.0F}), kAll, kAll), "[0.5, -1]");
  EXPECT_EQ(ToText(ArrayOf<std::uint64_t>({1}), kAll, kAll), "[1]");
  EXPECT_EQ(ToText(ArrayOf<std::int64_t>({-1}), kAll, kAll), "[-1]");
  EXPECT_EQ(ToText(ArrayOf<double>({0.25}), kAll, kAll), "[0.25]");
  EXPECT_EQ(ToText(Array::OfStrings(std::vector<std::string>{"a", ""}), kAll, kAll),
            "[\"a\", \"\"]");
  Array bools(ValueType::kBool);
  bools.SetBytes(std::array{std::byte{1}, std::byte{0}});
  EXPECT_EQ(ToText(bools, kAll, kAll), "[true, false]");
  EXPECT_EQ(ToText(Array(ValueType::kF32), kAll, kAll), "[]");
}

TEST(GgufToText, CutsLongArraysAndStrings) {
  const Array array = ArrayOf<std::uint8_t>({1, 2, 3});
  EXPECT_EQ(ToText(array, 3, kAll), "[1, 2, 3]");
  EXPECT_EQ(ToText(array, 2, kAll), "[1, 2, ... (3 elements)]");
  EXPECT_EQ(ToText(std::string("12345"), kAll, 5), "12345");
  EXPECT_EQ(ToText(std::string("12345"), kAll, 4), "1234... (5 bytes)");
  EXPECT_EQ(ToText(Array::OfStrings(std::vector<std::string>{"12345", "1"}), 1, 2),
            "[\"12... (5 bytes)\", ... (2 elements)]");
}

TEST(GgufToText, CutsBetweenCharacters) {
  const std::string text = "a\u00e9\u20ac\U0001F600z";  // 1, 2, 3, 4 and 1 bytes
  EXPECT_EQ(ToText(text, kAll, 1), "a... (11 bytes)");
  EXPECT_EQ(ToText(text, kAll, 2), "a... (11 bytes)");
  EXPECT_EQ(ToText(text, kAll, 3), "a\u00e9... (11 bytes)");
  EXPECT_EQ(ToText(text, kAll, 5), "a\u00e9... (11 bytes)");
  EXPECT_EQ(ToText(text, kAll, 6), "a\u00e9\u20ac... (11 bytes)");
  EXPECT_EQ(ToText(text, kAll, 9), "a\u00e9\u20ac... (11 bytes)");
  EXPECT_EQ(ToText(text, kAll, 10), "a\u00e9\u20ac\U0001F600... (11 bytes)");
  EXPECT_EQ(ToText(std::string("\u00e9\u00e9"), kAll, 1), "... (4 bytes)");
  EXPECT_EQ(ToText(std::string("\x80\x80\x80"), kAll, 2), "... (3 bytes)") << "no UTF-8 at all";
}

}  // namespace
}  // namespace sluice::gguf
