#include "runtime/kernels/integer_dots.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <array>
#include <cstdint>
#include <limits>

// Highway 1.0 does not dispatch to VNNI, hence intrinsics and a question to the CPU.
#pragma GCC push_options
// GCC 12 sees uninitialized variables inside the intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,fma,f16c")

namespace sluice::runtime {
namespace {

// ---- Inputs as integers -------------------------------------------------------------------------

// What one step multiplies: four blocks of 32 elements. A vector of codes holds the first or the
// last 16 elements of each block, and so does a vector of digits; a lane of 32-bit sums then
// belongs to one block.
constexpr std::size_t kStepElements = 128;
constexpr int kDigitBits = 7;

// 128 elements, each the scale times a sum of digits * 128^(2, 1, 0).
struct alignas(64) Step {
  std::int8_t digits[3][2][64];  // highest first; -64 to 64
  std::int32_t correction[16];   // for codes of which not 0 but another stands for zero
  float scale;
};

__m512i Load(const void* from) { return _mm512_loadu_si512(from); }

// The sums of products of each lane. Exact: 8 products of 8 and 21 bits fit 32, and sums that pass
// that on the way come back.
inline __m512i Dot(const __m512i (&codes)[2], const Step& step) {
  __m512i sums = _mm512_setzero_si512();
  for (int place = 0; place < 3; ++place) {
    if (place > 0) sums = _mm512_slli_epi32(sums, kDigitBits);
    for (int half = 0; half < 2; ++half) {
      sums = _mm512_dpbusd_epi32(sums, codes[half], Load(step.digits[place][half]));
    }
  }
  return sums;
}

// The scale of 128 floats, NaN if one of them is not finite.
inline float ScaleOf(const float* input) {
  __m512 largest = _mm512_setzero_ps();
  __m512 zeros = _mm512_setzero_ps();
  for (std::size_t i = 0; i < kStepElements; i += 16) {
    const __m512 x = _mm512_loadu_ps(input + i);
    largest = _mm512_max_ps(largest, _mm512_abs_ps(x));
    zeros = _mm512_fmadd_ps(x, _mm512_setzero_ps(), zeros);
  }
  return _mm512_reduce_max_ps(largest) * 0x1p-20F + _mm512_reduce_add_ps(zeros);
}

// `zero` is the code that stands for zero.
inline void FillStep(const float* input, int zero, Step& step) {
  step.scale = ScaleOf(input);
  const float inverse = step.scale > std::numeric_limits<float>::min() ? 1.0F / step.scale : 0.0F;
  const __m512i half = _mm512_set1_epi32(1 << (kDigitBits - 1));
  const __m512i digit = _mm512_set1_epi32((1 << kDigitBits) - 1);
  for (std::size_t i = 0; i < kStepElements; i += 16) {
    const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(input + i), _mm512_set1_ps(inverse));
    __m512i rest = _mm512_cvtps_epi32(x);
    const std::size_t at = i / 32 * 16;
    for (int place = 2; place > 0; --place) {
      const __m512i low =
          _mm512_sub_epi32(_mm512_and_si512(_mm512_add_epi32(rest, half), digit), half);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(step.digits[place][i / 16 % 2] + at),
                       _mm512_cvtepi32_epi8(low));
      rest = _mm512_srai_epi32(_mm512_sub_epi32(rest, low), kDigitBits);
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(step.digits[0][i / 16 % 2] + at),
                     _mm512_cvtepi32_epi8(rest));
  }
  const __m512i zeros = _mm512_set1_epi8(static_cast<char>(zero));
  const __m512i sums = Dot({zeros, zeros}, step);
  _mm512_store_si512(step.correction, _mm512_sub_epi32(_mm512_setzero_si512(), sums));
}

// ---- Formats ------------------------------------------------------------------------------------

using Bytes64 = std::array<std::uint8_t, 64>;
using Words32 = std::array<std::uint16_t, 32>;

// Where 16 bytes of each of four blocks lie in two vectors loaded at `first` and `second`: what
// _mm512_permutex2var_epi8 takes. The bytes of block b begin at `offset` + b * `block_bytes`.
constexpr Bytes64 PickBytes(int block_bytes, int offset, int first, int second) {
  Bytes64 index{};
  for (int i = 0; i < 64; ++i) {
    const int at = offset + i / 16 * block_bytes + i % 16;
    index[i] = static_cast<std::uint8_t>(at - first < 64 ? at - first : at - second + 64);
  }
  return index;
}

// The same for the scale in front of each block, once for each lane.
constexpr Words32 PickScales(int block_bytes) {
  Words32 index{};
  for (int i = 0; i < 16; ++i) index[i] = static_cast<std::uint16_t>(i / 4 * block_bytes / 2);
  return index;
}

inline __m512 FloatsOfHalves(__m512i halves) {
  return _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
}

// d:f16  q:i8[32]
struct Q8_0 {
  static constexpr int kZero = 128;
  static constexpr int kBytes = 34;
  static constexpr Bytes64 kFirst = PickBytes(kBytes, 2, 0, 64);
  static constexpr Bytes64 kLast = PickBytes(kBytes, 18, 18, 72);
  static constexpr Words32 kScales = PickScales(kBytes);

  static inline __m512 Decode(const std::byte* blocks, __m512i (&codes)[2]) {
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(kZero));
    const __m512i begin = Load(blocks);
    const __m512i next = Load(blocks + 64);
    codes[0] = _mm512_permutex2var_epi8(begin, Load(kFirst.data()), next);
    codes[1] = _mm512_permutex2var_epi8(Load(blocks + 18), Load(kLast.data()), Load(blocks + 72));
    codes[0] = _mm512_xor_si512(codes[0], sign);
    codes[1] = _mm512_xor_si512(codes[1], sign);
    return FloatsOfHalves(_mm512_permutex2var_epi16(begin, Load(kScales.data()), next));
  }
};

// d:f16  q[16]: element i in the low, element i + 16 in the high bits of q[i]
struct Q4_0 {
  static constexpr int kZero = 8;
  static constexpr int kBytes = 18;
  static constexpr Bytes64 kCodes = PickBytes(kBytes, 2, 0, 8);
  static constexpr Words32 kScales = PickScales(kBytes);

  static inline __m512 Decode(const std::byte* blocks, __m512i (&codes)[2]) {
    const __m512i low = _mm512_set1_epi8(15);
    const __m512i begin = Load(blocks);
    const __m512i pairs = _mm512_permutex2var_epi8(begin, Load(kCodes.data()), Load(blocks + 8));
    codes[0] = _mm512_and_si512(pairs, low);
    codes[1] = _mm512_and_si512(_mm512_srli_epi16(pairs, 4), low);
    return FloatsOfHalves(_mm512_permutexvar_epi16(Load(kScales.data()), begin));
  }
};

// ---- Rows ---------------------------------------------------------------------------------------

constexpr std::size_t kPrefetchBytes = 2048;  // measured
constexpr std::size_t kCacheLine = 64;

// One row after the other, which is how memory gives them fastest: tiles of several rows, though
// they share the loads of the input, took half as long again.
template <class Format>
void Dots(const Matrix& m, const float* input, float* out, Step* steps) {
  constexpr std::size_t kStepBytes = 4 * Format::kBytes;
  const std::size_t count = m.columns / kStepElements;
  for (std::size_t s = 0; s < count; ++s) {
    FillStep(input + s * kStepElements, Format::kZero, steps[s]);
  }
  for (std::size_t r = 0; r < m.rows; ++r) {
    const std::byte* blocks = m.data + r * m.row_bytes;
    __m512 sum = _mm512_setzero_ps();
    for (std::size_t s = 0; s < count; ++s, blocks += kStepBytes) {
      // The CPU's own prefetching ends with each page.
      for (std::size_t line = 0; line < kStepBytes; line += kCacheLine) {
        _mm_prefetch(reinterpret_cast<const char*>(blocks + kPrefetchBytes + line), _MM_HINT_T0);
      }
      __m512i codes[2];
      const __m512 scales = Format::Decode(blocks, codes);
      const __m512i dots = _mm512_add_epi32(Dot(codes, steps[s]), Load(steps[s].correction));
      sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots),
                            _mm512_mul_ps(scales, _mm512_set1_ps(steps[s].scale)), sum);
    }
    out[r] = _mm512_reduce_add_ps(sum);
  }
}

bool HasInstructions() {
  static const bool has = __builtin_cpu_supports("avx512vnni") &&
                          __builtin_cpu_supports("avx512vbmi") &&
                          __builtin_cpu_supports("avx512bw");
  return has;
}

}  // namespace

bool IntegerDots(const Matrix& m, const float* input, float* out, Buffer& scratch) {
  using enum gguf::TensorType;
  if (m.columns % kStepElements != 0 || (m.type != kQ8_0 && m.type != kQ4_0)) return false;
  if (!HasInstructions()) return false;
  const auto bytes = scratch.Reserve(m.columns / kStepElements * sizeof(Step));
  auto* const steps = reinterpret_cast<Step*>(bytes.data());
  m.type == kQ8_0 ? Dots<Q8_0>(m, input, out, steps) : Dots<Q4_0>(m, input, out, steps);
  return true;
}

}  // namespace sluice::runtime

#pragma GCC pop_options

#else

namespace sluice::runtime {

bool IntegerDots(const Matrix&, const float*, float*, Buffer&) { return false; }

}  // namespace sluice::runtime

#endif
