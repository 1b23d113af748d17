#include "runtime/text/glm_answer.h"

#include <gmock/gmock.h>

#include <random>
#include <string>
#include <vector>

#include "core/utf8.h"
#include "result_matchers.h"

namespace sluice::runtime {
namespace {

using testing::Fails;
using testing::IsOk;

const char* const kTools = R"([{"type": "function", "function": {"name": "f", "parameters": {
  "type": "object", "required": ["a"],
  "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}}}])";

std::vector<Json> Tools() { return *ParseTools(*ParseJson(kTools)); }

// The joined deltas of an answer as one line: thinking, content, calls.
std::string Line(const AnswerDelta& delta) {
  std::string line = delta.thinking + " | " + delta.content;
  for (const ToolCall& call : delta.calls) line += " | " + call.name + call.arguments.dump();
  return line;
}

void Join(AnswerDelta& whole, Result<AnswerDelta> part) {
  ASSERT_THAT(part, IsOk());
  whole.thinking += part->thinking;
  whole.content += part->content;
  whole.calls.insert(whole.calls.end(), part->calls.begin(), part->calls.end());
}

std::string Read(bool thinking, const std::vector<std::string>& pieces,
                 AnswerEnd end = AnswerEnd::kWhole) {
  GlmAnswer answer(thinking, Tools());
  AnswerDelta whole;
  for (const std::string& piece : pieces) Join(whole, answer.Push(piece));
  Join(whole, answer.Finish(end));
  return Line(whole);
}

// The characters of a text, one string each.
std::vector<std::string> Characters(std::string_view text) {
  std::vector<std::string> characters;
  while (!text.empty()) {
    const std::size_t bytes = FirstCodePoint(text).bytes;
    characters.emplace_back(text.substr(0, bytes));
    text.remove_prefix(bytes);
  }
  return characters;
}

struct Golden {
  const char* name;
  bool thinking;
  std::string text;
  std::string want;
};

const std::vector<Golden>& Goldens() {
  static const std::vector<Golden> kGoldens{
      {"Plain", true, "I think.</think>Hello", "I think. | Hello"},
      {"BlanksAroundTheMark", true, "\n I think. \n</think>\n\nHello \n", "I think. | Hello \n"},
      {"UnicodeBlanks", true, "a\u3000</think>\u2028\u00A0b", "a | b"},
      {"NeverStopsThinking", true, "hm \n", "hm \n | "},
      {"MarkOfACallInReasoning", true, "a<tool_call>f</tool_call></think>b",
       "a<tool_call>f</tool_call> | b"},
      {"OnlyTheEndMark", true, "</think>x", " | x"},
      {"BeginningsOfMarks", true, "a < b </ c</thin</think>d <tool <tool_cal e",
       "a < b </ c</thin | d <tool <tool_cal e"},
      {"EndsInTheBeginningOfAMark", true, "a</think>b <tool_", "a | b <tool_"},
      {"WithoutThinking", false, "Hello</think>!", " | Hello</think>!"},
      {"ThinksAllTheSame", false, " \n<think>\nt\n</think>\nHello", "t | Hello"},
      {"KeepsBlanksThatBeginAnAnswer", false, " <b", " |  <b"},
      {"OnlyBlanks", false, "  ", " |   "},
      {"Call", true,
       "t</think><tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>",
       "t |  | f{\"a\":1}"},
      {"TextAroundCalls", false,
       "Answer <tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>\n"
       "<tool_call>\ng\n</tool_call> bye",
       " | Answer\nbye | f{\"a\":1} | g{}"},
      {"NoBlankAroundACall", false, "a<tool_call>f</tool_call>b", " | ab | f{}"},
      {"ABlankBehindACall", false, "a<tool_call>f</tool_call> b ", " | a b  | f{}"},
      {"ValuesAreKeptAsTheyAre", false,
       "<tool_call>f<arg_key>b</arg_key><arg_value> x < y && z>\n\n<b>&amp;\n"
       "</arg_value></tool_call>",
       " |  | f{\"b\":\" x < y && z>\\n\\n<b>&amp;\"}"},
      {"CallWithoutItsEndMark", false,
       "<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value></tool_", " |  | f{\"a\":1}"},
  };
  return kGoldens;
}

class GlmAnswerGoldens : public ::testing::TestWithParam<Golden> {};

TEST_P(GlmAnswerGoldens, WholeAndCharacterByCharacter) {
  const Golden& golden = GetParam();
  EXPECT_EQ(Read(golden.thinking, {golden.text}), golden.want);
  EXPECT_EQ(Read(golden.thinking, Characters(golden.text)), golden.want);
}

TEST_P(GlmAnswerGoldens, CutAnywhere) {
  const Golden& golden = GetParam();
  const std::vector<std::string> characters = Characters(golden.text);
  for (std::size_t cut = 0; cut <= characters.size(); ++cut) {
    std::vector<std::string> halves(2);
    for (std::size_t i = 0; i < characters.size(); ++i) halves[i < cut ? 0 : 1] += characters[i];
    EXPECT_EQ(Read(golden.thinking, halves), golden.want) << "cut at character " << cut;
  }
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> pieces(1);
    for (const std::string& character : characters) {
      if (random() % 4 == 0) pieces.emplace_back();
      pieces.back() += character;
    }
    EXPECT_EQ(Read(golden.thinking, pieces), golden.want);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GlmAnswerGoldens, ::testing::ValuesIn(Goldens()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(GlmAnswer, GivesOutWhatNothingCanChange) {
  GlmAnswer answer(true, {});
  EXPECT_EQ(answer.Push("abc def </thi")->thinking, "abc def");
  EXPECT_EQ(answer.Push("s")->thinking, " </this");
  const auto delta = answer.Push("</think>one two <tool");
  ASSERT_THAT(delta, IsOk());
  EXPECT_EQ(delta->content, "one two");
  EXPECT_TRUE(answer.Push("_call>f<arg_key>")->empty());
}

TEST(GlmAnswer, RefusesACallThatTheAnswerEndsIn) {
  for (const char* text :
       {"<tool_call>", "<tool_call>g", "<tool_call>f",
        "<tool_call>f<arg_key>b</arg_key><arg_value>x</arg_value>",
        "<tool_call>f<arg_key>a</arg_key>", "<tool_call>f<arg_key>a</arg_key><arg_value>1",
        "<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_val",
        "<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value><arg_key>b"}) {
    GlmAnswer answer(false, Tools());
    ASSERT_THAT(answer.Push(text), IsOk());
    EXPECT_THAT(answer.Finish(AnswerEnd::kWhole),
                Fails(ErrorCode::kCorrupt, "the model's answer ends inside a tool call"))
        << text;
    EXPECT_EQ(Read(false, {std::string("x") + text}, AnswerEnd::kCut), " | x");
  }
}

// Another argument, which is optional, may have followed.
TEST(GlmAnswer, LeavesOutACallThatALimitCutsBehindAnArgument) {
  const std::string call = "<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value>";
  EXPECT_EQ(Read(false, {call}, AnswerEnd::kCut), " | ");
  EXPECT_EQ(Read(false, {call}, AnswerEnd::kWhole), " |  | f{\"a\":1}");
  EXPECT_EQ(Read(false, {call + "</tool"}, AnswerEnd::kCut), " |  | f{\"a\":1}");
}

TEST(GlmAnswer, RefusesACallThatIsNone) {
  GlmAnswer answer(false, {});
  EXPECT_THAT(answer.Push("<tool_call> </tool_call>"),
              Fails(ErrorCode::kCorrupt, "tool call has no name"));
}

}  // namespace
}  // namespace sluice::runtime
