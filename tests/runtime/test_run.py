"""`sluice run`: prompts, reasoning, tools, limits, errors; on models whose words are known."""
import json
import os
import signal
import subprocess

import pytest

from chain_checkpoint import chain_checkpoint
from sluice_cli import GOLDEN, SLUICE, TIMEOUT_SECONDS, assert_fails, convert, run

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {
    "type": "object", "properties": {"n": {"type": "integer"}}}}}]
HELLO = ["<think>", "T", "</think>", "H", "i", "<|user|>"]
CALL = ["</think>", "<tool_call>", "f", "<arg_key>", "n", "</arg_key>", "<arg_value>", "7",
        "</arg_value>", "</tool_call>", "<|observation|>"]


@pytest.fixture(scope="module")
def hello(tmp_path_factory):
    return chain_checkpoint(tmp_path_factory.mktemp("hello"), HELLO)


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    return chain_checkpoint(tmp_path_factory.mktemp("endless"), ["</think>", "a", "b", "c", "a"],
                            context=1_000_000)


def run_json(model, *arguments):
    result = run("run", model, "--json", *arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_prints_the_answer_and_keeps_reasoning_out_of_it(hello):
    result = run("run", hello, "-p", "Hello")
    assert (result.returncode, result.stdout) == (0, "Hi\n")
    assert result.stderr.startswith("T\n\n")
    result = run("run", hello, "-p", "Hello", "-q")
    assert (result.stdout, result.stderr) == ("Hi\n", "")


def test_prints_json(hello):
    assert run_json(hello, "-p", "Hello") == {
        "format": 1, "thinking": "T", "content": "Hi", "tool_calls": [], "finish_reason": "stop",
        "prompt_tokens": 9, "answer_tokens": 4}
    assert run_json(hello, "-p", "Hello", "--no-think")["thinking"] == ""


def test_runs_gguf_files_of_both_dialects(hello, tmp_path):
    for dialect in ("llama.cpp", "ollama"):
        convert(hello, tmp_path / f"{dialect}.gguf", "--dialect", dialect)
        assert run_json(tmp_path / f"{dialect}.gguf", "-p", "Hello")["content"] == "Hi"


def test_takes_the_prompt_from_where_it_is_given(hello, tmp_path):
    (tmp_path / "prompt").write_text("Hello")
    tokens = run_json(hello, "-p", "Hello")["prompt_tokens"]
    assert run_json(hello, "--file", tmp_path / "prompt")["prompt_tokens"] == tokens
    result = run("run", hello, "--json", input="Hello")
    assert json.loads(result.stdout)["prompt_tokens"] == tokens
    assert run_json(hello, "-p", "Hello", "--system", "Be brief")["prompt_tokens"] > tokens


def test_continues_raw_text(hello):
    result = run_json(hello, "--raw", "-p", "</think>")
    assert (result["content"], result["prompt_tokens"]) == ("Hi", 1)


def test_calls_tools(tmp_path):
    model = chain_checkpoint(tmp_path, CALL)
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    arguments = ["-p", "x", "--no-think", "--tools", tmp_path / "tools.json"]
    assert run_json(model, *arguments)["tool_calls"] == [{"name": "f", "arguments": {"n": 7}}]
    result = run("run", model, *arguments)
    assert json.loads(result.stdout) == {"name": "f", "arguments": {"n": 7}}


def test_a_broken_tool_call_is_an_error(tmp_path):
    model = chain_checkpoint(tmp_path, ["</think>", "<tool_call>", "f", "<|user|>"])
    result = run("run", model, "-p", "x", "--no-think", "-q")
    assert_fails(result, 3, "the model's answer ends inside a tool call")


def test_stops_where_it_is_told_to(endless):
    result = run_json(endless, "-p", "x", "--no-think", "--max-tokens", 5)
    assert (result["content"], result["finish_reason"]) == ("abcab", "length")
    result = run_json(endless, "-p", "x", "--no-think", "--stop", "zz", "--stop", "ca")
    assert (result["content"], result["finish_reason"]) == ("ab", "stop")


def test_stops_when_the_context_is_full(tmp_path):
    model = chain_checkpoint(tmp_path, ["</think>", "a", "b", "c", "a"], context=16)
    result = run_json(model, "-p", "x", "--no-think")
    assert result["finish_reason"] == "length"
    assert result["prompt_tokens"] + result["answer_tokens"] == 16
    result = run("run", model, "-p", "x" * 100)
    assert_fails(result, 2, "the prompt does not fit the model's context: expected fewer than 16 tokens")


def test_equal_seeds_give_equal_answers():
    model = GOLDEN / "checkpoints" / "glm-tiny"

    def answer(*arguments):
        return run_json(model, "--raw", "-p", "Hello", "--max-tokens", 30, *arguments)["content"]

    assert answer("--seed", 1) == answer("--seed", 1)
    assert answer("--seed", 1) != answer("--seed", 2)
    assert answer("--temperature", 0, "--seed", 1) == answer("--temperature", 0, "--seed", 2)
    assert answer("--top-k", 1) == answer("--temperature", 0)


@pytest.mark.parametrize("arguments, code, words", [
    (["--tools", "{folder}/broken.json"], 3, "broken.json: not valid JSON"),
    (["--tools", "{folder}/wrong.json"], 3, "wrong.json: tools[0] has no function with a name"),
    (["--tools", "{folder}/list.json"], 3, "list.json: tools[0] has properties that are no object"),
    (["--tools", "{folder}/none.json"], 3, "none.json"),
    (["--top-p", "7"], 2, "top_p is out of range"),
    (["--temperature", "-1"], 2, "temperature is out of range"),
    (["--max-tokens", "0"], 2, "max_tokens must be at least 1"),
])
def test_refuses_bad_input(arguments, code, words, hello, tmp_path):
    (tmp_path / "broken.json").write_text("[{")
    (tmp_path / "wrong.json").write_text('[{"type": "function"}]')
    (tmp_path / "list.json").write_text(
        '[{"type": "function", "function": {"name": "f", "parameters": {"properties": []}}}]')
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    assert_fails(run("run", hello, "-p", "x", *arguments), code, words)


def test_a_prompt_that_is_no_text_is_an_error_at_its_own_byte(hello, tmp_path):
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    for arguments in ([], ["--raw"]):
        result = run("run", hello, *arguments, "--file", tmp_path / "latin")
        assert_fails(result, 2, "text is not UTF-8 at byte 3")


def on_terminal(*command):
    """What a command prints on a terminal."""
    here, there = os.openpty()
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=there, stderr=there)
    os.close(there)
    printed = b""
    try:
        while block := os.read(here, 4096):
            printed += block
    except OSError:  # the other side is closed
        pass
    assert process.wait(TIMEOUT_SECONDS) == 0
    os.close(here)
    return printed


def test_nothing_that_a_model_says_acts_on_a_terminal(tmp_path):
    escape, bell = chr(0x100 + 0x1b), chr(0x100 + 7)  # as byte-level vocabularies write them
    model = chain_checkpoint(tmp_path, ["<think>", escape, "</think>", "H", bell, "<|user|>"])
    piped = run("run", model, "-p", "x")
    assert piped.stdout == "H\x07\n"
    assert piped.stderr.startswith("\x1b\n\n")
    printed = on_terminal(SLUICE, "run", model, "-p", "x")
    assert printed.startswith(b"\\x1b\r\n\r\nH\\x07\r\n"), printed
    assert b"\x1b" not in printed and b"\x07" not in printed


def test_refuses_an_empty_prompt(hello):
    assert_fails(run("run", hello, "--raw", "-p", ""), 2, "the prompt is empty")


def test_refuses_models_of_other_families():
    assert_fails(run("run", GOLDEN / "checkpoints" / "llama-tiny", "-p", "x"), 4)


def test_ctrl_c_ends_the_answer(endless):
    process = subprocess.Popen([SLUICE, "run", endless, "-p", "x", "--no-think"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.read(3) == "abc"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 6
    assert "error: cancelled" in errors
