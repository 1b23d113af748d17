#include "runtime/text/split_pattern.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "result_matchers.h"

namespace sluice::runtime {
namespace {

using ::testing::ElementsAre;
using testing::Fails;
using ::testing::IsEmpty;
using testing::IsOk;

std::vector<std::string_view> Pieces(const std::string& pattern, std::string_view text) {
  const auto split = SplitPattern::Compile(pattern);
  EXPECT_THAT(split, IsOk());
  std::vector<std::string_view> pieces;
  EXPECT_THAT(split->Split(text, pieces), IsOk());
  return pieces;
}

TEST(SplitPattern, GivesMatchesAndWhatStandsBetween) {
  EXPECT_THAT(Pieces("[0-9]+", "ab12c345"), ElementsAre("ab", "12", "c", "345"));
  EXPECT_THAT(Pieces("[0-9]+", "12"), ElementsAre("12"));
  EXPECT_THAT(Pieces("[0-9]+", "ab"), ElementsAre("ab"));
  EXPECT_THAT(Pieces("[0-9]*", "ab1"), ElementsAre("ab", "1")) << "empty matches cut nothing";
  EXPECT_THAT(Pieces("a", ""), IsEmpty());
}

TEST(SplitPattern, UnderstandsUnicodeProperties) {
  EXPECT_THAT(Pieces(R"(\p{L}+)", "\u00E9\u65E5 \u0663"), ElementsAre("\u00E9\u65E5", " \u0663"));
  EXPECT_THAT(Pieces(R"(\p{N})", "\u0663\u00BD"), ElementsAre("\u0663", "\u00BD"));
  EXPECT_THAT(Pieces("(?i:'s)", "'S'\u017F"), ElementsAre("'S", "'\u017F"));
}

TEST(SplitPattern, TakesWhiteSpaceAsUnicodeHasIt) {
  EXPECT_THAT(Pieces(R"(\s+)", "a\u0085\u3000\u2028b"),
              ElementsAre("a", "\u0085\u3000\u2028", "b"));
  EXPECT_THAT(Pieces(R"(\s)", "a\u180Eb\u200Bc"), ElementsAre("a\u180Eb\u200Bc"));
  EXPECT_THAT(Pieces(R"([^\s]+)", "a\u180E\u00A0b"), ElementsAre("a\u180E", "\u00A0", "b"));
  EXPECT_THAT(Pieces(R"(\s+(?!\S))", "a   b"), ElementsAre("a", "  ", " b"));
}

TEST(SplitPattern, RefusesWhatOnigurumaUnderstandsDifferently) {
  for (const char* pattern : {R"(\w+)", R"(\h)", R"(a\b)", R"(\A)", R"(\1)"}) {
    EXPECT_THAT(SplitPattern::Compile(pattern), Fails(ErrorCode::kUnsupported, pattern)) << pattern;
  }
  EXPECT_THAT(SplitPattern::Compile(R"([\S])"), Fails(ErrorCode::kUnsupported, R"(\S)"));
  EXPECT_THAT(SplitPattern::Compile("[a[b]]"), Fails(ErrorCode::kUnsupported, "inside a class"));
  EXPECT_THAT(SplitPattern::Compile("[a&&b]"), Fails(ErrorCode::kUnsupported, "inside a class"));
}

TEST(SplitPattern, RefusesWhatIsNoPattern) {
  EXPECT_THAT(SplitPattern::Compile("(a"), Fails(ErrorCode::kCorrupt, "at byte 2"));
  EXPECT_THAT(SplitPattern::Compile("\xFF"), Fails(ErrorCode::kCorrupt, "not UTF-8"));
}

TEST(SplitPattern, GivesUpOnPatternsThatTakeExponentialTime) {
  const auto split = SplitPattern::Compile("(x+x+)+y");
  ASSERT_THAT(split, IsOk());
  std::vector<std::string_view> pieces;
  EXPECT_THAT(split->Split(std::string(64, 'x') + " y", pieces),
              Fails(ErrorCode::kUnsupported, "match limit exceeded"));
}

}  // namespace
}  // namespace sluice::runtime
