"""`sluice perplexity` against NumPy on the rows of `sluice logits`."""
import json

import numpy
import pytest

from sluice_cli import GOLDEN, assert_fails, convert, run
from test_logits import logits

GLM = GOLDEN / "checkpoints" / "glm-tiny"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("The quick brown fox jumps over the lazy dog. 12345\n" * 40)
    return path


def tokens_of(text):
    return [token["id"] for token in
            json.loads(run("tokenize", GLM, "--file", text, "--json").stdout)["tokens"]]


def surprises(model, folder, tokens, context, first=None):
    """Negative log-probabilities of the second half of each window, window by window."""
    windows = []
    for begin in range(0, len(tokens) - context + 1, context):
        window = list(tokens[begin : begin + context])
        if first is not None:
            window[0] = first
        rows = logits(model, folder, window).astype(numpy.float64)
        rows -= numpy.log(numpy.exp(rows).sum(-1, keepdims=True))
        windows.append([-rows[i - 1][window[i]] for i in range(context // 2 + 1, context)])
    return windows


def perplexity(model, text, *arguments):
    result = run("perplexity", model, text, "--json", *arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def assert_measured(entry, surprises):
    values = numpy.concatenate(surprises)
    assert entry["tokens"] == values.size
    assert numpy.isclose(entry["perplexity"], numpy.exp(values.mean()), rtol=1e-5)
    error = values.std() / numpy.sqrt(values.size - 1) * numpy.exp(values.mean())
    assert numpy.isclose(entry["standard_error"], error, rtol=1e-4)


@pytest.mark.parametrize("context", [32, 33, 300])
def test_equals_numpy(context, text, tmp_path):
    want = surprises(GLM, tmp_path, tokens_of(text), context)
    assert len(want) > 1
    report = perplexity(GLM, text, "--context", context)
    assert_measured(report, want)
    assert report["context"] == context and len(report["running"]) == len(want)
    for i, entry in enumerate(report["running"]):
        assert_measured(entry, want[: i + 1])


def test_chunks_are_the_first_windows(text):
    every = perplexity(GLM, text, "--context", 64)["running"]
    for chunks in (1, 3):
        report = perplexity(GLM, text, "--context", 64, "--chunks", chunks)
        assert report["running"] == every[:chunks]
        assert report["perplexity"] == every[chunks - 1]["perplexity"]


def test_windows_begin_as_the_model_wants_it(text, tmp_path):
    model = tmp_path / "model.gguf"
    convert(GLM, model, "--set", "tokenizer.ggml.add_bos_token=bool:true", "--set",
            "tokenizer.ggml.bos_token_id=u32:7")
    tokens = [7] + tokens_of(text)
    assert_measured(perplexity(model, text, "--context", 50),
                    surprises(model, tmp_path, tokens, 50, first=7))


def test_text_output_and_threads(text):
    result = run("perplexity", GLM, text, "--context", 64, "--chunks", 2, "--threads", 1)
    assert result.returncode == 0
    first, second, last = result.stdout.splitlines()
    report = perplexity(GLM, text, "--context", 64, "--chunks", 2, "--threads", 3)
    assert first == f"     1 of 2: {report['running'][0]['perplexity']:.4f}"
    assert last == (f"perplexity {report['perplexity']:.4f} +/- {report['standard_error']:.5f}, "
                    f"{report['tokens']} tokens")
    assert run("-q", "perplexity", GLM, text, "--context", 64, "--chunks", 2).stdout == last + "\n"


def test_bad_input(text, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("Hello")
    assert_fails(run("perplexity", GLM, short), 2, short, "at least one window of 512 tokens",
                 "--context")
    assert_fails(run("perplexity", GLM, tmp_path / "none.txt"), 3, "none.txt")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe" * 100)
    assert_fails(run("perplexity", GLM, tmp_path / "bad.txt"), 2, "bad.txt")
    assert_fails(run("perplexity", tmp_path / "none.gguf", text), 3, "none.gguf")
    for arguments in (("--context", "3"), ("--chunks", "0"), ("--context", "x")):
        assert run("perplexity", GLM, text, *arguments).returncode == 2
    model = tmp_path / "model.gguf"
    convert(GLM, model, "--set", "deepseek2.context_length=u32:20")
    assert_fails(run("perplexity", model, text, "--context", "32"), 2, "model's context")
