// A job cut into batches of blocks or into super blocks.
#if defined(SLUICE_STAGES_KERNELS_QUANT_BATCHES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_BATCHES_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_BATCHES_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_BATCHES_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "formats/quant/codec.h"
#include "formats/quant/packing.h"
#include "stages/kernels/quant/encoders.h"
#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// As many blocks as there are lanes in kWide vectors. Lanes that are left over repeat the first
// block.
template <std::size_t kWide = 1>
struct Batch {
  static constexpr std::size_t kBlocks = kWide * kLanes;
  std::array<const float*, kBlocks> x;
  std::array<const float*, kBlocks> importance;  // nullptr without
  std::array<std::size_t, kBlocks> row;
  std::size_t count;
  std::byte* out;  // of the first block; the others follow
};

// Which blocks of a batch must be encoded by the scalar encoder instead.
template <std::size_t kWide = 1>
using BadBlocks = std::array<bool, kWide * kLanes>;

// Sets those of the lanes of vector k.
template <std::size_t kBlocks>
HWY_INLINE void SetBad(Mask bad, std::size_t k, std::array<bool, kBlocks>& blocks) {
  if (HWY_LIKELY(hn::AllFalse(F32(), bad))) return;
  Lanes<1> lanes;
  lanes.Set(0, hn::IfThenElseZero(bad, SetAll(1)));
  for (std::size_t j = 0; j < kLanes; ++j) blocks[k * kLanes + j] = lanes.at[j] != 0;
}
HWY_INLINE BadBlocks<> ToBadBlocks(Mask bad) {
  BadBlocks<> blocks{};
  SetBad(bad, 0, blocks);
  return blocks;
}

// Calls `encode(batch)` for all blocks of `kElements` in `kBytes`. It returns the blocks that it
// cannot encode exactly. The codec encodes them, with the others of their `unit` of blocks: 1 or a
// whole row. Returns what the codec counted.
template <std::size_t kElements, std::size_t kBytes, std::size_t kWide, class Encode>
std::uint64_t EncodeBatches(const EncodeJob& job, const quant::Codec& codec, std::size_t unit,
                            const Encode& encode) {
  const std::size_t row_blocks = job.row_length / kElements;
  const std::size_t num_blocks = job.num_rows * row_blocks;
  const auto importance_of = [&](std::size_t block) {
    return job.importance ? job.importance + block % row_blocks * kElements : nullptr;
  };
  std::vector<std::size_t> bad_units;
  for (std::size_t first = 0; first < num_blocks; first += kWide * kLanes) {
    Batch<kWide> batch;
    batch.count = std::min(kWide * kLanes, num_blocks - first);
    batch.out = job.out + first * kBytes;
    for (std::size_t j = 0; j < batch.x.size(); ++j) {
      const std::size_t block = first + (j < batch.count ? j : 0);
      batch.x[j] = job.rows + block * kElements;
      batch.importance[j] = importance_of(block);
      batch.row[j] = block / row_blocks;
    }
    const BadBlocks<kWide> bad = encode(batch);
    for (std::size_t j = 0; j < batch.count; ++j) {
      const std::size_t at = (first + j) / unit;
      if (bad[j] && (bad_units.empty() || bad_units.back() != at)) bad_units.push_back(at);
    }
  }
  std::uint64_t differing = 0;
  for (const std::size_t at : bad_units) {
    const std::size_t block = at * unit;
    std::span<const float> importance;
    if (job.importance) importance = {importance_of(block), unit * kElements};
    differing += codec.encode({job.rows + block * kElements, unit * kElements}, importance,
                              job.exact, job.out + block * kBytes);
  }
  return differing;
}

// The same with blocks that do not depend on each other.
template <std::size_t kElements, std::size_t kBytes, class Encode>
std::uint64_t EncodeBatches(const EncodeJob& job, const quant::Codec& codec, const Encode& encode) {
  return EncodeBatches<kElements, kBytes, 1>(job, codec, 1, encode);
}

// The importance of the elements of a super block; empty without.
HWY_INLINE std::span<const float> ImportanceOf(const EncodeJob& job, std::size_t super_block) {
  if (!job.importance) return {};
  const std::size_t at = super_block * quant::kSuperBlock % job.row_length;
  return {job.importance + at, quant::kSuperBlock};
}

// Calls `encode(x, importance, out)` for each super block of 256 elements; it returns whether the
// block is to be counted. Returns the count.
template <std::size_t kBytes, class Encode>
std::uint64_t EncodeSuperBlocks(const EncodeJob& job, const Encode& encode) {
  constexpr std::size_t kElements = quant::kSuperBlock;
  const std::size_t num_blocks = job.num_rows * job.row_length / kElements;
  std::uint64_t count = 0;
  for (std::size_t block = 0; block < num_blocks; ++block) {
    const std::span<const float> x(job.rows + block * kElements, kElements);
    if (encode(x, ImportanceOf(job, block), job.out + block * kBytes)) ++count;
  }
  return count;
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
