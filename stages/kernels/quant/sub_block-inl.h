// Weights, magnitudes and signs of one sub-block of the IQ2 and IQ3 types: elements side by side.
#if defined(SLUICE_STAGES_KERNELS_QUANT_SUB_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SLUICE_STAGES_KERNELS_QUANT_SUB_BLOCK_INL_H_
#undef SLUICE_STAGES_KERNELS_QUANT_SUB_BLOCK_INL_H_
#else
#define SLUICE_STAGES_KERNELS_QUANT_SUB_BLOCK_INL_H_
#endif

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/quant/grid_search.h"
#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {

// As many elements as fill whole vectors.
using SubBlockTag = hn::CappedTag<float, quant::kSignGroup>;

// quant::ImportanceWeights, and squares plus `offset` without importance.
HWY_INLINE void WeighSubBlock(std::span<const float> x, std::span<const float> importance,
                              float sigma2, float offset, quant::SubBlock& sub) {
  const SubBlockTag d;
  for (std::size_t i = 0; i < x.size(); i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, &x[i]);
    const auto square = hn::Mul(v, v);
    if (importance.empty()) {
      hn::StoreU(hn::Add(hn::Set(d, offset), square), d, &sub.weights[i]);
    } else {
      const auto root = hn::Sqrt(hn::Add(hn::Set(d, sigma2), square));
      hn::StoreU(hn::Mul(hn::LoadU(d, &importance[i]), root), d, &sub.weights[i]);
    }
  }
}

// Changes the sign of the element of a group that matters least.
HWY_INLINE void FlipLeast(std::span<const float> x, std::size_t group, quant::SubBlock& sub) {
  const std::size_t first = group * quant::kSignGroup;
  std::size_t least = first;
  float least_weight = sub.weights[first] * x[first] * x[first];
  for (std::size_t i = first + 1; i < first + quant::kSignGroup; ++i) {
    const float weight = sub.weights[i] * x[i] * x[i];
    least = weight < least_weight ? i : least;
    least_weight = weight < least_weight ? weight : least_weight;
  }
  sub.magnitudes[least] = -sub.magnitudes[least];
  sub.signs[group] = static_cast<std::uint8_t>(sub.signs[group] ^ 1U << (least - first));
}

// quant::SplitSigns.
HWY_INLINE void SplitSubBlock(std::span<const float> x, quant::SignRule rule,
                              quant::SubBlock& sub) {
  const SubBlockTag d;
  sub.size = x.size();
  sub.scale = 0;
  sub.levels.fill(0);
  sub.signs.fill(0);
  for (std::size_t i = 0; i < x.size(); i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, &x[i]);
    const auto negative = hn::Not(hn::Ge(v, hn::Zero(d)));
    hn::StoreU(hn::IfThenElse(negative, hn::Neg(v), v), d, &sub.magnitudes[i]);
    hn::StoreU(hn::Sqrt(hn::LoadU(d, &sub.weights[i])), d, &sub.roots[i]);
    std::array<std::uint8_t, 8> bits{};
    hn::StoreMaskBits(d, negative, bits.data());
    std::uint8_t& signs = sub.signs[i / quant::kSignGroup];
    signs = static_cast<std::uint8_t>(signs | bits[0] << (i % quant::kSignGroup));
  }
  if (rule == quant::SignRule::kFull) return;
  for (std::size_t g = 0; g < x.size() / quant::kSignGroup; ++g) {
    if (std::popcount(sub.signs[g]) % 2 != 0) FlipLeast(x, g, sub);
  }
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
