// IQ1_S and IQ1_M: a lane for each sub-block of 32 or 16. For the blocks' layout see
// formats/quant/iq1_s.cpp and iq1_m.cpp.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <span>

#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/iq1_search.h"
#include "formats/quant/packing.h"
#include "formats/quant/search.h"
#include "stages/kernels/quant/neighbours.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/quant/iq1.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "stages/kernels/quant/batches-inl.h"
#include "stages/kernels/quant/iq1-inl.h"
#include "stages/kernels/quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace {

using quant::Iq1Choice;
using quant::kLevelsDown;
using quant::kLevelsUp;

constexpr std::size_t kSuperBlock = quant::kSuperBlock;

// ---- Searches -----------------------------------------------------------------------------------

// One set of values, up or down, of IQ1_S: the parts of a fit that depend on one border only.
struct SplitParts {
  static constexpr std::size_t kSize = 32;
  Lanes<kSize + 1> a_low, a_high, b_low, b_high;

  SplitParts(const Lanes<kSize + 1>& x, const Lanes<kSize + 1>& w, const quant::LevelValues& v) {
    for (std::size_t j = 0; j <= kSize; ++j) {
      const Vec x_above = hn::Sub(x.Get(kSize), x.Get(j));
      const Vec w_above = hn::Sub(w.Get(kSize), w.Get(j));
      a_low.Set(j, hn::Mul(x.Get(j), SetAll(v[0])));
      a_high.Set(j, hn::Mul(x_above, SetAll(v[2])));
      b_low.Set(j, hn::Mul(hn::Mul(w.Get(j), SetAll(v[0])), SetAll(v[0])));
      b_high.Set(j, hn::Mul(hn::Mul(w_above, SetAll(v[2])), SetAll(v[2])));
    }
  }

  HWY_INLINE Vec A(std::size_t low, std::size_t high, Vec between, Vec v1) const {
    return hn::Add(hn::Add(a_low.Get(low), hn::Mul(between, v1)), a_high.Get(high));
  }
  HWY_INLINE Vec B(std::size_t low, std::size_t high, Vec between, Vec v1) const {
    return hn::Add(hn::Add(b_low.Get(low), hn::Mul(hn::Mul(between, v1), v1)), b_high.Get(high));
  }
};

// What differs between the types.
struct TypeS {
  static constexpr std::size_t kSize = 32;
  static constexpr float kNegligible = 1e-12F;
  static constexpr std::array<std::uint32_t, 2> kShifts{0, 0xF};
  using Number = SplitNumber<kSize, kShifts.size()>;

  static BestCandidate Search(const SortedLanes<kSize>& sorted) {
    Lanes<kSize + 1> x, w;
    x.Set(0, hn::Zero(F32()));
    w.Set(0, hn::Zero(F32()));
    for (std::size_t j = 0; j < kSize; ++j) {
      x.Set(j + 1, hn::Add(x.Get(j), hn::Mul(sorted.w.Get(j), sorted.x.Get(j))));
      w.Set(j + 1, hn::Add(w.Get(j), sorted.w.Get(j)));
    }
    const SplitParts up(x, w, kLevelsUp);
    const SplitParts down(x, w, kLevelsDown);
    const Vec up1 = SetAll(kLevelsUp[1]);
    const Vec down1 = SetAll(kLevelsDown[1]);
    BestCandidate best;
    for (std::size_t low = 0; low <= kSize; ++low) {
      for (std::size_t high = low; high <= kSize; ++high) {
        const Vec dx = hn::Sub(x.Get(high), x.Get(low));
        const Vec dw = hn::Sub(w.Get(high), w.Get(low));
        best.Try(up.A(low, high, dx, up1), up.B(low, high, dw, up1), Number::Of(low, high, 0));
        best.Try(down.A(low, high, dx, down1), down.B(low, high, dw, down1),
                 Number::Of(low, high, 1));
      }
    }
    return best;
  }
};

// Sums of one half of an IQ1_M sub-block, in sorted order, with the elements of the half alone; and
// the parts of its fits, for values shifted up and down.
struct HalfParts {
  static constexpr std::size_t kSize = 16;
  Lanes<kSize + 1> x;
  Lanes<2> a_all;
  Lanes<kSize + 1> b_low[2], b_high[2];

  HalfParts(const SortedLanes<kSize>& sorted, bool second) {
    Lanes<kSize + 1> w;
    x.Set(0, hn::Zero(F32()));
    w.Set(0, hn::Zero(F32()));
    for (std::size_t j = 0; j < kSize; ++j) {
      const Mask in_half = InHalf(sorted, j, second);
      const Vec next_x = hn::Add(x.Get(j), hn::Mul(sorted.w.Get(j), sorted.x.Get(j)));
      const Vec next_w = hn::Add(w.Get(j), sorted.w.Get(j));
      x.Set(j + 1, hn::IfThenElse(in_half, next_x, x.Get(j)));
      w.Set(j + 1, hn::IfThenElse(in_half, next_w, w.Get(j)));
    }
    SetParts(w, 0, kLevelsUp[2], 0.75F, -1.25F);
    SetParts(w, 1, kLevelsDown[2], 1.25F, -0.75F);
  }

  HWY_INLINE Vec A(std::size_t low, std::size_t high, std::size_t shift) const {
    return hn::Sub(a_all.Get(shift), hn::Add(x.Get(low), x.Get(high)));
  }
  HWY_INLINE Vec B(std::size_t low, std::size_t high, std::size_t shift) const {
    return hn::Add(b_low[shift].Get(low), b_high[shift].Get(high));
  }

 private:
  static Mask InHalf(const SortedLanes<kSize>& sorted, std::size_t place, bool second) {
    Lanes<1> counts;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const bool in_second = sorted.order[lane][place] >= quant::kIq1Group;
      counts.at[lane] = in_second == second ? 1.0F : 0.0F;
    }
    return hn::Gt(counts.Get(0), hn::Zero(F32()));
  }

  void SetParts(const Lanes<kSize + 1>& w, std::size_t shift, float top, float of_low,
                float of_high) {
    a_all.Set(shift, hn::Mul(x.Get(kSize), SetAll(top)));
    const Vec b_all = hn::Mul(hn::Mul(w.Get(kSize), SetAll(top)), SetAll(top));
    for (std::size_t j = 0; j <= kSize; ++j) {
      b_low[shift].Set(j, hn::Add(b_all, hn::Mul(w.Get(j), SetAll(of_low))));
      b_high[shift].Set(j, hn::Mul(w.Get(j), SetAll(of_high)));
    }
  }
};

struct TypeM {
  static constexpr std::size_t kSize = 16;
  static constexpr float kNegligible = 1e-7F;
  // Which halves are shifted down, in the order of the candidates.
  static constexpr std::array<std::uint32_t, 4> kShifts{0b00, 0b10, 0b01, 0b11};
  using Number = SplitNumber<kSize, kShifts.size()>;

  static BestCandidate Search(const SortedLanes<kSize>& sorted) {
    const HalfParts first(sorted, false);
    const HalfParts second(sorted, true);
    BestCandidate best;
    for (std::size_t low = 0; low <= kSize; ++low) {
      for (std::size_t high = low; high <= kSize; ++high) {
        for (std::size_t s = 0; s < kShifts.size(); ++s) {
          const std::size_t shift1 = kShifts[s] & 1;
          const std::size_t shift2 = kShifts[s] >> 1;
          best.Try(hn::Add(first.A(low, high, shift1), second.A(low, high, shift2)),
                   hn::Add(first.B(low, high, shift1), second.B(low, high, shift2)),
                   Number::Of(low, high, s));
        }
      }
    }
    return best;
  }
};

// The largest magnitude of each lane.
template <std::size_t kSize>
HWY_INLINE Vec MaxMagnitude(const Lanes<kSize>& x) {
  Vec largest = hn::Zero(F32());
  for (std::size_t i = 0; i < kSize; ++i) largest = hn::Max(largest, hn::Abs(x.Get(i)));
  return largest;
}

template <std::size_t kSize>
HWY_INLINE Mask AnyNan(const Lanes<kSize>& x) {
  Mask nan = NoLanes();
  for (std::size_t i = 0; i < kSize; ++i) nan = hn::Or(nan, NotEqual(x.Get(i), x.Get(i)));
  return nan;
}

// ---- Super blocks -------------------------------------------------------------------------------

// As many super blocks as have sub-blocks for all lanes, and their choices.
template <class Type>
struct Choices {
  static constexpr std::size_t kSize = Type::kSize;
  static constexpr std::size_t kSubs = kSuperBlock / kSize;
  static constexpr std::size_t kBlocks = std::max<std::size_t>(1, kLanes / kSubs);

  // Of element i of block j: weights[j * kSuperBlock + i].
  std::array<float, kBlocks * kSuperBlock> weights;
  std::array<Iq1Choice, kBlocks * kSubs> of_subs;
  std::array<bool, kBlocks> has_nan{};  // NaNs have no order

  // `x` are the values of `count` blocks.
  Choices(const float* x, std::size_t count, const EncodeJob& job, std::size_t first_block) {
    for (std::size_t j = 0; j < count; ++j) {
      const std::span<const float> block(x + j * kSuperBlock, kSuperBlock);
      const float sigma2 = 2 * quant::SumOfSquares(block) / static_cast<float>(kSuperBlock);
      quant::WeightsOrSquares(block, ImportanceOf(job, first_block + j), sigma2,
                              std::span(weights).subspan(j * kSuperBlock, kSuperBlock));
    }
    for (std::size_t sub = 0; sub < count * kSubs; sub += kLanes) {
      Search(x, sub, std::min(kLanes, count * kSubs - sub));
    }
  }

 private:
  void Search(const float* x, std::size_t first, std::size_t count) {
    std::array<const float*, kLanes> of_x, of_weights;
    for (std::size_t j = 0; j < kLanes; ++j) {
      const std::size_t at = (first + (j < count ? j : 0)) * kSize;
      of_x[j] = x + at;
      of_weights[j] = &weights[at];
    }
    Lanes<kSize> values, w;
    Transpose(of_x, values);
    Transpose(of_weights, w);
    const BadBlocks<> nan = ToBadBlocks(AnyNan(values));
    for (std::size_t j = 0; j < count; ++j) has_nan[(first + j) / kSubs] |= nan[j];
    const SortedLanes<kSize> sorted(values, w);
    const BestCandidate best = Type::Search(sorted);
    Lanes<1> scales, numbers, largest;
    scales.Set(0, best.scale());
    numbers.Set(0, best.number());
    largest.Set(0, MaxMagnitude(values));
    for (std::size_t j = 0; j < count; ++j) {
      of_subs[first + j] = {};
      if (nan[j] || numbers.at[j] < 0 || largest.at[j] < Type::kNegligible) continue;
      const auto number = static_cast<std::size_t>(numbers.at[j]);
      of_subs[first + j] =
          ChooseIq1Points(Type::Number::Split(number, scales.at[j], Type::kShifts), sorted.order[j],
                          {of_x[j], kSize}, {of_weights[j], kSize});
    }
  }
};

// The largest scale of a block's sub-blocks.
float LargestScale(std::span<const Iq1Choice> choices) {
  float largest = 0;
  for (const Iq1Choice& choice : choices) largest = largest > choice.scale ? largest : choice.scale;
  return largest;
}

// Calls `finish(x, weights, choices, out)` for each super block without NaNs.
template <class Type, std::size_t kBytes, class Finish>
std::uint64_t EncodeType(const EncodeJob& job, const quant::Codec& codec, const Finish& finish) {
  const std::size_t num_blocks = job.num_rows * job.row_length / kSuperBlock;
  for (std::size_t first = 0; first < num_blocks; first += Choices<Type>::kBlocks) {
    const float* const x = job.rows + first * kSuperBlock;
    const std::size_t count = std::min(Choices<Type>::kBlocks, num_blocks - first);
    const Choices<Type> choices(x, count, job, first);
    for (std::size_t j = 0; j < count; ++j) {
      const std::span<const float> block(x + j * kSuperBlock, kSuperBlock);
      std::byte* const out = job.out + (first + j) * kBytes;
      if (choices.has_nan[j]) {
        codec.encode(block, ImportanceOf(job, first + j), job.exact, out);
        continue;
      }
      constexpr std::size_t kSubs = Choices<Type>::kSubs;
      finish(block, std::span(choices.weights).subspan(j * kSuperBlock, kSuperBlock),
             std::span(choices.of_subs).subspan(j * kSubs, kSubs), out);
    }
  }
  return 0;
}

// ---- IQ1_S --------------------------------------------------------------------------------------

constexpr std::size_t kSIndexAt = 2;
constexpr std::size_t kSWordsAt = 34;
constexpr std::size_t kSBytes = 50;

void FinishS(std::span<const float>, std::span<const float>, std::span<const Iq1Choice> choices,
             std::byte* out) {
  const float largest = LargestScale(choices);
  const float step = largest / 15.0F;
  quant::StoreF16(out, largest != 0 ? step * 1.125F : 0.0F);
  for (std::size_t b = 0; b < choices.size(); ++b) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      const std::uint32_t point = choices[b].points[k];
      out[kSIndexAt + 4 * b + k] = static_cast<std::byte>(point & 0xFF);
      word |= (point >> 8) << (3 * k);
    }
    if (largest != 0) {
      const std::uint32_t code =
          quant::OddStepCode(1 / step, choices[b].scale, quant::kIq1LargestScaleCode);
      word |= (code | (choices[b].IsDown(0) ? 8 : 0)) << 12;
    }
    quant::Store(out + kSWordsAt + 2 * b, static_cast<std::uint16_t>(word));
  }
}

std::uint64_t EncodeIQ1_S(const EncodeJob& job) {
  return EncodeType<TypeS, kSBytes>(job, quant::kCodecIQ1_S, FinishS);
}

// ---- IQ1_M --------------------------------------------------------------------------------------

constexpr std::size_t kMHighAt = 32;
constexpr std::size_t kMScalesAt = 48;
constexpr std::size_t kMBytes = 56;

// The block's scale for the codes as they are stored, in the place of `step`.
float RefitBlock(std::span<const float> x, std::span<const float> weights,
                 std::span<const Iq1Choice> choices, float step) {
  quant::Iq1Fit fit;
  for (std::size_t b = 0; b < choices.size(); ++b) {
    const std::uint32_t code =
        quant::OddStepCode(1 / step, choices[b].scale, quant::kIq1LargestScaleCode);
    for (std::size_t i = 0; i < TypeM::kSize; ++i) {
      const std::size_t at = b * TypeM::kSize + i;
      const float v = choices[b].ValuesOf(i / quant::kIq1Group)[choices[b].levels[i]] *
                      static_cast<float>(2 * code + 1);
      fit.a += weights[at] * v * x[at];
      fit.b += weights[at] * v * v;
    }
  }
  return fit.b > 0 ? fit.a / fit.b : step;
}

void FinishM(std::span<const float> x, std::span<const float> weights,
             std::span<const Iq1Choice> choices, std::byte* out) {
  std::fill_n(out, kMBytes, std::byte{0});
  const float largest = LargestScale(choices);
  const float step = largest / 15.0F;
  std::array<std::uint32_t, 4> words{};
  for (std::size_t b = 0; b < choices.size(); ++b) {
    const Iq1Choice& choice = choices[b];
    for (std::size_t k = 0; k < 2; ++k) {
      const std::uint32_t shift = largest != 0 && choice.IsDown(k) ? 8 : 0;
      out[2 * b + k] = static_cast<std::byte>(choice.points[k] & 0xFF);
      out[kMHighAt + b] |= static_cast<std::byte>((choice.points[k] >> 8 | shift) << (4 * k));
    }
    if (largest == 0) continue;
    const std::uint32_t code =
        quant::OddStepCode(1 / step, choice.scale, quant::kIq1LargestScaleCode);
    words[b / 4] |= code << (3 * (b % 4));
  }
  if (largest == 0) return;
  const std::uint32_t scale = quant::F32ToF16(RefitBlock(x, weights, choices, step) * 1.1125F);
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::uint32_t word = words[i] | (scale >> (4 * i) & 15) << 12;
    quant::Store(out + kMScalesAt + 2 * i, static_cast<std::uint16_t>(word));
  }
}

std::uint64_t EncodeIQ1_M(const EncodeJob& job) {
  return EncodeType<TypeM, kMBytes>(job, quant::kCodecIQ1_M, FinishM);
}

}  // namespace
}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {

HWY_EXPORT(EncodeIQ1_S);
HWY_EXPORT(EncodeIQ1_M);

std::uint64_t EncodeIQ1_S(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeIQ1_S)(job); }
std::uint64_t EncodeIQ1_M(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodeIQ1_M)(job); }

}  // namespace sluice::kernels
#endif  // HWY_ONCE
