// The printed form of errors, and how several become one.
#include "core/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <utility>
#include <vector>

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

TEST(Error, FormatsEveryField) {
  const Error error = MakeError(ErrorCode::kMismatch, "wrong size")
                          .In("a/model.safetensors")
                          .At("lm_head.weight")
                          .AtOffset(4096)
                          .Expected("8 bytes")
                          .Actual("7 bytes")
                          .Advice("download it again");
  EXPECT_EQ(error.Format(),
            "a/model.safetensors: tensor 'lm_head.weight' at byte 4096: wrong size: "
            "expected 8 bytes, got 7 bytes\n  download it again");
}

TEST(Error, FormatsOnlyWhatIsKnown) {
  EXPECT_EQ(MakeError(ErrorCode::kBug, "it broke").Format(), "it broke");
  EXPECT_EQ(MakeError(ErrorCode::kIo, "no").In("f").Format(), "f: no");
  EXPECT_EQ(MakeError(ErrorCode::kIo, "no").At("t").Format(), "tensor 't': no");
  EXPECT_EQ(MakeError(ErrorCode::kIo, "no").AtOffset(0).Format(), "at byte 0: no");
  EXPECT_EQ(MakeError(ErrorCode::kIo, "no").In("f").AtOffset(7).Format(), "f: at byte 7: no");
  EXPECT_EQ(MakeError(ErrorCode::kIo, "no").At("t").AtOffset(7).Format(),
            "tensor 't' at byte 7: no");
  EXPECT_EQ(MakeError(ErrorCode::kIo, "no").Expected("x").Format(), "no: expected x");
  EXPECT_EQ(MakeError(ErrorCode::kIo, "no").Actual("y").Format(), "no: got y");
}

TEST(Error, ShowsControlCharactersOfEveryField) {
  const Error error = MakeError(ErrorCode::kCorrupt, "w\x1b[2J")
                          .In("f\r")
                          .At("t\nerror: u")
                          .Expected("e\x7f")
                          .Actual("a\u009b")
                          .Advice("v\xff");
  EXPECT_EQ(error.Format(),
            "f\\x0d: tensor 't\\nerror: u': w\\x1b[2J: expected e\\x7f, got a\\xc2\\x9b\n  v\\xff");
}

TEST(Error, AFieldThatIsSetStays) {
  const Error error = MakeError(ErrorCode::kCorrupt, "bad")
                          .In("deep")
                          .In("outer")
                          .At("t")
                          .At("u")
                          .AtOffset(0)
                          .AtOffset(9)
                          .Expected("x")
                          .Expected("xx")
                          .Actual("y")
                          .Actual("yy")
                          .Advice("z")
                          .Advice("zz");
  EXPECT_EQ(error.Format(), "deep: tensor 't' at byte 0: bad: expected x, got y\n  z");
}

TEST(Error, FormatsFurtherProblemsOnLinesOfTheirOwn) {
  std::vector<Error> problems;
  problems.push_back(MakeError(ErrorCode::kCorrupt, "first").Advice("do this"));
  problems.push_back(MakeError(ErrorCode::kMissing, "second").In("g"));
  EXPECT_EQ(JoinErrors(std::move(problems)).Format(), "first\n  do this\ng: second");
}

TEST(JoinErrors, OneProblemStaysAsItIs) {
  const Error error = JoinErrors({MakeError(ErrorCode::kIo, "only").In("f")});
  EXPECT_EQ(error.code, ErrorCode::kIo);
  EXPECT_EQ(error.Format(), "f: only");
  EXPECT_THAT(error.more, IsEmpty());
}

// A problem that was itself joined must not hide its own followers one level down.
TEST(JoinErrors, FlattensProblemsThatWereJoinedBefore) {
  const auto make = [](const char* what) { return MakeError(ErrorCode::kCorrupt, what); };
  const Error joined =
      JoinErrors({JoinErrors({make("a"), make("b")}), JoinErrors({make("c"), make("d")}),
                  JoinErrors({make("e"), JoinErrors({make("f"), make("g")})})});
  EXPECT_EQ(joined.what, "a");
  EXPECT_THAT(joined.more, ElementsAre(Field(&Error::what, "b"), Field(&Error::what, "c"),
                                       Field(&Error::what, "d"), Field(&Error::what, "e"),
                                       Field(&Error::what, "f"), Field(&Error::what, "g")));
  for (const Error& other : joined.more) EXPECT_THAT(other.more, IsEmpty()) << other.what;
}

TEST(JoinErrors, TakesTheCodeOfTheFirst) {
  const Error joined =
      JoinErrors({MakeError(ErrorCode::kUnsupported, "a"), MakeError(ErrorCode::kCorrupt, "b")});
  EXPECT_EQ(joined.code, ErrorCode::kUnsupported);
  ASSERT_EQ(joined.more.size(), 1U);
  EXPECT_EQ(joined.more[0].code, ErrorCode::kCorrupt);
}

TEST(ErrnoError, SaysWhatTheSystemSays) {
  const Error error = ErrnoError("cannot open", "dir/file", ENOSPC);
  EXPECT_EQ(error.code, ErrorCode::kIo);
  EXPECT_EQ(error.Format(), "dir/file: cannot open: got No space left on device");
}

}  // namespace
}  // namespace sluice
