// JSON documents and the accessors that turn a wrong type into "absent".
#include "formats/json/json.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "error_line.h"
#include "guarded_bytes.h"
#include "result_matchers.h"
#include "test_files.h"

namespace sluice::json {
namespace {

using testing::Fails;
using testing::FailsWith;
using testing::GuardedBytes;
using testing::IsOk;
using testing::TempFolder;

constexpr std::uint64_t kPlenty = 1000;

Document ParseOk(std::string_view text) {
  Result<Document> document = Document::Parse(text, "f.json");
  EXPECT_THAT(document, IsOk());
  return document ? *std::move(document) : Document();
}

TEST(JsonDocument, LoadsAFile) {
  const TempFolder folder;
  const std::string path = folder.Write("f.json", R"( {"a": [1, "x"]} )");
  const Result<Document> document = Document::Load(path, kPlenty);
  ASSERT_THAT(document, IsOk());
  EXPECT_EQ(document->path(), path);
  const auto array = AsArray(Find(document->root(), "a"));
  ASSERT_TRUE(array.has_value());
  EXPECT_EQ(array->size(), 2U);
}

TEST(JsonDocument, ElementsSurviveAMoveOfTheDocument) {
  Document document = ParseOk(R"({"a": "text"})");
  const auto text = AsString(Find(document.root(), "a"));
  const Document moved = std::move(document);
  EXPECT_EQ(text, "text");
  EXPECT_EQ(AsString(Find(moved.root(), "a")), "text");
}

TEST(JsonDocument, RejectsWhatIsNotJson) {
  for (const std::string_view text : {"", " ", "{", "{]", "{\"a\":}", "[1,]", "{}{}", "nul", "'a'",
                                      "[\"\xFF\"]", "[1e999]", "[18446744073709551616]"}) {
    EXPECT_THAT(Document::Parse(text, "dir/f.json"),
                Fails(ErrorCode::kCorrupt, "dir/f.json: not valid JSON: got "))
        << text;
  }
}

TEST(JsonDocument, RejectsAViewOfNothing) {
  EXPECT_THAT(Document::Parse(std::string_view(), "f.json"),
              Fails(ErrorCode::kCorrupt, "f.json: not valid JSON: got "));
}

TEST(JsonDocument, MemorySafeOnEveryPrefix) {
  const std::string text = R"({"name":"a\u0120\n\"b","n":[1,-2.5e3,true,false,null],"o":{"x":{}}})";
  for (std::size_t size = 1; size < text.size(); ++size) {
    const GuardedBytes prefix(std::string_view(text).substr(0, size));
    EXPECT_THAT(Document::Parse(prefix.Text(), "f.json"),
                Fails(ErrorCode::kCorrupt, "not valid JSON"))
        << size;
  }
  const GuardedBytes whole(text);
  EXPECT_THAT(Document::Parse(whole.Text(), "f.json"), IsOk());
}

TEST(JsonDocument, RefusesAFileThatNamesAKeyTwice) {
  const TempFolder folder;
  const auto load = [&](std::string_view text) {
    return Document::Load(folder.Write("f.json", std::string(text)), kPlenty);
  };
  for (const auto& [text, key] : {std::pair(R"({"a": 1, "b": 2, "a": 1})", "'a'"),
                                  std::pair(R"({"a": {"b": 1, "b": null}})", "'a.b'"),
                                  std::pair(R"([0, [{"x": [{"y": 1, "y": 2}]}]])", "'x.y'"),
                                  std::pair(R"({"a": 1, "\u0061": 2})", "'a'")}) {
    EXPECT_THAT(load(text),
                Fails(ErrorCode::kCorrupt, "f.json: the key " + std::string(key) + " stands twice"))
        << text;
  }
  EXPECT_THAT(load(R"({"a": {"a": [{"a": 1}, {"a": 2}]}, "b": {"a": 1}})"), IsOk());
}

// A recursive parser would run out of stack.
TEST(JsonDocument, RejectsDeepNesting) {
  constexpr std::size_t kDepth = 1'000'000;
  const std::string open(kDepth, '[');
  EXPECT_THAT(Document::Parse(open, "f.json"), Fails(ErrorCode::kCorrupt, "not valid JSON"));
  EXPECT_THAT(Document::Parse(open + std::string(kDepth, ']'), "f.json"),
              Fails(ErrorCode::kCorrupt, "not valid JSON"));
}

TEST(JsonDocument, LoadIfPresentTellsAbsentFromUnusable) {
  const TempFolder folder;
  const auto absent = Document::LoadIfPresent(folder.Path("missing"), kPlenty);
  ASSERT_THAT(absent, IsOk());
  EXPECT_FALSE(absent->has_value());
  const auto present = Document::LoadIfPresent(folder.Write("f.json", "[1]"), kPlenty);
  ASSERT_THAT(present, IsOk());
  EXPECT_TRUE(present->has_value());
  EXPECT_THAT(Document::LoadIfPresent(folder.Write("g.json", "["), kPlenty),
              Fails(ErrorCode::kCorrupt, "not valid JSON"));
  EXPECT_THAT(Document::LoadIfPresent(folder.Path(), kPlenty),
              Fails(ErrorCode::kMismatch, "got a folder"));
}

TEST(JsonDocument, LoadReportsFileProblems) {
  const TempFolder folder;
  EXPECT_THAT(Document::Load(folder.Path("missing"), kPlenty),
              Fails(ErrorCode::kMissing, folder.Path("missing") + ": cannot open"));
  EXPECT_THAT(Document::Load(folder.Path(), kPlenty),
              Fails(ErrorCode::kMismatch, "not a regular file"));
  const std::string path = folder.Write("f.json", "[1, 2]");
  EXPECT_THAT(Document::Load(path, 6), IsOk());
  EXPECT_THAT(Document::Load(path, 5),
              FailsWith(ErrorCode::kCorrupt, path + ": file is too large for its purpose: expected "
                                                    "at most 5 bytes, got 6 bytes"));
}

TEST(JsonDocument, LoadTellsAGitLfsPointer) {
  const TempFolder folder;
  const std::string path = folder.Write("f.json",
                                        "version https://git-lfs.github.com/spec/v1\n"
                                        "oid sha256:0123\nsize 17\n");
  EXPECT_THAT(Document::Load(path, kPlenty),
              Fails(ErrorCode::kCorrupt,
                    path + ": this is a Git LFS pointer, not the file itself\n  fetch the real"));
}

TEST(JsonFind, GivesMembersThatAreThere) {
  const Document document = ParseOk(R"({"a": 1, "b": null, "": 2, "a.b": 3})");
  EXPECT_EQ(AsInteger(Find(document.root(), "a")), 1);
  EXPECT_EQ(AsInteger(Find(document.root(), "")), 2);
  EXPECT_EQ(AsInteger(Find(document.root(), "a.b")), 3);
  EXPECT_FALSE(Find(document.root(), "b").has_value()) << "null counts as absent";
  EXPECT_FALSE(Find(document.root(), "c").has_value());
  EXPECT_FALSE(Find(*Find(document.root(), "a"), "a").has_value()) << "a number has no members";
}

TEST(JsonFind, FollowsDottedPaths) {
  const Document document = ParseOk(R"({"a": {"b": {"c": 7}, "n": null}, "l": [1]})");
  EXPECT_EQ(AsInteger(FindPath(document.root(), "a.b.c")), 7);
  EXPECT_TRUE(AsObject(FindPath(document.root(), "a.b")).has_value());
  EXPECT_TRUE(AsObject(FindPath(document.root(), "")).has_value()) << "the object itself";
  EXPECT_FALSE(FindPath(document.root(), "a.x.c").has_value());
  EXPECT_FALSE(FindPath(document.root(), "a.n").has_value());
  EXPECT_FALSE(FindPath(document.root(), "a.n.c").has_value());
  EXPECT_FALSE(FindPath(document.root(), "a.b.c.d").has_value());
  EXPECT_FALSE(FindPath(document.root(), "l.0").has_value());
}

TEST(JsonAs, GivesValuesOfTheRightTypeOnly) {
  const Document document =
      ParseOk(R"({"s": "x", "t": true, "i": -5, "d": 5.0, "a": [], "o": {}})");
  const auto at = [&](std::string_view key) { return Find(document.root(), key); };
  EXPECT_EQ(AsString(at("s")), "x");
  EXPECT_EQ(AsBool(at("t")), true);
  EXPECT_EQ(AsInteger(at("i")), -5);
  EXPECT_TRUE(AsArray(at("a")).has_value());
  EXPECT_TRUE(AsObject(at("o")).has_value());
  for (const std::string_view key : {"s", "t", "i", "d", "a", "o", "absent"}) {
    EXPECT_EQ(AsString(at(key)).has_value(), key == "s") << key;
    EXPECT_EQ(AsBool(at(key)).has_value(), key == "t") << key;
    EXPECT_EQ(AsInteger(at(key)).has_value(), key == "i") << key;
    EXPECT_EQ(AsArray(at(key)).has_value(), key == "a") << key;
    EXPECT_EQ(AsObject(at(key)).has_value(), key == "o") << key;
  }
}

TEST(JsonAs, IntegersStayInsideTheirRange) {
  const Document document = ParseOk(
      R"([9223372036854775807, -9223372036854775808, 9223372036854775808, 18446744073709551615])");
  const auto at = [&](std::size_t i) { return AsInteger(document.root().at(i).value()); };
  EXPECT_EQ(at(0), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(at(1), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(at(2), std::nullopt);
  EXPECT_EQ(at(3), std::nullopt);
}

TEST(JsonTypeName, NamesEveryType) {
  const Document document = ParseOk(R"([[], {}, -1, 18446744073709551615, 1.5, "", true, null])");
  const auto at = [&](std::size_t i) { return TypeName(document.root().at(i).value()); };
  EXPECT_EQ(at(0), "an array");
  EXPECT_EQ(at(1), "an object");
  EXPECT_EQ(at(2), "an integer");
  EXPECT_EQ(at(3), "an integer");
  EXPECT_EQ(at(4), "a fraction");
  EXPECT_EQ(at(5), "a string");
  EXPECT_EQ(at(6), "a boolean");
  EXPECT_EQ(at(7), "null");
}

}  // namespace
}  // namespace sluice::json
