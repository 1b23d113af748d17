// The growable block of bytes.
#include "core/buffer.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <span>
#include <utility>

// The sanitizers end the program at an allocation that fails, unless told otherwise.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }
// NOLINTEND(bugprone-reserved-identifier)

namespace sluice {
namespace {

constexpr std::size_t kMaxSize = std::numeric_limits<std::size_t>::max();

// The compiler warns about allocations that it knows to be too large.
std::size_t Hidden(std::size_t size) {
  volatile std::size_t hidden = size;
  return hidden;
}

TEST(Buffer, GivesAlignedBytesOfTheAskedSize) {
  for (const std::size_t size : {1UL, 63UL, 64UL, 65UL, 4096UL, 1'000'003UL}) {
    Buffer buffer;
    const std::span<std::byte> bytes = buffer.Reserve(size);
    ASSERT_EQ(bytes.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % 64, 0U) << size;
    std::memset(bytes.data(), 0xA5, bytes.size());  // a short block is seen by the sanitizer
    EXPECT_EQ(bytes.back(), std::byte{0xA5});
  }
}

TEST(Buffer, KeepsTheMemoryWhenItIsLargeEnough) {
  Buffer buffer;
  std::byte* const first = buffer.Reserve(1000).data();
  first[0] = std::byte{7};
  EXPECT_EQ(buffer.Reserve(10).data(), first);
  EXPECT_EQ(buffer.Reserve(10).size(), 10U);
  EXPECT_EQ(buffer.Reserve(1000).data(), first);
  EXPECT_EQ(first[0], std::byte{7});
}

TEST(Buffer, GrowsAndMayBeMoved) {
  Buffer buffer;
  buffer.Reserve(10);
  const std::span<std::byte> grown = buffer.Reserve(100'000);
  ASSERT_EQ(grown.size(), 100'000U);
  std::memset(grown.data(), 1, grown.size());
  Buffer moved = std::move(buffer);
  EXPECT_EQ(moved.Reserve(100'000).data(), grown.data());
}

TEST(Buffer, NothingIsAnEmptySpan) {
  Buffer buffer;
  EXPECT_TRUE(buffer.Reserve(0).empty());
}

TEST(Buffer, TooLargeASizeThrows) {
  // The largest sizes also pass 2^64 when they are rounded up to the alignment.
  for (const std::size_t size : {kMaxSize / 2, kMaxSize - 100, kMaxSize - 62, kMaxSize}) {
    Buffer buffer;
    buffer.Reserve(8);
    EXPECT_THROW(buffer.Reserve(Hidden(size)), std::bad_alloc) << size;
  }
}

TEST(Buffer, IsUsableAfterAnAllocationThatFailed) {
  Buffer buffer;
  buffer.Reserve(8);
  EXPECT_THROW(buffer.Reserve(Hidden(kMaxSize / 2)), std::bad_alloc);
  const std::span<std::byte> bytes = buffer.Reserve(8);
  ASSERT_NE(bytes.data(), nullptr);
  std::memset(bytes.data(), 1, bytes.size());
  EXPECT_EQ(bytes[7], std::byte{1});
}

}  // namespace
}  // namespace sluice
