// The recorded outputs of the reference: tests/golden/quants, described in tests/golden/README.md.
#pragma once

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf/types.h"
#include "formats/quant/codec.h"
#include "test_files.h"

namespace sluice::testing {

inline std::string QuantGoldenPath(std::string_view name) {
  return std::string(SLUICE_GOLDEN_DIR) + "/quants/" + std::string(name);
}

inline std::string Sha256Hex(std::span<const std::byte> bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  EXPECT_EQ(EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr), 1);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    hex += kDigits[digest[i] >> 4];
    hex += kDigits[digest[i] & 15];
  }
  return hex;
}

// Rows of inputs.f32, their weights, and what the manifest says.
struct QuantGolden {
  nlohmann::json manifest;
  std::size_t row_elements;
  std::vector<float> inputs;
  std::vector<float> importance;

  [[nodiscard]] std::size_t num_rows() const { return inputs.size() / row_elements; }
  [[nodiscard]] std::span<const float> Row(std::size_t row) const {
    return std::span(inputs).subspan(row * row_elements, row_elements);
  }
};

inline std::vector<float> ReadFloats(const std::string& path) {
  const std::string bytes = ReadFile(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

inline const QuantGolden& Golden() {
  static const QuantGolden kGolden = [] {
    QuantGolden golden;
    golden.manifest = nlohmann::json::parse(ReadFile(QuantGoldenPath("manifest.json")));
    golden.row_elements = golden.manifest["n_per_row"].get<std::size_t>();
    golden.inputs = ReadFloats(QuantGoldenPath("inputs.f32"));
    golden.importance = ReadFloats(QuantGoldenPath("imatrix.f32"));
    return golden;
  }();
  return kGolden;
}

// The codec's bytes for rows of `row_elements`, with the same weights (or none) for each row.
struct Encoded {
  std::vector<std::byte> bytes;
  std::uint64_t differing_blocks = 0;
};
inline Encoded EncodeRows(const quant::Codec& codec, std::span<const float> values,
                          std::size_t row_elements, std::span<const float> importance, bool exact) {
  const std::size_t row_bytes = gguf::TensorBytes(codec.type, row_elements).value();
  Encoded encoded;
  encoded.bytes.resize(values.size() / row_elements * row_bytes);
  for (std::size_t row = 0; row < values.size() / row_elements; ++row) {
    encoded.differing_blocks +=
        codec.encode(values.subspan(row * row_elements, row_elements), importance, exact,
                     encoded.bytes.data() + row * row_bytes);
  }
  return encoded;
}

inline std::vector<float> Decode(const quant::Codec& codec, std::span<const std::byte> bytes,
                                 std::size_t elements) {
  std::vector<float> values(elements);
  codec.decode(bytes.data(), values);
  return values;
}

}  // namespace sluice::testing
