#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <ostream>

#include "formats/imatrix/forms.h"
#include "imatrix_bytes.h"
#include "result_matchers.h"

namespace sluice::imatrix {
namespace {

using testing::Fails;
using testing::FloatTensor;
using testing::GgufFile;
using testing::ImatrixKeys;
using testing::IsOk;

Result<Contents> Read(std::string_view bytes) {
  const auto copy = std::make_unique<std::byte[]>(bytes.size());
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return ReadGgufForm({copy.get(), bytes.size()}, "dir/f");
}

Result<Contents> Read(const std::vector<FloatTensor>& tensors) {
  return Read(GgufFile(ImatrixKeys(), tensors));
}

TEST(GgufForm, PairsSumsAndCounts) {
  const Result<Contents> contents = Read({{"up.in_sum2", {2, 3}, {1, 2, 3, 4, 5, 6}},
                                          {"up.counts", {2, 1}, {2.5, 0.4F}},
                                          {"other", {1}, {7}}});
  ASSERT_THAT(contents, IsOk());
  ASSERT_EQ(contents->entries.size(), 1U) << "other tensors are no concern of ours";
  const Entry& entry = contents->entries[0];
  EXPECT_EQ(entry.name, "up");
  EXPECT_EQ(entry.values, 6U);
  EXPECT_EQ(entry.divisors, (std::vector<float>{3, 0})) << "rounded, halves away from zero";
  EXPECT_EQ(contents->num_chunks, 7U);
  EXPECT_EQ(contents->datasets, (std::vector<std::string>{"wiki.txt", "other.txt"}));
}

TEST(GgufForm, OneCountMayServeSeveralMatrices) {
  const Result<Contents> contents =
      Read({{"k_b.in_sum2", {1, 6}, {1, 2, 3, 4, 5, 6}}, {"k_b.counts", {1, 1}, {2}}});
  ASSERT_THAT(contents, IsOk());
  EXPECT_EQ(contents->entries[0].divisors, std::vector<float>{2});
}

TEST(GgufForm, NegativeCountsAreKept) {
  const Result<Contents> contents = Read({{"a.in_sum2", {1, 1}, {1}}, {"a.counts", {1, 1}, {-3}}});
  ASSERT_THAT(contents, IsOk());
  EXPECT_EQ(contents->entries[0].divisors, std::vector<float>{-3});
}

TEST(GgufForm, EveryPrefixIsSafe) {
  const std::string whole =
      GgufFile(ImatrixKeys(), {{"a.in_sum2", {1, 3}, {1, 2, 3}}, {"a.counts", {1, 1}, {2}}});
  constexpr std::size_t kPadding = 28;  // behind the last count
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(Read(std::string_view(whole).substr(0, size)).has_value(),
              size >= whole.size() - kPadding)
        << size;
  }
}

struct Defect {
  const char* name;
  std::vector<FloatTensor> tensors;
  const char* message;
};

void PrintTo(const Defect& defect, std::ostream* out) { *out << defect.name; }

class GgufFormDefect : public ::testing::TestWithParam<Defect> {};

TEST_P(GgufFormDefect, IsRejected) {
  EXPECT_THAT(Read(GetParam().tensors), Fails(ErrorCode::kCorrupt, GetParam().message));
}

std::vector<Defect> Defects() {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const FloatTensor sums{"a.in_sum2", {2, 2}, {1, 2, 3, 4}};
  const FloatTensor counts{"a.counts", {2, 1}, {1, 1}};
  return {
      {"WithoutCounts", {sums}, "tensor 'a': half of an entry: expected a tensor a.counts"},
      {"WithoutSums", {counts}, "tensor 'a': half of an entry: expected a tensor a.in_sum2"},
      {"SumsOfAnotherType",
       {{"a.in_sum2", {2, 2}, {}, gguf::TensorType::kF16}, counts},
       "tensor 'a.in_sum2' at byte 320: unusable importance: expected F32 values, got 8 bytes of "
       "F16"},
      {"CountsOfAnotherType",
       {sums, {"a.counts", {2, 1}, {}, gguf::TensorType::kI32}},
       "tensor 'a.counts' at byte 352: unusable importance: expected F32 values"},
      {"NoSums", {{"a.in_sum2", {0, 2}, {}}, counts}, "got 0 bytes of F32"},
      {"NoCounts", {sums, {"a.counts", {0, 1}, {}}}, "got 0 bytes of F32"},
      {"MoreCountsThanSums",
       {sums, {"a.counts", {5, 1}, {1, 1, 1, 1, 1}}},
       "tensor 'a' at byte 320: sums and counts do not fit together: expected a multiple of 5 "
       "sums, got 4"},
      {"SumsThatDoNotDivide", {sums, {"a.counts", {3, 1}, {1, 1, 1}}}, "expected a multiple of 3"},
      {"CountNan",
       {sums, {"a.counts", {2, 1}, {1, kNan}}},
       "tensor 'a.counts' at byte 356: unusable count: expected a finite number of rows, got nan"},
      {"CountInfinite", {sums, {"a.counts", {2, 1}, {kInfinity, 1}}}, "got inf"},
  };
}

INSTANTIATE_TEST_SUITE_P(Defects, GgufFormDefect, ::testing::ValuesIn(Defects()),
                         [](const auto& defect) { return std::string(defect.param.name); });

TEST(GgufForm, NeedsItsKeys) {
  const std::vector<FloatTensor> tensors{{"a.in_sum2", {1, 1}, {1}}, {"a.counts", {1, 1}, {1}}};
  const auto without = [&](std::string_view dropped) {
    gguf::Metadata metadata;
    const gguf::Metadata keys = ImatrixKeys();
    for (const auto& [key, value] : keys.items()) {
      if (key != dropped) metadata.Append(key, value);
    }
    return Read(GgufFile(metadata, tensors));
  };
  EXPECT_THAT(without("general.type"), IsOk());
  for (const char* key : {"imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"}) {
    EXPECT_THAT(without(key),
                Fails(ErrorCode::kCorrupt, "no importance matrix: key '" + std::string(key) + "'"));
  }
  gguf::Metadata metadata = ImatrixKeys();
  metadata.Set("imatrix.chunk_count", std::uint64_t{7});
  EXPECT_THAT(Read(GgufFile(metadata, tensors)),
              Fails(ErrorCode::kCorrupt, "'imatrix.chunk_count': expected a u32"));
  metadata.Set("general.type", std::string("model"));
  EXPECT_THAT(Read(GgufFile(metadata, tensors)),
              Fails(ErrorCode::kCorrupt, "general.type: expected imatrix, got model"));
}

}  // namespace
}  // namespace sluice::imatrix
