#include "runtime/kernels/vector_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/kernels/highway_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/vector_ops.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// Must come after foreach_target.h.
#include <hwy/contrib/math/math-inl.h>

#include "runtime/kernels/plain_formats-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sluice::runtime::HWY_NAMESPACE {

void RmsNorm(std::span<const float> row, std::span<const float> weight, float epsilon, float* out) {
  const std::size_t whole = row.size() / kLanes * kLanes;
  Floats squares = hn::Zero(F32());
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const Floats x = hn::LoadU(F32(), row.data() + i);
    squares = hn::MulAdd(x, x, squares);
  }
  float sum = Sum(squares);
  for (std::size_t i = whole; i < row.size(); ++i) sum += row[i] * row[i];
  const float scale = 1.0F / std::sqrt(sum / static_cast<float>(row.size()) + epsilon);
  const Floats scales = hn::Set(F32(), scale);
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const Floats x = hn::Mul(hn::LoadU(F32(), row.data() + i), scales);
    hn::StoreU(hn::Mul(x, hn::LoadU(F32(), weight.data() + i)), F32(), out + i);
  }
  for (std::size_t i = whole; i < row.size(); ++i) out[i] = row[i] * scale * weight[i];
}

void SiluTimes(std::span<float> gate, const float* up) {
  const Floats one = hn::Set(F32(), 1.0F);
  // From here on e^-x leaves nothing of x, and hn::Exp is not made for more.
  const Floats most = hn::Set(F32(), 88.0F);
  const std::size_t whole = gate.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const Floats x = hn::LoadU(F32(), gate.data() + i);
    const Floats silu = hn::Div(x, hn::Add(one, hn::Exp(F32(), hn::Min(hn::Neg(x), most))));
    hn::StoreU(hn::Mul(silu, hn::LoadU(F32(), up + i)), F32(), gate.data() + i);
  }
  for (std::size_t i = whole; i < gate.size(); ++i) {
    gate[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
  }
}

void AddScaled(std::span<const float> row, float scale, float* out) {
  const std::size_t whole = row.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const Floats x = hn::LoadU(F32(), row.data() + i);
    hn::StoreU(hn::MulAdd(x, hn::Set(F32(), scale), hn::LoadU(F32(), out + i)), F32(), out + i);
  }
  for (std::size_t i = whole; i < row.size(); ++i) out[i] += row[i] * scale;
}

void AddSquares(std::span<const float> row, float* sums) {
  const std::size_t whole = row.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const Floats x = hn::LoadU(F32(), row.data() + i);
    hn::StoreU(hn::MulAdd(x, x, hn::LoadU(F32(), sums + i)), F32(), sums + i);
  }
  for (std::size_t i = whole; i < row.size(); ++i) sums[i] += row[i] * row[i];
}

float Largest(std::span<const float> row) {
  const std::size_t whole = row.size() / kLanes * kLanes;
  float largest = -std::numeric_limits<float>::infinity();
  if (whole > 0) {
    Floats most = hn::LoadU(F32(), row.data());
    for (std::size_t i = kLanes; i < whole; i += kLanes) {
      most = hn::Max(most, hn::LoadU(F32(), row.data() + i));
    }
    largest = hn::GetLane(hn::MaxOfLanes(F32(), most));
  }
  for (std::size_t i = whole; i < row.size(); ++i) largest = std::max(largest, row[i]);
  return largest;
}

float ExpAndSum(std::span<float> row, float scale, float offset) {
  const Floats scales = hn::Set(F32(), scale);
  const Floats offsets = hn::Set(F32(), offset);
  const std::size_t whole = row.size() / kLanes * kLanes;
  Floats sums = hn::Zero(F32());
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const Floats x = hn::MulSub(hn::LoadU(F32(), row.data() + i), scales, offsets);
    const Floats e = hn::Exp(F32(), x);
    hn::StoreU(e, F32(), row.data() + i);
    sums = hn::Add(sums, e);
  }
  float sum = Sum(sums);
  for (std::size_t i = whole; i < row.size(); ++i) {
    row[i] = std::exp(row[i] * scale - offset);
    sum += row[i];
  }
  return sum;
}

// Zero times a value is not zero when the value is infinite or NaN.
bool AllFinite(std::span<const float> row) {
  const std::size_t whole = row.size() / kLanes * kLanes;
  Floats zeros = hn::Zero(F32());
  for (std::size_t i = 0; i < whole; i += kLanes) {
    zeros = hn::MulAdd(hn::LoadU(F32(), row.data() + i), hn::Zero(F32()), zeros);
  }
  float zero = Sum(zeros);
  for (std::size_t i = whole; i < row.size(); ++i) zero += row[i] * 0.0F;
  return zero == 0;
}

}  // namespace sluice::runtime::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::runtime {

HWY_EXPORT(RmsNorm);
HWY_EXPORT(SiluTimes);
HWY_EXPORT(AddScaled);
HWY_EXPORT(AddSquares);
HWY_EXPORT(Largest);
HWY_EXPORT(ExpAndSum);
HWY_EXPORT(AllFinite);

void RmsNorm(std::span<const float> row, std::span<const float> weight, float epsilon, float* out) {
  HWY_DYNAMIC_DISPATCH(RmsNorm)(row, weight, epsilon, out);
}
void SiluTimes(std::span<float> gate, const float* up) {
  HWY_DYNAMIC_DISPATCH(SiluTimes)(gate, up);
}
void AddScaled(std::span<const float> row, float scale, float* out) {
  HWY_DYNAMIC_DISPATCH(AddScaled)(row, scale, out);
}
void AddSquares(std::span<const float> row, float* sums) {
  HWY_DYNAMIC_DISPATCH(AddSquares)(row, sums);
}
float Largest(std::span<const float> row) { return HWY_DYNAMIC_DISPATCH(Largest)(row); }
float ExpAndSum(std::span<float> row, float scale, float offset) {
  return HWY_DYNAMIC_DISPATCH(ExpAndSum)(row, scale, offset);
}

bool AllFinite(std::span<const float> row) { return HWY_DYNAMIC_DISPATCH(AllFinite)(row); }

}  // namespace sluice::runtime
#endif  // HWY_ONCE
