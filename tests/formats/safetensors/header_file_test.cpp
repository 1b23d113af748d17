// Safetensors headers read from files: the length field, short files, Git LFS pointers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "error_line.h"
#include "formats/safetensors/header.h"
#include "result_matchers.h"
#include "safetensors/header_text.h"
#include "test_files.h"

namespace sluice::safetensors {
namespace {

using ::testing::ElementsAre;
using testing::Entry;
using testing::Fails;
using testing::FailsWith;
using testing::IsOk;
using testing::Object;
using testing::SafetensorsFile;
using testing::TempFolder;

Result<Header> ReadPath(const std::string& path) {
  SLUICE_ASSIGN(const File file, File::OpenForReading(path));
  return ReadHeader(file);
}

// A length field and what follows it, whether they fit or not.
std::string WithLength(std::uint64_t length, std::string_view rest) {
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file.append(rest);
}

class SafetensorsFileTest : public ::testing::Test {
 protected:
  void ExpectImpossibleLength(const std::string& content, const std::string& expected,
                              const std::string& actual) {
    const std::string path = folder_.Write("f", content);
    EXPECT_THAT(
        ReadPath(path),
        FailsWith(ErrorCode::kCorrupt, path + ": at byte 0: impossible header length: expected " +
                                           expected + " bytes, got " + actual));
  }

  TempFolder folder_;
};

TEST_F(SafetensorsFileTest, ReadsAValidFile) {
  const std::string text = Object({Entry("t", "U8", "[2]", "[0,2]")});
  const Result<Header> header = ReadPath(folder_.Write("f", SafetensorsFile(text, "xy")));
  ASSERT_THAT(header, IsOk());
  ASSERT_EQ(header->tensors.size(), 1U);
  EXPECT_EQ(header->tensors[0].name, "t");
  EXPECT_THAT(header->tensors[0].shape, ElementsAre(2));
  EXPECT_EQ(header->tensors[0].offset, 8 + text.size());
}

TEST_F(SafetensorsFileTest, ReadsTheShortestFile) {
  EXPECT_THAT(ReadPath(folder_.Write("f", SafetensorsFile("{}", ""))), IsOk());
}

TEST_F(SafetensorsFileTest, RejectsAFileShorterThanTheLengthField) {
  for (std::size_t size = 0; size < 8; ++size) {
    const std::string path = folder_.Write("f", std::string(size, '\1'));
    EXPECT_THAT(ReadPath(path),
                FailsWith(ErrorCode::kCorrupt, path +
                                                   ": file ends inside the header length: "
                                                   "expected at least 8 bytes, got " +
                                                   std::to_string(size) + " bytes"));
  }
}

TEST_F(SafetensorsFileTest, RejectsALengthOfZero) {
  ExpectImpossibleLength(WithLength(0, "{}"), "1 to 2", "0");
}

TEST_F(SafetensorsFileTest, RejectsALengthPastTheEndOfTheFile) {
  ExpectImpossibleLength(WithLength(3, "{}"), "1 to 2", "3");
  ExpectImpossibleLength(WithLength(~std::uint64_t{0}, "{}"), "1 to 2", "18446744073709551615");
  // Adding the length field's own 8 bytes would wrap to a small number.
  ExpectImpossibleLength(WithLength(~std::uint64_t{0} - 7, "{}"), "1 to 2", "18446744073709551608");
}

TEST_F(SafetensorsFileTest, RejectsALengthAboveTheFormatsLimit) {
  const std::string path = folder_.Write("f", WithLength(100'000'001, "{}"));
  ASSERT_EQ(::truncate(path.c_str(), 200'000'000), 0);
  EXPECT_THAT(ReadPath(path), FailsWith(ErrorCode::kCorrupt,
                                        path + ": at byte 0: impossible header length: "
                                               "expected 1 to 100000000 bytes, got 100000001"));
}

TEST_F(SafetensorsFileTest, RejectsAFileOfSomethingElse) {
  const std::string path = folder_.Write("f", "<!DOCTYPE html><html></html>");
  EXPECT_THAT(ReadPath(path),
              Fails(ErrorCode::kCorrupt,
                    "this is no safetensors file, or it is truncated: download it again"));
}

TEST_F(SafetensorsFileTest, TellsAGitLfsPointer) {
  const std::string path = folder_.Write("f",
                                         "version https://git-lfs.github.com/spec/v1\n"
                                         "oid sha256:0123\nsize 17\n");
  EXPECT_THAT(ReadPath(path),
              Fails(ErrorCode::kCorrupt, path + ": this is a Git LFS pointer, not the file itself\n"
                                                "  fetch the real file: run `git lfs pull`"));
}

TEST_F(SafetensorsFileTest, NamesTheFileInErrorsOfTheText) {
  const std::string text = Object({Entry("t", "U8", "[3]", "[0,2]")});
  const std::string path = folder_.Write("f", SafetensorsFile(text, "xy"));
  EXPECT_THAT(ReadPath(path),
              FailsWith(ErrorCode::kCorrupt,
                        path + ": tensor 't' at byte " + std::to_string(8 + text.size()) +
                            ": shape and data range disagree: expected 3 bytes for U8 [3], got 2 "
                            "bytes"));
}

TEST_F(SafetensorsFileTest, MemorySafeOnEveryPrefix) {
  const std::string content =
      SafetensorsFile(Object({R"("__metadata__":{"format":"pt"})",
                              Entry("a", "F32", "[2]", "[0,8]"), Entry("b", "U8", "[1]", "[8,9]")}),
                      "012345678");
  const std::string path = folder_.Write("f", content);
  EXPECT_THAT(ReadPath(path), IsOk());
  for (std::size_t size = content.size(); size-- > 0;) {
    ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(size)), 0);
    EXPECT_THAT(ReadPath(path), Fails(ErrorCode::kCorrupt, path + ": ")) << size;
  }
}

}  // namespace
}  // namespace sluice::safetensors
