"""`sluice plan`: what it announces is what `convert` writes, in words and in numbers."""
import json
import os
import re

import numpy
import pytest
from gguf import GGUFReader

from sluice_cli import (GOLDEN, Gguf, assert_fails, convert, copy_checkpoint, decode, edit_json,
                        load_tensors, run)

CHECKPOINTS = GOLDEN / "checkpoints"


def plan(checkpoint, *arguments):
    """The JSON output, which must come alone."""
    result = run("plan", checkpoint, "--json", *arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def plan_text(checkpoint, *arguments):
    result = run("plan", checkpoint, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


# ---- JSON ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case, shards, tensors, family, dialect", [
    ("llama-tiny", 1, 30, "Llama", "llama.cpp"),
    ("glm-tiny-v5", 3, 91, "GLM-4 MoE Lite", "llama.cpp"),
    ("mllama-tiny", 1, 135, "MLlama", "ollama"),
])
def test_checkpoint_facts(case, shards, tensors, family, dialect):
    checkpoint = CHECKPOINTS / case
    json_plan = plan(checkpoint)
    assert json_plan["checkpoint"] == str(checkpoint)
    assert (json_plan["family"], json_plan["dialect"]) == (family, dialect)
    paths = list(checkpoint.glob("*.safetensors"))
    assert len(paths) == shards
    assert json_plan["source_bytes"] == sum(path.stat().st_size for path in paths)
    assert json_plan["source_tensors"] == len(load_tensors(checkpoint)) == tensors
    assert f" in {shards} shard" in plan_text(checkpoint)


@pytest.mark.parametrize("arguments", [(), ("--dialect", "ollama"), ("--outtype", "f32"),
                                       ("--no-mtp",), ("--set", "general.alignment=u32:4096"),
                                       ("--set", "x.list=str:long " + 5000 * "x")])
def test_offsets_and_key_values_are_those_of_the_file(tmp_path, arguments):
    checkpoint = CHECKPOINTS / "glm-tiny"
    out = tmp_path / "out.gguf"
    if "ollama" in arguments:
        arguments += ("--pre", "llama-bpe")
    convert(checkpoint, out, *arguments)
    json_plan = plan(checkpoint, *arguments)
    (file,) = json_plan["files"]
    assert file["role"] == "model"
    assert file["bytes"] == json_plan["bytes"] == out.stat().st_size
    written = Gguf(out)
    assert file["alignment"] == written.values.get("general.alignment", 32)
    assert [tensor["name"] for tensor in file["tensors"]] == list(written.tensors)
    for tensor in file["tensors"]:
        real = written.tensors[tensor["name"]]
        assert (tensor["type"], tuple(tensor["shape"])) == (real.type, real.shape)
        assert (tensor["offset"], tensor["bytes"]) == (real.offset, len(real.raw))
        assert tensor["offset"] % file["alignment"] == 0
    assert {key: entry["value"] for key, entry in file["key_values"].items()} == written.values
    assert {key: full_type(entry) for key, entry in file["key_values"].items()} == written.types


def test_quantized_types_and_reasons(tmp_path):
    checkpoint = CHECKPOINTS / "llama-q256"
    arguments = ("--pre", "llama-bpe", "--type", "Q4_K_M", "--tensor-type", "blk.1.ffn_down=q8_0")
    convert(checkpoint, tmp_path / "out.gguf", *arguments)
    (file,) = plan(checkpoint, *arguments)["files"]
    written = Gguf(tmp_path / "out.gguf").tensors
    assert [tensor["name"] for tensor in file["tensors"]] == list(written)
    for tensor in file["tensors"]:
        real = written[tensor["name"]]
        assert (tensor["type"], tensor["offset"], tensor["bytes"]) == (real.type, real.offset, len(real.raw))
    elements = sum(numpy.prod(tensor.shape) for tensor in written.values())
    bits = 8 * sum(len(tensor.raw) for tensor in written.values()) / elements
    assert file["bits_per_weight"] == pytest.approx(bits, rel=1e-12)
    reasons = {tensor["name"]: tensor["reason"] for tensor in file["tensors"]}
    for name, reason in (("output.weight", "Q4_K_M: output"), ("output_norm.weight", "kept: one row"),
                         ("token_embd.weight", "Q4_K_M: default"), ("blk.1.attn_v.weight", "Q4_K_M: attn_v, more bits"),
                         ("blk.1.ffn_down.weight", "--tensor-type blk.1.ffn_down=q8_0")):
        assert reasons[name] == reason


def full_type(entry):
    """A type of docs/json.md in the words of Gguf.types."""
    words = {"u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64", "i8": "int8",
             "i16": "int16", "i32": "int32", "i64": "int64", "f32": "float32", "f64": "float64",
             "bool": "bool", "str": "string"}
    if entry["type"] == "arr":
        return f"array of {words[entry['of']]}"
    return words[entry["type"]]


def test_projector_is_planned_on_demand(tmp_path):
    checkpoint = CHECKPOINTS / "llama4-tiny"
    assert [file["role"] for file in plan(checkpoint)["files"]] == ["model"]
    json_plan = plan(checkpoint, "--mmproj")
    convert(checkpoint, tmp_path / "model.gguf", "--mmproj", tmp_path / "projector.gguf")
    assert [file["role"] for file in json_plan["files"]] == ["model", "projector"]
    for file in json_plan["files"]:
        out = tmp_path / f"{file['role']}.gguf"
        assert file["bytes"] == out.stat().st_size
        assert {tensor["name"]: tensor["offset"] for tensor in file["tensors"]} == {
            name: tensor.offset for name, tensor in Gguf(out).tensors.items()}
    assert json_plan["bytes"] == sum(file["bytes"] for file in json_plan["files"])
    assert "projector file: " in plan_text(checkpoint, "--mmproj")


def test_warnings(tmp_path):
    checkpoint = copy_checkpoint("glm-tiny", tmp_path)
    assert plan(checkpoint)["warnings"] == []
    edit_json(checkpoint / "config.json", lambda config: config.pop("rope_theta"))
    (warning,) = plan(checkpoint)["warnings"]
    result = run("plan", checkpoint)
    assert result.stderr == f"warning: {warning}\n"
    assert "warning: " not in result.stdout
    assert run("-q", "plan", checkpoint).stderr == ""


# ---- Sources and views --------------------------------------------------------------------------

GLM = "model.layers.0.self_attn."
SOURCES = {
    ("glm-tiny", "output.weight"): ("lm_head.weight", ""),
    ("glm-tiny", "blk.0.attn_k_b.weight"):
        (GLM + "kv_b_proj.weight", "split axis 0 into 4, take 0..23 of axis 1, swap axes 1 and 2"),
    ("glm-tiny", "blk.0.attn_v_b.weight"):
        (GLM + "kv_b_proj.weight", "split axis 0 into 4, take 24..55 of axis 1"),
    ("glm-tiny", "blk.1.ffn_down_exps.weight"):
        ("model.layers.1.mlp.experts.0.down_proj.weight .. "
         "model.layers.1.mlp.experts.7.down_proj.weight", "stack 8 experts"),
    ("llama4-tiny", "blk.0.ffn_down_exps.weight"):
        ("language_model.model.layers.0.feed_forward.experts.down_proj", "swap axes 1 and 2"),
    ("llama4-tiny", "rope_freqs.weight"): ("", "computed from config.json"),
    ("mllama-tiny", "blk.0.attn_k.weight"):
        ("language_model.model.layers.0.self_attn.k_proj.weight",
         "interleave rotary halves of 2 heads"),
    ("mllama-tiny", "v.global.blk.0.attn_gate"):
        ("vision_model.global_transformer.layers.0.gate_attn", "tanh"),
    ("lfm2-tiny", "blk.0.shortconv.conv.weight"):
        ("model.layers.0.conv.conv.weight", "squeeze axis 1"),
}


@pytest.mark.parametrize("case", sorted({case for case, _ in SOURCES}))
def test_sources_and_views_in_words(case):
    (file,) = plan(CHECKPOINTS / case)["files"]
    tensors = {tensor["name"]: tensor for tensor in file["tensors"]}
    text = plan_text(CHECKPOINTS / case).splitlines()
    for (_, name), (source, views) in ((key, SOURCES[key]) for key in SOURCES if key[0] == case):
        assert (tensors[name]["source"], tensors[name]["views"]) == (source, views)
        (line,) = [line for line in text if line.startswith(name + " ")]
        assert line.endswith("  " + ": ".join(part for part in (source, views) if part))


def test_every_source_is_a_tensor_of_the_checkpoint():
    for case in ("glm-tiny", "llama4-tiny", "mllama-tiny", "lfm2moe-tiny"):
        checkpoint = CHECKPOINTS / case
        names = set(load_tensors(checkpoint))
        for file in plan(checkpoint)["files"]:
            for tensor in file["tensors"]:
                if tensor["source"]:
                    assert set(tensor["source"].split(" .. ")) <= names
                else:
                    assert tensor["views"]


def test_views_in_words_give_the_tensor_that_is_written(tmp_path):
    # The words, followed literally with numpy.
    convert(CHECKPOINTS / "glm-tiny", tmp_path / "out.gguf")
    written = Gguf(tmp_path / "out.gguf").tensors
    dtype, shape, raw = load_tensors(CHECKPOINTS / "glm-tiny")[GLM + "kv_b_proj.weight"]
    heads = decode(dtype, raw).reshape(shape).reshape(4, -1, shape[1])
    numpy.testing.assert_array_equal(written["blk.0.attn_k_b.weight"].floats(),
                                     heads[:, 0:24].swapaxes(1, 2))
    numpy.testing.assert_array_equal(written["blk.0.attn_v_b.weight"].floats(), heads[:, 24:56])


# ---- Text and machine ---------------------------------------------------------------------------


def test_text_has_every_tensor_and_key_of_the_file(tmp_path):
    checkpoint = CHECKPOINTS / "llama-tiny"
    convert(checkpoint, tmp_path / "out.gguf")
    text = plan_text(checkpoint)
    lines = text.splitlines()
    for tensor in GGUFReader(tmp_path / "out.gguf").tensors:
        shape = ", ".join(str(extent) for extent in reversed(tensor.shape))
        row = (rf"{re.escape(tensor.name)} +{tensor.tensor_type.name} +\[{shape}\] "
               rf"+{tensor.data_offset} +{tensor.n_bytes}  .+")
        assert sum(bool(re.fullmatch(row, line)) for line in lines) == 1, tensor.name
    for key in Gguf(tmp_path / "out.gguf").values:
        assert sum(line.startswith(key + " ") for line in lines) == 1, key
    assert re.search(r"^llama\.block_count +u32  3$", text, re.M)
    size = f"{(tmp_path / 'out.gguf').stat().st_size / 1000:.2f} kB"
    assert f"output: {size}; " in text
    assert f"model file: {size} in 31 tensors, " in text


def test_free_space_and_memory(tmp_path):
    json_plan = plan(CHECKPOINTS / "llama-tiny", tmp_path / "out.gguf")
    space = os.statvfs(tmp_path)
    # Others write to the same disk meanwhile: the exact number is not known.
    assert 0 < json_plan["free_bytes"] < space.f_blocks * space.f_frsize
    assert json_plan["memory_bytes"] == 1 << 30
    text = plan_text(CHECKPOINTS / "llama-tiny")
    assert re.search(r"; free space: \d+\.\d\d [MGT]B; memory for buffers: 1\.07 GB$", text, re.M)
    assert "memory for buffers: 33.55 MB\n" in plan_text(CHECKPOINTS / "llama-tiny", "--memory", "32M")
    assert plan(CHECKPOINTS / "llama-tiny", "--memory", "32MB")["memory_bytes"] == 32_000_000
    assert_fails(run("plan", CHECKPOINTS / "llama-tiny", "--memory", "1M"), 2, "--memory", "at least 8388608")


def test_free_space_is_that_of_the_output():
    # procfs has no space at all.
    assert plan(CHECKPOINTS / "llama-tiny", "/proc/out.gguf")["free_bytes"] == 0
    assert plan(CHECKPOINTS / "llama-tiny", "/proc")["free_bytes"] == 0


def test_free_space_of_a_folder_that_is_missing_is_unknown(tmp_path):
    nowhere = tmp_path / "nowhere" / "out.gguf"
    assert plan(CHECKPOINTS / "llama-tiny", nowhere)["free_bytes"] is None
    assert "; free space: unknown; " in plan_text(CHECKPOINTS / "llama-tiny", nowhere)


def test_writes_nothing(tmp_path):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    before = sorted(tmp_path.rglob("*"))
    plan(checkpoint, tmp_path / "out.gguf")
    assert sorted(tmp_path.rglob("*")) == before


def test_projector_of_a_family_without_one():
    assert_fails(run("plan", CHECKPOINTS / "llama-tiny", "--mmproj"), 2, "--mmproj", "Llama")
