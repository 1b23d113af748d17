// Scales and minima of super blocks whose groups have both: Q2_K, Q4_K, Q5_K.
#if defined(SLUICE_STAGES_KERNELS_QUANT_AFFINE_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_AFFINE_BLOCKS_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_AFFINE_BLOCKS_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_AFFINE_BLOCKS_INL_H_
#endif

#include "formats/quant/packing.h"
#include "formats/quant/search.h"
#include "stages/kernels/quant/affine-inl.h"
#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/lanes-inl.h"
#include "stages/kernels/quant/positive-inl.h"
#include "stages/kernels/quant/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// What the search finds for a batch of super blocks.
template <std::size_t kGroups>
struct AffineBlocks {
  AffineFits<kGroups> fits;
  Lanes<kGroups> scale_codes;  // 0 .. 255, as floats
  Lanes<kGroups> min_codes;
  Lanes<1> scale;
  Lanes<1> minimum;
};

// min(cap, low 8 bits of NearestInt(values * levels / the largest)); returns the largest / levels.
template <std::size_t kGroups>
HWY_INLINE Vec QuantizeByLargest(int levels, int cap, const Lanes<kGroups>& values,
                                 Lanes<kGroups>& codes) {
  const Vec steps = SetAll(static_cast<float>(levels));
  Vec largest = hn::Zero(F32());
  for (std::size_t g = 0; g < kGroups; ++g) {
    const Vec value = values.Get(g);
    largest = hn::IfThenElse(hn::Gt(value, largest), value, largest);
  }
  const Mask positive = hn::Gt(largest, hn::Zero(F32()));
  const Vec inverse = hn::IfThenElseZero(positive, hn::Div(steps, largest));
  for (std::size_t g = 0; g < kGroups; ++g) {
    const VecI low8 = hn::And(NearestIntOf(hn::Mul(inverse, values.Get(g))), hn::Set(I32(), 255));
    codes.Set(g, hn::ConvertTo(F32(), hn::Min(low8, hn::Set(I32(), cap))));
  }
  return hn::Div(largest, steps);
}

// Type has kGroups, PlainWeights(x, w), the searches kPlain and kWeighted, kScaleLevels, the caps
// of scale codes kPlainCap and kWeightedCap, and kSigma: sigma2 is so many times the mean square.
template <class Type>
class AffineBlockSearch {
 public:
  static constexpr std::size_t kGroups = Type::kGroups;
  using Blocks = AffineBlocks<kGroups>;

  // Adds to `bad` the lanes that the scalar encoder must do.
  static void Run(const Batch<>& batch, Blocks& blocks, Mask& bad) {
    Lanes<quant::kSuperBlock> x;
    Transpose(batch.x, x);
    if (batch.importance[0] == nullptr) {
      const auto weigh = [&](std::size_t g, float* w) {
        Type::PlainWeights(x.at + g * kSize * kLanes, w);
      };
      SearchGroups<Type::kPlain.measure>(Type::kPlain, x, weigh, blocks.fits, bad);
      Quantize(blocks);
    } else {
      RunWeighted(batch, x, blocks, bad);
    }
  }

 private:
  static constexpr std::size_t kSize = quant::kSuperBlock / kGroups;
  static constexpr std::size_t kWide = 64 / kSize;

  template <quant::ErrorMeasure kMeasure, class Weigh>
  static void SearchGroups(const quant::AffineSearch& search, const Lanes<quant::kSuperBlock>& x,
                           const Weigh& weigh, AffineFits<kGroups>& fits, Mask& bad) {
    Lanes<kWide * kSize> w;
    for (std::size_t g = 0; g < kGroups; g += kWide) {
      for (std::size_t k = 0; k < kWide; ++k) weigh(g + k, w.at + k * kSize * kLanes);
      AffineLanes<kWide, kSize, kMeasure> lanes(x.at + g * kSize * kLanes, w.at);
      lanes.Search(search, g, fits);
      for (std::size_t k = 0; k < kWide; ++k) bad = hn::Or(bad, lanes.Bad(k));
    }
  }

  static void Quantize(Blocks& blocks) {
    blocks.scale.Set(0, QuantizeByLargest(Type::kScaleLevels, Type::kPlainCap, blocks.fits.scale,
                                          blocks.scale_codes));
    blocks.minimum.Set(0, QuantizeByLargest(Type::kScaleLevels, Type::kPlainCap,
                                            blocks.fits.neg_min, blocks.min_codes));
  }

  static void RunWeighted(const Batch<>& batch, const Lanes<quant::kSuperBlock>& x, Blocks& blocks,
                          Mask& bad) {
    Lanes<quant::kSuperBlock> importance;
    Transpose(batch.importance, importance);
    const Vec sigma2 = hn::Mul(hn::Mul(SetAll(Type::kSigma), SumOfSquares(x)),
                               SetAll(1.0F / static_cast<float>(quant::kSuperBlock)));
    Lanes<kGroups> weight_sums;
    const auto weigh = [&](std::size_t g, float* w) {
      const std::size_t at = g * kSize * kLanes;
      weight_sums.Set(g, ImportanceWeights(x.at + at, importance.at + at, kSize, sigma2, w));
    };
    SearchGroups<Type::kWeighted.measure>(Type::kWeighted, x, weigh, blocks.fits, bad);
    const auto quantize = [&](const Lanes<kGroups>& values, Lanes<kGroups>& codes) {
      const Vec scale =
          PositiveLanes<kGroups>().Search(Type::kScaleLevels, values, weight_sums, codes);
      for (std::size_t g = 0; g < kGroups; ++g) {
        codes.Set(g, hn::Min(codes.Get(g), SetAll(Type::kWeightedCap)));
      }
      return scale;
    };
    blocks.scale.Set(0, quantize(blocks.fits.scale, blocks.scale_codes));
    blocks.minimum.Set(0, quantize(blocks.fits.neg_min, blocks.min_codes));
  }
};

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
