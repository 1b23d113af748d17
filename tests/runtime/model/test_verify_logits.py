"""`sluice verify --logits`: two models on the same tokens, against NumPy on their logits."""
import json

import numpy
import pytest

from sluice_cli import GOLDEN, assert_fails, convert, run
from test_logits import logits, make_checkpoint

GLM = GOLDEN / "checkpoints" / "glm-tiny"
TOKENS = [(11 * i * i + 5) % 490 for i in range(150)]  # more than one piece of the stream


def verify(reference, tested, *arguments):
    result = run("verify", "--logits", reference, tested, "--json", *arguments)
    assert result.returncode in (0, 1), result.stderr
    return json.loads(result.stdout)


def listed(tokens):
    return "--tokens", ",".join(map(str, tokens))


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    path = tmp_path_factory.mktemp("quantized") / "model.gguf"
    convert(GLM, path, "--type", "Q4_0")
    return path


def log_softmax(rows):
    rows = rows.astype(numpy.float64)
    rows = rows - rows.max(-1, keepdims=True)
    return rows - numpy.log(numpy.exp(rows).sum(-1, keepdims=True))


def test_measures_equal_those_of_numpy(quantized, tmp_path):
    a, b = (logits(model, tmp_path, TOKENS) for model in (GLM, quantized))
    apart = numpy.abs(a.astype(numpy.float64) - b)
    p, q = log_softmax(a), log_softmax(b)
    want = {"largest_difference": apart.max(-1), "mean_difference": apart.mean(-1),
            "kl_divergence": (numpy.exp(p) * (p - q)).sum(-1),
            "agreement": (a.argmax(-1) == b.argmax(-1)).astype(float)}
    assert want["agreement"].min() == 0 and want["agreement"].max() == 1
    report = verify(GLM, quantized, *listed(TOKENS))
    assert [token["id"] for token in report["tokens"]] == TOKENS
    for name, values in want.items():
        got = numpy.array([token[name] for token in report["tokens"]])
        # The last tokens of the stream go through the model in another number: rounding differs.
        assert numpy.abs(got - values).max() < 2e-5, name
        whole = values.max() if name == "largest_difference" else values.mean()
        assert abs(report[name] - whole) < 2e-5, name


@pytest.mark.parametrize("dialect", ["llama.cpp", "ollama"])
def test_a_conversion_without_loss_changes_nothing(dialect, tmp_path):
    convert(GLM, tmp_path / "model.gguf", "--dialect", dialect)
    report = verify(GLM, tmp_path / "model.gguf", "--max-diff", "0", *listed(TOKENS))
    assert report["largest_difference"] == report["kl_divergence"] == 0
    assert report["agreement"] == 1


def test_limits(quantized):
    report = verify(GLM, quantized, *listed(TOKENS))
    for flag, value, worse, better in (("--max-diff", report["largest_difference"], 0.99, 1.01),
                                       ("--max-kl", report["kl_divergence"], 0.99, 1.01),
                                       ("--min-agreement", report["agreement"], 1.01, 0.99)):
        for factor, code in ((worse, 1), (better, 0)):
            result = run("verify", "--logits", GLM, quantized, flag, value * factor, *listed(TOKENS))
            assert result.returncode == code, (flag, factor)
            assert result.stdout.splitlines()[-1].startswith("150 tokens: largest difference ")


def test_tokens_by_default_lie_all_over_the_vocabulary(quantized):
    first, second = (verify(GLM, quantized)["tokens"] for _ in range(2))
    assert first == second
    ids = sorted(token["id"] for token in first)
    assert len(ids) == len(set(ids)) == 64
    assert ids[0] < 20 and 500 <= ids[-1] < 520


def test_texts(quantized, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("Hello there, this is a text. " * 20)
    tokens = [token["id"] for token in json.loads(
        run("tokenize", GLM, "--file", text, "--json").stdout)["tokens"]]
    assert len(tokens) > 100
    report = verify(GLM, quantized, "--text", text)
    assert [token["id"] for token in report["tokens"]] == tokens[:512]
    report = verify(GLM, quantized, "--text", text, "--context", "7")
    assert [token["id"] for token in report["tokens"]] == tokens[:7]
    text.write_text("")
    assert_fails(run("verify", "--logits", GLM, quantized, "--text", text), 2, text,
                 "without tokens")
    assert_fails(run("verify", "--logits", GLM, quantized, "--text", tmp_path / "none"), 3, "none")


@pytest.mark.parametrize("flag", [
    ("--type", "Q8_0"), ("--dialect", "ollama"), ("--no-mtp",), ("--mmproj", "p"), ("--io", "read"),
    ("--set", "a=u8:1"), ("--memory", "64M"), ("--target-bpw", "4"), ("--progress", "none"),
])
def test_flags_of_a_conversion_mean_nothing(flag, quantized):
    result = run("verify", "--logits", GLM, quantized, *flag)
    assert_fails(result, 2, f"{flag[0]} does not apply to --logits")


def test_models_that_cannot_be_compared(quantized, tmp_path):
    other = make_checkpoint(tmp_path, vocab_size=530)
    assert_fails(run("verify", "--logits", GLM, other), 3, "530", "vocabular")
    llama = GOLDEN / "checkpoints" / "llama-tiny"
    assert_fails(run("verify", "--logits", llama, quantized), 4, "llama")
    assert_fails(run("verify", "--logits", GLM, quantized, "--tokens", "520"), 2,
                 "outside the vocabulary")
