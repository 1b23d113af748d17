"""`sluice chat`: turns, commands, tools, Ctrl-C."""
import json
import select
import signal
import subprocess

import pytest

from chain_checkpoint import chain_checkpoint
from sluice_cli import SLUICE, TIMEOUT_SECONDS, assert_fails, run

HELLO = ["<think>", "T", "</think>", "H", "i", "<|user|>"]
TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.fixture(scope="module")
def hello(tmp_path_factory):
    return chain_checkpoint(tmp_path_factory.mktemp("hello"), HELLO, context=64)


def talk(model, *lines, arguments=()):
    """What a conversation prints."""
    result = run("chat", model, "-q", *arguments, input="".join(line + "\n" for line in lines))
    assert result.returncode == 0, result.stderr
    return result


def test_answers_each_line(hello):
    assert talk(hello, "one", "", "two").stdout == "T\n\nHi\n" * 2 + "\n"


def test_switches_reasoning(hello):
    assert talk(hello, "/nothink", "one", "/think", "two", "/quit").stdout == "Hi\nT\n\nHi\n"
    assert talk(hello, "one", "/quit", arguments=["--no-think"]).stdout == "Hi\n"


def test_remembers_the_conversation_until_it_is_told_to_forget(hello):
    lines = ["long" * 3] * 12
    result = talk(hello, *lines, "/quit")
    assert "error: the prompt does not fit the model's context" in result.stderr
    answers = result.stdout.count("Hi")
    assert 1 <= answers < len(lines)
    result = talk(hello, *lines[:answers], "/clear", *lines[:answers], "/quit")
    assert (result.stdout.count("Hi"), result.stderr) == (2 * answers, "")


def test_explains_itself(hello):
    result = run("chat", hello, input="/what\n/exit\n")
    assert "/nothink" in result.stdout
    assert "Glm Tiny" in result.stderr


def test_asks_for_the_results_of_tools(tmp_path):
    model = chain_checkpoint(tmp_path, ["</think>", "<tool_call>", "f", "</tool_call>", "<|observation|>"])
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    (tmp_path / "broken.json").write_text("{")
    result = talk(model, f"/tools {tmp_path}/broken.json", f"/tools {tmp_path}/tools.json", "ask", "sunny",
                  arguments=["--no-think"])
    assert result.stdout == "1 tools\n\nf {}\n\nf {}\n\n"
    assert "broken.json: not valid JSON" in result.stderr
    assert "the tool call got no result" in result.stderr
    assert_fails(run("chat", model, "-q", "--tools", tmp_path / "broken.json", input=""), 3, "broken.json")


def test_ctrl_c_stops_the_answer_and_not_the_program(tmp_path):
    model = chain_checkpoint(tmp_path, ["</think>", "a", "b", "c", "a"], context=1_000_000)
    process = subprocess.Popen([SLUICE, "chat", model, "-q", "--no-think"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(2):
        process.stdin.write("talk\n")
        process.stdin.flush()
        assert process.stdout.read(3) == "abc"
        process.send_signal(signal.SIGINT)
        rest = process.stdout.readline()
        assert len(rest) < 900_000, "the answer went on to the end of the context"
    # While it waits for a line; a signal that comes a moment earlier is forgotten.
    while not select.select([process.stdout], [], [], 0.2)[0]:
        process.send_signal(signal.SIGINT)
    output, errors = process.communicate("/quit\n", timeout=TIMEOUT_SECONDS)
    assert (process.returncode, output.strip("\n"), errors) == (0, "", "")
