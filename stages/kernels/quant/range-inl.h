// The range of the values of one block, in natural order.
#if defined(SLUICE_STAGES_KERNELS_QUANT_RANGE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_RANGE_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_RANGE_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_RANGE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <limits>

#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

class BlockRange {
 public:
  // REQUIRES: `count` is a multiple of kLanes.
  HWY_INLINE BlockRange(const float* x, std::size_t count) : count_(count) {
    Vec low = SetAll(std::numeric_limits<float>::max());
    Vec high = hn::Neg(low);
    Mask finite = hn::Not(NoLanes());
    for (std::size_t i = 0; i < count; i += kLanes) {
      const Vec v = hn::LoadU(F32(), x + i);
      low = hn::Min(v, low);
      high = hn::Max(v, high);
      finite = hn::And(finite, hn::Lt(hn::Abs(v), SetAll(std::numeric_limits<float>::infinity())));
    }
    low_ = hn::GetLane(hn::MinOfLanes(F32(), low));
    high_ = hn::GetLane(hn::MaxOfLanes(F32(), high));
    is_finite_ = hn::AllTrue(F32(), finite);
  }

  // All values are; the rest is only defined if they are.
  [[nodiscard]] HWY_INLINE bool is_finite() const { return is_finite_; }

  // The smallest value, of zeros the first.
  [[nodiscard]] HWY_INLINE float Low(const float* x) const {
    return low_ == 0 ? *std::find(x, x + count_, 0.0F) : low_;
  }
  [[nodiscard]] HWY_INLINE float High(const float* x) const {
    return high_ == 0 ? *std::find(x, x + count_, 0.0F) : high_;
  }
  [[nodiscard]] HWY_INLINE float MaxMagnitude() const {
    return std::max(std::abs(low_), std::abs(high_));
  }
  // The value of largest magnitude, the first of several; 0 for zeros only.
  [[nodiscard]] HWY_INLINE float LargestMagnitude(const float* x) const {
    if (high_ > -low_) return high_;
    if (high_ < -low_) return low_;
    if (high_ == 0) return 0;
    return *std::find_if(x, x + count_, [&](float v) { return std::abs(v) == high_; });
  }

 private:
  std::size_t count_;
  float low_;
  float high_;
  bool is_finite_;
};

// Calls `encode(x, range, out)` for all blocks that are finite. Where it returns false, or is not
// called, the codec encodes the block.
template <std::size_t kElements, std::size_t kBytes, class Encode>
std::uint64_t EncodeRanges(const EncodeJob& job, const quant::Codec& codec, const Encode& encode) {
  const std::size_t num_blocks = job.num_rows * (job.row_length / kElements);
  for (std::size_t b = 0; b < num_blocks; ++b) {
    const float* const x = job.rows + b * kElements;
    std::byte* const out = job.out + b * kBytes;
    const BlockRange range(x, kElements);
    const bool done = HWY_LIKELY(range.is_finite()) && encode(x, range, out);
    if (HWY_UNLIKELY(!done)) codec.encode({x, kElements}, {}, job.exact, out);
  }
  return 0;
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
