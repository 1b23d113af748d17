#include "runtime/model/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "stages/kernels/cast.h"

namespace sluice::runtime {

KvCache::KvCache(const Shape& shape)
    : shape_(shape), row_bytes_(*gguf::TensorBytes(shape.type, shape.width)) {}

void KvCache::Grow(Sequence& sequence, std::uint32_t count) {
  const std::uint64_t length = std::uint64_t{sequence.length_} + count;
  const std::uint64_t blocks = (length + kBlockTokens - 1) / kBlockTokens;
  while (sequence.blocks_.size() < blocks) {
    if (free_.empty()) {
      auto block = std::make_unique<Buffer>();
      block->Reserve(Offset(shape_.layers, 0));
      free_.push_back(std::move(block));
    }
    sequence.blocks_.push_back(std::move(free_.back()));
    free_.pop_back();
  }
  sequence.length_ = static_cast<std::uint32_t>(length);
}

void KvCache::Truncate(Sequence& sequence, std::uint32_t length) {
  sequence.length_ = length;
  const std::size_t blocks = (std::size_t{length} + kBlockTokens - 1) / kBlockTokens;
  while (sequence.blocks_.size() > blocks) {
    free_.push_back(std::move(sequence.blocks_.back()));
    sequence.blocks_.pop_back();
  }
}

void KvCache::Write(Sequence& sequence, std::uint32_t layer, std::uint32_t position,
                    std::span<const float> row) {
  Buffer& block = *sequence.blocks_[position / kBlockTokens];
  std::byte* const out =
      block.Reserve(Offset(shape_.layers, 0)).data() + Offset(layer, position % kBlockTokens);
  switch (shape_.type) {
    case gguf::TensorType::kF16:
      kernels::EncodeF16(row, out);
      return;
    case gguf::TensorType::kBF16:
      kernels::EncodeBf16(row, out);
      return;
    default:
      std::memcpy(out, row.data(), row.size_bytes());
  }
}

Matrix KvCache::Rows(const Sequence& sequence, std::uint32_t layer, std::uint32_t block) const {
  const std::uint32_t first = block * kBlockTokens;
  const std::uint32_t count = std::min(kBlockTokens, sequence.length_ - first);
  const auto bytes = sequence.blocks_[block]->Reserve(Offset(shape_.layers, 0));
  return {shape_.type, bytes.data() + Offset(layer, 0), count, shape_.width, row_bytes_};
}

}  // namespace sluice::runtime
