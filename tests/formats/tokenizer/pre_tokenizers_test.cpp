// From the definition of a pre-tokenizer to its name: the published ones are known, and a change of
// anything that has influence on the split makes an unknown one.
#include "formats/tokenizer/pre_tokenizers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "result_matchers.h"

namespace sluice::tokenizer {
namespace {

using testing::IsOk;

// A JSON string.
std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string Split(std::string_view regex, std::string_view behavior = "Isolated",
                  std::string_view invert = "false", std::string_view kind = "Regex") {
  std::string text = R"({"type":"Split","pattern":{")";
  text.append(kind).append("\":").append(Quoted(regex)).append("},\"behavior\":");
  return text.append(Quoted(behavior)).append(",\"invert\":").append(invert).append("}");
}

std::string ByteLevel(std::string_view prefix_space, std::string_view use_regex) {
  std::string text = R"({"type":"ByteLevel","add_prefix_space":)";
  text.append(prefix_space).append(",\"trim_offsets\":true,\"use_regex\":");
  return text.append(use_regex).append("}");
}

std::string Sequence(const std::vector<std::string>& steps) {
  std::string text;
  for (const std::string& step : steps) text += (text.empty() ? "" : ",") + step;
  return R"({"type":"Sequence","pretokenizers":[)" + text + "]}";
}

std::string Canonical(const std::string& definition) {
  const Result<json::Document> document = json::Document::Parse(definition, "tokenizer.json");
  EXPECT_THAT(document, IsOk()) << definition;
  return document ? CanonicalPreTokenizer(document->root()) : "";
}

std::optional<std::string> NameOf(const std::string& definition) {
  const auto name = RecognisePreTokenizer(Canonical(definition));
  return name ? std::optional<std::string>(*name) : std::nullopt;
}

// The patterns of the published tokenizer.json files.
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama4 =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::string SplitThenBytes(std::string_view regex) {
  return Sequence({Split(regex), ByteLevel("false", "false")});
}

TEST(PreTokenizers, KnowsThePublishedOnes) {
  EXPECT_EQ(NameOf(SplitThenBytes(kLlama3)), "llama-bpe");
  EXPECT_EQ(NameOf(SplitThenBytes(kLlama4)), "llama4");
  EXPECT_EQ(NameOf(SplitThenBytes(kQwen2)), "qwen2");
  EXPECT_EQ(NameOf(SplitThenBytes(kTekken)), "tekken");
  EXPECT_EQ(NameOf(Sequence(
                {R"({"type":"Digits","individual_digits":true})", ByteLevel("false", "true")})),
            "smollm");
  EXPECT_EQ(NameOf(ByteLevel("false", "true")), "gpt-2");
}

// GPT-2's own file is older than the field.
TEST(PreTokenizers, KnowsTheDefaultsOfAbsentFields) {
  EXPECT_EQ(NameOf(R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true})"),
            "gpt-2");
  EXPECT_EQ(Canonical(R"({"type":"ByteLevel"})"), "ByteLevel(prefix_space=1,regex=1)");
  EXPECT_EQ(Canonical(R"({"type":"Digits"})"), "Digits(individual=0)");
  const std::string without_invert =
      R"({"type":"Split","pattern":{"Regex":)" + Quoted(kLlama3) + R"(},"behavior":"Isolated"})";
  EXPECT_EQ(NameOf(Sequence({without_invert, ByteLevel("false", "false")})), "llama-bpe");
}

TEST(PreTokenizers, IgnoresWhatHasNoInfluence) {
  EXPECT_EQ(NameOf(R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false})"),
            "gpt-2");
  EXPECT_EQ(NameOf(Sequence({ByteLevel("false", "true")})), "gpt-2") << "a sequence of one";
  EXPECT_EQ(NameOf(Sequence({Sequence({Split(kLlama3)}), ByteLevel("false", "false")})),
            "llama-bpe");
}

TEST(PreTokenizers, DoesNotKnowChangedOnes) {
  const std::string bytes = ByteLevel("false", "false");
  const std::vector<std::string> changed{
      SplitThenBytes(std::string(kLlama3) + "|x"),
      SplitThenBytes(kLlama3.substr(1)),
      SplitThenBytes(""),
      Sequence({Split(kLlama3, "Removed"), bytes}),
      Sequence({Split(kLlama3, "MergedWithPrevious"), bytes}),
      Sequence({Split(kLlama3, "Isolated", "true"), bytes}),
      Sequence({Split(kLlama3, "Isolated", "false", "String"), bytes}),
      Sequence({Split(kLlama3), ByteLevel("false", "true")}),
      Sequence({Split(kLlama3), ByteLevel("true", "false")}),
      Sequence({bytes, Split(kLlama3)}),
      Sequence({Split(kLlama3)}),
      Split(kLlama3),
      Sequence({Split(kLlama3), bytes, bytes}),
      Sequence({R"({"type":"Whitespace"})", Split(kLlama3), bytes}),
      ByteLevel("true", "true"),
      ByteLevel("false", "false"),
      Sequence({R"({"type":"Digits","individual_digits":false})", ByteLevel("false", "true")}),
      Sequence({ByteLevel("false", "true"), R"({"type":"Digits","individual_digits":true})"}),
      Sequence({}),
      "{}",
      "5",
  };
  for (const std::string& definition : changed) {
    EXPECT_EQ(NameOf(definition), std::nullopt) << definition;
  }
  EXPECT_EQ(RecognisePreTokenizer(CanonicalPreTokenizer(std::nullopt)), std::nullopt);
}

TEST(PreTokenizers, CanonicalTextShowsTheSteps) {
  EXPECT_EQ(CanonicalPreTokenizer(std::nullopt), "none");
  EXPECT_EQ(Canonical(Sequence({Split("a+"), Split("b", "Removed", "true", "String"),
                                ByteLevel("true", "false")})),
            "Split(Regex,Isolated,a+) | Split(String,Removed,inverted,b) | "
            "ByteLevel(prefix_space=1,regex=0)");
  EXPECT_EQ(Canonical(R"({"type": "Metaspace", "replacement": "_"})"),
            R"({"type":"Metaspace","replacement":"_"})")
      << "an unknown step as it stands";
}

TEST(PreTokenizers, DeepNestingIsNoCrash) {
  std::string definition = ByteLevel("false", "true");
  for (int i = 0; i < 300; ++i) definition = Sequence({definition});
  EXPECT_EQ(NameOf(definition), "gpt-2");
}

TEST(PreTokenizerNames, AreSortedAndHoldTheNamesWithADefinition) {
  const auto names = PreTokenizerNames();
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  for (const std::string_view name : {"llama-bpe", "llama4", "qwen2", "tekken", "smollm", "gpt-2",
                                      "glm4", "chatglm-bpe", "lfm2", "llama3", "llama-v3"}) {
    EXPECT_TRUE(FindPreTokenizer(name).has_value()) << name;
    EXPECT_TRUE(std::binary_search(names.begin(), names.end(), name)) << name;
  }
}

}  // namespace
}  // namespace sluice::tokenizer
