// Every codec against the bytes and values of the reference.
#include <gtest/gtest.h>

#include <vector>

#include "formats/quant/codec.h"
#include "golden_vectors.h"

namespace sluice::quant {
namespace {

using testing::Golden;
using testing::QuantCase;

class QuantGoldenTest : public ::testing::TestWithParam<QuantCase> {};

TEST_P(QuantGoldenTest, RowsEncodeToTheRecordedBytes) {
  const auto encoded =
      testing::EncodeRows(GetParam().Codec(), Golden().inputs, Golden().row_elements,
                          GetParam().Importance(), /*exact=*/true);
  testing::ExpectRecorded(GetParam(), encoded.bytes);
}

TEST_P(QuantGoldenTest, BytesDecodeToTheRecordedValues) {
  const QuantCase& of = GetParam();
  const auto values = testing::Decode(of.Codec(), of.Recorded(), Golden().inputs.size());
  EXPECT_EQ(testing::Sha256Hex(std::as_bytes(std::span(values))),
            of.File()["dequantized_f32_sha256"].get<std::string>());
}

INSTANTIATE_TEST_SUITE_P(AllTypes, QuantGoldenTest, ::testing::ValuesIn(testing::QuantCases()),
                         [](const auto& at) { return at.param.type + "_" + at.param.variant; });

}  // namespace
}  // namespace sluice::quant
