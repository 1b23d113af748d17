// Sinks: an output appears complete or not at all.
#include "stages/sink.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "result_matchers.h"
#include "test_files.h"
#include "tests/stages/random.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using testing::Fails;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Random;
using testing::ReadFile;
using testing::TempFolder;

constexpr std::string_view kText = "all the bytes";

std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

Status Append(Sink& sink, std::string_view text) {
  const std::span<const std::byte> bytes = AsBytes(text);
  return sink.Append(std::span(&bytes, 1));
}

std::unique_ptr<Sink> Open(const std::string& path, std::uint64_t bytes,
                           FileSinkOptions options = {}) {
  Result<std::unique_ptr<Sink>> sink = OpenFileSink(path, bytes, options);
  EXPECT_THAT(sink, IsOk());
  return sink ? *std::move(sink) : nullptr;
}

TEST(FileSink, FileAppearsOnlyWhenFinished) {
  const TempFolder folder;
  const std::string path = folder.Path("out.gguf");
  const auto sink = Open(path, kText.size());
  ASSERT_THAT(Append(*sink, kText.substr(0, 5)), IsOk());
  ASSERT_THAT(Append(*sink, kText.substr(5)), IsOk());
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(fs::exists(path + ".partial"));
  ASSERT_THAT(sink->Finish(), IsOk());
  EXPECT_EQ(ReadFile(path), kText);
  EXPECT_FALSE(fs::exists(path + ".partial"));
}

TEST(FileSink, WithoutSyncGivesTheSameFile) {
  const TempFolder folder;
  const auto sink =
      Open(folder.Path("out.gguf"), kText.size(), {.overwrite = false, .sync = false});
  ASSERT_THAT(Append(*sink, kText), IsOk());
  ASSERT_THAT(sink->Finish(), IsOk());
  EXPECT_EQ(ReadFile(folder.Path("out.gguf")), kText);
}

TEST(FileSink, PartialFileIsRemovedWhenUnfinished) {
  const TempFolder folder;
  {
    const auto sink = Open(folder.Path("out.gguf"), kText.size());
    ASSERT_THAT(Append(*sink, kText), IsOk());
  }
  EXPECT_TRUE(fs::is_empty(folder.Path()));
}

TEST(FileSink, ReservesTheTotalSizeAtOnce) {
  const TempFolder folder;
  constexpr std::uint64_t kTotal = 300'000;
  const auto sink = Open(folder.Path("out.gguf"), kTotal);
  struct stat info {};
  ASSERT_EQ(::stat(folder.Path("out.gguf.partial").c_str(), &info), 0);
  constexpr std::uint64_t kStatBlockBytes = 512;
  EXPECT_GE(static_cast<std::uint64_t>(info.st_blocks) * kStatBlockBytes, kTotal);
}

TEST(FileSink, HoldsExactlyWhatWasAppended) {
  // A total that was announced too large must not leave zeros behind the last byte.
  const TempFolder folder;
  const auto sink = Open(folder.Path("out.gguf"), 10 * kText.size());
  ASSERT_THAT(Append(*sink, kText), IsOk());
  ASSERT_THAT(sink->Finish(), IsOk());
  EXPECT_EQ(ReadFile(folder.Path("out.gguf")), kText);
}

TEST(FileSink, TakesBytesInAnyOrderAfterSeek) {
  const TempFolder folder;
  const auto sink = Open(folder.Path("out.gguf"), kText.size());
  ASSERT_THAT(sink->Seek(8), IsOk());
  ASSERT_THAT(Append(*sink, kText.substr(8)), IsOk());
  ASSERT_THAT(sink->Seek(0), IsOk());
  ASSERT_THAT(Append(*sink, kText.substr(0, 3)), IsOk());
  ASSERT_THAT(Append(*sink, kText.substr(3, 5)), IsOk());
  ASSERT_THAT(sink->Finish(), IsOk());
  EXPECT_EQ(ReadFile(folder.Path("out.gguf")), kText);
}

TEST(FileSink, FlushedFileHasAllBytesAndNotItsName) {
  const TempFolder folder;
  const auto sink = Open(folder.Path("out.gguf"), 10 * kText.size());
  ASSERT_THAT(Append(*sink, kText), IsOk());
  ASSERT_THAT(sink->Flush(), IsOk());
  EXPECT_FALSE(fs::exists(folder.Path("out.gguf")));
  EXPECT_EQ(ReadFile(folder.Path("out.gguf.partial")), kText);
  ASSERT_THAT(sink->Finish(), IsOk());
  EXPECT_EQ(ReadFile(folder.Path("out.gguf")), kText);
}

TEST(FileSink, RefusesAnExistingOutput) {
  const TempFolder folder;
  const std::string path = folder.Write("out.gguf", "precious");
  EXPECT_THAT(OpenFileSink(path, 1, {}), Fails(ErrorCode::kUsage, path + ": output exists"));
  EXPECT_THAT(OpenFileSink(path, 1, {}), Fails(ErrorCode::kUsage, "--force"));
  EXPECT_EQ(ReadFile(path), "precious");
  EXPECT_FALSE(fs::exists(path + ".partial"));
}

TEST(FileSink, TakesALinkToNothingForAnOutputThatExists) {
  const TempFolder folder;
  const std::string path = folder.Path("out.gguf");
  fs::create_symlink("nowhere", path);
  EXPECT_THAT(OpenFileSink(path, 1, {}), Fails(ErrorCode::kUsage, path + ": output exists"));
  EXPECT_TRUE(fs::is_symlink(path));
}

// Whoever can write to the folder must not choose which file is overwritten.
TEST(FileSink, DoesNotWriteThroughAPartialFileThatIsALink) {
  for (const bool symbolic : {true, false}) {
    const TempFolder folder;
    const std::string precious = folder.Write("precious", "precious");
    const std::string partial = folder.Path("out.gguf.partial");
    symbolic ? fs::create_symlink(precious, partial) : fs::create_hard_link(precious, partial);
    EXPECT_THAT(OpenFileSink(folder.Path("out.gguf"), 1, {}), Fails(ErrorCode::kIo, partial));
    EXPECT_EQ(ReadFile(precious), "precious");
    EXPECT_TRUE(fs::exists(partial)) << "not ours to remove";
  }
}

TEST(FileSink, OverwriteReplacesOnlyWhenFinished) {
  const TempFolder folder;
  const std::string path = folder.Write("out.gguf", "precious");
  {
    const auto abandoned = Open(path, kText.size(), {.overwrite = true, .sync = true});
    ASSERT_THAT(Append(*abandoned, kText), IsOk());
    EXPECT_EQ(ReadFile(path), "precious");
  }
  EXPECT_EQ(ReadFile(path), "precious");
  // A reader of the old file keeps it: the new one is another file under the same name.
  const Result<File> reader = File::OpenForReading(path);
  ASSERT_THAT(reader, IsOk());
  const auto sink = Open(path, kText.size(), {.overwrite = true, .sync = true});
  ASSERT_THAT(Append(*sink, kText), IsOk());
  ASSERT_THAT(sink->Finish(), IsOk());
  EXPECT_EQ(ReadFile(path), kText);
  std::string old(8, '\0');
  ASSERT_THAT(reader->ReadAt(0, std::as_writable_bytes(std::span(old))), IsOk());
  EXPECT_EQ(old, "precious");
}

TEST(FileSink, RefusesASecondWriter) {
  const TempFolder folder;
  const std::string path = folder.Path("out.gguf");
  const auto first = Open(path, kText.size());
  ASSERT_THAT(Append(*first, kText), IsOk());
  EXPECT_THAT(OpenFileSink(path, 5, {.overwrite = true, .sync = true}),
              Fails(ErrorCode::kIo, path + ".partial: another process is writing this file"));
  // The refused one has not disturbed the first.
  ASSERT_THAT(first->Finish(), IsOk());
  EXPECT_EQ(ReadFile(path), kText);
}

TEST(FileSink, LockEndsWithTheSink) {
  const TempFolder folder;
  { const auto first = Open(folder.Path("out.gguf"), 5); }
  const auto second = Open(folder.Path("out.gguf"), 0);
  EXPECT_THAT(second->Finish(), IsOk());
}

TEST(FileSink, TakesOverWhatAKilledRunLeft) {
  const TempFolder folder;
  folder.Write("out.gguf.partial", std::string(1000, 'x'));
  const auto sink = Open(folder.Path("out.gguf"), kText.size());
  ASSERT_THAT(Append(*sink, kText), IsOk());
  ASSERT_THAT(sink->Finish(), IsOk());
  EXPECT_EQ(ReadFile(folder.Path("out.gguf")), kText);
}

TEST(FileSink, FinishFailsWhenTheNameWasTakenByAFolder) {
  const TempFolder folder;
  const std::string path = folder.Path("out.gguf");
  {
    const auto sink = Open(path, kText.size());
    ASSERT_THAT(Append(*sink, kText), IsOk());
    fs::create_directory(path);
    EXPECT_THAT(sink->Finish(), Fails(ErrorCode::kIo, "cannot rename the finished file"));
  }
  EXPECT_FALSE(fs::exists(path + ".partial"));
}

TEST(FileSink, RejectsAMissingFolder) {
  const TempFolder folder;
  const std::string path = folder.Path("none") + "/out.gguf";
  EXPECT_THAT(OpenFileSink(path, 5, {}),
              Fails(ErrorCode::kIo, path + ".partial: cannot open: got No such file"));
}

TEST(FileSink, RejectsAFolderThatIsAFile) {
  const TempFolder folder;
  EXPECT_THAT(OpenFileSink(folder.Write("file", "") + "/out.gguf", 5, {}),
              Fails(ErrorCode::kIo, "Not a directory"));
}

TEST(FileSink, RejectsAnUnwritableFolder) {
  const TempFolder folder;
  ASSERT_EQ(::chmod(folder.Path().c_str(), 0555), 0);
  // Permissions do not bind root: be nobody meanwhile.
  constexpr uid_t kNobody = 65534;
  const bool is_root = ::geteuid() == 0;
  if (is_root) {
    ASSERT_EQ(::seteuid(kNobody), 0);
  }
  EXPECT_THAT(OpenFileSink(folder.Path("out.gguf"), 5, {}),
              Fails(ErrorCode::kIo, "Permission denied"));
  if (is_root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  ASSERT_EQ(::chmod(folder.Path().c_str(), 0755), 0);
}

TEST(FileSink, RejectsMoreThanTheDiskHolds) {
  const TempFolder folder;
  constexpr std::uint64_t kAbsurd = std::uint64_t{1} << 60;
  for (const std::uint64_t total : {kAbsurd, ~std::uint64_t{0}}) {
    EXPECT_THAT(OpenFileSink(folder.Path("out.gguf"), total, {}),
                Fails(ErrorCode::kResource, folder.Path() + ": too little space on the disk"));
  }
  EXPECT_TRUE(fs::is_empty(folder.Path()));
}

TEST(FileSink, PathWithoutFolderIsInTheCurrentOne) {
  const TempFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.Path());
  {
    const auto sink = Open("out.gguf", kText.size());
    EXPECT_THAT(Append(*sink, kText), IsOk());
    EXPECT_THAT(sink->Finish(), IsOk());
  }
  fs::current_path(before);
  EXPECT_EQ(ReadFile(folder.Path("out.gguf")), kText);
}

// Spans of random lengths, many of them empty.
struct Pieces {
  std::vector<std::vector<std::byte>> bytes;
  std::vector<std::span<const std::byte>> spans;
  std::string joined;
};
Pieces RandomPieces(Random& random, std::size_t count, std::size_t longest) {
  Pieces pieces;
  for (std::size_t i = 0; i < count; ++i) {
    pieces.bytes.push_back(random.OneIn(4) ? std::vector<std::byte>()
                                           : random.Bytes(random.Between(0, longest)));
    pieces.joined.append(reinterpret_cast<const char*>(pieces.bytes.back().data()),
                         pieces.bytes.back().size());
  }
  for (const auto& bytes : pieces.bytes) pieces.spans.emplace_back(bytes);
  return pieces;
}

TEST(FileSink, AppendsMoreSpansThanOneSystemCallTakes) {
  const TempFolder folder;
  Random random(91);
  const Pieces pieces = RandomPieces(random, 5000, 40);
  const auto sink = Open(folder.Path("out.gguf"), pieces.joined.size());
  ASSERT_THAT(sink->Append(pieces.spans), IsOk());
  ASSERT_THAT(sink->Finish(), IsOk());
  EXPECT_EQ(ReadFile(folder.Path("out.gguf")), pieces.joined);
}

TEST(FileSink, AppendsNothing) {
  const TempFolder folder;
  const auto sink = Open(folder.Path("out.gguf"), 0);
  EXPECT_THAT(sink->Append({}), IsOk());
  const std::vector<std::span<const std::byte>> empty(2000);
  EXPECT_THAT(sink->Append(empty), IsOk());
  ASSERT_THAT(sink->Finish(), IsOk());
  EXPECT_EQ(ReadFile(folder.Path("out.gguf")), "");
}

struct Pipe {
  int read = -1;
  int write = -1;
};
Pipe OpenPipe() {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  return {ends[0], ends[1]};
}

TEST(StreamSink, WritesThroughASlowPipe) {
  // Far more than a pipe holds, so that calls write a part and the rest must follow.
  Random random(92);
  const Pieces pieces = RandomPieces(random, 3000, 2000);
  const Pipe pipe = OpenPipe();
  std::string received;
  std::thread reader([&] {
    char buffer[777];
    for (ssize_t got; (got = ::read(pipe.read, buffer, sizeof buffer)) > 0;) {
      received.append(buffer, static_cast<std::size_t>(got));
    }
  });
  {
    const auto sink = OpenStreamSink(File::Borrow(pipe.write, "a pipe"));
    EXPECT_THAT(sink->Append(pieces.spans), IsOk());
    EXPECT_THAT(sink->Finish(), IsOk());
  }
  ::close(pipe.write);
  reader.join();
  ::close(pipe.read);
  EXPECT_EQ(received, pieces.joined);
}

TEST(StreamSink, ReportsAReaderThatWentAway) {
  const auto previous = std::signal(SIGPIPE, SIG_IGN);
  const Pipe pipe = OpenPipe();
  ::close(pipe.read);
  const auto sink = OpenStreamSink(File::Borrow(pipe.write, "standard output"));
  EXPECT_THAT(Append(*sink, kText),
              Fails(ErrorCode::kIo, "standard output: cannot write: got Broken pipe"));
  ::close(pipe.write);
  std::signal(SIGPIPE, previous);
}

TEST(StreamSink, ReportsAFullDevice) {
  Result<File> device = File::Open("/dev/full", O_WRONLY);
  ASSERT_THAT(device, IsOk());
  const auto sink = OpenStreamSink(*std::move(device));
  EXPECT_THAT(Append(*sink, kText), Fails(ErrorCode::kIo, "No space left on device"));
}

TEST(StreamSink, LeavesABorrowedDescriptorOpen) {
  const TempFolder folder;
  Result<File> file = File::Open(folder.Path("out"), O_WRONLY | O_CREAT);
  ASSERT_THAT(file, IsOk());
  {
    const auto sink = OpenStreamSink(File::Borrow(file->descriptor(), "out"));
    ASSERT_THAT(Append(*sink, "one "), IsOk());
    ASSERT_THAT(sink->Finish(), IsOk());
  }
  ASSERT_THAT(file->Write(AsBytes("two")), IsOk());
  EXPECT_EQ(ReadFile(folder.Path("out")), "one two");
}

}  // namespace
}  // namespace sluice
