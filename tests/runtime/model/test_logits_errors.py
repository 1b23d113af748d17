"""What `sluice logits` refuses, and how it says so."""
import json

import numpy
import pytest

from sluice_cli import (GOLDEN, assert_fails, assert_one_message, convert, copy_checkpoint,
                        edit_json, encode, load_tensors, replace_tensors, run)

TOKENS = "5,17,200"


def logits(model, folder, *arguments, tokens=TOKENS):
    return run("logits", model, "--tokens", tokens, "--output", folder / "out.f32", *arguments)


def tiny_gguf(folder, *arguments, dialect="llama.cpp"):
    path = folder / "model.gguf"
    convert(GOLDEN / "checkpoints" / "glm-tiny", path, "--dialect", dialect, *arguments)
    return path


def rename_in(path, old, new):
    """Renames a key or tensor in the head of a file, in place: both names are equally long."""
    raw = path.read_bytes()
    assert raw.count(old.encode()) == 1 and len(old) == len(new)
    path.write_bytes(raw.replace(old.encode(), new.encode()))


@pytest.mark.parametrize("case", ("llama-tiny", "lfm2-tiny", "llama4-tiny"))
def test_other_checkpoints(case, tmp_path):
    result = logits(GOLDEN / "checkpoints" / case, tmp_path)
    assert_fails(result, 4, "model to run: expected GLM-4 MoE Lite", case)


def test_other_gguf(tmp_path):
    model = tmp_path / "llama.gguf"
    convert(GOLDEN / "checkpoints" / "llama-tiny", model)
    assert_fails(logits(model, tmp_path), 4, "got llama")


def test_deepseek_with_another_tokenizer(tmp_path):
    model = tiny_gguf(tmp_path, "--set", "tokenizer.ggml.pre=str:deepseek-llm")
    assert_fails(logits(model, tmp_path), 4, "deepseek2 with pre-tokenizer deepseek-llm")


def test_softmax_gating(tmp_path):
    model = tiny_gguf(tmp_path, "--set", "deepseek2.expert_gating_func=u32:1")
    assert_fails(logits(model, tmp_path), 4, "expert gating function")


def test_absent_gating_key_is_sigmoid_with_a_warning(tmp_path):
    model = tiny_gguf(tmp_path)
    first, second = tmp_path / "first.f32", tmp_path / "second.f32"
    before = run("logits", model, "--tokens", TOKENS, "--output", first)
    assert before.returncode == 0 and before.stderr == ""
    rename_in(model, "expert_gating_func", "expert_gating_fun_")
    after = run("logits", model, "--tokens", TOKENS, "--output", second)
    assert after.returncode == 0
    assert after.stderr.startswith("warning: no key expert_gating_func: taking sigmoid")
    assert first.read_bytes() == second.read_bytes()


def test_unknown_rope_scaling(tmp_path):
    model = tiny_gguf(tmp_path, "--set", "deepseek2.rope.scaling.type=str:longrope")
    assert_fails(logits(model, tmp_path), 4, "RoPE scaling", "got longrope")
    checkpoint = copy_checkpoint("glm-tiny", tmp_path)
    edit_json(checkpoint / "config.json",
              lambda content: content.update(rope_scaling={"type": "dynamic", "factor": 2.0}))
    assert_fails(logits(checkpoint, tmp_path), 4, "RoPE scaling", "got dynamic", "config.json")


@pytest.mark.parametrize("change, message", [
    ({"attention_bias": True}, "attention_bias true"),
    ({"rope_interleave": False}, "rope_interleave false"),
    ({"mlp_layer_types": ["dense", "sparse", "dense"]}, "does not have all dense layers first"),
    ({"mlp_layer_types": ["sparse", "dense", "sparse"]}, "does not have all dense layers first"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
])
def test_configurations_that_no_published_model_has(change, message, tmp_path):
    checkpoint = copy_checkpoint("glm-tiny", tmp_path)
    edit_json(checkpoint / "config.json", lambda content: content.update(change))
    result = logits(checkpoint, tmp_path)
    assert_fails(result, 4, "config.json", message)
    assert_one_message(result)
    assert not (tmp_path / "out.f32").exists()


def test_missing_tensor(tmp_path):
    model = tiny_gguf(tmp_path)
    rename_in(model, "blk.1.attn_v_b.weight", "blk.1.attn_v_x.weight")
    assert_fails(logits(model, tmp_path), 3, model, "tensor 'blk.1.attn_v_b.weight'",
                 "expected shape [4, 32, 32]", "tensor 'blk.1.attn_v_x.weight'")


def test_missing_key(tmp_path):
    model = tiny_gguf(tmp_path)
    rename_in(model, "deepseek2.attention.kv_lora_rank", "deepseek2.attention.kv_lora_rang")
    result = logits(model, tmp_path)
    assert_fails(result, 3, model, "no key 'deepseek2.attention.kv_lora_rank'")
    assert_one_message(result)


def test_wrong_shape(tmp_path):
    model = tiny_gguf(tmp_path, "--set", "glm4moelite.attention.kv_lora_rank=u32:16",
                      dialect="ollama")
    assert_fails(logits(model, tmp_path), 3, "tensor 'blk.0.attn_kv_a_norm.weight'",
                 "expected [16], got [32]")


def test_part_of_a_split_file(tmp_path):
    model = tiny_gguf(tmp_path, "--set", "parts.count=u16:3")
    rename_in(model, "parts.count", "split.count")
    result = logits(model, tmp_path)
    assert_fails(result, 4, "one part of a split file", "got one of 3 parts")
    assert_one_message(result)


@pytest.mark.parametrize("name, value", [
    ("self_attn.o_proj.weight", numpy.nan), ("self_attn.o_proj.weight", numpy.inf),
    ("mlp.gate.weight", numpy.nan)])  # of the router, which could do without that expert
def test_weights_that_are_not_finite(name, value, tmp_path):
    checkpoint = copy_checkpoint("glm-tiny", tmp_path)
    tensors = load_tensors(checkpoint)
    name = f"model.layers.1.{name}"
    dtype, shape, raw = tensors[name]
    raw = bytearray(raw)
    raw[100:102] = encode("BF16", numpy.array([value], numpy.float32))
    replace_tensors(checkpoint, tensors | {name: (dtype, shape, bytes(raw))})
    result = logits(checkpoint, tmp_path, "--quiet")
    assert_fails(result, 3, checkpoint, "logits are not finite", "NaN or infinite")
    assert_one_message(result)
    assert not (tmp_path / "out.f32").exists()


def test_tokens_that_are_none(tmp_path):
    result = logits(tiny_gguf(tmp_path), tmp_path, tokens="")
    assert_fails(result, 2, "--tokens")


def test_prompt_longer_than_the_context(tmp_path):
    model = tiny_gguf(tmp_path, "--set", "deepseek2.context_length=u32:2")
    result = logits(model, tmp_path)
    assert_fails(result, 2, model, "more tokens than the model's context", "at most 2, got 3")
    assert_one_message(result)
    result = logits(model, tmp_path, "--chunk", "1")
    assert_fails(result, 2, "more tokens than the model's context", "at most 2, got 3")


def test_token_outside_the_vocabulary(tmp_path):
    result = logits(GOLDEN / "checkpoints" / "glm-tiny", tmp_path, tokens="5,520")
    assert_fails(result, 2, "token outside the vocabulary", "an id below 520, got 520")


def test_flags(tmp_path):
    model = GOLDEN / "checkpoints" / "glm-tiny"
    for arguments in (("--chunk", "0"), *(("--latent-eps", value) for value in ("0", "nan", "1e300", "1e-50", "-1", "x")), ("--cache", "f8"),
                      ("--attention", "both"), ("--threads", "0")):
        assert logits(model, tmp_path, *arguments).returncode == 2
    assert logits(model, tmp_path, tokens="-1").returncode == 2
    (tmp_path / "out.f32").write_text("kept")
    assert_fails(logits(model, tmp_path), 2, "out.f32")
    assert (tmp_path / "out.f32").read_text() == "kept"
    assert logits(model, tmp_path, "--force").returncode == 0
    assert (tmp_path / "out.f32").stat().st_size == 3 * 520 * 4


def test_the_model_is_not_replaced(tmp_path):
    model = tiny_gguf(tmp_path)
    before = model.read_bytes()
    result = run("logits", model, "--tokens", TOKENS, "--output", model, "--force")
    assert_fails(result, 2, "one of the sources", model)
    assert model.read_bytes() == before


def test_an_output_that_cannot_be_written_is_found_first(tmp_path):
    result = run("logits", tmp_path / "none", "--tokens", TOKENS, "--output", tmp_path / "no" / "x")
    assert_fails(result, 5, tmp_path / "no" / "x")
    assert_fails(logits(tmp_path / "none", tmp_path), 3, "none")
    assert list(tmp_path.iterdir()) == []


def test_names_that_no_file_can_have(tmp_path):
    assert_fails(logits("x" * 300, tmp_path), 5, "File name too long")


def test_numbers_that_are_not_above_zero(tmp_path):
    model = tiny_gguf(tmp_path, "--set", "deepseek2.rope.freq_base=f32:0")
    assert_fails(logits(model, tmp_path), 3, "'deepseek2.rope.freq_base'", "above 0, got 0")


def test_missing_and_broken_files(tmp_path):
    assert_fails(logits(tmp_path / "nothing.gguf", tmp_path), 3, "nothing.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    assert_fails(logits(tmp_path / "broken.gguf", tmp_path), 3, "broken.gguf")
    whole = tiny_gguf(tmp_path)
    whole.write_bytes(whole.read_bytes()[:-100])
    assert_fails(logits(whole, tmp_path), 3, "data passes the end of the file")
