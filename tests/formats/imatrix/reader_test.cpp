#include "formats/imatrix/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "imatrix_bytes.h"
#include "result_matchers.h"

namespace sluice::imatrix {
namespace {

using ::testing::ElementsAre;
using testing::Fails;
using testing::GgufFile;
using testing::ImatrixKeys;
using testing::IsOk;
using testing::LegacyBytes;
using testing::TempFolder;

std::string GoldenPath(const std::string& name) {
  return std::string(SLUICE_GOLDEN_DIR) + "/quants/recipes/" + name;
}

Reader OpenGolden(const std::string& name) {
  Result<Reader> reader = Reader::Open(GoldenPath(name));
  EXPECT_THAT(reader, IsOk());
  return *std::move(reader);
}

std::vector<float> AllWeights(const Reader& reader, const Entry& entry) {
  std::vector<float> weights(entry.values);
  EXPECT_THAT(reader.ReadWeights(entry, 0, weights), IsOk());
  return weights;
}

// Both files were made from the same activations; the .dat file has means over fewer calls.
TEST(ImatrixReader, BothFormsGiveTheSameWeights) {
  const Reader gguf = OpenGolden("llama-q256.imatrix.gguf");
  const Reader legacy = OpenGolden("llama-q256.imatrix.dat");
  ASSERT_EQ(gguf.entries().size(), 14U);
  ASSERT_EQ(legacy.entries().size(), 14U);
  EXPECT_EQ(gguf.num_chunks(), 7U);
  EXPECT_EQ(legacy.num_chunks(), 7U);
  EXPECT_THAT(gguf.datasets(), ElementsAre("wiki.txt", "second.txt"));
  EXPECT_THAT(legacy.datasets(), ElementsAre("legacy.txt"));
  for (const Entry& entry : gguf.entries()) {
    const Entry* other = legacy.Find(entry.name);
    ASSERT_NE(other, nullptr) << entry.name;
    const std::vector<float> a = AllWeights(gguf, entry);
    const std::vector<float> b = AllWeights(legacy, *other);
    ASSERT_EQ(a.size(), b.size()) << entry.name;
    for (std::size_t i = 0; i < a.size(); ++i) ASSERT_FLOAT_EQ(a[i], b[i]) << entry.name << i;
  }
}

TEST(ImatrixReader, ExpertsWithoutDataWeighOne) {
  const Reader reader = OpenGolden("glm-q256.imatrix.gguf");
  std::size_t without = 0;
  for (const Entry& entry : reader.entries()) {
    const std::vector<float> weights = AllWeights(reader, entry);
    const std::size_t columns = weights.size() / entry.divisors.size();
    for (std::size_t matrix = 0; matrix < entry.divisors.size(); ++matrix) {
      if (entry.divisors[matrix] > 0) continue;
      ++without;
      EXPECT_EQ(std::vector<float>(columns, 1.0F),
                std::vector<float>(weights.begin() + matrix * columns,
                                   weights.begin() + (matrix + 1) * columns));
    }
  }
  EXPECT_GT(without, 0U);
}

TEST(ImatrixReader, ReadsAnyPartOfAnEntry) {
  const TempFolder folder;
  const auto reader = Reader::Open(
      folder.Write("f", GgufFile(ImatrixKeys(), {{"a.in_sum2", {3, 2}, {2, 4, 9, 9, 12, 15}},
                                                 {"a.counts", {3, 1}, {2, 0, 3}}})));
  ASSERT_THAT(reader, IsOk());
  const Entry* entry = reader->Find("a");
  ASSERT_NE(entry, nullptr);
  EXPECT_THAT(AllWeights(*reader, *entry), ElementsAre(1, 2, 1, 1, 4, 5));
  std::vector<float> part(3);
  EXPECT_THAT(reader->ReadWeights(*entry, 2, part), IsOk());
  EXPECT_THAT(part, ElementsAre(1, 1, 4));
}

TEST(ImatrixReader, SortsEntriesByName) {
  const TempFolder folder;
  const auto reader = Reader::Open(folder.Write(
      "f",
      LegacyBytes().Number(3).Entry("b", 1, {1}).Entry("c", 2, {4}).Entry("a", 1, {1}).bytes()));
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ(reader->entries().front().name, "a");
  EXPECT_EQ(reader->Find("d"), nullptr);
  ASSERT_NE(reader->Find("c"), nullptr);
  EXPECT_THAT(AllWeights(*reader, *reader->Find("c")), ElementsAre(2));
}

TEST(ImatrixReader, RejectsUnusableSums) {
  const TempFolder folder;
  const auto open = [&](float sum) {
    return Reader::Open(
        folder.Write("f", LegacyBytes().Number(1).Entry("name", 1, {1, sum}).bytes()));
  };
  EXPECT_THAT(open(0), IsOk());
  EXPECT_THAT(open(std::numeric_limits<float>::quiet_NaN()),
              Fails(ErrorCode::kCorrupt,
                    "f: tensor 'name' at byte 24: unusable importance: expected "
                    "a finite sum of squares, got nan for column 1"));
  EXPECT_THAT(open(std::numeric_limits<float>::infinity()), Fails(ErrorCode::kCorrupt, "got inf"));
  EXPECT_THAT(open(-1), Fails(ErrorCode::kCorrupt, "got -1"));
  EXPECT_THAT(open(1e16F), IsOk());
  EXPECT_THAT(open(2e16F), Fails(ErrorCode::kCorrupt, "at most 1e+16, got 2e+16 for column 1"));
}

TEST(ImatrixReader, RejectsUnusableMeansOfAMatrix) {
  const TempFolder folder;
  const auto open = [&](float sum, float count) {
    return Reader::Open(
        folder.Write("f", GgufFile(ImatrixKeys(), {{"a.in_sum2", {3, 2}, {1, 1, 1, 1, 1, sum}},
                                                   {"a.counts", {3, 1}, {1, 0, count}}})));
  };
  EXPECT_THAT(open(4e16F, 4), IsOk());
  EXPECT_THAT(open(4e16F, 2), Fails(ErrorCode::kCorrupt,
                                    "expected a mean square of at most 1e+16, got 4e+16 / 2 for "
                                    "matrix 2, column 1"));
  EXPECT_THAT(open(4e16F, 0), IsOk());  // nobody asks for a sum that no activations made
}

TEST(ImatrixReader, ErrorsNameTheFile) {
  const TempFolder folder;
  const std::string twice = LegacyBytes().Number(2).Entry("a", 1, {1}).Entry("a", 1, {2}).bytes();
  EXPECT_THAT(Reader::Open(folder.Write("twice", twice)),
              Fails(ErrorCode::kCorrupt,
                    "twice: tensor 'a' at byte 34: the file holds this entry "
                    "twice"));
  EXPECT_THAT(Reader::Open(folder.Write("none", GgufFile(ImatrixKeys(), {}))),
              Fails(ErrorCode::kCorrupt, "none: an importance matrix without data"));
  EXPECT_THAT(Reader::Open(folder.Write("text", "some text, but no importance matrix")),
              Fails(ErrorCode::kCorrupt, "text: at byte 0: impossible number of entries"));
  EXPECT_THAT(Reader::Open(folder.Write("empty", "")), Fails(ErrorCode::kCorrupt, "empty: "));
  EXPECT_THAT(Reader::Open(folder.Path("absent")), Fails(ErrorCode::kMissing, "absent"));
  EXPECT_THAT(Reader::Open(folder.Write("lfs", "version https://git-lfs.github.com/spec/v1\n")),
              Fails(ErrorCode::kCorrupt, "lfs: this is a Git LFS pointer"));
}

TEST(ImatrixReader, AFileThatShrinksLaterIsAnError) {
  const TempFolder folder;
  const std::string path =
      folder.Write("f", LegacyBytes().Number(1).Entry("name", 1, {1, 2}).bytes());
  const auto reader = Reader::Open(path);
  ASSERT_THAT(reader, IsOk());
  std::filesystem::resize_file(path, 26);
  std::vector<float> weights(2);
  EXPECT_THAT(reader->ReadWeights(reader->entries().front(), 0, weights),
              Fails(ErrorCode::kCorrupt, "tensor 'name'"));
}

}  // namespace
}  // namespace sluice::imatrix
