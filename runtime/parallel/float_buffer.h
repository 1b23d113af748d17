// A growable row of floats whose content is not kept when it grows.
#pragma once

#include <cstddef>

#include "core/buffer.h"

namespace sluice::runtime {

// Aligned as Buffer is.
class FloatBuffer {
 public:
  // Room for `count` floats. Throws std::bad_alloc.
  float* Reserve(std::size_t count) {
    data_ = reinterpret_cast<float*>(buffer_.Reserve(count * sizeof(float)).data());
    return data_;
  }
  // What Reserve gave last.
  [[nodiscard]] float* data() const { return data_; }

 private:
  Buffer buffer_;
  float* data_ = nullptr;
};

}  // namespace sluice::runtime
