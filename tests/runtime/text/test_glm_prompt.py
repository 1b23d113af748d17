"""The built-in prompt format: its goldens, and thousands of random chats against a Jinja template
that states the same rules."""
import json
import os
import pathlib
import random
import subprocess

import jinja2
import pytest

START = "[gMASK]<sop>"
CALLS = [
    {"type": "function", "function": {"name": "get_weather", "arguments": {
        "city": "Köln", "days": 3, "x": [1, "a"], "n": None, "b": True}}},
    {"type": "function", "function": {"name": "f", "arguments": {}}},
]
ROUND = [
    {"role": "system", "content": "S"}, {"role": "user", "content": "A"},
    {"role": "assistant", "content": " c1 ", "reasoning_content": " r1 \n"},
    {"role": "user", "content": "B"},
]
WEATHER = [
    {"role": "user", "content": "W?"},
    {"role": "assistant", "content": "Let me see.", "reasoning_content": "need tool",
     "tool_calls": CALLS},
    {"role": "tool", "content": "sunny"}, {"role": "tool", "content": "18"},
]
TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather <now> & \"soon\"", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "ü": 1.0}}, "required": ["city"]}}}
TOOL_TEXT = (
    '<|system|>\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n'
    'You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n'
    '{"type": "function", "function": {"name": "get_weather", "description": "Weather <now> & '
    '\\"soon\\"", "parameters": {"type": "object", "properties": {"city": {"type": "string", "ü": '
    '1.0}}, "required": ["city"]}}}\n</tools>\n\nFor each function call, output the function name '
    'and arguments within the following XML format:\n<tool_call>{function-name}<arg_key>{arg-key-1}'
    '</arg_key><arg_value>{arg-value-1}</arg_value><arg_key>{arg-key-2}</arg_key><arg_value>'
    '{arg-value-2}</arg_value>...</tool_call>')

GOLDENS = [
    ({"messages": [{"role": "user", "content": "Hi"}]}, "<|user|>Hi<|assistant|><think>"),
    ({"messages": [{"role": "user", "content": "Hi"}], "enable_thinking": False},
     "<|user|>Hi<|assistant|></think>"),
    ({"messages": ROUND},
     "<|system|>S<|user|>A<|assistant|></think>c1<|user|>B<|assistant|><think>"),
    ({"messages": ROUND, "clear_thinking": False},
     "<|system|>S<|user|>A<|assistant|><think>r1</think>c1<|user|>B<|assistant|><think>"),
    ({"messages": WEATHER},
     "<|user|>W?<|assistant|><think>need tool</think>Let me see.<tool_call>get_weather<arg_key>city"
     "</arg_key><arg_value>Köln</arg_value><arg_key>days</arg_key><arg_value>3</arg_value><arg_key>x"
     "</arg_key><arg_value>[1, \"a\"]</arg_value><arg_key>n</arg_key><arg_value>null</arg_value>"
     "<arg_key>b</arg_key><arg_value>true</arg_value></tool_call><tool_call>f</tool_call>"
     "<|observation|><tool_response>sunny</tool_response><tool_response>18</tool_response>"
     "<|assistant|><think>"),
    ({"messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL]},
     TOOL_TEXT + "<|user|>Hi<|assistant|><think>"),
    ({"messages": []}, "<|assistant|><think>"),
]


def render(chats):
    """What the program makes of each chat."""
    result = subprocess.run([os.environ["RENDER_PROMPT"]], input="\n".join(map(json.dumps, chats)),
                            capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.split("\n")[:-1]]


def template():
    environment = jinja2.Environment(undefined=jinja2.ChainableUndefined)
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(
        pathlib.Path(__file__).with_name("glm_prompt.jinja").read_text())


@pytest.mark.parametrize("chat, want", GOLDENS)
def test_goldens(chat, want):
    assert render([chat]) == [START + want]
    assert template().render(**chat) == START + want, "the template of the tests is wrong"


TEXTS = ["", " ", "a", " b \n", "\n\nc", "<think>", "</think>", "<think>t</think>", "\u3000ü\u2028",
         "x</think>\ny</think>\n z", "a<think>b<think>\nc\n</think>\nd", "\\\"{}[]<&>", "\x1c日本\x1f", "👋\t",
         "<|user|>"]


def random_value(choose, depth=0):
    makers = [lambda: choose.choice(TEXTS), lambda: choose.randint(-10**12, 10**12),
              lambda: choose.choice([0.0, -1.5, 1e16, 123456789012345.0, 9999999999999998.0, 1e-5, 0.0001, 1e300, 3.14e-7,
                                     2.5e15, 1 / 3]),
              lambda: choose.choice([True, False, None])]
    if depth < 3:
        makers += [lambda: [random_value(choose, depth + 1) for _ in range(choose.randint(0, 3))],
                   lambda: {choose.choice(TEXTS): random_value(choose, depth + 1)
                            for _ in range(choose.randint(0, 3))}]
    return choose.choice(makers)()


def random_message(choose):
    role = choose.choice(["system", "user", "user", "assistant", "assistant", "assistant", "tool", "tool"])
    text = "".join(choose.choices(TEXTS, k=choose.randint(0, 3)))
    if role == "tool":
        outputs = [choose.choice([{"output": output}, output]) for output in choose.choices(TEXTS, k=choose.randint(1, 3))]
        return {"role": role, "content": choose.choice([text, text, outputs])}
    parts = [{"type": "text", "text": choose.choice(TEXTS)} for _ in range(choose.randint(0, 3))]
    message = {"role": role, "content": choose.choice([text, text, text, parts])}
    if role == "assistant":
        if choose.random() < 0.5:
            message["reasoning_content"] = choose.choice([*TEXTS, None])
        if choose.random() < 0.3:
            message["tool_calls"] = [
                {"function": {"name": "f", "arguments": {
                    choose.choice("abc"): random_value(choose) for _ in range(choose.randint(0, 3))}}}
                for _ in range(choose.randint(1, 2))]
        if choose.random() < 0.1:
            message["content"] = None
    return message


def test_random_chats_agree_with_the_template():
    choose = random.Random(47)
    chats = []
    for _ in range(3000):
        chat = {"messages": [random_message(choose) for _ in range(choose.randint(0, 8))]}
        if choose.random() < 0.3:
            chat["tools"] = [{"function": {"name": "f", "parameters": {"p": random_value(choose)}}}]
        if choose.random() < 0.5:
            chat["enable_thinking"] = choose.choice([True, False])
        if choose.random() < 0.5:
            chat["clear_thinking"] = choose.choice([True, False])
        chats.append(chat)
    want = template()
    for chat, prompt in zip(chats, render(chats), strict=True):
        assert prompt == want.render(**chat), json.dumps(chat)
