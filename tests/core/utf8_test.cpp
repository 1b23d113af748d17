#include "core/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice {
namespace {

const std::string kText = "a\u00E9\u65E5\U0001F44B\U0010FFFFz";

// The whole stream's text when `bytes` arrive cut at `cuts`.
std::string Streamed(const std::string& bytes, const std::vector<std::size_t>& cuts) {
  Utf8Stream stream;
  std::string text;
  std::size_t from = 0;
  for (const std::size_t cut : cuts) {
    text += stream.Push(std::string_view(bytes).substr(from, cut - from));
    EXPECT_EQ(ValidUtf8Prefix(text), text.size()) << "half a character was given out";
    from = cut;
  }
  text += stream.Push(std::string_view(bytes).substr(from));
  text += stream.Finish();
  return text;
}

TEST(Utf8, FindsTheEndOfWhatIsValid) {
  EXPECT_EQ(ValidUtf8Prefix(kText), kText.size());
  EXPECT_EQ(ValidUtf8Prefix("ab\xC3"), 2U) << "a character that is cut";
  EXPECT_EQ(ValidUtf8Prefix("ab\x80"), 2U) << "a continuation byte alone";
  EXPECT_EQ(ValidUtf8Prefix("\xC0\x80"), 0U) << "an overlong form";
  EXPECT_EQ(ValidUtf8Prefix("\xE0\x9F\x80"), 0U) << "an overlong form";
  EXPECT_EQ(ValidUtf8Prefix("\xED\xA0\x80"), 0U) << "a surrogate";
  EXPECT_EQ(ValidUtf8Prefix("\xF4\x90\x80\x80"), 0U) << "above U+10FFFF";
  EXPECT_EQ(ValidUtf8Prefix("\xF5\x80\x80\x80"), 0U);
}

TEST(Utf8, TellsValidText) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8(kText));
  EXPECT_FALSE(IsUtf8("a\xFF"));
}

TEST(Utf8, CutsBetweenCharacters) {
  EXPECT_EQ(Utf8Prefix(kText, kText.size()), kText);
  EXPECT_EQ(Utf8Prefix(kText, 1), "a");
  EXPECT_EQ(Utf8Prefix(kText, 2), "a");
  EXPECT_EQ(Utf8Prefix(kText, 3), "a\u00E9");
  EXPECT_EQ(Utf8Prefix(kText, 9), "a\u00E9\u65E5");
  EXPECT_EQ(Utf8Prefix("\u65E5", 2), "");
}

TEST(Utf8, LowersLettersOfAsciiOnly) {
  EXPECT_EQ(AsciiLower("Q4_K AZ[az`\u00C9"), "q4_k az[az`\u00C9");
}

TEST(Printable, KeepsText) {
  EXPECT_EQ(Printable(kText), kText);
  EXPECT_EQ(Printable(""), "");
  EXPECT_EQ(Printable("\\n \u00a0 \u200d"), "\\n \u00a0 \u200d");
}

TEST(Printable, ShowsWhatActsOnATerminal) {
  EXPECT_EQ(Printable("a\nb\x1b[31m\r\t\x7f"), "a\\nb\\x1b[31m\\x0d\\x09\\x7f");
  EXPECT_EQ(Printable(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(Printable("\u009b2J"), "\\xc2\\x9b2J") << "the control sequence introducer in one";
  EXPECT_EQ(Printable("\u202egnp"), "\\xe2\\x80\\xaegnp") << "text written backwards";
}

TEST(PrintableLines, KeepsLinesAndTabs) {
  EXPECT_EQ(PrintableLines("a\n\tb\n"), "a\n\tb\n");
  EXPECT_EQ(PrintableLines(""), "");
  EXPECT_EQ(PrintableLines("a\r\x1b[2J\nb\x1b"), "a\\x0d\\x1b[2J\nb\\x1b");
}

TEST(Printable, ShowsBytesThatAreNoText) {
  EXPECT_EQ(Printable("a\xff\x9bz"), "a\\xff\\x9bz");
  EXPECT_EQ(Printable("\xe2\x80"), "\\xe2\\x80");
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
}

TEST(Utf8Stream, GivesTheTextHoweverItIsCut) {
  for (std::size_t first = 0; first <= kText.size(); ++first) {
    for (std::size_t second = first; second <= kText.size(); ++second) {
      EXPECT_EQ(Streamed(kText, {first, second}), kText);
    }
  }
}

TEST(Utf8Stream, ReplacesWhatNothingCanMakeValid) {
  // The parts are those of the Unicode standard's table 3-8.
  const std::string bad = "\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64";
  const std::string replaced = "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd";
  for (std::size_t cut = 0; cut <= bad.size(); ++cut) EXPECT_EQ(Streamed(bad, {cut}), replaced);
}

TEST(Utf8Stream, EndsAHeldCharacterAsAReplacementOnce) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("x\xF0\x9F"), "x");
  EXPECT_EQ(stream.Finish(), "\uFFFD");
  EXPECT_EQ(stream.Finish(), "");
  EXPECT_EQ(stream.Push("y"), "y");
}

TEST(Utf8, TrimsUnicodeBlanks) {
  const std::string blanks =
      " \t\n\v\f\r\x1C\x1F\u0085\u00A0\u1680\u2003\u2028\u2029\u202F\u205F\u3000";
  EXPECT_EQ(Trim(blanks + "a b" + blanks), "a b");
  EXPECT_EQ(TrimLeft(blanks + "a" + blanks), "a" + blanks);
  EXPECT_EQ(TrimRight(blanks + "a" + blanks), blanks + "a");
  EXPECT_EQ(Trim(blanks), "");
  const std::string no_blanks = "\u200B\u180E\uFEFF";
  EXPECT_EQ(Trim(no_blanks), no_blanks);
}

TEST(Utf8, TrimsNothingOfInvalidBytes) {
  EXPECT_EQ(Trim("\xA0 x \x85"), "\xA0 x \x85");
  EXPECT_EQ(Trim(" \x80 "), "\x80");
}

TEST(Utf8, ReadsCodePoints) {
  EXPECT_EQ(FirstCodePoint("a").value, U'a');
  EXPECT_EQ(FirstCodePoint("\u00E9x").value, U'\u00E9');
  EXPECT_EQ(FirstCodePoint("\u65E5").bytes, 3U);
  EXPECT_EQ(FirstCodePoint("\U0001F44B").value, U'\U0001F44B');
}

}  // namespace
}  // namespace sluice
