"""Tokenizers that are missing, broken, or of a kind we do not know."""
import json

import pytest

from sluice_cli import Gguf, convert, copy_checkpoint, edit_json, refuse


@pytest.fixture
def llama(tmp_path):
    return copy_checkpoint("llama-tiny", tmp_path)


@pytest.fixture
def tokenizer(llama):
    return llama / "tokenizer.json"


def test_tokenizer_missing(llama, tokenizer, tmp_path):
    tokenizer.unlink()
    refuse(llama, tmp_path, 3, llama, "no tokenizer", "tokenizer.json, tokenizer.model, or vocab.json")


def test_vocab_without_merges(llama, tokenizer, tmp_path):
    (llama / "vocab.json").write_text(json.dumps(json.loads(tokenizer.read_text())["model"]["vocab"]))
    tokenizer.unlink()
    refuse(llama, tmp_path, 3, llama, "no tokenizer")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"{'model': 1}"])
def test_tokenizer_not_json(llama, tokenizer, tmp_path, content):
    tokenizer.write_bytes(content)
    refuse(llama, tmp_path, 3, tokenizer, "not valid JSON")


@pytest.mark.parametrize("content, words", [
    ("[]", ["model.vocab"]),
    ("{}", ["model.vocab"]),
    ('{"model": {"type": "BPE"}}', ["model.vocab"]),
    ('{"model": {"type": "BPE", "vocab": [["a", 0]], "merges": []}}', ["vocabulary is no object", "an array"]),
    ('{"model": {"type": "BPE", "vocab": {}, "merges": []}}', ["vocabulary is empty"]),
    ('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [7]}}', ["merge", "got 7"]),
    ('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]}}', ["merge", 'got ["a"]']),
    ('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": [{"id": 1}]}',
     ["added token", "content"]),
    ('{"model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": [{"id": 0, "content": "a"}]}',
     ["vocabulary is empty"]),
    ('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": {"b": 1}}',
     ["added_tokens is no list", "an object"]),
    ('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": 7}',
     ["added_tokens is no list", "an integer"]),
])
def test_tokenizer_of_another_structure(llama, tokenizer, tmp_path, content, words):
    tokenizer.write_text(content)
    refuse(llama, tmp_path, 3, tokenizer, *words)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"])
@pytest.mark.parametrize("content, shown", [("[]", "an array"), ('"text"', "a string"), ("null", "null")])
def test_file_beside_the_tokenizer_is_no_object(llama, tmp_path, name, content, shown):
    (llama / name).write_text(content)
    refuse(llama, tmp_path, 3, llama / name, "no JSON object", shown)


# The tokenizers library refuses such a file as well.
@pytest.mark.parametrize("merge, missing", [(["e", "nowhere"], "nowhere"), (["nowhere", "e"], "nowhere"),
                                            ("z q", "zq")])
@pytest.mark.parametrize("dialect", ["llama.cpp", "ollama"])
def test_merge_of_texts_that_are_no_tokens(llama, tokenizer, tmp_path, merge, missing, dialect):
    edit_json(tokenizer, lambda content: content["model"]["merges"].append(merge))
    refuse(llama, tmp_path, 3, tokenizer, "merge 247 is not of tokens", f"'{missing}' in the vocabulary",
           arguments=("--dialect", dialect))


@pytest.mark.parametrize("value, shown", [("7", '"7"'), (-1, "-1"), (1.5, "1.5"), (2**32, str(2**32)),
                                          (None, "null")])
def test_token_id_that_is_no_id(llama, tokenizer, tmp_path, value, shown):
    edit_json(tokenizer, lambda content: content["model"]["vocab"].update(odd=value))
    refuse(llama, tmp_path, 3, tokenizer, "token 'odd'", "integer from 0", f"got {shown}")


# Ollama's converter shifts what follows a gap; the llama.cpp dialect fills it (golden tests).
@pytest.mark.parametrize("missing", [300, 0])
def test_token_ids_not_contiguous(llama, tokenizer, tmp_path, missing):
    def change(content):
        vocab = content["model"]["vocab"]
        vocab.pop(next(token for token, number in vocab.items() if number == missing))

    edit_json(tokenizer, change)
    refuse(llama, tmp_path, 3, tokenizer, "not contiguous", f"a token with id {missing}", "--dialect llama.cpp",
           arguments=("--dialect", "ollama"))


@pytest.mark.parametrize("dialect, words", [("ollama", ["not contiguous", "a token with id 511"]),
                                            ("llama.cpp", ["vocab_size = 512", "got 701"])])
def test_added_token_behind_the_rows_of_the_model(llama, tokenizer, tmp_path, dialect, words):
    edit_json(tokenizer, lambda content: content["added_tokens"][-1].update(id=700))
    refuse(llama, tmp_path, 3, tokenizer, *words, arguments=("--dialect", dialect))


def test_enormous_token_id_costs_no_memory(llama, tokenizer, tmp_path):
    edit_json(tokenizer, lambda content: content["model"]["vocab"].update(far=2**32 - 1))
    refuse(llama, tmp_path, 3, tokenizer, "not contiguous", f"'far' with id {2**32 - 1}")


def test_two_tokens_share_an_id(llama, tokenizer, tmp_path):
    edit_json(tokenizer, lambda content: content["model"]["vocab"].update(again=300))
    refuse(llama, tmp_path, 3, tokenizer, "two tokens share an id", "id 300")


def test_two_tokens_have_the_same_text(llama, tokenizer, tmp_path):
    # llama.cpp's loader stops at such a file.
    text = json.loads(tokenizer.read_text())["added_tokens"][-2]["content"]
    edit_json(tokenizer, lambda content: content["added_tokens"][-1].update(content=text))
    refuse(llama, tmp_path, 3, tokenizer, text)


def test_bpe_without_merges(llama, tokenizer, tmp_path):
    edit_json(tokenizer, lambda content: content["model"].update(merges=[]))
    refuse(llama, tmp_path, 3, tokenizer, "no merges")


def test_more_tokens_than_the_model_has(llama, tmp_path):
    edit_json(llama / "tokenizer.json", lambda content: content["added_tokens"].append(
        {"id": 512, "content": "<|more|>", "special": True}))
    refuse(llama, tmp_path, 3, llama / "tokenizer.json", "vocab_size = 512", "got 513")


@pytest.mark.parametrize("kind", ["Unigram", "WordPiece", "WordLevel"])
def test_tokenizer_model_of_an_unsupported_type(llama, tokenizer, tmp_path, kind):
    edit_json(tokenizer, lambda content: content["model"].update(type=kind))
    refuse(llama, tmp_path, 4, tokenizer, "unsupported type", "BPE", f"got {kind}")


def test_sentencepiece_model_broken(llama, tokenizer, tmp_path):
    tokenizer.unlink()
    (llama / "tokenizer.model").write_bytes(b"\x0a\xff\xff\xff\xff not a protobuf")
    refuse(llama, tmp_path, 3, llama / "tokenizer.model", "SentencePiece")


def set_pattern(content, pattern):
    for step in content["pre_tokenizer"]["pretokenizers"]:
        if step["type"] == "Split":
            step["pattern"]["Regex"] = pattern


@pytest.mark.parametrize("dialect", ["llama.cpp", "ollama"])
def test_unknown_pre_tokenizer(llama, tokenizer, tmp_path, dialect):
    edit_json(tokenizer, lambda content: set_pattern(content, r"\d+|\D+"))
    refuse(llama, tmp_path, 4, tokenizer, "unknown pre-tokenizer", r"\d+|\D+", "--pre NAME",
           arguments=("--dialect", dialect))


@pytest.mark.parametrize("definition", [None, {"type": "Whitespace"},
                                        {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}])
def test_pre_tokenizer_of_another_kind(llama, tokenizer, tmp_path, definition):
    edit_json(tokenizer, lambda content: content.update(pre_tokenizer=definition))
    refuse(llama, tmp_path, 4, tokenizer, "unknown pre-tokenizer", "--pre NAME")


@pytest.mark.parametrize("dialect", ["llama.cpp", "ollama"])
def test_unknown_pre_tokenizer_can_be_named(llama, tokenizer, tmp_path, dialect):
    edit_json(tokenizer, lambda content: set_pattern(content, r"\d+|\D+"))
    convert(llama, tmp_path / "out.gguf", "--pre", "qwen2", "--dialect", dialect)
    assert Gguf(tmp_path / "out.gguf").values["tokenizer.ggml.pre"] == "qwen2"
