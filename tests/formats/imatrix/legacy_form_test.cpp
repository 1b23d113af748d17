#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <ostream>

#include "formats/imatrix/forms.h"
#include "imatrix_bytes.h"
#include "result_matchers.h"

namespace sluice::imatrix {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::LegacyBytes;

// Reads a copy that ends where its memory ends, so that the sanitizer sees a read past the end.
Result<Contents> ReadLegacy(std::string_view bytes) {
  const auto copy = std::make_unique<std::byte[]>(bytes.size());
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return ReadLegacyForm({copy.get(), bytes.size()});
}

LegacyBytes TwoEntries() {
  LegacyBytes file;
  file.Number(2).Entry("b.weight", 4, {8, 12, 2}).Entry("a.weight", 0, {5});
  return file;
}

TEST(LegacyForm, HoldsSumsOverCalls) {
  const Result<Contents> contents = ReadLegacy(TwoEntries().Number(9).Text("text.txt").bytes());
  ASSERT_THAT(contents, IsOk());
  ASSERT_EQ(contents->entries.size(), 2U);
  const Entry& entry = contents->entries[0];
  EXPECT_EQ(entry.name, "b.weight");
  EXPECT_EQ(entry.offset, 4U + 4 + 8 + 4 + 4);
  EXPECT_EQ(entry.values, 3U);
  EXPECT_EQ(entry.divisors, std::vector<float>{4});
  EXPECT_EQ(contents->entries[1].divisors, std::vector<float>{1}) << "no calls: the values as is";
  EXPECT_EQ(contents->num_chunks, 9U);
  EXPECT_EQ(contents->datasets, std::vector<std::string>{"text.txt"});
}

TEST(LegacyForm, TheTrailerMayBeAbsent) {
  const Result<Contents> contents = ReadLegacy(TwoEntries().bytes());
  ASSERT_THAT(contents, IsOk());
  EXPECT_EQ(contents->num_chunks, 0U);
  EXPECT_TRUE(contents->datasets.empty());
}

// Every prefix is refused, but for the one without a trailer.
TEST(LegacyForm, EveryPrefixIsSafe) {
  const std::string whole = TwoEntries().Number(9).Text("text.txt").bytes();
  const std::size_t without_trailer = TwoEntries().bytes().size();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Result<Contents> contents = ReadLegacy(whole.substr(0, size));
    EXPECT_EQ(contents.has_value(), size == without_trailer) << size;
    if (contents) continue;
    EXPECT_EQ(contents.error().code, ErrorCode::kCorrupt) << size;
  }
}

struct DefectiveFile {
  const char* name;
  LegacyBytes file;
  const char* message;
};

void PrintTo(const DefectiveFile& defect, std::ostream* out) { *out << defect.name; }

class LegacyDefect : public ::testing::TestWithParam<DefectiveFile> {};

TEST_P(LegacyDefect, IsRejected) {
  EXPECT_THAT(ReadLegacy(GetParam().file.bytes()), Fails(ErrorCode::kCorrupt, GetParam().message));
}

std::vector<DefectiveFile> DefectiveFiles() {
  const auto file = [](std::int32_t entries) { return LegacyBytes().Number(entries); };
  constexpr std::int32_t kHuge = 0x7FFF'FFFF;
  return {
      {"NoEntries", file(0).Raw(std::string(40, 'x')),
       "at byte 0: impossible number of entries: expected 1 to 2, got 0"},
      {"NegativeEntries", file(-1).Raw(std::string(40, 'x')), "expected 1 to 2, got -1"},
      {"MoreEntriesThanBytes", file(kHuge).Entry("a", 1, {1}), "expected 1 to 1, got 2147483647"},
      {"NoEntryFits", file(2),
       "impossible number of entries: expected more bytes behind it, got 2"},
      {"NameEmpty", file(1).Entry("", 1, {1, 2}),
       "at byte 4: impossible number of letters of an entry's name: expected 1 to 16, got 0"},
      {"NameNegative", file(1).Number(-5).Raw(std::string(20, 'x')), "expected 1 to 20, got -5"},
      {"NamePastTheEnd", file(1).Number(kHuge).Raw(std::string(20, 'x')),
       "expected 1 to 20, got 2147483647"},
      {"NoValues", file(1).Entry("name", 1, {}).Raw("1234"),
       "tensor 'name' at byte 16: impossible number of values: expected 1 to 1, got 0"},
      {"NegativeValues", file(1).Text("name").Number(1).Number(-1).Raw("1234"), "got -1"},
      {"ValuesPastTheEnd", file(1).Text("name").Number(1).Number(2).Raw("1234567"),
       "expected 1 to 1, got 2"},
      {"DatasetNegative", file(1).Entry("name", 1, {1}).Number(1).Number(-1),
       "impossible number of letters of the dataset's name"},
      {"DatasetPastTheEnd", file(1).Entry("name", 1, {1}).Number(1).Number(4).Raw("abc"),
       "at byte 28: impossible number of letters of the dataset's name: expected 0 to 3, got 4"},
      {"BytesBehind", file(1).Entry("name", 1, {1}).Number(1).Text("abc").Raw("x"),
       "at byte 35: bytes behind the importance matrix: expected the end of the file, got 1 more"},
  };
}

INSTANTIATE_TEST_SUITE_P(DefectiveFiles, LegacyDefect, ::testing::ValuesIn(DefectiveFiles()),
                         [](const auto& defect) { return std::string(defect.param.name); });

}  // namespace
}  // namespace sluice::imatrix
