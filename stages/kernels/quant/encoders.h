// The fast encoders, one for each type that has one. stages/kernels/quant/encode.h chooses.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::kernels {

// Rows of whole blocks, one after the other, as is their output.
struct EncodeJob {
  const float* rows;  // [num_rows, row_length]
  std::size_t num_rows;
  std::size_t row_length;
  const float* importance;  // [row_length], the same for all rows; or nullptr
  bool exact;
  std::byte* out;
};

// Bytes and result are those of quant::Codec::encode for every row. Each is in the file of its
// family.
using Encoder = std::uint64_t (*)(const EncodeJob& job);

std::uint64_t EncodeQ4_0(const EncodeJob& job);
std::uint64_t EncodeQ4_1(const EncodeJob& job);
std::uint64_t EncodeQ5_0(const EncodeJob& job);
std::uint64_t EncodeQ5_1(const EncodeJob& job);
std::uint64_t EncodeQ8_0(const EncodeJob& job);
std::uint64_t EncodeQ2_K(const EncodeJob& job);
std::uint64_t EncodeQ3_K(const EncodeJob& job);
std::uint64_t EncodeQ4_K(const EncodeJob& job);
std::uint64_t EncodeQ5_K(const EncodeJob& job);
std::uint64_t EncodeQ6_K(const EncodeJob& job);
std::uint64_t EncodeIQ1_S(const EncodeJob& job);
std::uint64_t EncodeIQ1_M(const EncodeJob& job);
std::uint64_t EncodeIQ2_XXS(const EncodeJob& job);
std::uint64_t EncodeIQ2_XS(const EncodeJob& job);
std::uint64_t EncodeIQ2_S(const EncodeJob& job);
std::uint64_t EncodeIQ3_XXS(const EncodeJob& job);
std::uint64_t EncodeIQ3_S(const EncodeJob& job);
std::uint64_t EncodeIQ4_NL(const EncodeJob& job);
std::uint64_t EncodeIQ4_XS(const EncodeJob& job);
std::uint64_t EncodeTQ1_0(const EncodeJob& job);
std::uint64_t EncodeTQ2_0(const EncodeJob& job);
std::uint64_t EncodeQ1_0(const EncodeJob& job);
std::uint64_t EncodeQ2_0(const EncodeJob& job);
std::uint64_t EncodeMXFP4(const EncodeJob& job);
std::uint64_t EncodeNVFP4(const EncodeJob& job);

}  // namespace sluice::kernels
