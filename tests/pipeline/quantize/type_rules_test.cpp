#include "pipeline/quantize/type_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "result_matchers.h"
#include "test_files.h"

namespace sluice {
namespace {

using gguf::TensorType;
using testing::Fails;
using testing::IsOk;
using testing::TempFolder;

TEST(TypeRule, SearchesAnywhereInTheName) {
  const Result<TypeRule> rule = ParseTypeRule(R"(blk\.[0-3]\..*down=Q6_K)");
  ASSERT_THAT(rule, IsOk());
  EXPECT_EQ(rule->type, TensorType::kQ6_K);
  EXPECT_TRUE(rule->Matches("blk.2.ffn_down_exps.weight"));
  EXPECT_FALSE(rule->Matches("blk.4.ffn_down_exps.weight"));
}

TEST(TypeRule, IsLowerCased) {
  const Result<TypeRule> rule = ParseTypeRule(R"(ATTN_\D=q8_0)");  // becomes \d
  ASSERT_THAT(rule, IsOk());
  EXPECT_TRUE(rule->Matches("blk.0.attn_1.weight"));
  EXPECT_FALSE(rule->Matches("blk.0.attn_q.weight"));
}

TEST(TypeRule, TheLastEqualsSignEndsThePattern) {
  const Result<TypeRule> rule = ParseTypeRule("attn_(?=v)=q5_0");
  ASSERT_THAT(rule, IsOk());
  EXPECT_TRUE(rule->Matches("attn_v"));
  EXPECT_FALSE(rule->Matches("attn_k"));
}

TEST(TypeRule, TakesNoExponentialTime) {
  const Result<TypeRule> rule = ParseTypeRule("(x+x+)+y=q8_0");
  ASSERT_THAT(rule, IsOk());
  EXPECT_FALSE(rule->Matches(std::string(63, 'x')));
  EXPECT_TRUE(rule->Matches(std::string(62, 'x') + "y"));
}

TEST(TypeRule, KnowsBackReferences) {
  const Result<TypeRule> rule = ParseTypeRule(R"(([0-9])\.attn_\1=q8_0)");
  ASSERT_THAT(rule, IsOk());
  EXPECT_TRUE(rule->Matches("blk.3.attn_3"));
  EXPECT_FALSE(rule->Matches("blk.3.attn_4"));
}

TEST(TypeRule, RejectsWhatIsNoRule) {
  EXPECT_THAT(ParseTypeRule("ffn_down"), Fails(ErrorCode::kUsage, "no rule for tensor types"));
  EXPECT_THAT(ParseTypeRule("=q8_0"), Fails(ErrorCode::kUsage, "REGEX=TYPE"));
  EXPECT_THAT(ParseTypeRule(""), Fails(ErrorCode::kUsage, "no rule for tensor types"));
  EXPECT_THAT(ParseTypeRule("ffn_(=q8_0"),
              Fails(ErrorCode::kUsage,
                    "no regular expression: expected ECMAScript syntax, got "
                    "ffn_("));
  EXPECT_THAT(ParseTypeRule("ffn=q4_k_m"), Fails(ErrorCode::kUsage, "expected one of F32"));
  EXPECT_THAT(ParseTypeRule("ffn="), Fails(ErrorCode::kUsage, "unknown tensor type"));
}

TEST(TypeRuleFile, HoldsRulesBetweenWhiteSpace) {
  const TempFolder folder;
  const auto rules =
      ReadTypeRules(folder.Write("rules", "attn_v=q8_0\nffn=q4_0 # wide\n# none\n\n\toutput=f16"));
  ASSERT_THAT(rules, IsOk());
  ASSERT_EQ(rules->size(), 3U);
  EXPECT_EQ((*rules)[1].text, "ffn=q4_0");
  EXPECT_EQ((*rules)[2].type, TensorType::kF16);
}

TEST(TypeRuleFile, MayComeFromAnotherSystem) {
  const TempFolder folder;
  const auto rules = ReadTypeRules(
      folder.Write("rules", "\xEF\xBB\xBF attn_v=q8_0 \r\n\r\n# none\r\n\u00A0\tffn=q4_0\f\r\n"));
  ASSERT_THAT(rules, IsOk());
  ASSERT_EQ(rules->size(), 2U);
  EXPECT_EQ((*rules)[0].text, "attn_v=q8_0");
  EXPECT_EQ((*rules)[0].place, folder.Path("rules") + ":1");
  EXPECT_EQ((*rules)[1].text, "ffn=q4_0");
  EXPECT_EQ((*rules)[1].place, folder.Path("rules") + ":4");
}

TEST(TypeRuleFile, ErrorsNameFileAndLine) {
  const TempFolder folder;
  EXPECT_THAT(ReadTypeRules(folder.Write("bad", "attn_v=q8_0\n\nnonsense")),
              Fails(ErrorCode::kUsage, "bad:3: no rule for tensor types"));
  EXPECT_THAT(ReadTypeRules(folder.Write("bad", "# types\nattn_(=q8_0")),
              Fails(ErrorCode::kUsage, "bad:2: no regular expression"));
  EXPECT_THAT(ReadTypeRules(folder.Write("bad", "attn_v=q9")),
              Fails(ErrorCode::kUsage, "bad:1: unknown tensor type"));
  EXPECT_THAT(ReadTypeRules(folder.Write("empty", " \n")),
              Fails(ErrorCode::kUsage, "an empty file"));
  EXPECT_THAT(ReadTypeRules(folder.Path("absent")), Fails(ErrorCode::kMissing, "absent"));
}

}  // namespace
}  // namespace sluice
