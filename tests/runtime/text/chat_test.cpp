#include "runtime/text/chat.h"

#include <gmock/gmock.h>

#include <string>

#include "result_matchers.h"

namespace sluice::runtime {
namespace {

using ::testing::ElementsAre;
using testing::Fails;
using testing::IsOk;

Result<std::vector<Message>> Parse(const std::string& text) {
  SLUICE_ASSIGN(const Json json, ParseJson(text));
  return ParseMessages(json);
}

TEST(ParseMessages, ReadsTextWhereverTheInterfaceAllowsIt) {
  const auto messages = Parse(R"([
    {"role": "developer", "content": "d"},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "assistant", "content": null, "reasoning": "r"},
    {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "x"}]},
    {"role": "tool", "content": [{"output": "y"}, {"output": {"z": 1}}, 2]}])");
  ASSERT_THAT(messages, IsOk());
  ASSERT_EQ(messages->size(), 5U);
  EXPECT_EQ((*messages)[0].role, Role::kSystem);
  EXPECT_EQ((*messages)[1].content, "ab");
  EXPECT_EQ((*messages)[2].content, "");
  EXPECT_EQ((*messages)[2].reasoning, "r");
  EXPECT_EQ((*messages)[3].content, "x");
  EXPECT_THAT(*(*messages)[4].outputs, ElementsAre("y", R"({"z": 1})", "2"));
}

TEST(ParseMessages, ReadsArgumentsAsTextAndAsObject) {
  const auto messages = Parse(R"([{"role": "assistant", "tool_calls": [
    {"id": "c1", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": 2}"}},
    {"function": {"name": "g", "arguments": {"x": [1]}}}, {"name": "h", "arguments": ""}]}])");
  ASSERT_THAT(messages, IsOk());
  const std::vector<ToolCall>& calls = (*messages)[0].calls;
  ASSERT_EQ(calls.size(), 3U);
  EXPECT_EQ(calls[0].id, "c1");
  EXPECT_EQ(calls[0].arguments.dump(), R"({"b":1,"a":2})") << "the order of arguments is kept";
  EXPECT_EQ(calls[1].arguments.dump(), R"({"x":[1]})");
  EXPECT_EQ(calls[2].name, "h");
}

TEST(ParseMessages, NamesTheMessageThatIsWrong) {
  const auto fails = [](const std::string& text, const std::string& message) {
    EXPECT_THAT(Parse(text), Fails(ErrorCode::kUsage, message)) << text;
  };
  fails(R"({})", "messages is no list");
  fails(R"([{"role": "user"}, {"role": "robot"}])", "messages[1]: unknown role");
  fails(R"([{"content": "a"}])", "got none");
  fails(R"([1])", "messages[0]: unknown role");
  fails(R"([{"role": "user", "content": 1}])", "content is neither a string nor a list");
  fails(R"([{"role": "user", "content": [{"type": "image_url"}]}])", "got image_url");
  fails(R"([{"role": "assistant", "tool_calls": {}}])", "tool_calls is no list");
  fails(R"([{"role": "assistant", "tool_calls": [{}]}])", "a tool call has no name");
  fails(R"([{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}])",
        "arguments of the call of 'f' are not JSON");
  fails(R"([{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[]"}]}])",
        "arguments of the call of 'f' are no object");
}

TEST(ParseTools, ChecksThatFunctionsHaveNames) {
  const auto parse = [](const std::string& text) { return ParseTools(*ParseJson(text)); };
  const auto tools = parse(R"([{"type": "function", "function": {"name": "f"}}])");
  ASSERT_THAT(tools, IsOk());
  EXPECT_NE(FindFunction(*tools, "f"), nullptr);
  EXPECT_EQ(FindFunction(*tools, "g"), nullptr);
  EXPECT_THAT(parse("{}"), Fails(ErrorCode::kUsage, "tools is no list"));
  EXPECT_THAT(parse(R"([{"function": {"name": 1}}])"),
              Fails(ErrorCode::kUsage, "tools[0] has no function with a name"));
  EXPECT_THAT(parse(R"([{"function": {"name": "f", "parameters": []}}])"),
              Fails(ErrorCode::kUsage, "tools[0] has parameters that are no object: got array"));
}

TEST(ParseJson, RefusesWhatWouldExhaustTheStack) {
  EXPECT_THAT(ParseJson(std::string(100, '[') + std::string(100, ']')), IsOk());
  EXPECT_THAT(ParseJson(std::string(1000000, '[') + std::string(1000000, ']')),
              Fails(ErrorCode::kCorrupt, "nested too deeply"));
  EXPECT_THAT(ParseJson("{\"a\":"), Fails(ErrorCode::kCorrupt, "not valid JSON"));
  EXPECT_THAT(ParseJson("\"\xFF\""), Fails(ErrorCode::kCorrupt, "UTF-8"));
}

TEST(PythonJson, WritesWhatPythonWrites) {
  const auto written = [](const std::string& text) { return PythonJson(*ParseJson(text)); };
  EXPECT_EQ(written(R"({"b":[1,2.0,"\u00fc\n\u001f\"/"],"a":{}})"),
            "{\"b\": [1, 2.0, \"\u00fc\\n\\u001f\\\"/\"], \"a\": {}}");
  EXPECT_EQ(written("[1e16,1e15,0.0001,0.00001,-0.0,1.5e300,true,null]"),
            "[1e+16, 1000000000000000.0, 0.0001, 1e-05, -0.0, 1.5e+300, true, null]");
}

}  // namespace
}  // namespace sluice::runtime
