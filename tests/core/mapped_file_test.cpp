// Mapped files whose content stays the same: bytes, residence, lifetime.
#include "core/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "result_matchers.h"
#include "test_files.h"

namespace sluice {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::PageBytes;
using testing::TempFolder;

// Content in which every page differs.
std::string Pattern(std::uint64_t size) {
  std::string text(size, '\0');
  for (std::uint64_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / PageBytes());
  return text;
}

std::string_view TextOf(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// What is resident now, mapped files included.
std::uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  statm >> total_pages >> resident_pages;
  return resident_pages * PageBytes();
}

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const TempFolder folder;
  const std::string content = Pattern(3 * PageBytes() + 17);
  const std::string path = folder.Write("f", content);
  const Result<MappedFile> file = MappedFile::Open(path);
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(TextOf(*file), content);
  EXPECT_EQ(file->path(), path);
  const Result<std::uint64_t> size = file->file().Size();
  ASSERT_THAT(size, IsOk());
  EXPECT_EQ(*size, content.size());
  EXPECT_THAT(file->CheckIntact(), IsOk());
}

TEST(MappedFile, ReportsWhatCannotBeMapped) {
  const TempFolder folder;
  EXPECT_THAT(MappedFile::Open(folder.Path("missing")),
              Fails(ErrorCode::kMissing, folder.Path("missing") + ": cannot open"));
  EXPECT_THAT(MappedFile::Open(folder.Path()),
              Fails(ErrorCode::kMismatch, folder.Path() + ": not a regular file"));
  const std::string pipe = folder.Path("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(MappedFile::Open(pipe), Fails(ErrorCode::kMismatch, pipe + ": not a regular file"));
}

TEST(MappedFile, MayExpectASize) {
  const TempFolder folder;
  const std::string path = folder.Write("f", "12345");
  const std::string empty = folder.Write("empty", "");
  EXPECT_THAT(MappedFile::Open(path, 5), IsOk());
  EXPECT_THAT(MappedFile::Open(empty, 0), IsOk());
  for (const std::uint64_t expected : {0U, 4U, 6U}) {
    EXPECT_THAT(MappedFile::Open(path, expected),
                Fails(ErrorCode::kCorrupt, path + ": file changed while it was read: expected " +
                                               std::to_string(expected) + " bytes, got 5 bytes"));
  }
  EXPECT_THAT(MappedFile::Open(empty, 1), Fails(ErrorCode::kCorrupt, "got 0 bytes"));
}

TEST(MappedFile, AnEmptyFileHasNoBytes) {
  const TempFolder folder;
  const Result<MappedFile> file = MappedFile::Open(folder.Write("empty", ""));
  ASSERT_THAT(file, IsOk());
  EXPECT_TRUE(file->bytes().empty());
  EXPECT_THAT(file->Populate(0, 0), IsOk());
  file->Release(0, 0);
  EXPECT_THAT(file->CheckIntact(), IsOk());
}

// Ranges begin and end inside pages, at their borders, and at the end of the file.
TEST(MappedFile, ResidenceCallsKeepTheContent) {
  const TempFolder folder;
  const std::uint64_t page = PageBytes();
  const std::string content = Pattern(5 * page + 100);
  const Result<MappedFile> file = MappedFile::Open(folder.Write("f", content));
  ASSERT_THAT(file, IsOk());
  const std::vector<std::uint64_t> borders{
      0, 1, page - 1, page, page + 1, 2 * page, 3 * page + 50, 5 * page, content.size()};
  for (const std::uint64_t begin : borders) {
    for (const std::uint64_t end : borders) {
      if (begin > end) continue;
      EXPECT_THAT(file->Populate(begin, end - begin), IsOk()) << begin << " to " << end;
      EXPECT_TRUE(TextOf(*file) == content) << begin << " to " << end;
      file->Release(begin, end - begin);
      EXPECT_TRUE(TextOf(*file) == content) << begin << " to " << end;
    }
  }
  EXPECT_THAT(file->CheckIntact(), IsOk());
}

// Memory would grow with the checkpoint if pages that were read stayed resident.
TEST(MappedFile, ReleaseGivesPagesBack) {
  const TempFolder folder;
  const std::uint64_t size = std::uint64_t{64} << 20;
  const Result<MappedFile> file = MappedFile::Open(folder.Write("f", std::string(size, 'x')));
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(std::count(TextOf(*file).begin(), TextOf(*file).end(), 'x'),
            static_cast<std::ptrdiff_t>(size));
  const std::uint64_t with_file = ResidentBytes();
  file->Release(0, size);
  EXPECT_LT(ResidentBytes() + size / 4 * 3, with_file);
}

// Slabs end inside pages: what they leave behind would grow with the checkpoint.
TEST(MappedFile, ReleaseOfSlabsLeavesNoPagesBetweenThem) {
  const TempFolder folder;
  const std::uint64_t size = std::uint64_t{64} << 20;
  const Result<MappedFile> file = MappedFile::Open(folder.Write("f", std::string(size, 'x')));
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(std::count(TextOf(*file).begin(), TextOf(*file).end(), 'x'),
            static_cast<std::ptrdiff_t>(size));
  const std::uint64_t with_file = ResidentBytes();
  const std::uint64_t slab = PageBytes() + 100;
  for (std::uint64_t at = 0; at < size; at += slab) file->Release(at, std::min(slab, size - at));
  EXPECT_LT(ResidentBytes() + size / 4 * 3, with_file);
}

TEST(MappedFile, MovingKeepsTheAddresses) {
  const TempFolder folder;
  Result<MappedFile> first = MappedFile::Open(folder.Write("a", "first"));
  Result<MappedFile> second = MappedFile::Open(folder.Write("b", "second"));
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  const std::byte* const address = first->bytes().data();
  MappedFile moved = *std::move(first);
  EXPECT_EQ(moved.bytes().data(), address);
  EXPECT_EQ(TextOf(moved), "first");
  *second = std::move(moved);  // the mapping of "second" ends here
  EXPECT_EQ(second->bytes().data(), address);
  EXPECT_EQ(TextOf(*second), "first");
  EXPECT_EQ(second->path(), folder.Path("a"));
  EXPECT_THAT(second->Populate(0, 5), IsOk());
}

TEST(MappedFile, SeveralFilesAreMappedAtOnce) {
  const TempFolder folder;
  std::vector<MappedFile> files;
  for (int i = 0; i < 100; ++i) {
    Result<MappedFile> file =
        MappedFile::Open(folder.Write("f" + std::to_string(i), "content " + std::to_string(i)));
    ASSERT_THAT(file, IsOk());
    files.push_back(*std::move(file));
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(TextOf(files[static_cast<std::size_t>(i)]), "content " + std::to_string(i));
  }
}

}  // namespace
}  // namespace sluice
