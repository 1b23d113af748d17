"""`sluice tokenize`, token for token against the `tokenizers` and `sentencepiece` packages."""
import json
import re

import gguf
import pytest
import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from multilingual_text import multilingual_text
from sluice_cli import GOLDEN, SANITIZE, assert_fails, convert, copy_checkpoint, edit_json, run

CHECKPOINTS = sorted(path.name for path in (GOLDEN / "checkpoints").iterdir())

# Texts at which tokenizers go wrong, besides the large one.
CASES = ["", " ", "\n", "a", "  a  ", "\u2581x", "'s'T'll", "abc   \n\n  def", "\ufeffa", "a\u180eb",
         "x" * 5000, " " * 5000, "\n" * 3000, "é" * 1000, "1" * 1000, "<|user|>" * 50, "<|user|",
         "<<|user|>>", "[gMASK]<sop>", "K's 'ſ", "e\u0301e\u0301", "\u0000\u0001", "日本語 テキスト"]

PATTERNS = {
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
                 r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
             r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama4": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
              r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
              r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
              r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
              r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
              r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


@pytest.fixture(scope="session")
def text():
    return multilingual_text(30_000 if SANITIZE else 150_000)


def ids_of(model, text, folder):
    """The ids that the program gives; the text goes through a file because it may be long."""
    path = folder / "text"
    path.write_bytes(text.encode())
    result = run("tokenize", model, "--file", path, "--json")
    assert result.returncode == 0, result.stderr
    return [token["id"] for token in json.loads(result.stdout)["tokens"]]


def assert_same(mine, theirs, what):
    if mine != theirs:
        at = next((i for i, pair in enumerate(zip(mine, theirs)) if pair[0] != pair[1]),
                  min(len(mine), len(theirs)))
        pytest.fail(f"{what}: {len(mine)} and {len(theirs)} tokens, which part at token {at}: "
                    f"{mine[at:at + 8]} and {theirs[at:at + 8]}")


def assert_same_as_reference(model, reference, text, folder):
    for case in [*CASES, text]:
        theirs = reference.encode(case, add_special_tokens=False).ids
        assert_same(ids_of(model, case, folder), theirs, repr(case[:40]))


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_checkpoint_gives_the_ids_of_its_tokenizer(case, text, tmp_path):
    folder = GOLDEN / "checkpoints" / case
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert_same_as_reference(folder, reference, text, tmp_path)


@pytest.mark.parametrize("dialect", ["llama.cpp", "ollama"])
@pytest.mark.parametrize("case", ["glm-tiny", "llama-tiny", "lfm2-tiny"])
def test_gguf_gives_the_ids_of_the_checkpoint(case, dialect, text, tmp_path):
    folder = GOLDEN / "checkpoints" / case
    convert(folder, tmp_path / "model.gguf", "--dialect", dialect)
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert_same_as_reference(tmp_path / "model.gguf", reference, text, tmp_path)


def trained(pre_tokenizer, text, ignore_merges):
    """A byte-level BPE tokenizer with a vocabulary large enough for merges in every script."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(text.split("\n"), trainers.BpeTrainer(
        vocab_size=6000, special_tokens=["<|user|>", "<think>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def pre_tokenizer_of(name):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name not in PATTERNS)
    if name in PATTERNS:
        first = pre_tokenizers.Split(Regex(PATTERNS[name]), "isolated")
    elif name == "smollm":
        first = pre_tokenizers.Digits(individual_digits=True)
    else:
        return byte_level
    return pre_tokenizers.Sequence([first, byte_level])


def write_gguf(path, tokenizer, name):
    """A GGUF file that holds nothing but the tokenizer."""
    model = json.loads(tokenizer.to_str())
    added = {token["id"] for token in model["added_tokens"]}
    texts = sorted(model["model"]["vocab"].items(), key=lambda item: item[1])
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list([text for text, _ in texts])
    writer.add_token_types([3 if number in added else 1 for _, number in texts])
    writer.add_token_merges([" ".join(pair) for pair in model["model"]["merges"]])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


@pytest.mark.parametrize("name", [*PATTERNS, "smollm", "gpt-2"])
def test_every_pre_tokenizer_of_the_table(name, text, tmp_path):
    ignore_merges = name not in ("qwen2", "smollm", "gpt-2")
    reference = trained(pre_tokenizer_of(name), text[:100_000], ignore_merges)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    reference.save(str(checkpoint / "tokenizer.json"))
    write_gguf(tmp_path / "model.gguf", reference, name)
    for model in (checkpoint, tmp_path / "model.gguf"):
        assert_same_as_reference(model, reference, text, tmp_path)


@pytest.fixture(scope="session")
def sentencepiece_model(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sentencepiece")
    lines = [line for line in text.split("\n") if line.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(folder / "tokenizer"), model_type="bpe",
        vocab_size=12000, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, character_coverage=0.98, split_digits=True,
        user_defined_symbols=["<tag>"], num_threads=1, minloglevel=2)
    return folder


def assert_same_as_sentencepiece(model, reference, text, folder):
    # A zero byte ends the text of some of this library's functions.
    for case in [case for case in [*CASES, text, "<s>a</s>b<tag>c <tag>"] if "\0" not in case]:
        theirs = []
        for section in re.split("(</?s>)", case):
            control = {"<s>": [1], "</s>": [2], "": []}
            theirs += control[section] if section in control else reference.encode(section)
        assert_same(ids_of(model, case, folder), theirs, repr(case[:40]))


def test_sentencepiece_model_gives_the_ids_of_the_library(sentencepiece_model, text, tmp_path):
    reference = sentencepiece.SentencePieceProcessor(
        model_file=str(sentencepiece_model / "tokenizer.model"))
    assert_same_as_sentencepiece(sentencepiece_model, reference, text, tmp_path)


def test_sentencepiece_in_gguf_gives_the_ids_of_the_library(sentencepiece_model, text, tmp_path):
    reference = sentencepiece.SentencePieceProcessor(
        model_file=str(sentencepiece_model / "tokenizer.model"))
    kinds = [(reference.IsUnknown, 2), (reference.IsControl, 3), (reference.IsUnused, 5),
             (reference.IsByte, 6)]
    types = [next((kind for is_kind, kind in kinds if is_kind(number)), 1)
             for number in range(len(reference))]
    types[reference.PieceToId("<tag>")] = 4
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([reference.IdToPiece(number) for number in range(len(reference))])
    writer.add_token_scores([reference.GetScore(number) for number in range(len(reference))])
    writer.add_token_types(types)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert_same_as_sentencepiece(tmp_path / "model.gguf", reference, text, tmp_path)


def test_prints_ids_with_their_text(tmp_path):
    model = GOLDEN / "checkpoints" / "glm-tiny"
    result = run("tokenize", model, "-p", "<|user|>Hi\n")
    assert result.stdout.split() == ["498", '"<|user|>"', "39", '"H"', "72", '"i"', "198", '"\\n"']
    result = run("tokenize", model, input="<|user|>")
    assert result.stdout.split() == ["498", '"<|user|>"']


def test_texts_joined_are_the_text(tmp_path):
    whole = "Hello there,  1234 words!\n\t<|user|> and \"more\"\\\n"  # no token holds half a character
    (tmp_path / "text").write_text(whole)
    result = run("tokenize", GOLDEN / "checkpoints" / "glm-tiny", "--file", tmp_path / "text", "--json")
    tokens = json.loads(result.stdout)["tokens"]
    assert "".join(token["text"] for token in tokens) == whole
    assert {"id": 498, "text": "<|user|>"} in tokens


def test_refuses_text_that_is_not_utf8(tmp_path):
    (tmp_path / "text").write_bytes(b"ab\xff")
    result = run("tokenize", GOLDEN / "checkpoints" / "glm-tiny", "--file", tmp_path / "text")
    assert_fails(result, 2, "text is not UTF-8 at byte 2")


def set_in(*path, value):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value
    return change


@pytest.mark.parametrize("change, code, words", [
    (set_in("normalizer", value={"type": "NFC"}), 4, "normalises"),
    (set_in("added_tokens", 3, "lstrip", value=True), 4, "added token '[sMASK]'"),
    (set_in("pre_tokenizer", value={"type": "Whitespace"}), 4, "unsupported pre-tokenizer"),
    (set_in("pre_tokenizer", "pretokenizers", 0, "pattern", "Regex", value="(a"), 3,
     "no regular expression"),
    (set_in("pre_tokenizer", "pretokenizers", 0, "pattern", "Regex", value=r"\w+"), 4, r"\w"),
    (set_in("pre_tokenizer", "pretokenizers", 0, "pattern", "Regex", value="[a[b]]"), 4,
     "a class inside a class"),
    (set_in("pre_tokenizer", "pretokenizers", 0, "pattern", "Regex", value="(x+x+)+y"), 4,
     "fails on this text"),
    (set_in("model", "merges", value=[["a", "nowhere"]]), 3, "merge 0 has a part that is no token"),
    (set_in("model", "merges", value=[["Ġ", "Ġ"], ["z", "q"]]), 3, "merge 1 gives no token"),
])
def test_refuses_what_it_would_tokenize_differently(change, code, words, tmp_path):
    folder = copy_checkpoint("glm-tiny", tmp_path)
    edit_json(folder / "tokenizer.json", change)
    result = run("tokenize", folder, "-p", "x" * 40 + " y")
    assert_fails(result, code, words, folder if "text" not in words else "")


@pytest.mark.parametrize("case, words", [
    ("model", "unsupported tokenizer model"), ("pre", "unknown pre-tokenizer"),
    ("types", "tokenizer.ggml.token_type does not fit the tokens"),
])
def test_refuses_a_gguf_tokenizer_that_it_does_not_know(case, words, tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tokenizer_model("gpt3" if case == "model" else "gpt2")
    writer.add_tokenizer_pre("nobody" if case == "pre" else "llama-bpe")
    writer.add_token_list(["a", "b"])
    writer.add_token_types([1] if case == "types" else [1, 1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    result = run("tokenize", tmp_path / "model.gguf", "-p", "a")
    assert_fails(result, 3 if case == "types" else 4, words, "model.gguf")
