#include "core/regular_expression.h"

#include <gtest/gtest.h>

#include <string>

#include "result_matchers.h"

namespace sluice {
namespace {

using testing::Fails;
using testing::IsOk;

constexpr std::uint32_t kSteps = 100'000;

bool MatchesStart(const std::string& pattern, std::string_view text) {
  const auto expression = RegularExpression::Compile(pattern, kSteps);
  EXPECT_THAT(expression, IsOk()) << pattern;
  const Result<bool> matches = expression->MatchesStart(text);
  EXPECT_THAT(matches, IsOk()) << pattern;
  return *matches;
}

TEST(RegularExpression, MatchesTheStart) {
  EXPECT_TRUE(MatchesStart("model", "model.layers"));
  EXPECT_FALSE(MatchesStart("layers", "model.layers"));
  EXPECT_TRUE(MatchesStart(".*layers", "model.layers"));
  EXPECT_TRUE(MatchesStart("x*", "model")) << "an empty match is one";
  EXPECT_FALSE(MatchesStart("model$", "model.layers"));
}

TEST(RegularExpression, UnderstandsWhatPythonDoes) {
  EXPECT_TRUE(MatchesStart(R"((?P<part>\w+)\.(?P=part)$)", "mlp.mlp"));
  EXPECT_TRUE(MatchesStart("(?i)MODEL", "model"));
  EXPECT_TRUE(MatchesStart(R"(.*(?<!mlp)\.up_proj)", "attn.up_proj"));
  EXPECT_FALSE(MatchesStart(R"(.*(?<!mlp)\.up_proj)", "mlp.up_proj"));
}

TEST(RegularExpression, FindsMatchesFromAPositionOn) {
  const auto expression = RegularExpression::Compile("[0-9]*", kSteps);
  ASSERT_THAT(expression, IsOk());
  const auto found = expression->Find("1ab23", 1);
  ASSERT_THAT(found, IsOk());
  ASSERT_TRUE(found->has_value());
  EXPECT_EQ((*found)->begin, 3U);
  EXPECT_EQ((*found)->end, 5U);
  EXPECT_FALSE(expression->Find("1ab", 1)->has_value()) << "empty matches are not found";
}

TEST(RegularExpression, RefusesWhatIsNone) {
  EXPECT_THAT(RegularExpression::Compile("(a", kSteps), Fails(ErrorCode::kCorrupt, "at byte 2"));
  EXPECT_THAT(RegularExpression::Compile("\xFF", kSteps), Fails(ErrorCode::kCorrupt, "UTF-8"));
  EXPECT_THAT(RegularExpression::Compile(std::string(20000, '(') + std::string(20000, ')'), kSteps),
              Fails(ErrorCode::kCorrupt, "nested"));
}

TEST(RegularExpression, GivesUpOnExponentialTime) {
  const auto expression = RegularExpression::Compile("(x+x+)+[yz]", kSteps);
  ASSERT_THAT(expression, IsOk());
  const std::string text(64, 'x');
  EXPECT_THAT(expression->MatchesStart(text), Fails(ErrorCode::kUnsupported, "match limit"));
  EXPECT_THAT(expression->Find(text, 0), Fails(ErrorCode::kUnsupported, "match limit"));
  EXPECT_THAT(expression->MatchesStart("\xFF"), Fails(ErrorCode::kUnsupported, "UTF-8"));
}

}  // namespace
}  // namespace sluice
