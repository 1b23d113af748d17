"""Chat templates, keys set by hand, and the shards that count."""
import json
import os

import numpy
import pytest

from converted import DIALECTS, variant
from sluice_cli import (GOLDEN, Gguf, assert_fails, assert_nothing_written, convert, copy_checkpoint,
                        edit_json, load_tensors, refuse, run, sha256, write_tensors)

both = pytest.mark.parametrize("dialect", DIALECTS)
TEMPLATE = "tokenizer.chat_template"


@pytest.fixture
def llama(tmp_path):
    return variant("llama-tiny", tmp_path)


def values_of(checkpoint, dialect, *arguments):
    out = checkpoint.parent / "out.gguf"
    convert(checkpoint, out, "--dialect", dialect, "--force", *arguments)
    return Gguf(out).values


def forget_template(checkpoint):
    edit_json(checkpoint / "tokenizer_config.json", lambda content: content.pop("chat_template"))


# ---- Chat templates ---------------------------------------------------------------------------------


@both
def test_template_of_tokenizer_config(llama, dialect):
    want = json.loads((llama / "tokenizer_config.json").read_text())["chat_template"]
    (llama / "chat_template.jinja").write_text("not this one")
    (llama / "chat_template.json").write_text('{"chat_template": "nor this one"}')
    assert values_of(llama, dialect)[TEMPLATE] == want


@both
def test_template_of_a_jinja_file(llama, dialect):
    forget_template(llama)
    (llama / "chat_template.jinja").write_text("{{ from_jinja }}\n")
    (llama / "chat_template.json").write_text('{"chat_template": "not this one"}')
    assert values_of(llama, dialect)[TEMPLATE] == "{{ from_jinja }}\n"


@both
def test_template_of_a_json_file(llama, dialect):
    forget_template(llama)
    (llama / "chat_template.json").write_text('{"chat_template": "{{ from_json }}"}')
    assert values_of(llama, dialect)[TEMPLATE] == "{{ from_json }}"


@both
def test_no_template(llama, dialect):
    forget_template(llama)
    assert not [key for key in values_of(llama, dialect) if "chat_template" in key]


@both
def test_named_templates(llama, dialect):
    edit_json(llama / "tokenizer_config.json", lambda content: content.update(chat_template=[
        {"name": "default", "template": "D"}, {"name": "tool-use", "template": "T"},
        {"name": "rag", "template": "R"}]))
    values = values_of(llama, dialect)
    assert values[TEMPLATE] == "D"
    if dialect == "llama.cpp":
        assert values["tokenizer.chat_templates"] == ["tool_use", "rag"]
        assert (values[TEMPLATE + ".tool_use"], values[TEMPLATE + ".rag"]) == ("T", "R")
    else:
        assert [key for key in values if "chat_template" in key] == [TEMPLATE]


def test_named_templates_of_one_name_in_the_file_are_told(llama, tmp_path):
    templates = [{"name": name, "template": name} for name in ("default", "tool use", "rag", "tool-use")]
    edit_json(llama / "tokenizer_config.json", lambda content: content.update(chat_template=templates))
    message = convert(llama, tmp_path / "out.gguf", "--dialect", "llama.cpp").stderr
    assert "the chat templates 'tool use' and 'tool-use' get the same name 'tool_use'" in message
    assert message.count("get the same name") == 1
    values = Gguf(tmp_path / "out.gguf").values
    assert values["tokenizer.chat_templates"] == ["tool_use", "rag"]
    assert values["tokenizer.chat_template.tool_use"] == "tool-use"


def test_additional_jinja_files_are_named_templates_for_llama_cpp(llama):
    forget_template(llama)
    (llama / "chat_template.jinja").write_text("D")
    (llama / "additional_chat_templates").mkdir()
    (llama / "additional_chat_templates" / "tool_use.jinja").write_text("T")
    (llama / "additional_chat_templates" / "notes.txt").write_text("no template")
    values = values_of(llama, "llama.cpp")
    assert (values[TEMPLATE], values[TEMPLATE + ".tool_use"]) == ("D", "T")
    assert values["tokenizer.chat_templates"] == ["tool_use"]


@both
def test_chat_template_flag_wins(llama, tmp_path, dialect):
    (tmp_path / "mine.jinja").write_text("{{ mine }} \u00e4\n")
    values = values_of(llama, dialect, "--chat-template", tmp_path / "mine.jinja")
    assert values[TEMPLATE] == "{{ mine }} \u00e4\n"


def test_chat_template_file_that_does_not_exist(llama, tmp_path):
    result = run("convert", llama, tmp_path / "out.gguf", "--chat-template", tmp_path / "none.jinja")
    assert_fails(result, 3, tmp_path / "none.jinja")
    assert_nothing_written(tmp_path)


def test_chat_template_that_is_no_file(llama, tmp_path):
    result = run("convert", llama, tmp_path / "out.gguf", "--chat-template", llama)
    assert_fails(result, 3, f"{llama}: not a regular file: got a folder")
    assert_nothing_written(tmp_path)


def test_chat_template_that_is_no_text(llama, tmp_path):
    (tmp_path / "latin.jinja").write_bytes(b"{{ caf\xe9 }}")
    result = run("convert", llama, tmp_path / "out.gguf", "--chat-template", tmp_path / "latin.jinja")
    assert_fails(result, 3, f"{tmp_path / 'latin.jinja'}: at byte 6: the chat template is not UTF-8")
    forget_template(llama)
    (llama / "chat_template.jinja").write_bytes(b"\xff")
    refuse(llama, tmp_path, 3, f"{llama / 'chat_template.jinja'}: at byte 0: the chat template is not UTF-8")


@pytest.mark.parametrize("flag", ["--chat-template", "--model-name", "--pre", "--type", "--mmproj"])
def test_empty_flag_is_a_usage_error(llama, tmp_path, flag):
    result = run("convert", llama, tmp_path / "out.gguf", flag, "")
    assert_fails(result, 2, f"{flag}: expected a value, got an empty one")
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("flag, before", [("--set", "key=str:"), ("--set", ""), ("--model-name", ""), ("--pre", "")])
def test_flag_that_is_not_utf_8_is_a_usage_error(llama, tmp_path, flag, before):
    text = os.fsdecode(before.encode() + b"\xff\x1b[2J=str:x")
    result = run("convert", llama, tmp_path / "out.gguf", flag, text)
    assert_fails(result, 2, f"{flag}: the text is not UTF-8", "\\xff\\x1b[2J")
    assert_nothing_written(tmp_path)


# ---- --set ------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("kind, text, value, written", [
    ("u8", "255", 255, "uint8"), ("i8", "-128", -128, "int8"), ("u16", "65535", 65535, "uint16"),
    ("i16", "-32768", -32768, "int16"), ("u32", "4294967295", 2**32 - 1, "uint32"), ("i32", "-7", -7, "int32"),
    ("u64", "18446744073709551615", 2**64 - 1, "uint64"), ("i64", "-9223372036854775808", -(2**63), "int64"),
    ("f32", "0.5", 0.5, "float32"), ("f64", "0.1", 0.1, "float64"), ("bool", "true", True, "bool"),
    ("bool", "0", False, "bool"), ("str", "a=b:c d", "a=b:c d", "string"), ("str", "", "", "string"),
])
def test_set_of_every_type(llama, tmp_path, dialect, kind, text, value, written):
    convert(llama, tmp_path / "out.gguf", "--dialect", dialect, "--set", f"my.key={kind}:{text}")
    file = Gguf(tmp_path / "out.gguf")
    assert file.values["my.key"] == value
    assert file.types["my.key"] == written


@both
def test_set_replaces_a_key_in_its_place(llama, dialect):
    before = values_of(llama, dialect)
    after = values_of(llama, dialect, "--set", "llama.context_length=u32:99",
                      "--set", "tokenizer.ggml.eos_token_id=u32:7")
    assert (after["llama.context_length"], after["tokenizer.ggml.eos_token_id"]) == (99, 7)
    assert list(after) == list(before)


@both
def test_set_adds_new_keys_where_the_dialect_has_them(llama, dialect):
    before = list(values_of(llama, dialect))
    after = list(values_of(llama, dialect, "--set", "z.last=u8:1", "--set", "a.first=u8:1"))
    want = before + ["z.last", "a.first"]
    assert after == (sorted(want) if dialect == "ollama" else want)


def test_set_of_the_alignment_moves_the_tensors(llama, tmp_path):
    convert(llama, tmp_path / "out.gguf", "--set", "general.alignment=u32:4096")
    offsets = [tensor.offset for tensor in Gguf(tmp_path / "out.gguf").tensors.values()]
    assert all(offset % 4096 == 0 for offset in offsets)


@pytest.mark.parametrize("setting", ["key", "=u32:1", "key=1", "key=u32", "key=u33:1", "key=u32:-1", "key=u8:256",
                                     "key=u32:1.5", "key=u32:1x", "key=f32:one", "key=bool:maybe", "key=arr:1",
                                     "key=u32:"])
def test_set_that_is_no_typed_value_is_a_usage_error(llama, tmp_path, setting):
    result = run("convert", llama, tmp_path / "out.gguf", "--set", setting)
    assert_fails(result, 2)
    assert_nothing_written(tmp_path)


@both
@pytest.mark.parametrize("setting, expected", [
    ("general.architecture=u32:1", "expected str, got u32"), ("llama.context_length=u64:99", "expected u32, got u64"),
    ("llama.attention.layer_norm_rms_epsilon=f64:1e-5", "expected f32, got f64"),
    # A key that this checkpoint's file lacks.
    ("llama.rope.scaling.type=u8:1", "expected str, got u8"),
    ("tokenizer.ggml.eos_token_id=str:x", "expected u32, got str"),
    ("tokenizer.ggml.token_type=i32:1", "expected an array, which --set cannot write, got i32"),
    ("general.alignment=u64:64", "expected a u32 power of two"), ("general.alignment=u32:48", "a u32 power of two"),
    ("split.count=u16:2", "the keys of a split model belong to its files: got split.count"),
    ("general.architecture=str:mamba", "no key: expected llama, got mamba"),
])
def test_set_that_would_make_the_file_unreadable_is_a_usage_error(llama, tmp_path, dialect, setting, expected):
    refuse(llama, tmp_path, 2, expected, arguments=("--dialect", dialect, "--set", setting))


def test_set_of_an_architecture_and_its_keys(llama, tmp_path):
    convert(llama, tmp_path / "out.gguf", "--set", "general.architecture=str:mamba", "--set", "mamba.block_count=u32:3")
    assert Gguf(tmp_path / "out.gguf").values["general.architecture"] == "mamba"


def test_set_of_a_key_of_the_projector(tmp_path):
    checkpoint = GOLDEN / "checkpoints" / "llama4-tiny"
    outputs = (tmp_path / "out.gguf", "--mmproj", tmp_path / "mmproj.gguf")
    result = run("convert", checkpoint, *outputs, "--set", "clip.use_gelu=u32:1")
    assert_fails(result, 2, "--set gives 'clip.use_gelu' another type: expected bool, got u32")
    convert(checkpoint, *outputs, "--set", "clip.use_gelu=bool:false")
    assert Gguf(tmp_path / "mmproj.gguf").values["clip.use_gelu"] is False


def test_longest_key(llama, tmp_path):
    convert(llama, tmp_path / "out.gguf", "--set", "k" * 65535 + "=u8:1")
    assert Gguf(tmp_path / "out.gguf").values["k" * 65535] == 1


def test_key_that_is_too_long_is_a_usage_error(llama, tmp_path):
    result = run("convert", llama, tmp_path / "out.gguf", "--set", "k" * 65536 + "=u8:1")
    assert_fails(result, 2, "the key is too long: expected at most 65535 bytes, got 65536 bytes")
    assert_nothing_written(tmp_path)


# ---- Shards -----------------------------------------------------------------------------------------

INDEX = "model.safetensors.index.json"


@both
def test_files_that_the_index_does_not_name_are_left_out_with_a_warning(tmp_path, dialect):
    checkpoint = copy_checkpoint("glm-tiny-v5", tmp_path)
    before = values_of(checkpoint, dialect)
    first = sha256(tmp_path / "out.gguf")
    for name in ("consolidated.safetensors", "model-00004-of-00003.safetensors"):
        # Would be the same tensor twice, if it were read.
        write_tensors(checkpoint / name, {"model.norm.weight": load_tensors(checkpoint)["model.norm.weight"]})
    result = convert(checkpoint, tmp_path / "out.gguf", "--dialect", dialect, "--force")
    for name in ("consolidated.safetensors", "model-00004-of-00003.safetensors"):
        assert f"warning: {name}: not named by {INDEX}, left out\n" in result.stderr
    assert sha256(tmp_path / "out.gguf") == first
    assert before


def test_tensors_stand_in_the_order_of_the_shards_and_of_their_names(tmp_path):
    checkpoint = variant("llama-tiny", tmp_path, lambda config: config.update(rope_scaling=None))
    tensors = load_tensors(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    # Shards by name order, not by the number in it; tensors by name inside each.
    layers = {"b.safetensors": "model.layers.0.", "a-10.safetensors": "model.layers.1.",
              "a-9.safetensors": "model.layers.2.", "c.safetensors": ""}
    for shard, prefix in layers.items():
        part = {name: tensors.pop(name) for name in sorted(tensors, reverse=True) if name.startswith(prefix)}
        write_tensors(checkpoint / shard, part)
    convert(checkpoint, tmp_path / "out.gguf")
    names = list(Gguf(tmp_path / "out.gguf").tensors)
    places = [names.index(name) for name in ("blk.1.ffn_up.weight", "blk.2.ffn_up.weight",
                                             "blk.0.ffn_up.weight", "output.weight")]
    assert places == sorted(places)
    assert names.index("blk.0.attn_norm.weight") < names.index("blk.0.ffn_down.weight")


@both
def test_shards_without_an_index_hold_what_one_shard_holds(tmp_path, dialect):
    sharded = variant("llama-tiny", tmp_path / "sharded")
    whole = variant("llama-tiny", tmp_path / "whole")
    tensors = load_tensors(sharded)
    (sharded / "model.safetensors").unlink()
    names = sorted(tensors)
    for number, part in enumerate(numpy.array_split(names, 5)):
        write_tensors(sharded / f"model-{number}.safetensors", {name: tensors[name] for name in part})
    for checkpoint in (sharded, whole):
        convert(checkpoint, checkpoint.parent / "out.gguf", "--dialect", dialect)
    assert sha256(tmp_path / "sharded" / "out.gguf") == sha256(tmp_path / "whole" / "out.gguf")
