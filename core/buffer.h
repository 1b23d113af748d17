// A growable block of bytes whose content is not kept when it grows.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <span>

#include "core/checked.h"

namespace sluice {

// Aligned to 64 bytes, a cache line and the widest vector.
class Buffer {
 public:
  // At least `size` bytes; earlier spans become invalid when it had fewer. Throws std::bad_alloc,
  // which the graph's edge turns into an Error.
  std::span<std::byte> Reserve(std::size_t size) {
    if (size > capacity_) {
      constexpr std::size_t kAlignment = 64;
      if (size > std::numeric_limits<std::size_t>::max() - kAlignment) throw std::bad_alloc();
      memory_.reset();
      capacity_ = 0;
      memory_.reset(
          static_cast<std::byte*>(std::aligned_alloc(kAlignment, RoundUp(size, kAlignment))));
      if (!memory_) throw std::bad_alloc();
      capacity_ = size;
    }
    return {memory_.get(), size};
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t capacity_ = 0;
};

}  // namespace sluice
