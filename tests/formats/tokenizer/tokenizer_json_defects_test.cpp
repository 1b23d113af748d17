// The catalogue of defects of a tokenizer.json.
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "error_line.h"
#include "formats/tokenizer/tokenizer_json.h"
#include "result_matchers.h"
#include "test_files.h"

namespace sluice::tokenizer {
namespace {

using testing::Fails;
using testing::FailsWith;
using testing::TempFolder;

struct Defect {
  std::string name;
  std::string text;
  std::string message;  // what, expected and actual
};

void PrintTo(const Defect& defect, std::ostream* out) { *out << defect.text; }

std::string DefectName(const ::testing::TestParamInfo<Defect>& info) { return info.param.name; }

class TokenizerJsonDefect : public ::testing::TestWithParam<Defect> {};

TEST_P(TokenizerJsonDefect, IsRejected) {
  const TempFolder folder;
  const std::string path = folder.Write("tokenizer.json", GetParam().text);
  EXPECT_THAT(ReadTokenizerJson(path),
              FailsWith(ErrorCode::kCorrupt, path + ": " + GetParam().message));
}

std::string WithVocab(const std::string& vocab) {
  return R"({"model":{"type":"BPE","vocab":)" + vocab + R"(,"merges":[]}})";
}
std::string WithAdded(const std::string& added) {
  return R"({"added_tokens":)" + added + R"(,"model":{"vocab":{"a":0,"b":1},"merges":[]}})";
}
std::string WithMerges(const std::string& merges) {
  return R"({"model":{"vocab":{"a":0},"merges":)" + merges + "}}";
}
std::string NoId(const std::string& token, const std::string& actual) {
  return "token '" + token + "' has no usable id: expected an integer from 0 to 2^32 - 1, got " +
         actual;
}

INSTANTIATE_TEST_SUITE_P(
    Sections, TokenizerJsonDefect,
    ::testing::ValuesIn(std::vector<Defect>{
        {"NoObject", "[]", "model.vocab is missing"},
        {"NoModel", R"({"version":"1.0"})", "model.vocab is missing"},
        {"ModelIsNull", R"({"model":null})", "model.vocab is missing"},
        {"NoVocab", R"({"model":{"type":"BPE","merges":[]}})", "model.vocab is missing"},
        {"VocabIsAList", WithVocab("[[\"a\",0]]"), "the vocabulary is no object: got an array"},
        {"VocabIsEmpty", WithVocab("{}"), "the vocabulary is empty"},
    }),
    DefectName);

INSTANTIATE_TEST_SUITE_P(
    Ids, TokenizerJsonDefect,
    ::testing::ValuesIn(std::vector<Defect>{
        {"GapTooWide", WithVocab(R"({"a":0,"b":1048578})"),
         "token ids are not contiguous: expected a token with id 1, got 'b' with id 1048578"},
        {"GapsTooWideTogether", WithVocab(R"({"a":2,"b":1048578})"),
         "token ids are not contiguous: expected a token with id 3, got 'b' with id 1048578"},
        {"Twice", WithVocab(R"({"a":0,"b":1,"c":1})"),
         "two tokens share an id: expected a token with id 2, got 'c' with id 1"},
        {"ZeroTwice", WithVocab(R"({"a":0,"b":0})"),
         "two tokens share an id: expected a token with id 1, got 'b' with id 0"},
        {"Negative", WithVocab(R"({"a":-1})"), NoId("a", "-1")},
        {"AFraction", WithVocab(R"({"a":0.0})"), NoId("a", "0.0")},
        {"AString", WithVocab(R"({"a":"0"})"), NoId("a", "\"0\"")},
        {"Null", WithVocab(R"({"a":null})"), NoId("a", "null")},
        {"TwoTo32", WithVocab(R"({"a":4294967296})"), NoId("a", "4294967296")},
        {"NearTwoTo32", WithVocab(R"({"a":0,"b":4294967295})"),
         "token ids are not contiguous: expected a token with id 1, got 'b' with id 4294967295"},
    }),
    DefectName);

INSTANTIATE_TEST_SUITE_P(
    Added, TokenizerJsonDefect,
    ::testing::ValuesIn(std::vector<Defect>{
        {"NoContent", WithAdded(R"([{"id":2}])"), "an added token lacks content or id"},
        {"ContentIsANumber", WithAdded(R"([{"id":2,"content":5}])"),
         "an added token lacks content or id"},
        {"NoId", WithAdded(R"([{"content":"x"}])"), "an added token lacks content or id"},
        {"NoObject", WithAdded(R"(["x"])"), "an added token lacks content or id"},
        {"IdIsNegative", WithAdded(R"([{"id":-2,"content":"x"}])"), NoId("x", "-2")},
        {"IdIsTwoTo32", WithAdded(R"([{"id":4294967296,"content":"x"}])"), NoId("x", "4294967296")},
        {"GapTooWide", WithAdded(R"([{"id":1048579,"content":"x"}])"),
         "token ids are not contiguous: expected a token with id 2, got 'x' with id 1048579"},
        {"IdOfAnotherToken", WithAdded(R"([{"id":1,"content":"x"}])"),
         "two tokens share an id: expected a token with id 2, got 'x' with id 1"},
        {"IdOfAnotherAddedToken", WithAdded(R"([{"id":2,"content":"x"},{"id":2,"content":"y"}])"),
         "two tokens share an id: expected a token with id 3, got 'y' with id 2"},
    }),
    DefectName);

constexpr const char* kNoMerge = "a merge is neither a string nor a pair of strings: got ";

std::string NoMerge(const std::string& actual) { return kNoMerge + actual; }

INSTANTIATE_TEST_SUITE_P(
    Merges, TokenizerJsonDefect,
    ::testing::ValuesIn(std::vector<Defect>{
        {"ANumber", WithMerges("[5]"), NoMerge("5")},
        {"Null", WithMerges("[null]"), NoMerge("null")},
        {"AnObject", WithMerges(R"([{"a":"b"}])"), NoMerge(R"({"a":"b"})")},
        {"NoParts", WithMerges("[[]]"), NoMerge("[]")},
        {"OnePart", WithMerges(R"(["a b",["a"]])"), NoMerge(R"(["a"])")},
        {"ThreeParts", WithMerges(R"([["a","b","c"]])"), NoMerge(R"(["a","b","c"])")},
        {"ANumberInAPair", WithMerges(R"([["a",5]])"), NoMerge(R"(["a",5])")},
        {"TwoStringsAndANumber", WithMerges(R"([["a",5,"b"]])"), NoMerge(R"(["a",5,"b"])")},
    }),
    DefectName);

// Readers of the file cut each merge at its one space.
TEST(TokenizerJson, RejectsMergeStringsThatAreNoPair) {
  for (const char* merges : {R"(["ab"])", R"([""])", R"(["a b","a b c"])"}) {
    const TempFolder folder;
    const std::string path = folder.Write("tokenizer.json", WithMerges(merges));
    EXPECT_THAT(ReadTokenizerJson(path), Fails(ErrorCode::kCorrupt, path + ": a merge")) << merges;
  }
}

TEST(TokenizerJson, RejectsOtherModelsAsUnsupported) {
  const TempFolder folder;
  for (const std::string type : {"Unigram", "WordPiece", "WordLevel"}) {
    const std::string path = folder.Write(
        "tokenizer.json", R"({"model":{"type":")" + type + R"(","vocab":[["<unk>",0.0]]}})");
    EXPECT_THAT(ReadTokenizerJson(path),
                FailsWith(ErrorCode::kUnsupported,
                          path +
                              ": tokenizer model of an unsupported type: expected BPE, or a "
                              "SentencePiece tokenizer.model beside it, got " +
                              type));
  }
}

TEST(TokenizerJson, ReportsFileProblems) {
  const TempFolder folder;
  EXPECT_THAT(ReadTokenizerJson(folder.Path("missing")),
              Fails(ErrorCode::kMissing, folder.Path("missing") + ": cannot open"));
  const std::string broken = folder.Write("broken.json", R"({"model":{"vocab":{"a":0)");
  EXPECT_THAT(ReadTokenizerJson(broken), Fails(ErrorCode::kCorrupt, broken + ": not valid JSON"));
  const std::string pointer = folder.Write(
      "pointer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
  EXPECT_THAT(ReadTokenizerJson(pointer),
              Fails(ErrorCode::kCorrupt, pointer + ": this is a Git LFS pointer"));
}

TEST(TokenizerJson, MemorySafeOnEveryPrefix) {
  const std::string text = R"({"added_tokens":[{"id":2,"content":"<s>","special":true}],
    "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits"}]},
    "post_processor":{"type":"Sequence","processors":[{"single":[{"Sequence":{"id":"A"}}]}]},
    "model":{"type":"BPE","vocab":{"a":0,"\u0120":1},"merges":["a b",["a"," b"]]}})";
  const TempFolder folder;
  for (std::size_t size = 0; size < text.size(); ++size) {
    const std::string path = folder.Write("tokenizer.json", text.substr(0, size));
    EXPECT_THAT(ReadTokenizerJson(path), Fails(ErrorCode::kCorrupt, path + ": not valid JSON"))
        << size;
  }
}

}  // namespace
}  // namespace sluice::tokenizer
