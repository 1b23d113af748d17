// Valid GGUF files, put together by hand.
#include "formats/gguf/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/gguf_bytes.h"
#include "guarded_bytes.h"
#include "result_matchers.h"

namespace sluice::gguf {
namespace {

using ::testing::ElementsAre;
using testing::Fails;
using testing::GgufBytes;
using testing::GuardedBytes;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::SmallGguf;

Head ReadOk(const GgufBytes& file) {
  Result<Head> head = ReadHead(file.bytes(), "f");
  EXPECT_THAT(head, IsOk());
  return head ? *std::move(head) : Head();
}

template <typename T>
T ValueOf(const Head& head, std::string_view key) {
  const T* const value = head.metadata.Get<T>(key);
  EXPECT_NE(value, nullptr) << key;
  return value == nullptr ? T() : *value;
}

TEST(GgufReader, ReadsTensorsInFileOrder) {
  const Head head = ReadOk(SmallGguf());
  EXPECT_EQ(head.version, 3U);
  EXPECT_EQ(head.alignment, 32U);
  EXPECT_EQ(head.data_start % 32, 0U);
  EXPECT_EQ(head.data_start + 32 + 34, SmallGguf().size());
  ASSERT_EQ(head.tensors.size(), 2U);
  EXPECT_EQ(head.tensors[0].name, "norm.weight");
  EXPECT_EQ(head.tensors[0].type, TensorType::kF32);
  EXPECT_THAT(head.tensors[0].shape, ElementsAre(1));
  EXPECT_EQ(head.tensors[0].data_offset, 0U);
  EXPECT_EQ(head.tensors[0].bytes, 4U);
  EXPECT_EQ(head.tensors[1].name, "blk.0.weight");
  EXPECT_EQ(head.tensors[1].type, TensorType::kQ8_0);
  EXPECT_THAT(head.tensors[1].shape, ElementsAre(1, 32)) << "outermost first";
  EXPECT_EQ(head.tensors[1].data_offset, 32U);
  EXPECT_EQ(head.tensors[1].bytes, 34U);
}

TEST(GgufReader, ReadsVersion2AsVersion3) {
  GgufBytes file;
  file.Start(1, 1, 2).Key("k", 4).U32(7).Tensor("t", {2}, 0, 0).PadTo(32).Raw("01234567");
  const Head head = ReadOk(file);
  EXPECT_EQ(head.version, 2U);
  EXPECT_EQ(ValueOf<std::uint32_t>(head, "k"), 7U);
  ASSERT_EQ(head.tensors.size(), 1U);
  EXPECT_EQ(head.tensors[0].bytes, 8U);
}

TEST(GgufReader, ReadsValuesOfEveryType) {
  GgufBytes file;
  file.Start(0, 14);
  file.Key("u8", 0).U8(0xF1);
  file.Key("i8", 1).U8(0xFE);
  file.Key("u16", 2).Raw("\xF1\xF2");
  file.Key("i16", 3).Raw("\xFD\xFF");
  file.Key("u32", 4).U32(4'000'000'000);
  file.Key("i32", 5).U32(0xFFFF'FFFB);
  file.Key("f32", 6).U32(0x3F00'0000);
  file.Key("yes", 7).U8(1);
  file.Key("no", 7).U8(0);
  file.Key("str", 8).String(std::string_view("te\0xt", 5));
  file.Key("u64", 10).U64(0x100'0000'0000);
  file.Key("i64", 11).U64(0xFFFF'FFFF'FFFF'FFFA);
  file.Key("f64", 12).U64(0x3FB9'9999'9999'999A);
  file.Key("none", 8).String("");
  const Head head = ReadOk(file);
  EXPECT_EQ(ValueOf<std::uint8_t>(head, "u8"), 0xF1);
  EXPECT_EQ(ValueOf<std::int8_t>(head, "i8"), -2);
  EXPECT_EQ(ValueOf<std::uint16_t>(head, "u16"), 0xF2F1);
  EXPECT_EQ(ValueOf<std::int16_t>(head, "i16"), -3);
  EXPECT_EQ(ValueOf<std::uint32_t>(head, "u32"), 4'000'000'000U);
  EXPECT_EQ(ValueOf<std::int32_t>(head, "i32"), -5);
  EXPECT_EQ(ValueOf<float>(head, "f32"), 0.5F);
  EXPECT_EQ(ValueOf<bool>(head, "yes"), true);
  EXPECT_EQ(ValueOf<bool>(head, "no"), false);
  EXPECT_EQ(ValueOf<std::string>(head, "str"), std::string_view("te\0xt", 5));
  EXPECT_EQ(ValueOf<std::uint64_t>(head, "u64"), 0x100'0000'0000U);
  EXPECT_EQ(ValueOf<std::int64_t>(head, "i64"), -6);
  EXPECT_EQ(ValueOf<double>(head, "f64"), 0.1);
  EXPECT_EQ(ValueOf<std::string>(head, "none"), "");
  EXPECT_EQ(head.metadata.items().front().key, "u8");
  EXPECT_EQ(head.metadata.items().back().key, "none");
}

TEST(GgufReader, ReadsArrays) {
  GgufBytes file;
  file.Start(0, 5);
  file.Key("i32", 9).U32(5).U64(3).U32(1).U32(2).U32(0xFFFF'FFFF);
  file.Key("bool", 9).U32(7).U64(2).U8(1).U8(0);
  file.Key("f64", 9).U32(12).U64(1).U64(0x3FB9'9999'9999'999A);
  file.Key("str", 9).U32(8).U64(3).String("a").String("").String("bc");
  file.Key("none", 9).U32(4).U64(0);
  const Head head = ReadOk(file);
  const auto numbers = ValueOf<Array>(head, "i32");
  ASSERT_EQ(numbers.size(), 3U);
  EXPECT_EQ(numbers.element_type(), ValueType::kI32);
  EXPECT_EQ(numbers.At<std::int32_t>(2), -1);
  const auto bools = ValueOf<Array>(head, "bool");
  ASSERT_EQ(bools.size(), 2U);
  EXPECT_EQ(bools.At<std::uint8_t>(0), 1);
  EXPECT_EQ(bools.At<std::uint8_t>(1), 0);
  const auto doubles = ValueOf<Array>(head, "f64");
  ASSERT_EQ(doubles.size(), 1U);
  EXPECT_EQ(doubles.At<double>(0), 0.1);
  const auto texts = ValueOf<Array>(head, "str");
  ASSERT_EQ(texts.size(), 3U);
  EXPECT_EQ(texts.StringAt(0), "a");
  EXPECT_EQ(texts.StringAt(1), "");
  EXPECT_EQ(texts.StringAt(2), "bc");
  const auto none = ValueOf<Array>(head, "none");
  EXPECT_EQ(none.size(), 0U);
  EXPECT_EQ(none.element_type(), ValueType::kU32);
}

// The writer's bytes are checked by hand in writer_test.cpp; here both ends meet.
TEST(GgufReader, RoundTripsWhatTheWriterWrites) {
  Metadata metadata;
  metadata.Set("general.alignment", std::uint32_t{64});
  metadata.Set("text", std::string("x"));
  metadata.Set("list", Array::OfStrings(std::vector<std::string>{"a", "\u0120b"}));
  std::vector<TensorRecord> tensors(3);
  tensors[0] = {"a", TensorType::kQ6_K, {2, 256}, 0, 0};
  tensors[1] = {"b", TensorType::kBF16, {2, 3, 4, 5}, 0, 0};
  tensors[2] = {"c", TensorType::kF32, {}, 0, 0};
  const Result<std::uint64_t> data_bytes = AssignOffsets(tensors, 64, false);
  ASSERT_THAT(data_bytes, IsOk());
  std::vector<std::byte> file = SerializeHead(metadata, tensors, 64);
  const std::size_t head_bytes = file.size();
  file.resize(head_bytes + *data_bytes);
  const Result<Head> head = ReadHead(file, "f");
  ASSERT_THAT(head, IsOk());
  EXPECT_EQ(head->alignment, 64U);
  EXPECT_EQ(head->data_start, head_bytes);
  ASSERT_EQ(head->tensors.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(head->tensors[i].name, tensors[i].name);
    EXPECT_EQ(head->tensors[i].type, tensors[i].type);
    EXPECT_EQ(head->tensors[i].shape, tensors[i].shape);
    EXPECT_EQ(head->tensors[i].data_offset, tensors[i].data_offset);
    EXPECT_EQ(head->tensors[i].bytes, tensors[i].bytes);
  }
  ASSERT_EQ(head->metadata.items().size(), 3U);
  for (const KeyValue& item : metadata.items()) {
    ASSERT_NE(head->metadata.Find(item.key), nullptr) << item.key;
    EXPECT_EQ(*head->metadata.Find(item.key), item.value) << item.key;
  }
}

TEST(GgufReader, ReadsAFileWithoutTensors) {
  GgufBytes file;
  file.Start(0, 0);
  const Head head = ReadOk(file);
  EXPECT_THAT(head.tensors, IsEmpty());
  EXPECT_THAT(head.metadata.items(), IsEmpty());
}

TEST(GgufReader, ReadsTheLongestNameAndAnEmptyTensor) {
  const std::string name(63, 'n');
  GgufBytes file;
  file.Start(2, 0).Tensor(name, {0, 7}, 0, 0).Tensor("t", {1}, 24, 0).PadTo(32).Raw("x");
  const Head head = ReadOk(file);
  ASSERT_EQ(head.tensors.size(), 2U);
  EXPECT_EQ(head.tensors[0].name, name);
  EXPECT_EQ(head.tensors[0].bytes, 0U);
}

// Writers differ: llama.cpp pads the last tensor, Ollama does not.
TEST(GgufReader, AcceptsPaddingAfterTheLastTensor) {
  GgufBytes file = SmallGguf();
  file.PadTo(32);
  EXPECT_EQ(ReadOk(file).tensors.size(), 2U);
}

TEST(GgufReader, MemorySafeOnEveryPrefix) {
  const GgufBytes file = SmallGguf();
  for (std::size_t size = 0; size < file.size(); ++size) {
    const GuardedBytes prefix(std::string_view(file.text()).substr(0, size));
    EXPECT_THAT(ReadHead(prefix.Bytes(), "dir/f"), Fails(ErrorCode::kCorrupt, "dir/f: ")) << size;
  }
  const GuardedBytes whole(file.text());
  EXPECT_THAT(ReadHead(whole.Bytes(), "f"), IsOk());
}

TEST(GgufHasMagic, LooksAtFourBytes) {
  const auto has = [](std::string_view text) {
    const GuardedBytes bytes(text);
    return HasMagic(bytes.Bytes());
  };
  EXPECT_TRUE(has("GGUF"));
  EXPECT_TRUE(has("GGUF and more"));
  EXPECT_FALSE(has(""));
  EXPECT_FALSE(has("GGU"));
  EXPECT_FALSE(has("GGUf"));
  EXPECT_FALSE(has("FUGG"));
}

}  // namespace
}  // namespace sluice::gguf
