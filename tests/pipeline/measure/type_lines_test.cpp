// Lines of a --tensor-types file: each names its tensors and no others.
#include "pipeline/measure/type_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipeline/quantize/type_rules.h"
#include "result_matchers.h"

namespace sluice {
namespace {

using enum gguf::TensorType;
using sluice::testing::IsOk;
using ::testing::ElementsAre;

TEST(TypeLines, BlocksWithOneTypeShareALine) {
  EXPECT_THAT(TypeLines({{"output.weight", kQ6_K},
                         {"blk.0.attn_k.weight", kQ4_K},
                         {"blk.0.attn_v.weight", kQ4_K},
                         {"blk.1.attn_k.weight", kQ8_0},
                         {"blk.12.attn_k.weight", kQ4_K}}),
              ElementsAre("^output\\.weight$=q6_k", "^blk\\.(0|12)\\.attn_k\\.weight$=q4_k",
                          "^blk\\.0\\.attn_v\\.weight$=q4_k", "^blk\\.1\\.attn_k\\.weight$=q8_0"));
}

TEST(TypeLines, EveryLineIsARuleForItsTensorsAlone) {
  const std::vector<std::string_view> names{
      "token_embd.weight",    "per_layer_token_embd.weight", "blk.1.ffn_up.weight",
      "blk.11.ffn_up.weight", "blk.1.ffn_up_exps.weight",    "Odd #=(name).weight"};
  for (const std::string_view name : names) {
    const std::vector<std::string> lines = TypeLines({{name, kIQ4_XS}});
    ASSERT_EQ(lines.size(), 1);
    const Result<TypeRule> rule = ParseTypeRule(lines.front());
    ASSERT_THAT(rule, IsOk());
    EXPECT_EQ(rule->type, kIQ4_XS);
    EXPECT_EQ(lines.front().find('#'), std::string::npos) << "a comment in a file";
    for (const std::string_view other : names) {
      const auto found = rule->Matches(other);
      ASSERT_THAT(found, IsOk());
      EXPECT_EQ(*found, other == name) << lines.front() << " and " << other;
    }
  }
}

}  // namespace
}  // namespace sluice
