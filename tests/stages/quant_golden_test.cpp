// The fast encoders against the bytes of the reference, on every SIMD target.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "simd_targets.h"
#include "stages/kernels/quant/encode.h"
#include "tests/formats/quant/golden_vectors.h"

namespace sluice {
namespace {

using testing::Golden;
using testing::QuantCase;

class QuantKernelsGolden : public ::testing::TestWithParam<QuantCase> {};

TEST_P(QuantKernelsGolden, RowsEncodeToTheRecordedBytes) {
  const gguf::TensorType type = GetParam().Codec().type;
  testing::ForEachSimdTarget([&] {
    std::vector<std::byte> bytes(*gguf::TensorBytes(type, Golden().inputs.size()));
    kernels::EncodeRows(type, Golden().inputs, Golden().row_elements, GetParam().Importance(),
                        /*exact=*/true, bytes.data());
    testing::ExpectRecorded(GetParam(), bytes);
  });
}

INSTANTIATE_TEST_SUITE_P(AllTypes, QuantKernelsGolden, ::testing::ValuesIn(testing::QuantCases()),
                         [](const auto& at) { return at.param.type + "_" + at.param.variant; });

TEST(QuantKernelsGolden, ComparesEveryRecordedFile) { EXPECT_EQ(testing::QuantCases().size(), 42); }

}  // namespace
}  // namespace sluice
