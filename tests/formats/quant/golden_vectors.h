// The recorded outputs of the reference: tests/golden/quants, described in tests/golden/README.md.
#pragma once

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>
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

// One recorded file of the manifest.
struct QuantCase {
  std::string type;     // the manifest's name
  std::string variant;  // "plain" or "imatrix"

  [[nodiscard]] inline const nlohmann::json& Entry() const;
  [[nodiscard]] const nlohmann::json& File() const { return Entry()["files"][variant]; }
  [[nodiscard]] const quant::Codec& Codec() const {
    return *quant::FindCodec(gguf::FindTensorType(type)->type);
  }
  // The weights of a row; empty without.
  [[nodiscard]] inline std::span<const float> Importance() const;
  [[nodiscard]] std::vector<std::byte> Recorded() const {
    const std::string text = ReadFile(QuantGoldenPath(File()["file"].get<std::string>()));
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
  }
};
inline void PrintTo(const QuantCase& value, std::ostream* out) {
  *out << value.type << " " << value.variant;
}

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

inline const nlohmann::json& QuantCase::Entry() const { return Golden().manifest["types"][type]; }
inline std::span<const float> QuantCase::Importance() const {
  return variant == "imatrix" ? std::span(Golden().importance) : std::span<const float>();
}

inline std::vector<QuantCase> QuantCases() {
  std::vector<QuantCase> cases;
  for (const auto& [type, entry] : Golden().manifest["types"].items()) {
    for (const auto& [variant, file] : entry["files"].items()) cases.push_back({type, variant});
  }
  return cases;
}

// Says where the first byte that differs lies.
inline void ExpectRecorded(const QuantCase& of, std::span<const std::byte> bytes) {
  const std::vector<std::byte> recorded = of.Recorded();
  const std::size_t row_bytes = of.Entry()["row_bytes"].get<std::size_t>();
  const std::size_t block_bytes = of.Entry()["block_bytes"].get<std::size_t>();
  ASSERT_EQ(recorded.size(), Golden().num_rows() * row_bytes);
  ASSERT_EQ(bytes.size(), recorded.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    ASSERT_EQ(bytes[i], recorded[i])
        << "row " << Golden().manifest["row_names"][i / row_bytes] << ", block "
        << i % row_bytes / block_bytes << ", byte " << i % row_bytes % block_bytes;
  }
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
