#include "largest_allocation.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> largest{0};

// The address sanitizer would end the program where malloc() gives up.
constexpr std::size_t kMaxAllocationBytes = std::size_t{1} << 30;

// nullptr where there is no memory.
void* Allocate(std::size_t size) {
  std::size_t known = largest.load();
  while (size > known && !largest.compare_exchange_weak(known, size)) {
  }
  return size > kMaxAllocationBytes ? nullptr : std::malloc(std::max<std::size_t>(size, 1));
}

void* AllocateOrThrow(std::size_t size) {
  void* const memory = Allocate(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return AllocateOrThrow(size); }
void* operator new[](std::size_t size) { return AllocateOrThrow(size); }
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  return Allocate(size);
}
void* operator new[](std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  return Allocate(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t /*size*/) noexcept { std::free(memory); }

namespace sluice::testing {

std::size_t LargestAllocation() { return largest.load(); }
void ForgetLargestAllocation() { largest = 0; }

}  // namespace sluice::testing
