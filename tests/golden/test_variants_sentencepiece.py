"""Checkpoints with a SentencePiece vocabulary: tokenizer.model, or a tokenizer.json with byte fallback."""
import json
import struct

import pytest

from converted import DIALECTS, variant
from sluice_cli import GOLDEN, Gguf, assert_fails, convert, refuse, run

both = pytest.mark.parametrize("dialect", DIALECTS)
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
VOCAB_SIZE = 512
PIECES = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL),
          *[(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)],
          ("\u2581t", -1.0, NORMAL), ("he", -2.5, NORMAL), ("[INST]", -3.0, USER_DEFINED),
          ("gone", -4.0, UNUSED)]


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, content):
    """A protobuf field: bytes, a float, or an integer."""
    if isinstance(content, bytes):
        return varint(number << 3 | 2) + varint(len(content)) + content
    if isinstance(content, float):
        return varint(number << 3 | 5) + struct.pack("<f", content)
    return varint(number << 3) + varint(content)


def sentencepiece_model(pieces):
    """A ModelProto of the BPE kind, with byte fallback."""
    model = b"".join(field(1, field(1, text.encode()) + field(2, score) + field(3, kind))
                     for text, score, kind in pieces)
    bpe, byte_fallback = field(3, 2), field(35, 1)
    return model + field(2, bpe + field(4, len(pieces)) + byte_fallback) + field(3, b"")


@pytest.fixture
def checkpoint(tmp_path):
    """llama-tiny with tokenizer.model alone; nothing names special tokens."""
    folder = variant("llama-tiny", tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (folder / name).unlink()
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(PIECES))
    return folder


def tokenizer_of(checkpoint, dialect):
    out = checkpoint.parent / "out.gguf"
    convert(checkpoint, out, "--dialect", dialect, "--force")
    prefix = "tokenizer.ggml."
    return {key.removeprefix(prefix): value for key, value in Gguf(out).values.items() if key.startswith(prefix)}


@both
def test_pieces_are_the_tokens(checkpoint, dialect):
    written = tokenizer_of(checkpoint, dialect)
    assert (written["model"], written["pre"]) == ("llama", "default")
    assert written["tokens"][: len(PIECES)] == [text for text, _, _ in PIECES]
    assert written["scores"][: len(PIECES)] == [score for _, score, _ in PIECES]
    # Both converters take pieces that a user defined for plain ones.
    kinds = [NORMAL if kind == USER_DEFINED else kind for _, _, kind in PIECES]
    assert written["token_type"][: len(PIECES)] == kinds
    assert "merges" not in written


@both
def test_vocabulary_is_padded_to_the_size_of_the_model(checkpoint, dialect):
    written = tokenizer_of(checkpoint, dialect)
    count = VOCAB_SIZE - len(PIECES)
    first, score, kind = {"llama.cpp": (len(PIECES), -10000.0, UNUSED), "ollama": (0, -1.0, USER_DEFINED)}[dialect]
    assert written["tokens"][len(PIECES) :] == [f"[PAD{first + number}]" for number in range(count)]
    assert written["scores"][len(PIECES) :] == [score] * count
    assert written["token_type"][len(PIECES) :] == [kind] * count


@both
def test_added_tokens_json_follows_the_pieces(checkpoint, dialect):
    (checkpoint / "added_tokens.json").write_text(json.dumps(
        {"<more>": len(PIECES) + 1, "<first>": len(PIECES)}))
    written = tokenizer_of(checkpoint, dialect)
    added = slice(len(PIECES), len(PIECES) + 2)
    assert written["tokens"][added] == ["<first>", "<more>"]
    assert written["scores"][added] == [-1000.0, -1000.0]
    assert written["token_type"][added] == [USER_DEFINED, USER_DEFINED]


def test_gap_before_an_added_token_is_refused_for_ollama(checkpoint, tmp_path):
    (checkpoint / "added_tokens.json").write_text(json.dumps({"<far>": len(PIECES) + 3}))
    refuse(checkpoint, tmp_path, 3, checkpoint / "tokenizer.model", "added token ids are not contiguous",
           "--dialect llama.cpp", arguments=("--dialect", "ollama"))


def test_gap_before_an_added_token_is_filled_for_llama_cpp(checkpoint):
    first = len(PIECES)
    (checkpoint / "added_tokens.json").write_text(json.dumps({"<far>": first + 3}))
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {
        str(VOCAB_SIZE - 1): {"content": "<last>", "special": True}}}))
    written = tokenizer_of(checkpoint, "llama.cpp")
    assert len(written["tokens"]) == VOCAB_SIZE
    names = {first + 3: ("<far>", -1000.0, USER_DEFINED), VOCAB_SIZE - 1: ("<last>", -1000.0, CONTROL)}
    for id in range(first, VOCAB_SIZE):
        seen = tuple(written[key][id] for key in ("tokens", "scores", "token_type"))
        assert seen == names.get(id, (f"[PAD{id}]", -10000.0, UNUSED))


@pytest.mark.parametrize("id", [VOCAB_SIZE, 2**40, 2**64 - 1])
def test_added_token_behind_the_rows_of_the_model(checkpoint, tmp_path, id):
    (checkpoint / "added_tokens.json").write_text(json.dumps({"<far>": id}))
    refuse(checkpoint, tmp_path, 3, checkpoint / "tokenizer.model", f"vocab_size = {VOCAB_SIZE}",
           f"got '<far>' with id {id}", arguments=("--dialect", "llama.cpp"))


def test_added_tokens_decoder_is_read_for_llama_cpp(checkpoint):
    first = len(PIECES)
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {
        "1": {"content": "<s>", "special": True},
        str(first): {"content": "<|end|>", "special": False},
        str(first + 1): {"content": "[TOOL]", "special": True},
        str(first + 2): {"content": "a\u2581b", "special": False},
    }}))
    written = tokenizer_of(checkpoint, "llama.cpp")
    assert written["tokens"][first : first + 3] == ["<|end|>", "[TOOL]", "a b"]
    assert written["token_type"][first : first + 3] == [CONTROL, CONTROL, USER_DEFINED]
    assert written["scores"][first : first + 3] == [-1000.0] * 3
    # An entry for a piece replaces it.
    assert (written["token_type"][1], written["scores"][1]) == (CONTROL, -1000.0)


@pytest.mark.parametrize("entry", ["[INST]", {"content": "[INST]"}])
def test_additional_special_tokens_are_control_tokens_for_ollama(checkpoint, entry):
    (checkpoint / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": [entry]}))
    written = tokenizer_of(checkpoint, "ollama")
    assert written["token_type"][written["tokens"].index("[INST]")] == CONTROL


def test_special_ids_come_from_config_json_for_llama_cpp(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    config.update(bos_token_id=1, eos_token_id=2)
    (checkpoint / "config.json").write_text(json.dumps(config))
    written = tokenizer_of(checkpoint, "llama.cpp")
    assert (written["bos_token_id"], written["eos_token_id"]) == (1, 2)


@both
def test_special_tokens_may_be_pieces(checkpoint, dialect):
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(
        {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True, "add_eos_token": False}))
    written = tokenizer_of(checkpoint, dialect)
    assert (written["bos_token_id"], written["eos_token_id"]) == (1, 2)
    assert (written["add_bos_token"], written["add_eos_token"]) == (True, False)


def test_space_prefix_flag_is_written_for_llama_cpp(checkpoint):
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({"add_prefix_space": False}))
    assert tokenizer_of(checkpoint, "llama.cpp")["add_space_prefix"] is False
    assert "add_space_prefix" not in tokenizer_of(checkpoint, "ollama")


# ---- tokenizer.json beside or instead ---------------------------------------------------------------


def bpe_with_byte_fallback():
    vocab = {text: id for id, (text, _, _) in enumerate(PIECES)}
    vocab["h"], vocab["e"] = vocab.pop("[INST]"), vocab.pop("gone")
    vocab["\u2581the"] = len(PIECES)
    return {"added_tokens": [{"id": 1, "content": "<s>", "special": True},
                             {"id": 2, "content": "</s>", "special": True}],
            "pre_tokenizer": None, "model": {"type": "BPE", "byte_fallback": True, "unk_token": "<unk>",
                                             "vocab": vocab, "merges": ["\u2581t he", "h e"]}}


def test_merges_of_tokenizer_json_go_with_the_pieces_for_ollama(checkpoint):
    (checkpoint / "tokenizer.json").write_text(json.dumps(bpe_with_byte_fallback()))
    written = tokenizer_of(checkpoint, "ollama")
    assert written["model"] == "llama"
    assert written["tokens"][: len(PIECES)] == [text for text, _, _ in PIECES]
    assert written["merges"] == ["\u2581t he", "h e"]
    assert "merges" not in tokenizer_of(checkpoint, "llama.cpp")


# Both converters make something else of it: a byte-level BPE, or pieces without scores.
@both
def test_byte_fallback_without_tokenizer_model_is_a_vocabulary_of_pieces(checkpoint, dialect):
    (checkpoint / "tokenizer.model").unlink()
    (checkpoint / "tokenizer.json").write_text(json.dumps(bpe_with_byte_fallback()))
    written = tokenizer_of(checkpoint, dialect)
    assert (written["model"], written["pre"]) == ("llama", "default")
    kinds = dict(zip(written["tokens"], written["token_type"]))
    assert (kinds["<unk>"], kinds["<s>"], kinds["<0x0A>"], kinds["he"]) == (UNKNOWN, CONTROL, BYTE, NORMAL)
    scores = dict(zip(written["tokens"], written["scores"]))
    assert scores["\u2581the"] > scores["he"], "earlier merges score higher"
    assert "merges" not in written


def test_gaps_of_a_vocabulary_of_pieces_are_filled_for_llama_cpp(checkpoint, tmp_path):
    (checkpoint / "tokenizer.model").unlink()
    content = bpe_with_byte_fallback()
    content["model"]["vocab"]["\u2581the"] += 2
    (checkpoint / "tokenizer.json").write_text(json.dumps(content))
    refuse(checkpoint, tmp_path, 3, "not contiguous", arguments=("--dialect", "ollama"))
    written = tokenizer_of(checkpoint, "llama.cpp")
    gap = slice(len(PIECES), len(PIECES) + 2)
    assert written["tokens"][gap] == [f"[PAD{len(PIECES)}]", f"[PAD{len(PIECES) + 1}]"]
    assert (written["scores"][gap], written["token_type"][gap]) == ([-10000.0] * 2, [UNUSED] * 2)


@both
def test_tokenizer_model_of_another_kind_beside_tokenizer_json(checkpoint, dialect):
    # Llama 3 has a tiktoken file of this name.
    (checkpoint / "tokenizer.model").write_text("IQ== 0\nIg== 1\nIw== 2\n")
    golden = GOLDEN / "checkpoints" / "llama-tiny" / "tokenizer.json"
    (checkpoint / "tokenizer.json").write_bytes(golden.read_bytes())
    result = convert(checkpoint, checkpoint.parent / "out.gguf", "--dialect", dialect)
    assert "tokenizer.model is not SentencePiece: using tokenizer.json" in result.stderr
    assert Gguf(checkpoint.parent / "out.gguf").values["tokenizer.ggml.model"] == "gpt2"


@both
def test_more_pieces_than_the_model_has(checkpoint, tmp_path, dialect):
    many = PIECES + [(f"piece{number}", -5.0, NORMAL) for number in range(VOCAB_SIZE)]
    (checkpoint / "tokenizer.model").write_bytes(sentencepiece_model(many))
    if dialect == "ollama":
        assert len(tokenizer_of(checkpoint, dialect)["tokens"]) == len(many)
    else:
        result = run("convert", checkpoint, tmp_path / "out.gguf", "--dialect", dialect)
        assert_fails(result, 3, checkpoint / "tokenizer.model", f"got {len(many)}")
