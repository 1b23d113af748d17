// Files that claim far more than they hold. Every allocation goes through a counting operator new,
// so the tests see how much the reader asks for.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "error_line.h"
#include "formats/gguf/reader.h"
#include "gguf/gguf_bytes.h"
#include "largest_allocation.h"
#include "result_matchers.h"

namespace sluice::gguf {
namespace {

using testing::FailsWith;
using testing::GgufBytes;

constexpr std::size_t kFileBytes = std::size_t{64} << 30;
constexpr std::size_t kReadableBytes = 64 << 10;
constexpr std::size_t kMuchBytes = 16 << 20;

// A file of 64 GiB of which only the head exists: behind it a touch is a crash.
class HugeFile {
 public:
  explicit HugeFile(const GgufBytes& head) {
    void* const mapped =
        ::mmap(nullptr, kFileBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) std::abort();
    begin_ = static_cast<std::byte*>(mapped);
    if (::mprotect(begin_, kReadableBytes, PROT_READ | PROT_WRITE) != 0) std::abort();
    std::memcpy(begin_, head.text().data(), head.size());
  }
  HugeFile(const HugeFile&) = delete;
  HugeFile& operator=(const HugeFile&) = delete;
  ~HugeFile() { ::munmap(begin_, kFileBytes); }

  [[nodiscard]] std::span<const std::byte> bytes() const { return {begin_, kFileBytes}; }

 private:
  std::byte* begin_ = nullptr;
};

void ExpectRejectedCheaply(const GgufBytes& head, const std::string& line) {
  const HugeFile file(head);
  testing::ForgetLargestAllocation();
  EXPECT_THAT(ReadHead(file.bytes(), "dir/f"), FailsWith(ErrorCode::kCorrupt, "dir/f: " + line));
  EXPECT_LT(testing::LargestAllocation(), kMuchBytes);
}

TEST(GgufClaims, AllocationsAreSeen) {
  testing::ForgetLargestAllocation();
  const std::string text(kMuchBytes, 'x');
  EXPECT_GE(testing::LargestAllocation(), text.size());
}

// The counts fit the size of the file, so only what follows can show that they are wrong.
TEST(GgufClaims, BillionsOfTensors) {
  GgufBytes head;
  head.Start(2'000'000'000, 0).Tensor("t", {1}, 0, 0);
  const std::uint64_t second = head.size();
  ExpectRejectedCheaply(head, "at byte " + std::to_string(second) +
                                  ": impossible length of a tensor name: expected 1 to 63 bytes, "
                                  "got 0");
}

TEST(GgufClaims, BillionsOfKeyValues) {
  GgufBytes head;
  head.Start(0, 8'000'000'000).Key("k", 4).U32(1);
  ExpectRejectedCheaply(head, "at byte " + std::to_string(head.size()) + ": empty key");
}

TEST(GgufClaims, BillionsOfStrings) {
  GgufBytes head;
  head.Start(0, 1).Key("k", 9).U32(8).U64(8'000'000'000).String("a").U64(~std::uint64_t{0});
  ExpectRejectedCheaply(head, "at byte " + std::to_string(head.size()) +
                                  ": file ends inside its metadata: expected "
                                  "18446744073709551615 more bytes, got " +
                                  std::to_string(kFileBytes - head.size()));
}

TEST(GgufClaims, ATensorLargerThanTheFile) {
  GgufBytes head;
  constexpr std::uint64_t kElements = std::uint64_t{1} << 40;
  head.Start(1, 0).Tensor("t", {kElements}, 0, 0).PadTo(32);
  ExpectRejectedCheaply(head, "tensor 't' at byte " + std::to_string(head.size()) +
                                  ": data passes the end of the file: expected 4398046511104 "
                                  "bytes, got a file of 68719476736 bytes");
}

}  // namespace
}  // namespace sluice::gguf
