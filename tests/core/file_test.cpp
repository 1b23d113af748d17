// Files as RAII objects whose errors say what and where.
#include "core/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "result_matchers.h"
#include "test_files.h"

namespace sluice {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::ReadFile;
using testing::TempFolder;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string ReadText(const File& file, std::uint64_t offset, std::size_t size) {
  std::string text(size, '?');
  EXPECT_THAT(file.ReadAt(offset, std::as_writable_bytes(std::span(text))), IsOk());
  return text;
}

TEST(File, ReadsAtAnyOffset) {
  const TempFolder folder;
  const Result<File> file = File::OpenForReading(folder.Write("f", "0123456789"));
  ASSERT_THAT(file, IsOk());
  const Result<std::uint64_t> size = file->Size();
  ASSERT_THAT(size, IsOk());
  EXPECT_EQ(*size, 10U);
  EXPECT_EQ(file->path(), folder.Path("f"));
  EXPECT_EQ(ReadText(*file, 0, 10), "0123456789");
  EXPECT_EQ(ReadText(*file, 7, 3), "789");
  EXPECT_EQ(ReadText(*file, 10, 0), "");
}

TEST(File, RejectsReadsPastTheEnd) {
  const TempFolder folder;
  const std::string path = folder.Write("f", "0123456789");
  const Result<File> file = File::OpenForReading(path);
  ASSERT_THAT(file, IsOk());
  std::array<std::byte, 8> out{};
  EXPECT_THAT(file->ReadAt(6, out),
              Fails(ErrorCode::kCorrupt,
                    path + ": at byte 6: file ends too early: expected 8 bytes, got 4 bytes\n"
                           "  the file is truncated: download or copy it again"));
  EXPECT_THAT(
      file->ReadAt(10, out),
      Fails(ErrorCode::kCorrupt, "at byte 10: file ends too early: expected 8 bytes, got 0"));
  EXPECT_THAT(file->ReadAt(std::uint64_t{1} << 40, out),
              Fails(ErrorCode::kCorrupt, "expected 8 bytes, got 0 bytes"));
}

TEST(File, RejectsOffsetsThatTheSystemCannotExpress) {
  const TempFolder folder;
  const Result<File> file = File::OpenForReading(folder.Write("f", "0123456789"));
  ASSERT_THAT(file, IsOk());
  std::array<std::byte, 1> out{};
  EXPECT_THAT(file->ReadAt(std::uint64_t{1} << 63, out),
              Fails(ErrorCode::kIo, "at byte 9223372036854775808: cannot read"));
}

TEST(File, OpenReportsAMissingFile) {
  const TempFolder folder;
  const std::string path = folder.Path("missing");
  EXPECT_THAT(File::OpenForReading(path),
              Fails(ErrorCode::kMissing, path + ": cannot open: got No such file or directory"));
}

TEST(File, OpenForReadingRefusesAFolder) {
  const TempFolder folder;
  EXPECT_THAT(File::OpenForReading(folder.Path()),
              Fails(ErrorCode::kMismatch, folder.Path() + ": not a regular file: got a folder"));
}

// Without a writer, a plain open() of a named pipe would wait for ever.
TEST(File, OpenForReadingRefusesANamedPipeAtOnce) {
  const TempFolder folder;
  const std::string path = folder.Path("pipe");
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const std::string message = path + ": not a regular file: got a pipe";
  EXPECT_THAT(File::OpenForReading(path), Fails(ErrorCode::kMismatch, message));
  EXPECT_THAT(ReadWholeFile(path, 100), Fails(ErrorCode::kMismatch, message));
}

TEST(File, OpenForReadingRefusesADevice) {
  EXPECT_THAT(File::OpenForReading("/dev/null"),
              Fails(ErrorCode::kMismatch, "/dev/null: not a regular file: got a device"));
}

TEST(File, WritesInOrderAndAtOffsets) {
  const TempFolder folder;
  const std::string path = folder.Path("out");
  Result<File> file = File::Open(path, O_RDWR | O_CREAT | O_TRUNC);
  ASSERT_THAT(file, IsOk());
  ASSERT_THAT(file->Write(Bytes("head")), IsOk());
  ASSERT_THAT(file->WriteAt(8, Bytes("tail")), IsOk());
  ASSERT_THAT(file->WriteAt(4, Bytes("----")), IsOk());
  ASSERT_THAT(file->Write(Bytes("next")), IsOk());  // WriteAt leaves the position alone
  ASSERT_THAT(file->WriteAt(2, {}), IsOk());
  ASSERT_THAT(file->Sync(), IsOk());
  ASSERT_THAT(file->Close(), IsOk());
  EXPECT_EQ(ReadFile(path), "headnexttail");
}

TEST(File, WriteReportsARefusalOfTheSystem) {
  const TempFolder folder;
  const std::string path = folder.Write("f", "content");
  Result<File> file = File::OpenForReading(path);
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT(file->Write(Bytes("x")),
              Fails(ErrorCode::kIo, path + ": cannot write: got Bad file descriptor"));
  EXPECT_THAT(file->WriteAt(5, Bytes("x")),
              Fails(ErrorCode::kIo, path + ": at byte 5: cannot write: got Bad file descriptor"));
}

TEST(File, WriteTellsAFullDevice) {
  Result<File> file = File::Open("/dev/full", O_WRONLY);
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT(file->Write(Bytes("x")),
              Fails(ErrorCode::kIo, "/dev/full: cannot write: got No space left on device"));
}

TEST(File, WriteTellsAClosedPipe) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ::close(ends[0]);
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  File file = File::Borrow(ends[1], "<output>");
  EXPECT_THAT(file.Write(Bytes("x")),
              Fails(ErrorCode::kIo, "<output>: cannot write: got Broken pipe"));
  ::signal(SIGPIPE, before);
  ::close(ends[1]);
}

TEST(File, SyncReportsWhatCannotBeSynced) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  File file = File::Borrow(ends[1], "<pipe>");
  EXPECT_THAT(file.Sync(), Fails(ErrorCode::kIo, "<pipe>: cannot flush to disk"));
  ::close(ends[0]);
  ::close(ends[1]);
}

bool IsOpen(int descriptor) { return ::fcntl(descriptor, F_GETFD) != -1; }

TEST(File, ClosesWhatItOpened) {
  const TempFolder folder;
  const std::string path = folder.Write("f", "x");
  int descriptor = -1;
  {
    const Result<File> file = File::OpenForReading(path);
    ASSERT_THAT(file, IsOk());
    descriptor = file->descriptor();
    EXPECT_TRUE(IsOpen(descriptor));
    EXPECT_NE(::fcntl(descriptor, F_GETFD) & FD_CLOEXEC, 0);
  }
  EXPECT_FALSE(IsOpen(descriptor));
}

TEST(File, CloseIsDoneOnce) {
  const TempFolder folder;
  Result<File> file = File::OpenForReading(folder.Write("f", "x"));
  ASSERT_THAT(file, IsOk());
  const int descriptor = file->descriptor();
  EXPECT_THAT(file->Close(), IsOk());
  EXPECT_FALSE(IsOpen(descriptor));
  EXPECT_THAT(file->Close(), IsOk());
}

TEST(File, LeavesABorrowedDescriptorOpen) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  {
    File file = File::Borrow(ends[1], "<pipe>");
    EXPECT_THAT(file.Close(), IsOk());
  }
  EXPECT_TRUE(IsOpen(ends[1]));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(File, MovingHandsTheDescriptorOn) {
  const TempFolder folder;
  Result<File> first = File::OpenForReading(folder.Write("a", "first"));
  Result<File> second = File::OpenForReading(folder.Write("b", "second"));
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  const int replaced = second->descriptor();
  *second = *std::move(first);
  EXPECT_FALSE(IsOpen(replaced));
  EXPECT_EQ(ReadText(*second, 0, 5), "first");
  EXPECT_EQ(second->path(), folder.Path("a"));
  const File third = *std::move(second);
  EXPECT_EQ(ReadText(third, 0, 5), "first");
}

TEST(ReadWholeFile, GivesAllBytesUpToTheLimit) {
  const TempFolder folder;
  const std::string content("\0a\r\n\xFF", 5);
  const std::string path = folder.Write("f", content);
  const Result<std::string> text = ReadWholeFile(path, 5);
  ASSERT_THAT(text, IsOk());
  EXPECT_EQ(*text, content);
  const Result<std::string> nothing = ReadWholeFile(folder.Write("empty", ""), 0);
  ASSERT_THAT(nothing, IsOk());
  EXPECT_EQ(*nothing, "");
}

TEST(ReadWholeFile, RejectsALargerFile) {
  const TempFolder folder;
  const std::string path = folder.Write("f", "12345");
  EXPECT_THAT(ReadWholeFile(path, 4),
              Fails(ErrorCode::kCorrupt, path + ": file is too large for its purpose: expected "
                                                "at most 4 bytes, got 5 bytes"));
}

// The limit must come before the allocation: this file claims 2^42 bytes and holds none.
TEST(ReadWholeFile, DoesNotAllocateForAHugeSparseFile) {
  const TempFolder folder;
  const std::string path = folder.Write("sparse", "");
  constexpr off_t kHuge = off_t{1} << 42;
  ASSERT_EQ(::truncate(path.c_str(), kHuge), 0);
  const Result<std::string> text = ReadWholeFile(path, 1000);
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().actual, "4398046511104 bytes");
}

TEST(ReadWholeFile, ReportsAMissingFileAndAFolder) {
  const TempFolder folder;
  EXPECT_THAT(ReadWholeFile(folder.Path("missing"), 10), Fails(ErrorCode::kMissing, "cannot open"));
  EXPECT_THAT(ReadWholeFile(folder.Path(), 10), Fails(ErrorCode::kMismatch, "got a folder"));
}

TEST(SyncFolderOf, FindsTheFolder) {
  const TempFolder folder;
  EXPECT_THAT(SyncFolderOf(folder.Path("any name")), IsOk());
  EXPECT_THAT(SyncFolderOf("a name in the working folder"), IsOk());
  EXPECT_THAT(SyncFolderOf(folder.Path("missing/name")),
              Fails(ErrorCode::kMissing, folder.Path("missing") + ": cannot open"));
}

}  // namespace
}  // namespace sluice
