// Offsets of tensors, and the head of a file byte by byte.
#include "formats/gguf/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error_line.h"
#include "gguf/gguf_bytes.h"
#include "result_matchers.h"

namespace sluice::gguf {
namespace {

using testing::Fails;
using testing::FailsWith;
using testing::GgufBytes;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::Not;

TensorRecord Tensor(std::string name, TensorType type, std::vector<std::uint64_t> shape) {
  TensorRecord tensor;
  tensor.name = std::move(name);
  tensor.type = type;
  tensor.shape = std::move(shape);
  return tensor;
}

std::string TextOf(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<std::uint64_t> Assign(TensorRecord tensor, std::uint32_t alignment = 32) {
  return AssignOffsets(std::span(&tensor, 1), alignment, true);
}

TEST(GgufAlignment, IsTheKeyOrTheDefault) {
  Metadata metadata;
  Result<std::uint32_t> alignment = AlignmentOf(metadata);
  ASSERT_THAT(alignment, IsOk());
  EXPECT_EQ(*alignment, 32U);
  for (const std::uint32_t value : {1U, 8U, 64U, 65536U}) {
    metadata.Set("general.alignment", value);
    alignment = AlignmentOf(metadata);
    ASSERT_THAT(alignment, IsOk());
    EXPECT_EQ(*alignment, value);
  }
}

TEST(GgufAlignment, RejectsWhatOnlyMakesTheFileHuge) {
  Metadata metadata;
  metadata.Set("general.alignment", 131072U);
  EXPECT_THAT(AlignmentOf(metadata),
              Fails(ErrorCode::kUsage, "expected at most 65536, got 131072"));
}

TEST(GgufAlignment, RejectsWhatIsNoPowerOfTwo) {
  for (const std::uint32_t value : {0U, 3U, 33U, ~0U}) {
    Metadata metadata;
    metadata.Set("general.alignment", value);
    EXPECT_THAT(AlignmentOf(metadata),
                FailsWith(ErrorCode::kUsage,
                          "general.alignment is unusable: expected a u32 power of two, got " +
                              std::to_string(value)));
  }
}

TEST(GgufAlignment, RejectsOtherTypes) {
  Metadata metadata;
  metadata.Set("general.alignment", std::uint64_t{32});
  EXPECT_THAT(AlignmentOf(metadata),
              FailsWith(ErrorCode::kUsage,
                        "general.alignment is unusable: expected a u32 power of two, got 32"));
  metadata.Set("general.alignment", std::string("32"));
  EXPECT_THAT(AlignmentOf(metadata), Fails(ErrorCode::kUsage, "general.alignment is unusable"));
}

TEST(GgufOffsets, PadEveryTensorToTheAlignment) {
  std::vector<TensorRecord> tensors{
      Tensor("a", TensorType::kF32, {1}), Tensor("b", TensorType::kQ8_0, {3, 32}),
      Tensor("empty", TensorType::kF32, {0}), Tensor("c", TensorType::kF16, {16}),
      Tensor("d", TensorType::kBF16, {})};
  const Result<std::uint64_t> end = AssignOffsets(tensors, 32, false);
  ASSERT_THAT(end, IsOk());
  EXPECT_EQ(tensors[0].data_offset, 0U);
  EXPECT_EQ(tensors[0].bytes, 4U);
  EXPECT_EQ(tensors[1].data_offset, 32U);
  EXPECT_EQ(tensors[1].bytes, 102U);
  EXPECT_EQ(tensors[2].data_offset, 160U);
  EXPECT_EQ(tensors[2].bytes, 0U);
  EXPECT_EQ(tensors[3].data_offset, 160U);
  EXPECT_EQ(tensors[3].bytes, 32U);
  EXPECT_EQ(tensors[4].data_offset, 192U);
  EXPECT_EQ(tensors[4].bytes, 2U);
  EXPECT_EQ(*end, 194U) << "without padding after the last";
}

TEST(GgufOffsets, MayPadTheLastTensorToo) {
  std::vector<TensorRecord> tensors{Tensor("a", TensorType::kF32, {1})};
  for (const std::uint32_t alignment : {1U, 8U, 64U}) {
    const Result<std::uint64_t> padded = AssignOffsets(tensors, alignment, true);
    ASSERT_THAT(padded, IsOk());
    EXPECT_EQ(*padded, alignment == 1 ? 4 : alignment);
    const Result<std::uint64_t> plain = AssignOffsets(tensors, alignment, false);
    ASSERT_THAT(plain, IsOk());
    EXPECT_EQ(*plain, 4U);
  }
  const Result<std::uint64_t> nothing = AssignOffsets({}, 32, true);
  ASSERT_THAT(nothing, IsOk());
  EXPECT_EQ(*nothing, 0U);
}

TEST(GgufOffsets, RejectNamesThatDoNotFit) {
  const std::string longest(63, 'n');
  const std::string too_long(64, 'n');
  EXPECT_THAT(Assign(Tensor(longest, TensorType::kF32, {1})), IsOk());
  EXPECT_THAT(Assign(Tensor(too_long, TensorType::kF32, {1})),
              FailsWith(ErrorCode::kMismatch, "tensor '" + too_long +
                                                  "': tensor name does not fit GGUF: expected 1 "
                                                  "to 63 bytes, got 64 bytes"));
  EXPECT_THAT(Assign(Tensor("", TensorType::kF32, {1})),
              FailsWith(ErrorCode::kMismatch,
                        "tensor name does not fit GGUF: expected 1 to 63 bytes, got 0 bytes"));
}

TEST(GgufOffsets, RejectRankFive) {
  EXPECT_THAT(Assign(Tensor("t", TensorType::kF32, {1, 2, 3, 4})), IsOk());
  EXPECT_THAT(Assign(Tensor("t", TensorType::kF32, {1, 1, 1, 1, 1})),
              FailsWith(ErrorCode::kMismatch,
                        "tensor 't': too many dimensions for GGUF: expected at most 4, got 5"));
}

TEST(GgufOffsets, RejectRowsThatDoNotFillBlocks) {
  EXPECT_THAT(Assign(Tensor("t", TensorType::kQ8_0, {2, 48})),
              FailsWith(ErrorCode::kMismatch,
                        "tensor 't': rows do not fill whole Q8_0 blocks: expected a multiple of "
                        "32 elements, got 48"));
  // 4 x 16 elements would fill two blocks, but a block must not span rows.
  EXPECT_THAT(Assign(Tensor("t", TensorType::kQ8_0, {4, 16})),
              FailsWith(ErrorCode::kMismatch,
                        "tensor 't': rows do not fill whole Q8_0 blocks: expected a multiple of "
                        "32 elements, got 16"));
  EXPECT_THAT(Assign(Tensor("t", TensorType::kQ8_0, {})),
              FailsWith(ErrorCode::kMismatch,
                        "tensor 't': rows do not fill whole Q8_0 blocks: expected a multiple of "
                        "32 elements, got 1"));
}

// The rows are fine; the message must say what is not.
TEST(GgufOffsets, RejectShapesWhoseSizeOverflows) {
  constexpr std::uint64_t kTwo32 = std::uint64_t{1} << 32;
  constexpr std::uint64_t kTwo62 = std::uint64_t{1} << 62;
  for (const std::vector<std::uint64_t>& shape :
       {std::vector<std::uint64_t>{kTwo32, kTwo32}, std::vector<std::uint64_t>{kTwo62}}) {
    const Result<std::uint64_t> end = Assign(Tensor("t", TensorType::kF32, shape));
    ASSERT_THAT(end, Fails(ErrorCode::kMismatch, "tensor 't': "));
    EXPECT_THAT(end.error().Format(), Not(HasSubstr("a multiple of 1 elements")));
  }
}

TEST(GgufOffsets, RejectFilesThatPassTheLargestOffset) {
  constexpr std::uint64_t kTwo62 = std::uint64_t{1} << 62;
  std::vector<TensorRecord> tensors{Tensor("a", TensorType::kI8, {kTwo62}),
                                    Tensor("b", TensorType::kI8, {kTwo62})};
  EXPECT_THAT(AssignOffsets(tensors, 32, true),
              FailsWith(ErrorCode::kMismatch, "tensor 'b': the file would pass 2^63 bytes"));
  EXPECT_THAT(Assign(Tensor("t", TensorType::kI8, {~std::uint64_t{0} >> 1})),
              FailsWith(ErrorCode::kMismatch, "tensor 't': the file would pass 2^63 bytes"));
}

TEST(GgufWriter, WritesTheKnownBytes) {
  Metadata metadata;
  metadata.Set("k", std::uint32_t{7});
  metadata.Set("s", std::string("ab"));
  std::vector<TensorRecord> tensors{Tensor("t", TensorType::kF16, {2, 3}),
                                    Tensor("u", TensorType::kF32, {})};
  ASSERT_THAT(AssignOffsets(tensors, 32, false), IsOk());
  using namespace std::string_literals;
  const std::string expected =
      "GGUF"
      "\3\0\0\0"          // version
      "\2\0\0\0\0\0\0\0"  // tensors
      "\2\0\0\0\0\0\0\0"  // key-values
      "\1\0\0\0\0\0\0\0k"
      "\4\0\0\0"  // u32
      "\7\0\0\0"
      "\1\0\0\0\0\0\0\0s"
      "\10\0\0\0"  // string
      "\2\0\0\0\0\0\0\0"
      "ab"
      "\1\0\0\0\0\0\0\0t"
      "\2\0\0\0"          // rank
      "\3\0\0\0\0\0\0\0"  // innermost extent first
      "\2\0\0\0\0\0\0\0"
      "\1\0\0\0"          // F16
      "\0\0\0\0\0\0\0\0"  // offset
      "\1\0\0\0\0\0\0\0u"
      "\0\0\0\0"
      "\0\0\0\0"                // F32
      "\40\0\0\0\0\0\0\0"s      // offset 32
      + std::string(30, '\0');  // to a multiple of 32
  ASSERT_EQ(expected.size(), 160U);
  EXPECT_EQ(TextOf(SerializeHead(metadata, tensors, 32)), expected);
}

TEST(GgufWriter, WritesValuesOfEveryType) {
  Metadata metadata;
  metadata.Set("0", std::uint8_t{0xF1});
  metadata.Set("1", std::int8_t{-2});
  metadata.Set("2", std::uint16_t{0xF2F1});
  metadata.Set("3", std::int16_t{-3});
  metadata.Set("5", std::int32_t{-5});
  metadata.Set("6", 0.5F);
  metadata.Set("7", true);
  metadata.Set("a", std::uint64_t{1} << 40);
  metadata.Set("b", std::int64_t{-6});
  metadata.Set("c", 0.1);
  metadata.Set("n", Array::Of(std::span<const std::int32_t>(std::vector<std::int32_t>{1, -1})));
  metadata.Set("t", Array::OfStrings(std::vector<std::string>{"", "xy"}));
  GgufBytes expected;
  expected.Start(0, 12);
  expected.Key("0", 0).U8(0xF1);
  expected.Key("1", 1).U8(0xFE);
  expected.Key("2", 2).Raw("\xF1\xF2");
  expected.Key("3", 3).Raw("\xFD\xFF");
  expected.Key("5", 5).U32(0xFFFF'FFFB);
  expected.Key("6", 6).U32(0x3F00'0000);
  expected.Key("7", 7).U8(1);
  expected.Key("a", 10).U64(0x100'0000'0000);
  expected.Key("b", 11).U64(0xFFFF'FFFF'FFFF'FFFA);
  expected.Key("c", 12).U64(0x3FB9'9999'9999'999A);
  expected.Key("n", 9).U32(5).U64(2).U32(1).U32(0xFFFF'FFFF);
  expected.Key("t", 9).U32(8).U64(2).String("").String("xy");
  expected.PadTo(32);
  EXPECT_EQ(TextOf(SerializeHead(metadata, {}, 32)), expected.text());
}

TEST(GgufWriter, PadsTheHeadToTheAlignment) {
  for (const std::uint32_t alignment : {1U, 8U, 128U}) {
    Metadata metadata;
    metadata.Set("general.alignment", alignment);
    GgufBytes expected;
    expected.Start(0, 1).Key("general.alignment", 4).U32(alignment).PadTo(alignment);
    EXPECT_EQ(TextOf(SerializeHead(metadata, {}, alignment)), expected.text());
  }
}

}  // namespace
}  // namespace sluice::gguf
