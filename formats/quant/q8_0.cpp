// Q8_0: 32 elements with one scale.
//
//   Q8_0 (34 bytes)  d:f16  q:i8[32]     x = d * q
#include "formats/quant/arithmetic.h"
#include "formats/quant/codec.h"
#include "formats/quant/search.h"

namespace sluice::quant {
namespace {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kBlockBytes = 34;

std::uint64_t Encode(std::span<const float> row, std::span<const float>, bool, std::byte* out) {
  for (std::size_t at = 0; at < row.size(); at += kBlock, out += kBlockBytes) {
    const auto x = row.subspan(at, kBlock);
    const float scale = MaxMagnitude(x) / 127.0F;
    const float inverse = Reciprocal(scale);
    StoreF16(out, scale);
    for (std::size_t j = 0; j < kBlock; ++j) {
      const std::int32_t code = TruncateToInt(std::round(x[j] * inverse));
      out[2 + j] = static_cast<std::byte>(LowInt8(code));
    }
  }
  return 0;
}

void Decode(const std::byte* in, std::span<float> out) {
  for (std::size_t at = 0; at < out.size(); at += kBlock, in += kBlockBytes) {
    const float scale = LoadF16(in);
    for (std::size_t j = 0; j < kBlock; ++j) {
      out[at + j] = static_cast<float>(static_cast<std::int8_t>(in[2 + j])) * scale;
    }
  }
}

}  // namespace

const Codec kCodecQ8_0{gguf::TensorType::kQ8_0, Importance::kIgnored, Encode, Decode};

}  // namespace sluice::quant
