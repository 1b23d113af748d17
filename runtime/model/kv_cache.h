// The cache of latent attention: for each token and layer one row, the normed latent followed by
// the rotated key that all heads share. Nothing else is kept of a token.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/buffer.h"
#include "formats/gguf/types.h"
#include "runtime/kernels/matrix.h"

namespace sluice::runtime {

// Rows come in blocks that hold the rows of some neighbouring tokens in all layers, so that growing
// copies nothing; blocks that are given back are used again. Used by one thread at a time, but for
// Write and Rows, which threads may call for different tokens and layers.
class KvCache {
 public:
  static constexpr std::uint32_t kBlockTokens = 128;

  struct Shape {
    std::uint32_t layers = 0;
    std::uint32_t width = 0;  // elements of a row
    gguf::TensorType type = gguf::TensorType::kF32;
  };

  // One sequence's rows.
  class Sequence {
   public:
    [[nodiscard]] std::uint32_t length() const { return length_; }

   private:
    friend class KvCache;
    std::vector<std::unique_ptr<Buffer>> blocks_;
    std::uint32_t length_ = 0;
  };

  // REQUIRES: type is F32, F16 or BF16.
  explicit KvCache(const Shape& shape);

  [[nodiscard]] std::uint64_t bytes_per_token() const { return shape_.layers * row_bytes_; }

  // Makes the sequence `count` tokens longer; their rows are undefined until they are written.
  // Throws std::bad_alloc, and leaves the sequence as it was then.
  void Grow(Sequence& sequence, std::uint32_t count);
  // Keeps the first `length` tokens. REQUIRES: length <= sequence.length().
  void Truncate(Sequence& sequence, std::uint32_t length);

  // Stores a token's row of a layer, rounded to the cache's type.
  // REQUIRES: position < sequence.length(), row.size() is the width.
  void Write(Sequence& sequence, std::uint32_t layer, std::uint32_t position,
             std::span<const float> row);
  // The rows of a layer for the tokens [block * kBlockTokens, ...) up to the end of the block or
  // the sequence. REQUIRES: block * kBlockTokens < sequence.length().
  [[nodiscard]] Matrix Rows(const Sequence& sequence, std::uint32_t layer,
                            std::uint32_t block) const;

 private:
  [[nodiscard]] std::uint64_t Offset(std::uint32_t layer, std::uint32_t row) const {
    return (std::uint64_t{layer} * kBlockTokens + row) * row_bytes_;
  }

  Shape shape_;
  std::uint64_t row_bytes_;
  std::vector<std::unique_ptr<Buffer>> free_;
};

}  // namespace sluice::runtime
