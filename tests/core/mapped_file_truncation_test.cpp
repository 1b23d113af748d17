// Mapped files that shrink while they are read: an error, never a crash, and never for others.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "core/mapped_file.h"
#include "result_matchers.h"
#include "test_files.h"

namespace sluice {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::PageBytes;
using testing::TempFolder;

void Truncate(const std::string& path, std::uint64_t size) {
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(size)), 0);
}

// A real read: the compiler must not see through it.
int ByteAt(const volatile std::byte* address) { return std::to_integer<int>(*address); }

// A file of `num_pages` pages of '7', mapped.
class TruncationTest : public ::testing::Test {
 protected:
  MappedFile Map(const std::string& name, std::uint64_t num_pages) {
    Result<MappedFile> file =
        MappedFile::Open(folder_.Write(name, std::string(num_pages * PageBytes(), '7')));
    if (!file) std::abort();
    return *std::move(file);
  }
  static int ReadByte(const MappedFile& file, std::uint64_t offset) {
    return ByteAt(file.bytes().data() + offset);
  }
  static std::string Message(const MappedFile& file, std::uint64_t now_bytes) {
    return file.path() + ": file changed while it was read: expected " +
           std::to_string(file.bytes().size()) + " bytes, got " + std::to_string(now_bytes) +
           " bytes\n  let the download or copy of the checkpoint finish, then convert again";
  }

  TempFolder folder_;
};

using MappedFileTruncation = TruncationTest;

TEST_F(MappedFileTruncation, AnAccessToALostPageIsReported) {
  const MappedFile file = Map("f", 4);
  Truncate(file.path(), PageBytes());
  EXPECT_EQ(ReadByte(file, 2 * PageBytes() + 5), 0);
  EXPECT_THAT(file.CheckIntact(), Fails(ErrorCode::kCorrupt, Message(file, PageBytes())));
  EXPECT_EQ(ReadByte(file, 0), '7');  // what is left can still be read
  EXPECT_EQ(ReadByte(file, 4 * PageBytes() - 1), 0);
  EXPECT_THAT(file.CheckIntact(), Fails(ErrorCode::kCorrupt, Message(file, PageBytes())));
}

TEST_F(MappedFileTruncation, PopulateReportsALostPage) {
  const MappedFile file = Map("f", 4);
  Truncate(file.path(), PageBytes());
  EXPECT_THAT(file.Populate(PageBytes(), PageBytes()),
              Fails(ErrorCode::kCorrupt, Message(file, PageBytes())));
  EXPECT_THAT(file.CheckIntact(), Fails(ErrorCode::kCorrupt, Message(file, PageBytes())));
}

// The access has put a page of zeros there, which the kernel can make resident without complaint.
TEST_F(MappedFileTruncation, PopulateReportsALostPageThatWasReadBefore) {
  const MappedFile file = Map("f", 4);
  Truncate(file.path(), PageBytes());
  EXPECT_EQ(ReadByte(file, 2 * PageBytes()), 0);
  EXPECT_THAT(file.Populate(2 * PageBytes(), PageBytes()),
              Fails(ErrorCode::kCorrupt, Message(file, PageBytes())));
}

// The kernel fills the rest of the last page with zeros and sends no signal: half a page of a
// tensor would silently become zero.
TEST_F(MappedFileTruncation, LossInsideTheLastPageIsReported) {
  const MappedFile file = Map("f", 2);
  const std::uint64_t left = 2 * PageBytes() - 100;
  Truncate(file.path(), left);
  EXPECT_THAT(file.Populate(PageBytes(), PageBytes()),
              Fails(ErrorCode::kCorrupt, Message(file, left)));
  EXPECT_EQ(ReadByte(file, 2 * PageBytes() - 1), 0);
  EXPECT_THAT(file.CheckIntact(), Fails(ErrorCode::kCorrupt, Message(file, left)));
}

TEST_F(MappedFileTruncation, ReleaseOfALostPageDoesNoHarm) {
  const MappedFile file = Map("f", 4);
  Truncate(file.path(), 0);
  file.Release(0, 4 * PageBytes());
  EXPECT_EQ(ReadByte(file, 0), 0);
  EXPECT_THAT(file.CheckIntact(), Fails(ErrorCode::kCorrupt, Message(file, 0)));
}

TEST_F(MappedFileTruncation, OtherMappingsStayIntact) {
  const MappedFile before = Map("before", 2);
  const MappedFile file = Map("f", 2);
  const MappedFile after = Map("after", 2);
  Truncate(file.path(), 0);
  EXPECT_EQ(ReadByte(file, 0), 0);
  EXPECT_THAT(file.CheckIntact(), Fails(ErrorCode::kCorrupt, Message(file, 0)));
  EXPECT_THAT(before.CheckIntact(), IsOk());
  EXPECT_THAT(after.CheckIntact(), IsOk());
  EXPECT_EQ(ReadByte(before, PageBytes()), '7');
  EXPECT_EQ(ReadByte(after, PageBytes()), '7');
}

// Mappings share a table; a damaged file's entry must not pass its mark on.
TEST_F(MappedFileTruncation, ALaterMappingStartsIntact) {
  for (int i = 0; i < 3; ++i) {
    const MappedFile file = Map("f", 2);
    EXPECT_THAT(file.CheckIntact(), IsOk());
    EXPECT_THAT(file.Populate(0, 2 * PageBytes()), IsOk());
    EXPECT_EQ(ReadByte(file, 0), '7');
    Truncate(file.path(), 0);
    file.Release(0, 2 * PageBytes());
    EXPECT_EQ(ReadByte(file, PageBytes()), 0);
    EXPECT_THAT(file.CheckIntact(), Fails(ErrorCode::kCorrupt, Message(file, 0)));
  }
}

TEST_F(MappedFileTruncation, SeveralThreadsMayHitLostPages) {
  constexpr std::uint64_t kPagesEach = 64;
  constexpr std::uint64_t kThreads = 4;
  const MappedFile file = Map("f", kPagesEach * kThreads);
  Truncate(file.path(), 0);
  std::vector<std::thread> threads;
  std::vector<int> sums(kThreads, -1);
  for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      int sum = 0;
      // Interleaved, and each page also by the neighbour: two threads may fault on one page.
      for (std::uint64_t page = 0; page < kPagesEach * kThreads; ++page) {
        if (page % kThreads == thread || page % kThreads == (thread + 1) % kThreads) {
          sum += ReadByte(file, page * PageBytes());
        }
      }
      sums[thread] = sum;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sums, std::vector<int>(kThreads, 0));
  EXPECT_THAT(file.CheckIntact(), Fails(ErrorCode::kCorrupt, Message(file, 0)));
}

// Each death test runs in a fresh process, so the first MappedFile there meets the handler that
// the test has set.
class MappedFileDeathTest : public TruncationTest {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  // Reads a lost page of a mapping that no MappedFile owns, after one that a MappedFile owns.
  void ReadLostPages() {
    const MappedFile file = Map("mapped", 2);
    Truncate(file.path(), 0);
    if (ReadByte(file, 0) != 0 || file.CheckIntact()) ::_exit(1);
    ReadLostPageAt(nullptr);
  }

  // Maps a file, at `address` if that is given, takes its content away and reads.
  void ReadLostPageAt(void* address) {
    const std::string path = folder_.Write("foreign", std::string(2 * PageBytes(), '7'));
    const int descriptor = ::open(path.c_str(), O_RDONLY);
    void* const foreign = ::mmap(address, 2 * PageBytes(), PROT_READ,
                                 MAP_SHARED | (address == nullptr ? 0 : MAP_FIXED), descriptor, 0);
    if (foreign == MAP_FAILED) ::_exit(2);
    Truncate(path, 0);
    // The process is about to end without destructors.
    const rlimit no_core_file{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core_file);
    std::filesystem::remove_all(folder_.Path());
    ByteAt(static_cast<std::byte*>(foreign) + PageBytes());
  }
};

TEST_F(MappedFileDeathTest, ASigbusElsewhereKillsTheProcess) {
  EXPECT_EXIT(
      {
        ::signal(SIGBUS, SIG_DFL);
        ReadLostPages();
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

TEST_F(MappedFileDeathTest, ASigbusElsewhereReachesTheEarlierHandler) {
  EXPECT_EXIT(
      {
        ::signal(SIGBUS, [](int) { ::_exit(42); });
        ReadLostPages();
      },
      ::testing::ExitedWithCode(42), "");
}

TEST_F(MappedFileDeathTest, ASigbusElsewhereReachesTheEarlierHandlerWithItsAddress) {
  EXPECT_EXIT(
      {
        struct sigaction action {};
        action.sa_flags = SA_SIGINFO;
        action.sa_sigaction = [](int signal, siginfo_t* info, void*) {
          ::_exit(signal == SIGBUS && info->si_addr != nullptr ? 43 : 1);
        };
        ::sigaction(SIGBUS, &action, nullptr);
        ReadLostPages();
      },
      ::testing::ExitedWithCode(43), "");
}

// The addresses of a MappedFile that is gone belong to others again.
TEST_F(MappedFileDeathTest, ASigbusWhereAMappingWasKillsTheProcess) {
  EXPECT_EXIT(
      {
        ::signal(SIGBUS, SIG_DFL);
        void* address = nullptr;
        {
          const MappedFile file = Map("f", 2);
          address = const_cast<std::byte*>(file.bytes().data());
        }
        ReadLostPageAt(address);
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace sluice
