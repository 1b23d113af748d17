// The nearest points of a codebook to a group of elements, one for each candidate scale.
#if defined(SLUICE_STAGES_KERNELS_QUANT_NEAREST_POINT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_NEAREST_POINT_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_NEAREST_POINT_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_NEAREST_POINT_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// Points of kDim levels, which stand for the values 2 * level + 1: three levels of two bits for
// groups of 8, eight levels of three bits for groups of 4.
template <std::size_t kDim>
struct GridTraits {
  using D = hn::CappedTag<float, 8>;
  static constexpr std::size_t kN = hn::MaxLanes(D());
  static constexpr int kBits = kDim == 8 ? 2 : 3;
  static constexpr std::size_t kLevels = std::size_t{1} << kBits;
  static constexpr int kTop = kDim == 8 ? 2 : 7;  // the highest level
  static constexpr std::size_t kMaxCandidates = 32;
};

// SetGroup takes the magnitudes of a group, the square roots of their weights and `count` scales in
// whole aligned vectors; all must last until the next call. Find then gives, for the candidates
// first .. last - 1, the codes of those of the points listed that have the smallest errors, the
// first of equals; it may write up to kN - 1 codes too many, and read as many of the list.
template <std::size_t kDim>
class NearestPoint;

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
// Each lane has a point of its own, which looks its errors up. Faster than the other way for groups
// of 8 only, which have more neighbours.
template <>
class NearestPoint<8> : GridTraits<8> {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE void SetGroup(const float* x, const float* roots, const float* scales, std::size_t) {
    x_ = x;
    roots_ = roots;
    scales_ = scales;
  }

  HWY_INLINE void Find(std::span<const std::uint16_t> list, std::size_t first, std::size_t last,
                       std::uint32_t* codes) const {
    for (std::size_t t = first; t < last; ++t) codes[t - first] = NearestAt(scales_[t], list);
  }

 private:
  HWY_INLINE std::uint32_t NearestAt(float scale, std::span<const std::uint16_t> list) const {
    const D d;
    const hn::RebindToSigned<D> di;
    const hn::Rebind<std::uint16_t, D> d16;
    const V infinity = hn::Set(d, std::numeric_limits<float>::infinity());
    const V values = hn::Mul(hn::Set(d, scale), hn::Load(d, kValues));
    V errors[kDim];  // of each level
    for (std::size_t i = 0; i < kDim; ++i) {
      const V e = hn::Sub(values, hn::Set(d, x_[i]));
      errors[i] = hn::Mul(hn::Mul(hn::Set(d, roots_[i]), e), e);
    }
    V least = infinity;
    V nearest = hn::Zero(d);
    for (std::size_t n = 0; n < list.size(); n += kN) {
      auto levels = hn::PromoteTo(di, hn::LoadU(d16, &list[n]));
      V error = hn::Zero(d);
      for (std::size_t i = 0; i < kDim; ++i) {  // the lookup heeds the lowest three bits
        error = hn::Add(error, hn::TableLookupLanes(errors[i], hn::Indices256<float>{levels.raw}));
        levels = hn::ShiftRight<kBits>(levels);
      }
      const V index = hn::Iota(d, static_cast<float>(n));
      const auto listed = hn::Lt(index, hn::Set(d, static_cast<float>(list.size())));
      const auto better = hn::And(listed, hn::Lt(error, least));
      least = hn::IfThenElse(better, error, least);
      nearest = hn::IfThenElse(better, index, nearest);
    }
    const auto is_least = hn::Eq(least, hn::MinOfLanes(d, least));
    const V found = hn::MinOfLanes(d, hn::IfThenElse(is_least, nearest, infinity));
    return list[static_cast<std::size_t>(hn::GetLane(found))];
  }

  static constexpr std::size_t kDim = 8;
  // By level; twice, because a level has only two of the three bits.
  alignas(32) static constexpr float kValues[8] = {1, 3, 5, 7, 1, 3, 5, 7};

  const float* x_;
  const float* roots_;
  const float* scales_;
};
#endif

// Each lane has a candidate of its own.
template <std::size_t kDim>
class NearestPoint : GridTraits<kDim> {
  using Traits = GridTraits<kDim>;
  using typename Traits::D;
  using DU = hn::RebindToUnsigned<D>;
  using V = hn::Vec<D>;
  using Traits::kLevels;
  using Traits::kN;

 public:
  HWY_INLINE void SetGroup(const float* x, const float* roots, const float* scales,
                           std::size_t count) {
    for (std::size_t t = 0; t < count; t += kN) {
      const V scale = hn::Load(D(), &scales[t]);
      for (int level = 0; level <= Traits::kTop; ++level) {
        const V value = hn::Mul(scale, hn::Set(D(), static_cast<float>(2 * level + 1)));
        for (std::size_t i = 0; i < kDim; ++i) {
          const V e = hn::Sub(value, hn::Set(D(), x[i]));
          const std::size_t at = i * kLevels + static_cast<std::size_t>(level);
          hn::Store(hn::Mul(hn::Mul(hn::Set(D(), roots[i]), e), e), D(), &errors_[at][t]);
        }
      }
    }
  }

  HWY_INLINE void Find(std::span<const std::uint16_t> list, std::size_t first, std::size_t last,
                       std::uint32_t* codes) const {
    for (std::size_t t = first; t < last; t += kN, codes += kN) {
      V least = hn::Set(D(), std::numeric_limits<float>::infinity());
      hn::Vec<DU> nearest = hn::Set(DU(), list[0]);
      for (const std::uint16_t code : list) {
        V error = hn::Zero(D());
        for (std::size_t i = 0; i < kDim; ++i) {
          const std::size_t level =
              code >> (static_cast<std::size_t>(Traits::kBits) * i) & (kLevels - 1);
          error = hn::Add(error, hn::LoadU(D(), &errors_[i * kLevels + level][t]));
        }
        const auto better = hn::Lt(error, least);
        least = hn::IfThenElse(better, error, least);
        nearest = hn::IfThenElse(hn::RebindMask(DU(), better), hn::Set(DU(), code), nearest);
      }
      hn::StoreU(nearest, DU(), codes);
    }
  }

 private:
  // By element and level, then by candidate, with room for a vector that begins at the last one.
  alignas(32) std::array<std::array<float, Traits::kMaxCandidates + kN>, kDim * kLevels> errors_;
};

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
