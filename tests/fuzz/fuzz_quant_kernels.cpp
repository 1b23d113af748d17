// The fast quantization encoders: bytes and count of the scalar codecs, on every SIMD target, for
// any finite values, without importance and with any that a file may hold.
//
// An input is a header and words from which the values are made, as often repeated as needed:
//
//     type  target  flags  blocks  rows  exponent | words, little-endian
#include <hwy/targets.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>

#include "formats/gguf/types.h"
#include "formats/quant/codec.h"
#include "fuzz.h"
#include "stages/kernels/quant/encode.h"

namespace sluice::fuzz {
namespace {

enum HeaderByte : std::size_t { kType, kTarget, kFlags, kBlocks, kRows, kExponent, kHeaderBytes };
enum Flag : unsigned { kExact = 1, kWeighted = 2, kFloats = 4, kIntegers = 8 };

constexpr std::size_t kMaxRowElements = 768;  // three blocks of 256
constexpr std::size_t kMaxRows = 4;

const std::vector<const quant::Codec*>& FastCodecs() {
  static const std::vector<const quant::Codec*> kCodecs = [] {
    std::vector<const quant::Codec*> codecs;
    for (const quant::Codec* codec : quant::Codecs()) {
      if (kernels::HasFastEncoder(codec->type)) codecs.push_back(codec);
    }
    return codecs;
  }();
  return kCodecs;
}

template <class Word>
Word WordAt(std::span<const std::uint8_t> words, std::size_t index) {
  Word word = 0;
  for (std::size_t i = 0; i < sizeof word; ++i) {
    const std::size_t at = (index * sizeof word + i) % words.size();
    word = static_cast<Word>(word | static_cast<Word>(words[at]) << (8 * i));
  }
  return word;
}

// A value as BF16, as F32 or as a small integer times a power of two.
float ValueAt(std::span<const std::uint8_t> words, std::size_t index, unsigned flags,
              int exponent) {
  float value = 0;
  if ((flags & kIntegers) != 0) {
    const auto integer = static_cast<std::int8_t>(WordAt<std::uint8_t>(words, index));
    value = std::ldexp(static_cast<float>(integer), exponent);
  } else if ((flags & kFloats) != 0) {
    value = std::bit_cast<float>(WordAt<std::uint32_t>(words, index));
  } else {
    value = std::bit_cast<float>(std::uint32_t{WordAt<std::uint16_t>(words, index)} << 16);
  }
  return std::isfinite(value) ? value : 0.0F;
}

void CheckEncoders(std::span<const std::uint8_t> header, std::span<const std::uint8_t> words) {
  const quant::Codec& codec = *FastCodecs()[header[kType] % FastCodecs().size()];
  const std::size_t block = gguf::InfoOf(codec.type).block_elements;
  const std::size_t length = block * (1 + header[kBlocks] % (kMaxRowElements / block));
  const std::size_t num_rows = 1 + header[kRows] % kMaxRows;
  const unsigned flags = header[kFlags];
  const bool exact = (flags & kExact) != 0;
  std::vector<float> rows(num_rows * length);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = ValueAt(words, i, flags, header[kExponent] - 134);
  }
  std::vector<float> importance;
  if ((flags & kWeighted) != 0 || codec.importance == quant::Importance::kRequired) {
    for (std::size_t i = 0; i < length; ++i) {
      importance.push_back(std::abs(ValueAt(words, words.size() + 3 * i, flags & kFloats, 0)));
    }
  }

  const std::size_t row_bytes = *gguf::TensorBytes(codec.type, length);
  std::vector<std::byte> expected(num_rows * row_bytes);
  std::vector<std::byte> out(expected.size());
  std::uint64_t expected_differing = 0;
  for (std::size_t row = 0; row < num_rows; ++row) {
    expected_differing += codec.encode(std::span(rows).subspan(row * length, length), importance,
                                       exact, expected.data() + row * row_bytes);
  }
  static const std::vector<std::int64_t> kTargets = hwy::SupportedAndGeneratedTargets();
  hwy::SetSupportedTargetsForTest(kTargets[header[kTarget] % kTargets.size()]);
  const std::uint64_t differing =
      kernels::EncodeRows(codec.type, rows, length, importance, exact, out.data());
  Require(out == expected && differing == expected_differing);
}

// 32 words of about the same size, as weights are.
std::string WordsLikeWeights() {
  std::string words;
  for (std::uint32_t i = 0; i < 32; ++i) {
    const float value = 0.01F * static_cast<float>(static_cast<int>(i * 11 % 32) - 15);
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    words += static_cast<char>(bits >> 16);
    words += static_cast<char>(bits >> 24);
  }
  return words;
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::string weights = WordsLikeWeights();
  const std::string one_outlier = "\x01\x02" + std::string(61, '\x01') + "\x7F";
  std::vector<std::string> seeds;
  const auto add = [&](std::size_t type, unsigned flags, const std::string& words) {
    for (const char target : {0, 1, 2, 3}) {
      seeds.push_back({static_cast<char>(type), target, static_cast<char>(flags), 2, 3,
                       static_cast<char>(seeds.size())});
      seeds.back() += words;
    }
  };
  for (std::size_t type = 0; type < FastCodecs().size(); ++type) {
    for (const unsigned flags : {0U, kWeighted | kExact}) {
      add(type, flags, weights);
      add(type, flags | kFloats, weights);
      add(type, flags | kIntegers, one_outlier);
      add(type, flags, std::string(2, '\0'));
    }
  }
  return seeds;
}

}  // namespace sluice::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> input(data, size);
  if (size <= sluice::fuzz::kHeaderBytes) return 0;
  sluice::fuzz::CheckEncoders(input.first(sluice::fuzz::kHeaderBytes),
                              input.subspan(sluice::fuzz::kHeaderBytes));
  return 0;
}
