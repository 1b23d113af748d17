#include "runtime/text/stop_strings.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::runtime {
namespace {

// The text up to a stop string when `text` arrives cut at every set bit of `cuts`; "!" is put at
// its end when it was stopped.
std::string Stopped(const std::vector<std::string>& strings, const std::string& text,
                    unsigned cuts) {
  StopStrings stop(strings);
  std::string out;
  std::string piece;
  for (std::size_t i = 0; i < text.size() && !stop.stopped(); ++i) {
    piece += text[i];
    if (((cuts >> i) & 1U) != 0 || i + 1 == text.size()) {
      out += stop.Push(piece);
      piece.clear();
    }
  }
  return stop.stopped() ? out + "!" : out + stop.Finish();
}

TEST(StopStrings, EndTheTextHoweverItIsCut) {
  struct Case {
    std::vector<std::string> strings;
    std::string text;
    std::string want;
  };
  const std::vector<Case> cases{
      {{"END"}, "abENDcd", "ab!"},
      {{"END"}, "abENEND", "abEN!"},
      {{"END"}, "abEN", "abEN"},
      {{"aab"}, "aaaab", "aa!"},
      {{"abcd", "bc"}, "xabcd", "xa!"},
      {{"bc", "abc"}, "xabcd", "x!"},
      {{"", "\n\n"}, "a\nb\n\n", "a\nb!"},
      {{}, "abc", "abc"},
      {{"x"}, "x", "!"},
  };
  for (const Case& each : cases) {
    for (unsigned cuts = 0; cuts < (1U << each.text.size()); ++cuts) {
      EXPECT_EQ(Stopped(each.strings, each.text, cuts), each.want) << each.text << " " << cuts;
    }
  }
}

TEST(StopStrings, HoldBackNoMoreThanABeginning) {
  StopStrings stop({"END", "\nUser:"});
  EXPECT_EQ(stop.Push("abE"), "ab");
  EXPECT_EQ(stop.Push("x\nUs"), "Ex");
  EXPECT_EQ(stop.Push("e"), "");
  EXPECT_EQ(stop.Finish(), "\nUse");
  EXPECT_EQ(stop.Finish(), "");
}

}  // namespace
}  // namespace sluice::runtime
