// vocab.json with merges.txt.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "error_line.h"
#include "formats/tokenizer/tokenizer_json.h"
#include "result_matchers.h"
#include "test_files.h"
#include "tests/formats/tokenizer/texts_of.h"

namespace sluice::tokenizer {
namespace {

using ::testing::ElementsAre;
using testing::Fails;
using testing::FailsWith;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::TempFolder;
using testing::TextsOf;

class VocabAndMerges : public ::testing::Test {
 protected:
  Result<BpeVocabulary> Read(const std::string& vocab, const std::string& merges) {
    vocab_path_ = folder_.Write("vocab.json", vocab);
    merges_path_ = folder_.Write("merges.txt", merges);
    return ReadVocabAndMerges(vocab_path_, merges_path_);
  }
  std::vector<std::string> MergesOf(const std::string& merges) {
    const Result<BpeVocabulary> vocabulary = Read(R"({"a":0})", merges);
    EXPECT_THAT(vocabulary, IsOk());
    return vocabulary ? TextsOf(vocabulary->merges) : std::vector<std::string>();
  }

  TempFolder folder_;
  std::string vocab_path_;
  std::string merges_path_;
};

TEST_F(VocabAndMerges, AreReadAsGpt2) {
  const Result<BpeVocabulary> vocabulary =
      Read(R"({"b":1,"a":0,"\u0120t":2})", "#version: 0.2\na b\n\u0120 t\n");
  ASSERT_THAT(vocabulary, IsOk());
  EXPECT_THAT(TextsOf(vocabulary->tokens), ElementsAre("a", "b", "\u0120t"));
  EXPECT_THAT(TextsOf(vocabulary->merges), ElementsAre("a b", "\u0120 t"));
  EXPECT_EQ(vocabulary->pre_tokenizer, "ByteLevel(prefix_space=0,regex=1)");
  EXPECT_FALSE(vocabulary->byte_fallback);
  EXPECT_THAT(vocabulary->added, IsEmpty());
  EXPECT_THAT(vocabulary->post_steps, IsEmpty());
}

TEST_F(VocabAndMerges, TakeAddedTokensInAnyOrder) {
  const std::string vocab = folder_.Write("vocab.json", R"({"a":0})");
  const std::string merges = folder_.Write("merges.txt", "");
  const Result<BpeVocabulary> vocabulary =
      ReadVocabAndMerges(vocab, merges, {{5, "y", true}, {1, "x", true}});
  ASSERT_THAT(vocabulary, IsOk());
  EXPECT_THAT(TextsOf(vocabulary->tokens), ElementsAre("a", "x", "", "", "", "y"));
  EXPECT_THAT(vocabulary->gaps, ElementsAre(2, 3, 4));
  ASSERT_EQ(vocabulary->added.size(), 2U);
  EXPECT_EQ(vocabulary->added[0].id, 1U);
  EXPECT_EQ(vocabulary->added[1].id, 5U);
}

TEST_F(VocabAndMerges, AllowLinesToEndInEveryWay) {
  EXPECT_THAT(MergesOf("#version: 0.2\r\na b\r\nc d\r\n"), ElementsAre("a b", "c d"));
  EXPECT_THAT(MergesOf("a b\nc d"), ElementsAre("a b", "c d"));
  EXPECT_THAT(MergesOf("a b\n\n\r\nc d\n\n"), ElementsAre("a b", "c d"));
  EXPECT_THAT(MergesOf(""), IsEmpty());
  EXPECT_THAT(MergesOf("#version: 0.2"), IsEmpty());
}

// Only the first line can be the version: "#" is a letter like any other.
TEST_F(VocabAndMerges, KeepMergesOfTheNumberSign) {
  EXPECT_THAT(MergesOf("#version: 0.2\n# #\n## #\n"), ElementsAre("# #", "## #"));
  EXPECT_THAT(MergesOf("# a\nb #version\n"), ElementsAre("# a", "b #version"));
}

TEST_F(VocabAndMerges, RejectABrokenVocabulary) {
  EXPECT_THAT(Read(R"({"a":0,"b":9999999})", ""),
              FailsWith(ErrorCode::kCorrupt,
                        folder_.Path("vocab.json") +
                            ": token ids are not contiguous: expected a token with id 1, got 'b' "
                            "with id 9999999"));
  EXPECT_THAT(Read("[]", ""),
              FailsWith(ErrorCode::kCorrupt, folder_.Path("vocab.json") +
                                                 ": the vocabulary is no object: got an array"));
  EXPECT_THAT(Read("{}", ""), FailsWith(ErrorCode::kCorrupt,
                                        folder_.Path("vocab.json") + ": the vocabulary is empty"));
  EXPECT_THAT(Read(R"({"a":-1})", ""),
              FailsWith(ErrorCode::kCorrupt, folder_.Path("vocab.json") +
                                                 ": token 'a' has no usable id: expected an "
                                                 "integer from 0 to 2^32 - 1, got -1"));
  EXPECT_THAT(Read("{", ""),
              Fails(ErrorCode::kCorrupt, folder_.Path("vocab.json") + ": not valid JSON"));
}

TEST_F(VocabAndMerges, ReportMissingFiles) {
  const std::string vocab = folder_.Write("vocab.json", R"({"a":0})");
  EXPECT_THAT(ReadVocabAndMerges(vocab, folder_.Path("merges.txt")),
              Fails(ErrorCode::kMissing, folder_.Path("merges.txt") + ": cannot open"));
  const std::string merges = folder_.Write("merges.txt", "a b\n");
  EXPECT_THAT(ReadVocabAndMerges(folder_.Path("none.json"), merges),
              Fails(ErrorCode::kMissing, folder_.Path("none.json") + ": cannot open"));
}

TEST_F(VocabAndMerges, TellGitLfsPointers) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
  EXPECT_THAT(Read(pointer, ""), Fails(ErrorCode::kCorrupt,
                                       folder_.Path("vocab.json") + ": this is a Git LFS pointer"));
  EXPECT_THAT(
      Read(R"({"a":0})", pointer),
      Fails(ErrorCode::kCorrupt, folder_.Path("merges.txt") + ": this is a Git LFS pointer"));
}

// As in tokenizer.json: a merge is two parts and one space.
TEST_F(VocabAndMerges, RejectLinesThatAreNoPair) {
  for (const char* merges : {"a b\nab\n", "a b c\n"}) {
    EXPECT_THAT(Read(R"({"a":0})", merges),
                Fails(ErrorCode::kCorrupt, folder_.Path("merges.txt") + ": "))
        << merges;
  }
}

}  // namespace
}  // namespace sluice::tokenizer
