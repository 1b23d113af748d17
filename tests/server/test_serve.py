"""`sluice serve` with a real model: what the command line adds to the server."""
import json
import re
import signal
import subprocess

import numpy
import openai
import pytest

from chain_checkpoint import chain_checkpoint
from sluice_cli import (GOLDEN, SLUICE, TIMEOUT_SECONDS, assert_fails, copy_checkpoint, encode,
                        load_tensors, replace_tensors, run)

MODEL = GOLDEN / "checkpoints" / "glm-tiny"


class Served:
    """A running `sluice serve` and a client of it."""

    def __init__(self, model, *arguments):
        self.process = subprocess.Popen([SLUICE, "serve", model, "--port", "0", *map(str, arguments)],
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        self.port = int(re.search(r"listening on http://127\.0\.0\.1:(\d+)/", line)[1])
        self.client = openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none",
                                    max_retries=0, timeout=TIMEOUT_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=TIMEOUT_SECONDS)
        assert (self.process.returncode, errors) == (0, "")


def test_answers_as_run_does():
    arguments = ["--seed", "5", "--max-tokens", "40", "--temperature", "0.9", "--top-k", "50"]
    text = json.loads(run("run", MODEL, "--raw", "--json", "-p", "Hello", *arguments).stdout)["content"]
    with Served(MODEL, *arguments) as served:
        reply = served.client.completions.create(model="any", prompt="Hello")
        assert reply.choices[0].text == text
        again = served.client.completions.create(model="any", prompt="Hello", seed=6)
        assert again.choices[0].text != text
        stream = served.client.completions.create(model="any", prompt="Hello", stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream) == text


def test_several_answers_in_a_batch_are_those_of_one():
    prompts = [f"Prompt {number}" * number for number in range(1, 6)]
    with Served(MODEL, "--parallel", 3, "--temperature", 0, "--max-tokens", 100) as served:
        alone = [served.client.completions.create(model="any", prompt=prompt).choices[0].text
                 for prompt in prompts]
        streams = [served.client.completions.create(model="any", prompt=prompt, stream=True)
                   for prompt in prompts]
        together = ["".join(chunk.choices[0].text for chunk in stream) for stream in streams]
    assert together == alone


def test_chats_and_calls_tools(tmp_path):
    model = chain_checkpoint(tmp_path, ["<think>", "T", "</think>", "<tool_call>", "f", "</tool_call>",
                                        "<|observation|>"])
    tools = [{"type": "function", "function": {"name": "f"}}]
    with Served(model) as served:
        assert served.client.models.list().data[0].id == "Glm Tiny"
        choice = served.client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "x"}], tools=tools).choices[0]
    assert choice.message.reasoning_content == "T"
    assert choice.message.tool_calls[0].function.name == "f"
    assert choice.finish_reason == "tool_calls"


def test_goes_on_after_weights_that_are_not_finite(tmp_path):
    checkpoint = copy_checkpoint("glm-tiny", tmp_path)
    tensors = load_tensors(checkpoint)
    name = "model.embed_tokens.weight"
    dtype, shape, raw = tensors[name]
    row_bytes = len(raw) // shape[0]
    user = 498  # the token <|user|>
    row = encode(dtype, numpy.full(shape[1], numpy.nan, numpy.float32))
    raw = raw[:user * row_bytes] + row + raw[(user + 1) * row_bytes:]
    replace_tensors(checkpoint, tensors | {name: (dtype, shape, raw)})
    with Served(checkpoint, "--temperature", 0, "--max-tokens", 3) as served:
        def complete(prompt):
            return served.client.completions.create(model="any", prompt=prompt).choices[0].text

        before = complete("Hello")
        with pytest.raises(openai.InternalServerError, match="logits are not finite"):
            complete("<|user|>")
        with pytest.raises(openai.BadRequestError, match="does not fit the model's context"):
            complete("x" * 40_000)
        assert complete("Hello") == before


@pytest.mark.parametrize("model, code, words", [
    (GOLDEN / "checkpoints" / "llama-tiny", 4, "model to run: expected GLM-4 MoE Lite"),
    ("nothing.gguf", 3, "nothing.gguf")])
def test_refuses_what_it_cannot_run(model, code, words):
    assert_fails(run("serve", model, "--port", "0"), code, words)


def test_refuses_a_port_that_is_taken():
    with Served(MODEL) as served:
        result = run("serve", MODEL, "--port", served.port)
        assert_fails(result, 5, f"cannot listen on 127.0.0.1 port {served.port}", "--port")


@pytest.mark.parametrize("arguments, words", [
    (["--port", "70000"], "--port"), (["--parallel", "0"], "--parallel"),
    (["--top-p", "3"], "top_p is out of range"), (["--max-body", "x"], "--max-body"),
])
def test_refuses_bad_flags(arguments, words):
    result = run("serve", MODEL, *arguments)
    assert result.returncode == 2
    assert words in result.stderr
