// Bytes that end where a page begins that must not be touched: reading past them is a crash.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

namespace sluice::testing {

class GuardedBytes {
 public:
  explicit GuardedBytes(std::string_view content) : size_(content.size()) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t room = (size_ + page - 1) / page * page;
    mapped_bytes_ = room + page;
    void* const mapped =
        ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) std::abort();
    mapped_ = static_cast<char*>(mapped);
    if (::mprotect(mapped_ + room, page, PROT_NONE) != 0) std::abort();
    begin_ = mapped_ + room - size_;
    content.copy(begin_, size_);
  }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;
  ~GuardedBytes() { ::munmap(mapped_, mapped_bytes_); }

  [[nodiscard]] std::string_view Text() const { return {begin_, size_}; }
  [[nodiscard]] std::span<const std::byte> Bytes() const {
    return std::as_bytes(std::span(Text()));
  }

 private:
  std::size_t size_;
  std::size_t mapped_bytes_ = 0;
  char* mapped_ = nullptr;
  char* begin_ = nullptr;
};

}  // namespace sluice::testing
