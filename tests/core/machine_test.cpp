// What the process may use. The numbers depend on the machine, so each is compared with another
// source of the same fact.
#include "core/machine.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "core/mapped_file.h"
#include "result_matchers.h"
#include "test_files.h"

namespace sluice {
namespace {

using testing::IsOk;
using testing::TempFolder;

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

TEST(AllowedCores, IsAtLeastOneAndInsideTheAffinityMask) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  ASSERT_EQ(::sched_getaffinity(0, sizeof mask, &mask), 0);
  EXPECT_GE(AllowedCores(), 1);
  EXPECT_LE(AllowedCores(), CPU_COUNT(&mask));
}

TEST(AllowedCores, FollowsTheAffinityMask) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(AllowedCores(), 1);
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(FreeDiskBytes, AgreesWithTheStandardLibrary) {
  const TempFolder folder;
  const std::string path = folder.Write("file", "content");
  for (const std::string& place : {folder.Path(), path}) {
    const std::optional<std::uint64_t> free = FreeDiskBytes(place);
    ASSERT_TRUE(free.has_value()) << place;
    // Other programs write meanwhile, but do not halve or double what is free.
    const std::uint64_t available = std::filesystem::space(place).available;
    EXPECT_GT(*free, available / 2) << place;
    EXPECT_LT(*free / 2, available + kMib) << place;
  }
}

TEST(FreeDiskBytes, IsUnknownForAMissingPath) {
  const TempFolder folder;
  EXPECT_EQ(FreeDiskBytes(folder.Path("missing")), std::nullopt);
}

TEST(CurrentMemoryUse, CountsHeapAsAnonymous) {
  const MemoryUse before = CurrentMemoryUse();
  EXPECT_GT(before.anonymous_bytes, 0U);
  EXPECT_GE(before.peak_resident_bytes, before.anonymous_bytes);

  const std::size_t size = 64 * kMib;
  const auto block = std::make_unique<std::byte[]>(size);
  std::memset(block.get(), 1, size);  // memory counts once it is touched
  const MemoryUse with_block = CurrentMemoryUse();
  EXPECT_EQ(block[size - 1], std::byte{1});
  EXPECT_GT(with_block.anonymous_bytes, before.anonymous_bytes + size / 4 * 3);
  EXPECT_GE(with_block.peak_resident_bytes, with_block.anonymous_bytes);
}

// The promise of bounded memory is about anonymous memory: mapped shards must not count.
#ifndef __SANITIZE_THREAD__  // whose shadow of the file counts as well
TEST(CurrentMemoryUse, CountsMappedFilesOnlyAsResident) {
  const TempFolder folder;
  const std::size_t size = 64 * kMib;
  const std::string path = folder.Write("file", std::string(size, 'x'));
  const Result<MappedFile> file = MappedFile::Open(path);
  ASSERT_THAT(file, IsOk());
  const MemoryUse before = CurrentMemoryUse();
  std::size_t sum = 0;
  for (std::size_t i = 0; i < size; i += 1024) sum += static_cast<std::size_t>(file->bytes()[i]);
  EXPECT_EQ(sum, size / 1024 * 'x');
  const MemoryUse after = CurrentMemoryUse();
  EXPECT_LT(after.anonymous_bytes, before.anonymous_bytes + size / 4);
  EXPECT_GE(after.peak_resident_bytes, after.anonymous_bytes + size / 4 * 3);
}
#endif

TEST(IsNetworkFileSystem, IsFalseForTheKernelsOwnAndForAMissingPath) {
  EXPECT_FALSE(IsNetworkFileSystem("/proc"));
  EXPECT_FALSE(IsNetworkFileSystem("/nowhere/at/all"));
}

}  // namespace
}  // namespace sluice
