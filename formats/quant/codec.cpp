// F32, F16 and BF16, whose blocks are single elements, and the list of all codecs.
//
//   F32  (4 bytes)  x:f32     sign 1 bit, exponent 8, mantissa 23
//   F16  (2 bytes)  x:f16     sign 1 bit, exponent 5, mantissa 10
//   BF16 (2 bytes)  x:bf16    sign 1 bit, exponent 8, mantissa 7: the upper half of an F32
//
// F16 and BF16 are rounded to nearest, ties to even. F16 keeps subnormals and becomes infinite from
// 65520 on.
#include "formats/quant/codec.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "formats/quant/float_formats.h"

namespace sluice::quant {
namespace {

std::uint64_t EncodeF32(std::span<const float> row, std::span<const float>, bool, std::byte* out) {
  std::memcpy(out, row.data(), row.size_bytes());
  return 0;
}
void DecodeF32(const std::byte* in, std::span<float> out) {
  std::memcpy(out.data(), in, out.size_bytes());
}

template <std::uint16_t (*kConvert)(float)>
std::uint64_t EncodeHalf(std::span<const float> row, std::span<const float>, bool, std::byte* out) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    const std::uint16_t bits = kConvert(row[i]);
    std::memcpy(out + i * sizeof bits, &bits, sizeof bits);
  }
  return 0;
}
template <float (*kConvert)(std::uint16_t)>
void DecodeHalf(const std::byte* in, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, in + i * sizeof bits, sizeof bits);
    out[i] = kConvert(bits);
  }
}

}  // namespace

const Codec kCodecF32{gguf::TensorType::kF32, Importance::kIgnored, EncodeF32, DecodeF32};
const Codec kCodecF16{gguf::TensorType::kF16, Importance::kIgnored, EncodeHalf<F32ToF16>,
                      DecodeHalf<F16ToF32>};
const Codec kCodecBF16{gguf::TensorType::kBF16, Importance::kIgnored, EncodeHalf<F32ToBf16>,
                       DecodeHalf<Bf16ToF32>};

std::span<const Codec* const> Codecs() {
  static constexpr std::array kCodecs{
      &kCodecF32,    &kCodecF16,    &kCodecBF16,    &kCodecQ4_0,  &kCodecQ4_1,  &kCodecQ5_0,
      &kCodecQ5_1,   &kCodecQ8_0,   &kCodecQ2_K,    &kCodecQ3_K,  &kCodecQ4_K,  &kCodecQ5_K,
      &kCodecQ6_K,   &kCodecIQ4_NL, &kCodecIQ4_XS,  &kCodecTQ1_0, &kCodecTQ2_0, &kCodecQ1_0,
      &kCodecQ2_0,   &kCodecMXFP4,  &kCodecNVFP4,   &kCodecIQ1_S, &kCodecIQ1_M, &kCodecIQ2_XXS,
      &kCodecIQ2_XS, &kCodecIQ2_S,  &kCodecIQ3_XXS, &kCodecIQ3_S};
  return kCodecs;
}

const Codec* FindCodec(gguf::TensorType type) {
  for (const Codec* codec : Codecs()) {
    if (codec->type == type) return codec;
  }
  return nullptr;
}

}  // namespace sluice::quant
