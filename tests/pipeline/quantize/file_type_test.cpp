#include "pipeline/quantize/file_type.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "result_matchers.h"

namespace sluice {
namespace {

using gguf::TensorType;
using testing::Fails;
using testing::IsOk;

TEST(FileType, IsFoundByNameAliasAndNumber) {
  const auto expect = [](const char* text, FileType type) {
    const Result<FileType> parsed = ParseFileType(text);
    ASSERT_THAT(parsed, IsOk());
    EXPECT_EQ(*parsed, type) << text;
  };
  expect("Q4_K_M", FileType::kQ4_K_M);
  expect("q4_k_m", FileType::kQ4_K_M);
  expect("Q4_K", FileType::kQ4_K_M);
  expect("q3_k", FileType::kQ3_K_M);
  expect("Q5_K", FileType::kQ5_K_M);
  expect("15", FileType::kQ4_K_M);
  expect("0", FileType::kF32);
  expect("7", FileType::kQ8_0);
  expect("copy", FileType::kCopy);
  expect("nvfp4", FileType::kNVFP4);
}

TEST(FileType, NumbersAndDefaultsAreThoseOfLlamaQuantize) {
  const auto expect = [](FileType type, unsigned number, TensorType default_type) {
    EXPECT_EQ(static_cast<unsigned>(type), number);
    EXPECT_EQ(InfoOf(type).default_type, default_type) << number;
  };
  // The file types whose tensors mostly have a type of another name.
  expect(FileType::kIQ3_XS, 22, TensorType::kIQ3_S);
  expect(FileType::kIQ2_S, 28, TensorType::kIQ2_XS);
  expect(FileType::kIQ2_M, 29, TensorType::kIQ2_S);
  expect(FileType::kMXFP4_MOE, 38, TensorType::kMXFP4);
  expect(FileType::kQ2_K_S, 21, TensorType::kQ2_K);
  expect(FileType::kBF16, 32, TensorType::kBF16);
}

TEST(FileType, AnUnknownNameListsTheKnownOnes) {
  for (const char* text : {"Q9_K", "", "63", "4", "Q4_K_M ", "-1"}) {
    EXPECT_THAT(ParseFileType(text),
                Fails(ErrorCode::kUsage, "unknown quantization type: expected one of F32, F16, "))
        << text;
  }
  EXPECT_THAT(ParseFileType("x"), Fails(ErrorCode::kUsage, "Q3_K_S, IQ3_M"));
}

TEST(TargetType, IsAnyTypeOfWeights) {
  const Result<TensorType> type = ParseTargetType("iq4_nl");
  ASSERT_THAT(type, IsOk());
  EXPECT_EQ(*type, TensorType::kIQ4_NL);
  EXPECT_THAT(ParseTargetType("q4_k_m"), Fails(ErrorCode::kUsage, "unknown tensor type"));
  EXPECT_THAT(ParseTargetType("q8_1"), Fails(ErrorCode::kUsage, "weights cannot be stored"));
  EXPECT_THAT(ParseTargetType("i32"), Fails(ErrorCode::kUsage, "one of F32, F16, BF16"));
}

TEST(GuessFileType, IsTheMostFrequentTypeWithAFlag) {
  const auto guess = [](const std::vector<TensorType>& types) {
    std::vector<gguf::TensorRecord> tensors;
    for (const TensorType type : types) tensors.push_back({"t", type, {256}, 0, 0});
    return GuessFileType(tensors);
  };
  EXPECT_EQ(guess({}), 1024U);
  EXPECT_EQ(guess({TensorType::kF32, TensorType::kBF16, TensorType::kBF16}), 1024U + 32);
  EXPECT_EQ(guess({TensorType::kF16, TensorType::kF32}), 1024U + 1);
  EXPECT_EQ(guess({TensorType::kQ4_K}), 1024U + 15);
  EXPECT_EQ(guess({TensorType::kIQ2_S}), 1024U + 28);
  EXPECT_EQ(guess({TensorType::kMXFP4}), 1024U) << "no file type has this name";
}

}  // namespace
}  // namespace sluice
