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

bool IsFound(const TypeRule& rule, const std::string& name) {
  const Result<bool> found = rule.Matches(name);
  EXPECT_THAT(found, IsOk());
  return found && *found;
}

TEST(TypeRule, SearchesAnywhereInTheName) {
  const Result<TypeRule> rule = ParseTypeRule(R"(blk\.[0-3]\..*down=Q6_K)");
  ASSERT_THAT(rule, IsOk());
  EXPECT_EQ(rule->type, TensorType::kQ6_K);
  EXPECT_TRUE(IsFound(*rule, "blk.2.ffn_down_exps.weight"));
  EXPECT_FALSE(IsFound(*rule, "blk.4.ffn_down_exps.weight"));
}

TEST(TypeRule, IsLowerCased) {
  const Result<TypeRule> rule = ParseTypeRule(R"(ATTN_\D=q8_0)");  // becomes \d
  ASSERT_THAT(rule, IsOk());
  EXPECT_TRUE(IsFound(*rule, "blk.0.attn_1.weight"));
  EXPECT_FALSE(IsFound(*rule, "blk.0.attn_q.weight"));
}

TEST(TypeRule, TheLastEqualsSignEndsThePattern) {
  const Result<TypeRule> rule = ParseTypeRule("attn_(?=v)=q5_0");
  ASSERT_THAT(rule, IsOk());
  EXPECT_TRUE(IsFound(*rule, "attn_v"));
  EXPECT_FALSE(IsFound(*rule, "attn_k"));
}

TEST(TypeRule, TakesNoExponentialTime) {
  const Result<TypeRule> rule = ParseTypeRule("(x+x+)+y=q8_0");
  ASSERT_THAT(rule, IsOk());
  EXPECT_FALSE(IsFound(*rule, std::string(63, 'x')));
  EXPECT_TRUE(IsFound(*rule, std::string(62, 'x') + "y"));
}

TEST(TypeRule, KnowsBackReferences) {
  const Result<TypeRule> rule = ParseTypeRule(R"(([0-9])\.attn_\1=q8_0)");
  ASSERT_THAT(rule, IsOk());
  EXPECT_TRUE(IsFound(*rule, "blk.3.attn_3"));
  EXPECT_FALSE(IsFound(*rule, "blk.3.attn_4"));
}

TEST(TypeRule, BackReferencesAreSearchedAnywhereAsInEcmaScript) {
  const auto finds = [](const std::string& pattern, const std::string& name) {
    const Result<TypeRule> rule = ParseTypeRule(pattern + "=q8_0");
    EXPECT_THAT(rule, IsOk());
    return rule && IsFound(*rule, name);
  };
  EXPECT_TRUE(finds(R"((a|b)\1|x)", "cdbb"));
  EXPECT_TRUE(finds(R"((a|b)\1|x)", "cx"));  // alternatives stay together
  EXPECT_FALSE(finds(R"((a|b)\1|x)", "cab"));
  EXPECT_TRUE(finds(R"((q?)\1)", "v"));  // the empty text is found
  EXPECT_FALSE(finds(R"(^(\w)\w*\1$)", "attn.a"));
  EXPECT_TRUE(finds(R"(^(\w)[\w.]*\1$)", "attn.a"));
  EXPECT_FALSE(finds(R"((?:(a)|b)\1)", "b"));  // nothing equals a group that took no part
}

TEST(TypeRule, BackReferencesTakeNoExponentialTime) {
  for (const char* const pattern :
       {R"((.*)*(b|.)*\2zx)", R"((.*)(.*)(.*)(.*)(.*)(.*)\1\2\3\4\5\6zx)"}) {
    const Result<TypeRule> rule = ParseTypeRule(std::string(pattern) + "=q8_0");
    ASSERT_THAT(rule, IsOk());
    EXPECT_THAT(rule->Matches(std::string(60, 'x') + "z"),
                Fails(ErrorCode::kUsage, "a --tensor-type with back-references takes too much "));
  }
}

TEST(TypeRule, RefusesBesideBackReferencesWhatIsNotTheSameForBothLibraries) {
  for (const char* const pattern :
       {R"((a)\1\h)", R"((a)\1++)", R"((a{2}+)\1)", R"((a)\1[])", R"((a)\1[^])", R"(\e(a)\1)"}) {
    EXPECT_THAT(
        ParseTypeRule(std::string(pattern) + "=q8_0"),
        Fails(ErrorCode::kUsage, "no regular expression beside back-references: expected no"))
        << pattern;
  }
  for (const char* const pattern : {R"((a)\1\d\.\++)", R"((a\\)+\1)", R"(([*+?]+)\1)"}) {
    EXPECT_THAT(ParseTypeRule(std::string(pattern) + "=q8_0"), IsOk()) << pattern;
  }
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

TEST(TypeRuleFile, HasBlanksAroundTheSign) {
  const TempFolder folder;
  const auto rules = ReadTypeRules(folder.Write("rules", "attn_v = q8_0\nffn\t= \tq4_0\n"));
  ASSERT_THAT(rules, IsOk());
  ASSERT_EQ(rules->size(), 2U);
  EXPECT_TRUE(rules->front().Matches("blk.0.attn_v.weight"));
  EXPECT_EQ(rules->back().type, TensorType::kQ4_0);
  EXPECT_THAT(ReadTypeRules(folder.Write("rules", " = q8_0")),
              Fails(ErrorCode::kUsage, "no rule for tensor types"));
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
