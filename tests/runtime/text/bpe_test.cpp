#include "runtime/text/bpe.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "result_matchers.h"

namespace sluice::runtime {
namespace {

using ::testing::ElementsAre;
using testing::Fails;
using testing::IsOk;

gguf::Array Strings(const std::vector<std::string>& texts) { return gguf::Array::OfStrings(texts); }

std::vector<TokenId> Encoded(const std::vector<std::string>& tokens,
                             const std::vector<std::string>& merges, std::string_view piece,
                             bool ignore_merges = false) {
  const auto encoder = BytePairEncoder::Make(
      Strings(tokens), std::vector<bool>(tokens.size(), true), Strings(merges), ignore_merges);
  EXPECT_THAT(encoder, IsOk());
  std::vector<TokenId> ids;
  EXPECT_THAT(encoder->Encode(piece, ids), IsOk());
  return ids;
}

TEST(BytePairEncoder, MergesByRankThenFromTheLeft) {
  const std::vector<std::string> tokens{"a", "b", "c", "ab", "bc", "aa", "abc"};
  EXPECT_THAT(Encoded(tokens, {"a b", "b c", "a a"}, "abc"), ElementsAre(3, 2));
  EXPECT_THAT(Encoded(tokens, {"b c", "a b", "a a"}, "abc"), ElementsAre(0, 4));
  EXPECT_THAT(Encoded(tokens, {"a a"}, "aaa"), ElementsAre(5, 0));
  EXPECT_THAT(Encoded(tokens, {"a b", "ab c"}, "abcabc"), ElementsAre(6, 6));
  EXPECT_THAT(Encoded(tokens, {}, ""), ElementsAre());
}

TEST(BytePairEncoder, TakesAWholePieceThatIsATokenOnlyIfTold) {
  const std::vector<std::string> tokens{"a", "b", "c", "abc"};
  EXPECT_THAT(Encoded(tokens, {}, "abc"), ElementsAre(0, 1, 2));
  EXPECT_THAT(Encoded(tokens, {}, "abc", true), ElementsAre(3));
}

TEST(BytePairEncoder, LeavesAddedTokensToTheirOwnText) {
  const auto encoder =
      BytePairEncoder::Make(Strings({"a", "b", "ab"}), {true, true, false}, Strings({}), true);
  ASSERT_THAT(encoder, IsOk());
  std::vector<TokenId> ids;
  ASSERT_THAT(encoder->Encode("ab", ids), IsOk());
  EXPECT_THAT(ids, ElementsAre(0, 1));
}

TEST(BytePairEncoder, RefusesBytesWithoutAToken) {
  const auto encoder = BytePairEncoder::Make(Strings({"a"}), {true}, Strings({}), false);
  ASSERT_THAT(encoder, IsOk());
  std::vector<TokenId> ids;
  EXPECT_THAT(encoder->Encode("a\n", ids), Fails(ErrorCode::kUnsupported, "byte 0x0A"));
}

TEST(BytePairEncoder, RefusesMergesOfWhatIsNoToken) {
  const auto make = [](const std::string& merge) {
    return BytePairEncoder::Make(Strings({"a", "b"}), {true, true}, Strings({merge}), false);
  };
  EXPECT_THAT(make("ab"), Fails(ErrorCode::kCorrupt, "merge 0 is not two parts: got ab"));
  EXPECT_THAT(make("a c"), Fails(ErrorCode::kCorrupt, "merge 0 has a part that is no token"));
  EXPECT_THAT(make("a b"), Fails(ErrorCode::kCorrupt, "merge 0 gives no token"));
}

TEST(BytesOfToken, UndoesTheByteLevelAlphabet) {
  EXPECT_EQ(BytesOfToken("a!~"), "a!~");
  EXPECT_EQ(BytesOfToken("\u0120a"), " a");
  EXPECT_EQ(BytesOfToken("\u010A"), "\n");
  EXPECT_EQ(BytesOfToken("\u0100"), std::string(1, '\0'));
  EXPECT_EQ(BytesOfToken("\u0143"), "\xAD");
  EXPECT_EQ(BytesOfToken("\u0121"), "\x7F");
  EXPECT_EQ(BytesOfToken("\u00C3\u00A9"), "\u00E9");
  EXPECT_EQ(BytesOfToken("<a b>"), "<a b>") << "a space is not in the alphabet";
  EXPECT_EQ(BytesOfToken("\u65E5\u0120"), "\u65E5\u0120");
}

}  // namespace
}  // namespace sluice::runtime
