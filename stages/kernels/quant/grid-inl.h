// quant::SearchGrid with vectors of candidates and of neighbouring points.
#if defined(SLUICE_STAGES_KERNELS_QUANT_GRID_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_GRID_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_GRID_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_GRID_INL_H_
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <span>

#include "formats/quant/arithmetic.h"
#include "formats/quant/grid_search.h"
#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/nearest_point-inl.h"
#include "stages/kernels/quant/neighbours.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// The search of one sub-block whose groups of kDim elements are points of a codebook. The candidate
// scales share vectors, each with its sums in its own lane.
template <std::size_t kDim>
class GridLanes : GridTraits<kDim> {
 public:
  explicit GridLanes(const NeighbourCodes& neighbours) : neighbours_(neighbours) {}

  // Sets sub.scale and sub.signs as quant::SearchGrid does, and the points.
  void Search(const quant::GridSearch& search, float largest, float start, quant::SignRule rule,
              quant::SubBlock& sub, std::uint32_t* points) {
    const std::size_t groups = sub.size / kDim;
    SetCandidates(search, largest);
    if (!IsInRange(sub)) {
      quant::SearchGrid(neighbours_.book(), search, largest, start, rule, sub);
      for (std::size_t g = 0; g < groups; ++g) {
        points[g] = quant::PointOf(neighbours_.book(), sub, g);
      }
      return;
    }
    for (std::size_t g = 0; g < groups; ++g) FindPoints(g, sub);
    SumUp(groups, sub);
    const int best = Choose(start, sub);
    KeepCandidate(best, groups, search.reassign);
    Improve(groups, search.reassign, sub);
    if (sub.scale < 0) {
      sub.scale = -sub.scale;
      const std::uint32_t mask = rule == quant::SignRule::kFull ? 0xFF : 0x7F;
      for (std::uint8_t& signs : sub.signs) signs = static_cast<std::uint8_t>(~signs & mask);
    }
    for (std::size_t g = 0; g < groups; ++g) {
      points[g] = static_cast<std::uint32_t>(neighbours_.book().IndexOf(kept_[g]));
    }
  }

 private:
  using Traits = GridTraits<kDim>;
  using typename Traits::D;
  using DI = hn::RebindToSigned<D>;
  using V = hn::Vec<D>;
  using DU = hn::RebindToUnsigned<D>;
  using VI = hn::Vec<DI>;
  using VU = hn::Vec<DU>;
  using Traits::kBits;
  using Traits::kLevels;
  using Traits::kMaxCandidates;
  using Traits::kN;
  using Traits::kTop;
  static constexpr std::size_t kMaxGroups = quant::kMaxSubBlock / kDim;
  // By candidate, with room for a vector too many.
  using Codes = std::array<std::uint32_t, kMaxCandidates + kN>;

  static HWY_INLINE V All(float value) { return hn::Set(D(), value); }
  // 2 * NearestInt(v / 2) for small values: the last place of the sum is 2.
  static HWY_INLINE V RoundToEven(V v) {
    return hn::Sub(hn::Add(v, All(2 * kRoundShift)), All(2 * kRoundShift));
  }

  void SetCandidates(const quant::GridSearch& search, float largest) {
    count_ = static_cast<std::size_t>(2 * search.tries + 1);
    for (std::size_t t = 0; t < kMaxCandidates; ++t) {
      const int step = std::min(static_cast<int>(t), 2 * search.tries) - search.tries;
      inverse_[t] = search.first + static_cast<float>(step) * search.step;
    }
    for (std::size_t t = 0; t < kMaxCandidates; t += kN) {
      const V inverse = hn::Div(hn::Load(D(), &inverse_[t]), All(largest));
      hn::Store(inverse, D(), &inverse_[t]);
      hn::Store(hn::Div(All(1), inverse), D(), &scale_[t]);
    }
  }

  // Whether no product is too large for exact rounding and no error overflows.
  [[nodiscard]] bool IsInRange(const quant::SubBlock& sub) const {
    const V limit = All(1e6F);
    const V inverse = All(inverse_[count_ - 1]);
    auto in_range = hn::Lt(All(scale_[0]), limit);
    for (std::size_t i = 0; i < sub.size; i += kN) {
      const V magnitude = hn::Abs(hn::LoadU(D(), &sub.magnitudes[i]));
      in_range = hn::And(in_range, hn::Lt(hn::Mul(inverse, magnitude), limit));
      in_range = hn::And(in_range, hn::Lt(magnitude, limit));
      in_range = hn::And(in_range, hn::Lt(hn::LoadU(D(), &sub.roots[i]), limit));
    }
    return hn::AllTrue(D(), in_range);
  }

  // Codes of a group for all candidates, replaced by the nearest points where they are none.
  void FindPoints(std::size_t group, const quant::SubBlock& sub) {
    const float* const x = &sub.magnitudes[group * kDim];
    Codes wanted;
    for (std::size_t t = 0; t < count_; t += kN) {
      const V inverse = hn::Load(D(), &inverse_[t]);
      V twice = hn::Zero(D());  // the code
      for (std::size_t i = kDim; i > 0; --i) {
        const V v = hn::Sub(hn::Mul(inverse, All(x[i - 1])), All(1));
        const V even = RoundToEven(hn::Min(hn::Max(v, hn::Zero(D())), All(2 * kTop)));
        twice = hn::Add(hn::Mul(twice, All(static_cast<float>(kLevels))), even);
      }
      hn::StoreU(hn::BitCast(DU(), hn::ShiftRight<1>(hn::ConvertTo(DI(), twice))), DU(),
                 &wanted[t]);
    }
    nearest_.SetGroup(x, &sub.roots[group * kDim], scale_.data(), count_);
    off_book_[group] = 0;
    std::size_t first = 0;
    for (std::uint32_t ends = RunEnds(wanted); ends != 0; ends &= ends - 1) {
      const std::size_t last = static_cast<std::size_t>(std::countr_zero(ends)) + 1;
      const std::span<const std::uint16_t> list = neighbours_.Of(wanted[first]);
      if (list.empty()) {
        SetCodes(wanted[first], first, last, &codes_[group][first]);
      } else {
        off_book_[group] |= (1U << last) - (1U << first);
        nearest_.Find(list, first, last, &codes_[group][first]);
      }
      first = last;
    }
  }

  // Bit t is set where the next candidate has another code or there is none: neighbouring
  // candidates often agree.
  [[nodiscard]] HWY_INLINE std::uint32_t RunEnds(const Codes& codes) const {
    std::uint32_t agree = 0;
    for (std::size_t t = 0; t < count_; t += kN) {
      const VU next = hn::LoadU(DU(), &codes[t + 1]);
      std::array<std::uint8_t, 8> bits{};
      hn::StoreMaskBits(DU(), hn::Eq(hn::LoadU(DU(), &codes[t]), next), bits.data());
      agree |= static_cast<std::uint32_t>(bits[0]) << t;
    }
    const std::uint32_t last = 1U << (count_ - 1);
    return (~agree & (last - 1)) | last;
  }

  // Of the candidates first .. last - 1. Writes up to kN - 1 codes too many.
  static HWY_INLINE void SetCodes(std::uint32_t code, std::size_t first, std::size_t last,
                                  std::uint32_t* codes) {
    for (std::size_t t = first; t < last; t += kN, codes += kN) {
      hn::StoreU(hn::Set(DU(), code), DU(), codes);
    }
  }

  // Sums of each candidate.
  HWY_INLINE void SumUp(std::size_t groups, const quant::SubBlock& sub) {
    if (count_ <= 2 * kN) return SumVectors<2>(0, groups, sub);
    SumVectors<3>(0, groups, sub);
    for (std::size_t t = 3 * kN; t < count_; t += kN) SumVectors<1>(t, groups, sub);
  }

  // Of kVectors vectors of candidates, interleaved.
  template <std::size_t kVectors>
  HWY_INLINE void SumVectors(std::size_t t, std::size_t groups, const quant::SubBlock& sub) {
    V a[kVectors], b[kVectors];
    for (std::size_t c = 0; c < kVectors; ++c) a[c] = b[c] = hn::Zero(D());
    for (std::size_t g = 0; g < groups; ++g) {
      VI levels[kVectors];
      for (std::size_t c = 0; c < kVectors; ++c) {
        levels[c] = hn::BitCast(DI(), hn::LoadU(DU(), &codes_[g][t + c * kN]));
      }
      for (std::size_t i = g * kDim; i < (g + 1) * kDim; ++i) {
        const float weight = sub.weights[i];
        const V w = All(weight);
        const V wx = All(weight * sub.magnitudes[i]);
        for (std::size_t c = 0; c < kVectors; ++c) {
          const VI level = hn::And(levels[c], hn::Set(DI(), kLevels - 1));
          const V p = hn::ConvertTo(D(), hn::Add(hn::Add(level, level), hn::Set(DI(), 1)));
          a[c] = hn::Add(a[c], hn::Mul(wx, p));
          b[c] = hn::Add(b[c], hn::Mul(hn::Mul(w, p), p));
          levels[c] = hn::ShiftRight<kBits>(levels[c]);
        }
      }
    }
    for (std::size_t c = 0; c < kVectors; ++c) {
      hn::Store(a[c], D(), &a_[t + c * kN]);
      hn::Store(b[c], D(), &b_[t + c * kN]);
    }
  }

  // The candidate with the best fit, -1 for none; sets the scale.
  [[nodiscard]] int Choose(float start, quant::SubBlock& sub) const {
    alignas(32) std::array<float, kMaxCandidates> scales, fits;
    for (std::size_t t = 0; t < count_; t += kN) {
      const V scale = hn::Div(hn::Load(D(), &a_[t]), hn::Load(D(), &b_[t]));
      hn::Store(scale, D(), &scales[t]);
      hn::Store(hn::Mul(scale, hn::Load(D(), &a_[t])), D(), &fits[t]);
    }
    int choice = -1;
    float best = 0;
    for (std::size_t t = 0; t < count_; ++t) {
      const bool better = (b_[t] > 0) & (a_[t] * a_[t] > best * b_[t]);
      best = better ? fits[t] : best;
      choice = better ? static_cast<int>(t) : choice;
    }
    sub.scale = choice < 0 ? start : scales[static_cast<std::size_t>(choice)];
    return choice;
  }

  void KeepCandidate(int candidate, std::size_t groups, quant::Reassign reassign) {
    kept_off_book_ = 0;
    for (std::size_t g = 0; g < groups; ++g) {
      const auto t = static_cast<std::size_t>(candidate);
      kept_[g] = candidate < 0 ? 0 : codes_[g][t];
      const bool off_book =
          candidate < 0 ? reassign != quant::Reassign::kOffBook : (off_book_[g] >> t & 1) != 0;
      if (off_book) kept_off_book_ |= 1U << g;
    }
  }

  // Assigns groups again at the scale that was found, and fits the scale to them.
  void Improve(std::size_t groups, quant::Reassign reassign, quant::SubBlock& sub) {
    const bool any = kept_off_book_ != 0 || reassign == quant::Reassign::kAll;
    if (!any || !(sub.scale > 0)) return;
    const float inverse = 1.0F / sub.scale;
    scale_[0] = sub.scale;
    for (std::size_t g = 0; g < groups; ++g) {
      const bool off_book = (kept_off_book_ >> g & 1) != 0;
      if (reassign == quant::Reassign::kOffBook && !off_book) continue;
      const float* const x = &sub.magnitudes[g * kDim];
      kept_[g] = CodeOf(x, inverse);
      const std::span<const std::uint16_t> list = neighbours_.Of(kept_[g]);
      if (list.empty()) continue;
      std::array<std::uint32_t, kN> nearest;
      nearest_.SetGroup(x, &sub.roots[g * kDim], scale_.data(), 1);
      nearest_.Find(list, 0, 1, nearest.data());
      kept_[g] = nearest[0];
    }
    float a = 0;
    float b = 0;
    for (std::size_t i = 0; i < groups * kDim; ++i) {
      const std::uint32_t level = kept_[i / kDim] >> (kBits * (i % kDim)) & (kLevels - 1);
      const auto p = static_cast<float>(2 * level + 1);
      a += sub.weights[i] * sub.magnitudes[i] * p;
      b += sub.weights[i] * p * p;
    }
    if (b > 0) sub.scale = a / b;
  }

  static std::uint32_t CodeOf(const float* x, float inverse) {
    std::uint32_t code = 0;
    for (std::size_t i = 0; i < kDim; ++i) {
      const int level = quant::NearestInt(0.5F * (inverse * x[i] - 1.0F));
      code |= static_cast<std::uint32_t>(std::clamp(level, 0, kTop)) << (kBits * i);
    }
    return code;
  }

  const NeighbourCodes& neighbours_;
  std::size_t count_ = 0;  // candidates
  alignas(32) std::array<float, kMaxCandidates> inverse_;
  alignas(32) std::array<float, kMaxCandidates> scale_;
  alignas(32) std::array<float, kMaxCandidates> a_;  // sum w x p
  alignas(32) std::array<float, kMaxCandidates> b_;  // sum w p p
  NearestPoint<kDim> nearest_;
  std::array<Codes, kMaxGroups> codes_;             // of the points
  std::array<std::uint32_t, kMaxGroups> off_book_;  // a bit for each candidate
  std::array<std::uint32_t, kMaxGroups> kept_;      // the chosen codes
  std::uint32_t kept_off_book_ = 0;                 // a bit for each group
};

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
