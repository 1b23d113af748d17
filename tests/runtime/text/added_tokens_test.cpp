#include "runtime/text/added_tokens.h"

#include <gtest/gtest.h>

namespace sluice::runtime {
namespace {

AddedTokens Sample() {
  AddedTokens tokens;
  tokens.Add("<a>", 1);
  tokens.Add("<a><b>", 2);
  tokens.Add("b>", 3);
  tokens.Add("", 4);
  return tokens;
}

TEST(AddedTokens, TakesTheLeftmostAndOfThoseTheLongest) {
  const AddedTokens tokens = Sample();
  const auto match = tokens.Next("x<a><b>b>", 0);
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->offset, 1U);
  EXPECT_EQ(match->bytes, 6U);
  EXPECT_EQ(match->id, 2U);
  EXPECT_EQ(tokens.Next("x<a><b>b>", 2)->id, 3U) << "begins inside the match before it";
  EXPECT_EQ(tokens.Next("x<a><", 0)->id, 1U);
  EXPECT_FALSE(tokens.Next("<a", 0).has_value());
  EXPECT_FALSE(tokens.Next("", 0).has_value());
}

TEST(AddedTokens, FindsATokenByItsText) {
  const AddedTokens tokens = Sample();
  EXPECT_EQ(tokens.Find("<a>"), 1U);
  EXPECT_FALSE(tokens.Find("<a").has_value());
  EXPECT_FALSE(tokens.Find("").has_value()) << "an empty text is never matched";
}

}  // namespace
}  // namespace sluice::runtime
