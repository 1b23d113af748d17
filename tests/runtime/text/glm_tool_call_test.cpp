#include "runtime/text/glm_tool_call.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "result_matchers.h"

namespace sluice::runtime {
namespace {

using testing::Fails;
using testing::IsOk;

// "name{arguments}" of a call, or its error.
std::string Parsed(const std::string& text) {
  const auto call = ParseGlmToolCall(text, {});
  return call ? call->name + call->arguments.dump() : call.error().what;
}

TEST(GlmToolCall, ReadsNamesAndArguments) {
  EXPECT_EQ(Parsed("f"), "f{}");
  EXPECT_EQ(Parsed(" \nf\n "), "f{}");
  EXPECT_EQ(Parsed("f<arg_key>a</arg_key><arg_value>1</arg_value>"), R"(f{"a":"1"})");
  EXPECT_EQ(Parsed("f\n<arg_key> a </arg_key>\n<arg_value>x\ny</arg_value>\n"
                   "<arg_key>b</arg_key>\n<arg_value></arg_value>\n"),
            R"(f{"a":"x\ny","b":""})");
  EXPECT_EQ(Parsed("f<arg_key>a</arg_key><arg_value>1</arg_value>"
                   "<arg_key>a</arg_key><arg_value>2</arg_value>"),
            R"(f{"a":"2"})");
}

TEST(GlmToolCall, KeepsMarksThatAValueIsAbout) {
  EXPECT_EQ(Parsed("f<arg_key>a</arg_key><arg_value>use <arg_key> here</arg_value>"),
            R"(f{"a":"use <arg_key> here"})");
  EXPECT_EQ(Parsed("f<arg_key>a</arg_key><arg_value>write <arg_value> and </arg_key></arg_value>"
                   "<arg_key>b</arg_key><arg_value>2</arg_value>"),
            R"(f{"a":"write <arg_value> and </arg_key>","b":"2"})");
}

TEST(GlmToolCall, PutsInMarksThatAreMissing) {
  const std::string want = R"(f{"a":"1","b":"2"})";
  const std::vector<std::string> texts{
      "f<arg_key>a</arg_key><arg_value>1<arg_key>b</arg_key><arg_value>2",
      "f<arg_key>a<arg_value>1</arg_value><arg_key>b<arg_value>2</arg_value>",
      "f<arg_key>a</arg_key>1</arg_value><arg_key>b</arg_key>2</arg_value>",
      "f a</arg_key><arg_value>1</arg_value>b</arg_key><arg_value>2</arg_value>",
      "f a<arg_value>1</arg_value><arg_key>b<arg_value>2",
      "f<arg_key>a</arg_key><arg_value>1<arg_key>b</arg_key><arg_value>2</arg_value>",
      "f<arg_key>a</arg_key><arg_value>1<arg_key>b<arg_value>2</arg_value>",
  };
  for (const std::string& text : texts) EXPECT_EQ(Parsed(text), want) << text;
  EXPECT_EQ(Parsed("f<arg_key>a</arg_key><arg_key>b</arg_key><arg_value>2</arg_value>"),
            R"(f{"a":"","b":"2"})");
}

TEST(GlmToolCall, RefusesWhatNoMarkCanRepair) {
  EXPECT_EQ(Parsed(""), "the model's tool call has no name");
  EXPECT_EQ(Parsed(" <arg_key>a</arg_key><arg_value>1</arg_value>"),
            "the model's tool call has no name");
  EXPECT_EQ(Parsed("f<arg_key>a</arg_key>"),
            "the model's tool call has an argument without a value");
  EXPECT_EQ(Parsed("f<arg_key>a"), "the model's tool call has an argument without a value");
  EXPECT_EQ(Parsed("f<arg_key> </arg_key><arg_value>1</arg_value>"),
            "the model's tool call has an argument without a name");
  EXPECT_EQ(Parsed("f</arg_value>"), "the model's tool call has an argument without a name");
}

TEST(GlmToolCall, TypesArgumentsAsTheToolDeclares) {
  const auto tools = ParseTools(*ParseJson(R"([{"function": {"name": "f", "parameters": {
      "properties": {"n": {"type": "integer"}}}}}])"));
  ASSERT_THAT(tools, IsOk());
  const auto call = ParseGlmToolCall(
      "f<arg_key>n</arg_key><arg_value>5</arg_value><arg_key>m</arg_key><arg_value>5</arg_value>",
      *tools);
  ASSERT_THAT(call, IsOk());
  EXPECT_EQ(call->arguments.dump(), R"({"n":5,"m":"5"})");
}

std::string Typed(const std::string& text, const std::string& schema) {
  const Json parsed = *ParseJson(schema);
  return TypedArgument(text, &parsed).dump();
}

TEST(TypedArgument, FollowsTheDeclaredType) {
  EXPECT_EQ(Typed("true", R"({"type": "string"})"), R"("true")");
  EXPECT_EQ(Typed("\ntext\n\n", R"({"type": "string"})"), R"("text\n")");
  EXPECT_EQ(Typed(" x ", R"({"type": "string"})"), R"(" x ")");
  EXPECT_EQ(Typed("TRUE", R"({"type": "boolean"})"), "true");
  EXPECT_EQ(Typed("false", R"({"type": "boolean"})"), "false");
  EXPECT_EQ(Typed("maybe", R"({"type": "boolean"})"), R"("maybe")");
  EXPECT_EQ(Typed("-9223372036854775808", R"({"type": "integer"})"), "-9223372036854775808");
  EXPECT_EQ(Typed("9223372036854775808", R"({"type": "integer"})"), R"("9223372036854775808")");
  EXPECT_EQ(Typed("12abc", R"({"type": "integer"})"), R"("12abc")");
  EXPECT_EQ(Typed("1.5", R"({"type": "integer"})"), R"("1.5")");
  EXPECT_EQ(Typed("1.5", R"({"type": "number"})"), "1.5");
  EXPECT_EQ(Typed("3.0", R"({"type": "number"})"), "3");
  EXPECT_EQ(Typed("1e400", R"({"type": "number"})"), R"("1e400")");
  EXPECT_EQ(Typed("nan", R"({"type": "number"})"), R"("nan")");
  EXPECT_EQ(Typed("\n[1, {\"a\": 2}]\n", R"({"type": "array"})"), R"([1,{"a":2}])");
  EXPECT_EQ(Typed("{\"b\":1,\"a\":2}", R"({"type": "object"})"), R"({"b":1,"a":2})");
  EXPECT_EQ(Typed("{}", R"({"type": "array"})"), R"("{}")");
  EXPECT_EQ(Typed("[1", R"({"type": "array"})"), R"("[1")");
}

TEST(TypedArgument, TriesTheTypesOfAUnionAndKeepsTheText) {
  EXPECT_EQ(Typed("5", R"({"type": ["integer", "null"]})"), "5");
  EXPECT_EQ(Typed("5", R"({"anyOf": [{"type": "string"}, {"type": "integer"}]})"), "5");
  EXPECT_EQ(Typed("x", R"({"oneOf": [{"type": "string"}, {"type": "integer"}]})"), R"("x")");
  EXPECT_EQ(Typed("5", R"({})"), R"("5")") << "no declared type";
}

TEST(TypedArgument, TakesNullForNullUnlessAStringIsAskedFor) {
  EXPECT_EQ(Typed("Null", R"({"type": "integer"})"), "null");
  EXPECT_EQ(Typed("null", R"({"type": ["string", "null"]})"), "null");
  EXPECT_EQ(Typed("null", R"({})"), "null");
  EXPECT_EQ(Typed("null", R"({"type": "string"})"), R"("null")");
  EXPECT_EQ(TypedArgument("5", nullptr).dump(), R"("5")");
}

TEST(HasAllItRequires, WantsADeclaredFunctionAndItsArguments) {
  const auto tools = *ParseTools(*ParseJson(R"([{"function": {"name": "f", "parameters": {
      "required": ["a"]}}}, {"function": {"name": "g"}}])"));
  const auto has = [&](const std::string& name, const std::string& arguments) {
    return HasAllItRequires({"", name, *ParseJson(arguments)}, tools);
  };
  EXPECT_TRUE(has("f", R"({"a": 1})"));
  EXPECT_FALSE(has("f", R"({"b": 1})"));
  EXPECT_TRUE(has("g", "{}"));
  EXPECT_FALSE(has("h", "{}"));
}

}  // namespace
}  // namespace sluice::runtime
