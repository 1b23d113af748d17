// Every codec against the bytes and values of the reference.
#include <gtest/gtest.h>

#include <cctype>
#include <ostream>
#include <string>
#include <vector>

#include "formats/gguf/types.h"
#include "formats/quant/codec.h"
#include "golden_vectors.h"

namespace sluice::quant {
namespace {

// One recorded file of the manifest.
struct Case {
  std::string type;     // the manifest's name
  std::string variant;  // "plain" or "imatrix"
};
void PrintTo(const Case& value, std::ostream* out) { *out << value.type << " " << value.variant; }

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const auto& [type, entry] : testing::Golden().manifest["types"].items()) {
    for (const auto& [variant, file] : entry["files"].items()) cases.push_back({type, variant});
  }
  return cases;
}

class QuantGoldenTest : public ::testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] static const nlohmann::json& Entry() {
    return testing::Golden().manifest["types"][GetParam().type];
  }
  [[nodiscard]] static const nlohmann::json& File() { return Entry()["files"][GetParam().variant]; }
  [[nodiscard]] static const Codec& TheCodec() {
    return *FindCodec(gguf::FindTensorType(GetParam().type)->type);
  }
  [[nodiscard]] static std::vector<std::byte> Recorded() {
    const std::string text =
        testing::ReadFile(testing::QuantGoldenPath(File()["file"].get<std::string>()));
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
  }
};

TEST_P(QuantGoldenTest, RowsEncodeToTheRecordedBytes) {
  const testing::QuantGolden& golden = testing::Golden();
  const std::vector<std::byte> recorded = Recorded();
  const std::size_t row_bytes = Entry()["row_bytes"].get<std::size_t>();
  const std::size_t block_bytes = Entry()["block_bytes"].get<std::size_t>();
  const bool weighted = GetParam().variant == "imatrix";
  ASSERT_EQ(recorded.size(), golden.num_rows() * row_bytes);
  for (std::size_t row = 0; row < golden.num_rows(); ++row) {
    const auto importance = weighted ? std::span(golden.importance) : std::span<const float>();
    const auto bytes = testing::EncodeRows(TheCodec(), golden.Row(row), golden.row_elements,
                                           importance, /*exact=*/true)
                           .bytes;
    for (std::size_t at = 0; at < row_bytes; ++at) {
      ASSERT_EQ(bytes[at], recorded[row * row_bytes + at])
          << "row " << golden.manifest["row_names"][row] << ", block " << at / block_bytes
          << ", byte " << at % block_bytes;
    }
  }
}

TEST_P(QuantGoldenTest, BytesDecodeToTheRecordedValues) {
  const testing::QuantGolden& golden = testing::Golden();
  const auto values = testing::Decode(TheCodec(), Recorded(), golden.inputs.size());
  EXPECT_EQ(testing::Sha256Hex(std::as_bytes(std::span(values))),
            File()["dequantized_f32_sha256"].get<std::string>());
}

INSTANTIATE_TEST_SUITE_P(AllTypes, QuantGoldenTest, ::testing::ValuesIn(Cases()),
                         [](const auto& at) { return at.param.type + "_" + at.param.variant; });

}  // namespace
}  // namespace sluice::quant
