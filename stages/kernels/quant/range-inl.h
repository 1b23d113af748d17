// The range of the values of one block, in natural order.
#if defined(SLUICE_STAGES_KERNELS_QUANT_RANGE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_RANGE_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_RANGE_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_RANGE_INL_H_
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "stages/kernels/cast.h"
#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

class BlockRange {
 public:
  // REQUIRES: `count` is a multiple of kLanes.
  HWY_INLINE BlockRange(const float* x, std::size_t count) {
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
  [[nodiscard]] HWY_INLINE float low() const { return low_; }
  [[nodiscard]] HWY_INLINE float high() const { return high_; }
  [[nodiscard]] HWY_INLINE float MaxMagnitude() const {
    return std::max(std::abs(low_), std::abs(high_));
  }

 private:
  float low_;
  float high_;
  bool is_finite_;
};

// The ranges of up to kLanes blocks that follow each other, a lane for each: what a block's scale
// is made of is computed for all of them at once.
template <std::size_t kElements>
class BlockRanges {
 public:
  // REQUIRES: count <= kLanes.
  HWY_INLINE BlockRanges(const float* x, std::size_t count) : x_(x), count_(count) {
    Lanes<1> low{};
    Lanes<1> high{};
    for (std::size_t b = 0; b < count; ++b) {
      const BlockRange range(x + b * kElements, kElements);
      low.at[b] = range.low();
      high.at[b] = range.high();
      is_finite_[b] = range.is_finite();
    }
    low_ = low.Get(0);
    high_ = high.Get(0);
  }

  // All values of the block are; the rest is only defined for blocks of which they are.
  [[nodiscard]] HWY_INLINE bool IsFinite(std::size_t block) const { return is_finite_[block]; }

  // The smallest values, of zeros the first.
  [[nodiscard]] HWY_INLINE Vec Low() const { return FirstZero(low_); }
  [[nodiscard]] HWY_INLINE Vec High() const { return FirstZero(high_); }
  [[nodiscard]] HWY_INLINE Vec MaxMagnitude() const {
    return hn::Max(hn::Abs(low_), hn::Abs(high_));
  }
  // The values of largest magnitude, the first of several; 0 for zeros only.
  [[nodiscard]] HWY_INLINE Vec LargestMagnitude() const {
    const Vec largest = hn::IfThenElse(hn::Gt(high_, hn::Neg(low_)), high_, low_);
    return FirstWhere(hn::Eq(high_, hn::Neg(low_)), largest, [](const float* x, float value) {
      if (value == 0) return 0.0F;
      return *std::find_if(x, x + kElements,
                           [&](float v) { return std::abs(v) == std::abs(value); });
    });
  }

 private:
  [[nodiscard]] HWY_INLINE Vec FirstZero(Vec values) const {
    return FirstWhere(hn::Eq(values, hn::Zero(F32())), values, [](const float* x, float value) {
      return *std::find(x, x + kElements, value);
    });
  }

  // Looks through the blocks whose values are in doubt, which are few.
  template <class Find>
  [[nodiscard]] HWY_INLINE Vec FirstWhere(Mask in_doubt, Vec values, const Find& find) const {
    std::uint32_t left = BitsOf(hn::RebindMask(I32(), in_doubt));
    if (HWY_LIKELY(left == 0)) return values;
    Lanes<1> found;
    found.Set(0, values);
    for (; left != 0; left &= left - 1) {
      const auto b = static_cast<std::size_t>(std::countr_zero(left));
      if (b < count_ && is_finite_[b]) found.at[b] = find(x_ + b * kElements, found.at[b]);
    }
    return found.Get(0);
  }

  const float* x_;
  std::size_t count_;
  std::array<bool, kLanes> is_finite_{};
  Vec low_;
  Vec high_;
};

// A number of each block, as F32 and as F16.
struct BlockNumbers {
  Lanes<1> values;
  std::array<std::byte, 2 * kLanes> halves;

  HWY_INLINE explicit BlockNumbers(Vec v) {
    values.Set(0, v);
    EncodeF16(values.at, halves.data());
  }
  HWY_INLINE void StoreF16(std::size_t block, std::byte* out) const {
    std::memcpy(out, &halves[2 * block], 2);
  }
};

// quant::Reciprocal of each lane.
HWY_INLINE Vec Reciprocals(Vec v) {
  return hn::IfThenElseZero(NotEqual(v, hn::Zero(F32())), hn::Div(SetAll(1), v));
}

// Calls `prepare(ranges)` for each kLanes blocks, then `encode(x, prepared, lane, out)` for those
// that are finite. Where that returns false, or is not called, the codec encodes the block.
template <std::size_t kElements, std::size_t kBytes, class Prepare, class Encode>
std::uint64_t EncodeRanges(const EncodeJob& job, const quant::Codec& codec, const Prepare& prepare,
                           const Encode& encode) {
  const std::size_t num_blocks = job.num_rows * (job.row_length / kElements);
  for (std::size_t first = 0; first < num_blocks; first += kLanes) {
    const std::size_t count = std::min(kLanes, num_blocks - first);
    const BlockRanges<kElements> ranges(job.rows + first * kElements, count);
    const auto prepared = prepare(ranges);
    for (std::size_t b = 0; b < count; ++b) {
      const float* const x = job.rows + (first + b) * kElements;
      std::byte* const out = job.out + (first + b) * kBytes;
      const bool done = HWY_LIKELY(ranges.IsFinite(b)) && encode(x, prepared, b, out);
      if (HWY_UNLIKELY(!done)) codec.encode({x, kElements}, {}, job.exact, out);
    }
  }
  return 0;
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
