"""Where the vocabulary comes from: tokenizer.json, vocab.json with merges.txt, and how it is written."""
import json

import pytest

from converted import DIALECTS, variant
from sluice_cli import GOLDEN, Gguf, convert, edit_json, refuse, sha256

both = pytest.mark.parametrize("dialect", DIALECTS)
CONTROL, USER_DEFINED, NORMAL, UNUSED = 3, 4, 1, 5
TOKENIZER = json.loads((GOLDEN / "checkpoints" / "llama-tiny" / "tokenizer.json").read_text())
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
LLAMA4 = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
          r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
          r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


@pytest.fixture
def llama(tmp_path):
    return variant("llama-tiny", tmp_path)


def tokenizer_of(checkpoint, dialect, *arguments):
    """The tokenizer keys of the converted file, without their prefix."""
    out = checkpoint.parent / "out.gguf"
    convert(checkpoint, out, "--dialect", dialect, "--force", *arguments)
    prefix = "tokenizer.ggml."
    return {key.removeprefix(prefix): value for key, value in Gguf(out).values.items() if key.startswith(prefix)}


# ---- tokenizer.json ---------------------------------------------------------------------------------


@both
def test_tokens_are_the_vocabulary_and_the_added_tokens_by_id(llama, dialect):
    by_id = {id: text for text, id in TOKENIZER["model"]["vocab"].items()}
    by_id.update({token["id"]: token["content"] for token in TOKENIZER["added_tokens"]})
    special = {token["id"] for token in TOKENIZER["added_tokens"] if token["special"]}
    written = tokenizer_of(llama, dialect)
    assert written["model"] == "gpt2"
    assert written["tokens"] == [by_id[id] for id in range(len(by_id))]
    assert written["token_type"] == [CONTROL if id in special else NORMAL for id in range(len(by_id))]
    assert written["merges"] == [" ".join(pair) for pair in TOKENIZER["model"]["merges"]]
    # llama.cpp's converter writes no scores for this kind of vocabulary.
    assert written.get("scores") == {"ollama": list(range(len(by_id))), "llama.cpp": None}[dialect]


@both
def test_merges_as_strings_or_as_pairs_give_the_same_file(llama, tmp_path, dialect):
    convert(llama, tmp_path / "pairs.gguf", "--dialect", dialect)
    edit_json(llama / "tokenizer.json", lambda content: content["model"].update(
        merges=[" ".join(pair) for pair in content["model"]["merges"]]))
    convert(llama, tmp_path / "strings.gguf", "--dialect", dialect)
    assert sha256(tmp_path / "strings.gguf") == sha256(tmp_path / "pairs.gguf")


# Ollama's converter joins with a plain space, and then nobody can tell where the first part ends.
@both
def test_spaces_inside_the_parts_of_a_merge_are_escaped(llama, dialect):
    edit_json(llama / "tokenizer.json", lambda content: content["model"].update(
        merges=[["a b", " c"]],
        vocab=dict(list(content["model"]["vocab"].items())[:-3]) | {"a b": 500, " c": 501, "a b c": 502}))
    assert tokenizer_of(llama, dialect)["merges"] == ["a\u0120b \u0120c"]


@both
def test_added_tokens_that_are_not_special(llama, dialect):
    def add(content):
        content["added_tokens"][-2].update(content="<|looks_special|>", special=False)
        content["added_tokens"][-1].update(content="plain\u2581text", special=False)

    edit_json(llama / "tokenizer.json", add)
    written = tokenizer_of(llama, dialect)
    # llama.cpp's converter takes what looks like a control token for one, and shows the space.
    assert written["token_type"][-2:] == {"ollama": [USER_DEFINED, USER_DEFINED],
                                          "llama.cpp": [CONTROL, USER_DEFINED]}[dialect]
    assert written["tokens"][-1] == {"ollama": "plain\u2581text", "llama.cpp": "plain text"}[dialect]


@both
def test_vocabulary_is_padded_to_the_size_of_the_model(tmp_path, dialect):
    written = tokenizer_of(variant("glm-tiny", tmp_path), dialect)
    assert len(written["tokens"]) == len(written["token_type"]) == 520
    if dialect == "ollama":
        assert written["tokens"][512:] == [f"[PAD{number}]" for number in range(8)]
        assert written["token_type"][512:] == [USER_DEFINED] * 8
        assert written["scores"][512:] == [-1.0] * 8
    else:
        assert written["tokens"][512:] == [f"[PAD{number}]" for number in range(512, 520)]
        assert written["token_type"][512:] == [UNUSED] * 8


# As llama.cpp's converter: an id without a token gets a name of its own.
@pytest.mark.parametrize("missing", [0, 300, 511])
def test_gaps_between_the_ids_are_filled_for_llama_cpp(llama, missing):
    before = tokenizer_of(llama, "llama.cpp")

    def change(content):
        vocab = content["model"]["vocab"]
        content["model"]["vocab"] = {text: id for text, id in vocab.items() if id != missing}
        content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] != missing]

        content["model"]["merges"] = [pair for pair in content["model"]["merges"]
                                      if {*pair, "".join(pair)} <= set(content["model"]["vocab"])]

    edit_json(llama / "tokenizer.json", change)
    after = tokenizer_of(llama, "llama.cpp")
    tokens, types = list(before["tokens"]), list(before["token_type"])
    tokens[missing], types[missing] = f"[PAD{missing}]", UNUSED
    assert (after["tokens"], after["token_type"]) == (tokens, types)
    assert "scores" not in after


def test_gaps_between_the_ids_are_told(llama, tmp_path):
    keep = set(list(TOKENIZER["model"]["vocab"])[:300])
    edit_json(llama / "tokenizer.json", lambda content: content["model"].update(
        vocab={text: id for text, id in content["model"]["vocab"].items() if text in keep},
        merges=[pair for pair in content["model"]["merges"] if {*pair, "".join(pair)} <= keep]))
    message = convert(llama, tmp_path / "out.gguf", "--dialect", "llama.cpp").stderr
    assert message.count("no tokens for 203 ids, the first of them 300") == 1
    assert Gguf(tmp_path / "out.gguf").values["tokenizer.ggml.tokens"][300] == "[PAD300]"


# ---- The normalizer ---------------------------------------------------------------------------------

NFC = {"type": "NFC"}
WARNING = "do not apply the normalizer of the tokenizer"


@both
@pytest.mark.parametrize("pattern, normalizer, told", [
    (LLAMA3, None, False), (LLAMA3, {"type": "Sequence", "normalizers": []}, False), (QWEN2, NFC, False),
    (LLAMA3, NFC, True), (QWEN2, {"type": "Lowercase"}, True)])
def test_normalizer_that_readers_do_not_apply_is_told(llama, tmp_path, dialect, pattern, normalizer, told):
    edit_json(llama / "tokenizer.json", lambda content: content.update(
        pre_tokenizer=split_by(pattern), normalizer=normalizer))
    message = convert(llama, tmp_path / "out.gguf", "--dialect", dialect).stderr
    assert (WARNING in message) is told
    if told:
        assert normalizer["type"] in message


@pytest.mark.parametrize("steps, told", [
    ([{"type": "Prepend", "prepend": "\u2581"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}], False),
    ([{"type": "Lowercase"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}], True)])
def test_normalizer_of_a_sentencepiece_model_in_tokenizer_json(llama, tmp_path, steps, told):
    def change(content):
        content["model"]["byte_fallback"] = True
        content["normalizer"] = {"type": "Sequence", "normalizers": steps}

    edit_json(llama / "tokenizer.json", change)
    assert (WARNING in convert(llama, tmp_path / "out.gguf", "--dialect", "llama.cpp").stderr) is told


def test_more_tokens_than_the_model_has_are_kept_for_ollama(llama):
    edit_json(llama / "tokenizer.json", lambda content: content["added_tokens"].append(
        {"id": 512, "content": "<|more|>", "special": True}))
    assert len(tokenizer_of(llama, "ollama")["tokens"]) == 513


# ---- The pre-tokenizer ------------------------------------------------------------------------------


def split_by(pattern):
    return {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}


GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


@both
@pytest.mark.parametrize("definition, name", [(split_by(LLAMA3), "llama-bpe"), (split_by(LLAMA4), "llama4"),
                                              (split_by(QWEN2), "qwen2"), (GPT2, "gpt-2")])
def test_published_pre_tokenizers_are_recognised(llama, dialect, definition, name):
    edit_json(llama / "tokenizer.json", lambda content: content.update(pre_tokenizer=definition))
    assert tokenizer_of(llama, dialect)["pre"] == name


@pytest.mark.parametrize("case, dialect, name", [
    ("glm-tiny", "ollama", "glm4"), ("glm-tiny", "llama.cpp", "glm4"),
    ("lfm2-tiny", "ollama", "llama-bpe"), ("lfm2-tiny", "llama.cpp", "lfm2"),
    ("lfm2moe-tiny", "llama.cpp", "lfm2"), ("mllama-tiny", "ollama", "llama-bpe"),
])
def test_families_with_the_pattern_of_llama_3_have_their_own_name(tmp_path, case, dialect, name):
    assert tokenizer_of(variant(case, tmp_path), dialect)["pre"] == name


@both
@pytest.mark.parametrize("case", ["llama-tiny", "glm-tiny", "lfm2-tiny"])
def test_pre_names_the_pre_tokenizer(tmp_path, dialect, case):
    assert tokenizer_of(variant(case, tmp_path), dialect, "--pre", "tekken")["pre"] == "tekken"


@both
@pytest.mark.parametrize("case", ["llama-tiny", "glm-tiny", "lfm2-tiny"])
def test_unknown_pre_tokenizer_is_refused_until_it_is_named(tmp_path, dialect, case):
    checkpoint = variant(case, tmp_path)
    edit_json(checkpoint / "tokenizer.json", lambda content: content.update(pre_tokenizer=split_by(r"\w+|\W+")))
    refuse(checkpoint, tmp_path, 4, checkpoint / "tokenizer.json", "unknown pre-tokenizer", r"\w+|\W+",
           "--pre NAME", arguments=("--dialect", dialect))
    assert tokenizer_of(checkpoint, dialect, "--pre", "tekken")["pre"] == "tekken"


@both
def test_pre_tokenizer_that_no_reader_knows_is_a_usage_error(tmp_path, dialect):
    checkpoint = variant("llama-tiny", tmp_path)
    refuse(checkpoint, tmp_path, 2, "--pre names no pre-tokenizer that llama.cpp knows", "default", "llama-bpe",
           "got llama-bep", "tokenizer.ggml.pre=str:NAME", arguments=("--dialect", dialect, "--pre", "llama-bep"))
    # The way out that the message names.
    arguments = ("--pre", "default", "--set", "tokenizer.ggml.pre=str:newer")
    assert tokenizer_of(checkpoint, dialect, *arguments)["pre"] == "newer"


# ---- vocab.json and merges.txt ----------------------------------------------------------------------


def as_vocab_and_merges(checkpoint, header="#version: 0.2\n", tokenizer_class="GPT2Tokenizer"):
    vocab = dict(TOKENIZER["model"]["vocab"])
    vocab.update({token["content"]: token["id"] for token in TOKENIZER["added_tokens"]})
    merges = [" ".join(pair) for pair in TOKENIZER["model"]["merges"]]
    (checkpoint / "vocab.json").write_text(json.dumps(vocab))
    (checkpoint / "merges.txt").write_text(header + "\n".join(merges) + "\n", encoding="utf-8")
    (checkpoint / "tokenizer.json").unlink()
    edit_json(checkpoint / "tokenizer_config.json", lambda content: content.pop("tokenizer_class"))
    if tokenizer_class:
        edit_json(checkpoint / "tokenizer_config.json", lambda content: content.update(tokenizer_class=tokenizer_class))
    return vocab, merges


@both
@pytest.mark.parametrize("header", ["#version: 0.2\n", ""])
def test_vocab_json_with_merges_txt(llama, dialect, header):
    vocab, merges = as_vocab_and_merges(llama, header)
    written = tokenizer_of(llama, dialect)
    assert (written["model"], written["pre"]) == ("gpt2", "gpt-2")
    assert written["tokens"] == sorted(vocab, key=vocab.get)
    assert written["merges"] == merges


@pytest.mark.parametrize("tokenizer_class, name", [
    (None, "gpt-2"), ("GPT2Tokenizer", "gpt-2"), ("GPT2TokenizerFast", "gpt-2"), ("CodeGenTokenizer", "gpt-2"),
    ("Qwen2Tokenizer", "qwen2"), ("Qwen2TokenizerFast", "qwen2")])
def test_class_says_how_a_tokenizer_of_vocab_json_cuts(llama, tokenizer_class, name):
    as_vocab_and_merges(llama, tokenizer_class=tokenizer_class)
    assert tokenizer_of(llama, "llama.cpp")["pre"] == name


@both
@pytest.mark.parametrize("tokenizer_class", ["PreTrainedTokenizerFast", "RobertaTokenizer", "Fast", ""])
def test_unknown_class_beside_vocab_json_is_refused_until_it_is_named(llama, tmp_path, dialect, tokenizer_class):
    as_vocab_and_merges(llama)
    edit_json(llama / "tokenizer_config.json", lambda content: content.update(tokenizer_class=tokenizer_class))
    refuse(llama, tmp_path, 4, llama / "vocab.json", "unknown pre-tokenizer", f"tokenizer_class '{tokenizer_class}'",
           "tokenizer_config.json", "--pre NAME", arguments=("--dialect", dialect))
    assert tokenizer_of(llama, dialect, "--pre", "tekken")["pre"] == "tekken"


@both
def test_tokens_of_tokenizer_config_beside_vocab_json(llama, dialect):
    as_vocab_and_merges(llama)
    (llama / "vocab.json").write_text(json.dumps(TOKENIZER["model"]["vocab"]))
    edit_json(llama / "tokenizer_config.json",
              lambda content: content["added_tokens_decoder"]["511"].update(content="plain", special=False))
    written = tokenizer_of(llama, dialect)
    texts = [token["content"] for token in TOKENIZER["added_tokens"]]
    assert written["tokens"][503:] == texts[:-1] + ["plain"]
    assert written["token_type"][503:] == [CONTROL] * 8 + [USER_DEFINED]
    assert written["bos_token_id"] == 503


@both
def test_tokenizer_json_wins_over_vocab_json(llama, tmp_path, dialect):
    convert(llama, tmp_path / "alone.gguf", "--dialect", dialect)
    (llama / "vocab.json").write_text('{"other": 0}')
    (llama / "merges.txt").write_text("o t\n")
    convert(llama, tmp_path / "beside.gguf", "--dialect", dialect)
    assert sha256(tmp_path / "beside.gguf") == sha256(tmp_path / "alone.gguf")


@both
@pytest.mark.parametrize("backwards", [False, True])
def test_added_tokens_beside_vocab_json(llama, dialect, backwards):
    # vocab.json lacks them; added_tokens.json has their ids, tokenizer_config.json that they are special.
    as_vocab_and_merges(llama)
    (llama / "vocab.json").write_text(json.dumps(TOKENIZER["model"]["vocab"]))
    added = {token["content"]: token["id"] for token in TOKENIZER["added_tokens"]}
    listed = dict(sorted(added.items(), key=lambda item: item[1], reverse=backwards))
    (llama / "added_tokens.json").write_text(json.dumps(listed))
    written = tokenizer_of(llama, dialect)
    assert written["tokens"][503:] == sorted(added, key=added.get)
    assert written["bos_token_id"] == 503
    assert written["token_type"][503:] == [CONTROL] * len(added)


# ---- Special tokens ---------------------------------------------------------------------------------


def test_special_tokens_for_ollama(llama):
    written = tokenizer_of(llama, "ollama")
    flags = {key: value for key, value in written.items() if key.endswith(("_token", "_id"))}
    assert flags == {"bos_token_id": 503, "add_bos_token": False, "eos_token_id": 504, "add_eos_token": False,
                     "padding_token_id": 505, "add_padding_token": False}


def test_special_tokens_for_llama_cpp(llama):
    written = tokenizer_of(llama, "llama.cpp")
    flags = {key: value for key, value in written.items() if key.endswith(("_token", "_id"))}
    assert flags == {"bos_token_id": 503, "eos_token_id": 504, "padding_token_id": 505}


@both
def test_flags_of_tokenizer_config(llama, dialect):
    edit_json(llama / "tokenizer_config.json", lambda content: content.update(
        add_bos_token=True, add_eos_token=False, eos_token={"content": "<|eot_id|>", "lstrip": False}))
    written = tokenizer_of(llama, dialect)
    assert (written["add_bos_token"], written["add_eos_token"]) == (True, False)
    assert written["eos_token_id"] == 509


def test_template_of_the_post_processor_says_what_is_added_for_llama_cpp(llama):
    special = {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    edit_json(llama / "tokenizer.json", lambda content: content.update(post_processor={
        "type": "TemplateProcessing", "single": [special, text], "pair": [special, text, special, text],
        "special_tokens": {}}))
    written = tokenizer_of(llama, "llama.cpp")
    assert written["add_bos_token"] is True
    assert "add_eos_token" not in written


@pytest.mark.parametrize("case, written", [("llama-tiny", True), ("glm-tiny", False), ("lfm2-tiny", False),
                                           ("llama4-tiny", False)])
def test_space_prefix_flag_is_written_for_llama_alone(tmp_path, case, written):
    checkpoint = variant(case, tmp_path)
    edit_json(checkpoint / "tokenizer_config.json", lambda content: content.update(add_prefix_space=False))
    assert tokenizer_of(checkpoint, "llama.cpp").get("add_space_prefix") == (False if written else None)
    assert "add_space_prefix" not in tokenizer_of(checkpoint, "ollama")


def test_lists_of_end_tokens(tmp_path):
    assert tokenizer_of(variant("glm-tiny", tmp_path), "ollama")["eos_token_ids"] == [491, 498, 500]


def test_tokens_that_glm_is_known_to_have_for_llama_cpp(tmp_path):
    written = tokenizer_of(variant("glm-tiny", tmp_path), "llama.cpp")
    ids = {token["content"]: token["id"] for token in json.loads(
        (GOLDEN / "checkpoints" / "glm-tiny" / "tokenizer.json").read_text())["added_tokens"]}
    want = {"bos": "[gMASK]", "eot": "<|user|>", "unknown": "<|endoftext|>", "eom": "<|observation|>"}
    assert {role: written[f"{role}_token_id"] for role in want} == {role: ids[text] for role, text in want.items()}
