// tokenizer.json files as they are published.
#include "formats/tokenizer/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "result_matchers.h"
#include "test_files.h"
#include "tests/formats/tokenizer/texts_of.h"

namespace sluice::tokenizer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::TempFolder;
using testing::TextsOf;

BpeVocabulary ReadOk(const std::string& text) {
  const TempFolder folder;
  const Result<BpeVocabulary> vocabulary = ReadTokenizerJson(folder.Write("tokenizer.json", text));
  EXPECT_THAT(vocabulary, IsOk());
  return vocabulary ? *vocabulary : BpeVocabulary();
}

auto IsAdded(std::uint32_t id, const std::string& text, bool special) {
  return AllOf(Field(&AddedToken::id, id), Field(&AddedToken::text, text),
               Field(&AddedToken::special, special));
}

auto IsItem(const std::string& special, const std::string& sequence) {
  return AllOf(Field(&TemplateItem::special, special), Field(&TemplateItem::sequence, sequence));
}

TEST(TokenizerJson, PutsTokensInOrderOfTheirIds) {
  const BpeVocabulary vocabulary =
      ReadOk(R"({"model":{"type":"BPE","vocab":{"b":1,"\u0120a":2,"a":0},"merges":[]}})");
  EXPECT_THAT(TextsOf(vocabulary.tokens), ElementsAre("a", "b", "\u0120a"));
  EXPECT_THAT(TextsOf(vocabulary.merges), IsEmpty());
  EXPECT_THAT(vocabulary.added, IsEmpty());
  EXPECT_THAT(vocabulary.post_steps, IsEmpty());
  EXPECT_EQ(vocabulary.pre_tokenizer, "none");
  EXPECT_FALSE(vocabulary.byte_fallback);
}

TEST(TokenizerJson, TakesAModelWithoutATypeForBpe) {
  const BpeVocabulary vocabulary = ReadOk(R"({"model":{"vocab":{"a":0},"merges":[]}})");
  EXPECT_THAT(TextsOf(vocabulary.tokens), ElementsAre("a"));
}

TEST(TokenizerJson, ReadsMergesThatAreStrings) {
  const BpeVocabulary vocabulary =
      ReadOk(R"({"model":{"vocab":{"a":0},"merges":["a b","\u0120 t","# #"]}})");
  EXPECT_THAT(TextsOf(vocabulary.merges), ElementsAre("a b", "\u0120 t", "# #"));
}

TEST(TokenizerJson, ReadsMergesThatArePairs) {
  const BpeVocabulary vocabulary =
      ReadOk(R"({"model":{"vocab":{"a":0},"merges":[["a","b"],["\u0120","t"]]}})");
  EXPECT_THAT(TextsOf(vocabulary.merges), ElementsAre("a b", "\u0120 t"));
}

// The space between the parts must stay the only one.
TEST(TokenizerJson, EncodesSpacesInsideThePartsOfAPair) {
  const BpeVocabulary vocabulary =
      ReadOk(R"({"model":{"vocab":{"a":0},"merges":[["a b"," c"],[" ","  "]]}})");
  EXPECT_THAT(TextsOf(vocabulary.merges), ElementsAre("a\u0120b \u0120c", "\u0120 \u0120\u0120"));
}

TEST(TokenizerJson, AddsTokensOutsideTheVocabulary) {
  const BpeVocabulary vocabulary = ReadOk(R"({
    "added_tokens":[{"id":3,"content":"<|end|>","special":true},
                    {"id":2,"content":"<tool>","special":false}],
    "model":{"vocab":{"a":0,"b":1},"merges":[]}})");
  EXPECT_THAT(TextsOf(vocabulary.tokens), ElementsAre("a", "b", "<tool>", "<|end|>"));
  EXPECT_THAT(vocabulary.added,
              ElementsAre(IsAdded(2, "<tool>", false), IsAdded(3, "<|end|>", true)));
}

TEST(TokenizerJson, AcceptsAddedTokensThatTheVocabularyHolds) {
  const BpeVocabulary vocabulary = ReadOk(R"({
    "added_tokens":[{"id":0,"content":"<s>","special":true},{"id":2,"content":"new"}],
    "model":{"vocab":{"<s>":0,"a":1},"merges":[]}})");
  EXPECT_THAT(TextsOf(vocabulary.tokens), ElementsAre("<s>", "a", "new"));
  EXPECT_THAT(vocabulary.added, ElementsAre(IsAdded(0, "<s>", true), IsAdded(2, "new", false)));
}

TEST(TokenizerJson, FindsAddedTokensByText) {
  const BpeVocabulary vocabulary = ReadOk(R"({
    "added_tokens":[{"id":1,"content":"<s>"},{"id":2,"content":"</s>"}],
    "model":{"vocab":{"a":0},"merges":[]}})");
  ASSERT_NE(vocabulary.FindAdded("</s>"), nullptr);
  EXPECT_EQ(vocabulary.FindAdded("</s>")->id, 2U);
  EXPECT_EQ(vocabulary.FindAdded("a"), nullptr) << "in the vocabulary, but not added";
}

TEST(TokenizerJson, KeepsGapsBetweenIds) {
  const BpeVocabulary vocabulary =
      ReadOk(R"({"model":{"vocab":{"a":1,"b":2}},"added_tokens":[{"id":5,"content":"x"}]})");
  EXPECT_THAT(TextsOf(vocabulary.tokens), ElementsAre("", "a", "b", "", "", "x"));
  EXPECT_THAT(vocabulary.gaps, ElementsAre(0, 3, 4));
  EXPECT_THAT(ReadOk(R"({"model":{"vocab":{"a":0,"b":1}}})").gaps, IsEmpty());
}

TEST(TokenizerJson, KeepsTheWidestGap) {
  const BpeVocabulary vocabulary = ReadOk(R"({"model":{"vocab":{"a":0,"b":1048577}}})");
  EXPECT_EQ(vocabulary.gaps.size(), kMaxGapIds);
  EXPECT_EQ(vocabulary.tokens.StringAt(1048577), "b");
}

TEST(TokenizerJson, ReadsByteFallback) {
  EXPECT_TRUE(
      ReadOk(R"({"model":{"vocab":{"a":0},"merges":[],"byte_fallback":true}})").byte_fallback);
  EXPECT_FALSE(
      ReadOk(R"({"model":{"vocab":{"a":0},"merges":[],"byte_fallback":false}})").byte_fallback);
}

TEST(TokenizerJson, ReadsThePreTokenizer) {
  EXPECT_EQ(ReadOk(R"({"model":{"vocab":{"a":0}},
                      "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false}})")
                .pre_tokenizer,
            "ByteLevel(prefix_space=0,regex=1)");
  EXPECT_EQ(ReadOk(R"({"model":{"vocab":{"a":0}},"pre_tokenizer":null})").pre_tokenizer, "none");
}

constexpr const char* kTemplate = R"({"type":"TemplateProcessing",
  "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
  "pair":[{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"</s>","type_id":0}},
          {"Sequence":{"id":"B","type_id":1}}],
  "special_tokens":{}})";

TEST(TokenizerJson, ReadsASinglePostProcessor) {
  const BpeVocabulary vocabulary =
      ReadOk(std::string(R"({"model":{"vocab":{"a":0}},"post_processor":)") + kTemplate + "}");
  ASSERT_EQ(vocabulary.post_steps.size(), 1U);
  EXPECT_EQ(vocabulary.post_steps[0].type, "TemplateProcessing");
  EXPECT_THAT(vocabulary.post_steps[0].single, ElementsAre(IsItem("<s>", ""), IsItem("", "A")));
  EXPECT_THAT(vocabulary.post_steps[0].pair,
              ElementsAre(IsItem("", "A"), IsItem("</s>", ""), IsItem("", "B")));
}

TEST(TokenizerJson, ReadsASequenceOfPostProcessors) {
  const BpeVocabulary vocabulary = ReadOk(
      std::string(R"({"model":{"vocab":{"a":0}},"post_processor":{"type":"Sequence","processors":[)"
                  R"({"type":"ByteLevel","trim_offsets":false},)") +
      kTemplate + "]}}");
  ASSERT_EQ(vocabulary.post_steps.size(), 2U);
  EXPECT_EQ(vocabulary.post_steps[0].type, "ByteLevel");
  EXPECT_THAT(vocabulary.post_steps[0].single, IsEmpty());
  EXPECT_EQ(vocabulary.post_steps[1].type, "TemplateProcessing");
  EXPECT_EQ(vocabulary.post_steps[1].single.size(), 2U);
}

}  // namespace
}  // namespace sluice::tokenizer
