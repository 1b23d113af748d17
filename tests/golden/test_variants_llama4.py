"""Llama 4 checkpoints that differ from the golden one: two files, text only, dense layers, RoPE."""
import json

import numpy
import pytest

from converted import (DIALECTS, Converted, assert_holds, assert_renamed, llama3_factors, random_bf16,
                       text_only_llama4, variant)
from sluice_cli import GOLDEN, Gguf, assert_fails, assert_nothing_written, convert, load_tensors, refuse, run, sha256

both = pytest.mark.parametrize("dialect", DIALECTS)
CHECKPOINT = GOLDEN / "checkpoints" / "llama4-tiny"
FEED_FORWARD = "language_model.model.layers.{}.feed_forward."


def text_variant(folder, **fields):
    return variant("llama4-tiny", folder, lambda config: config["text_config"].update(fields))


def print_of_plan(checkpoint, dialect):
    result = run("plan", checkpoint, "--dialect", dialect)
    assert result.returncode == 0, result.stderr
    return result.stderr


# ---- The vision part as a file of its own -----------------------------------------------------------


@pytest.fixture(scope="module")
def projector(tmp_path_factory):
    """(source, file of the text, file of the vision part, what was printed)"""
    folder = tmp_path_factory.mktemp("projector")
    source = Converted.golden("llama4-tiny", folder)
    result = convert(CHECKPOINT, folder / "text.gguf", "--mmproj", folder / "vision.gguf")
    return source, Gguf(folder / "text.gguf"), Gguf(folder / "vision.gguf"), result.stderr


@pytest.mark.parametrize("old, new", [
    ("class_embedding", "v.class_embd"),
    ("positional_embedding_vlm", "v.position_embd.weight"),
    ("patch_embedding.linear.weight", "v.patch_embd.weight"),
    *[(f"layernorm_{side}.{kind}", f"v.{side}_ln.{kind}")
      for side in ("pre", "post") for kind in ("weight", "bias")],
    *[(f"model.layers.{{}}.{old}.{kind}", f"v.blk.{{}}.{new}.{kind}")
      for kind in ("weight", "bias")
      # llama.cpp's converter calls the second norm attn_post_norm, which its own graph does not read.
      for old, new in [("input_layernorm", "ln1"), ("post_attention_layernorm", "ln2"),
                       ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"),
                       ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_out"),
                       ("mlp.fc1", "ffn_up"), ("mlp.fc2", "ffn_down")]],
    ("vision_adapter.mlp.fc1.weight", "mm.model.mlp.1.weight"),
    ("vision_adapter.mlp.fc2.weight", "mm.model.mlp.2.weight"),
])
def test_mmproj_holds_the_vision_tensors(projector, old, new):
    source, _, vision, _ = projector
    found = source.matches("vision_model." + old)
    assert found
    for name, numbers in found:
        assert_holds(vision.tensors[new.format(*numbers)], source.floats(name))


def test_mmproj_holds_the_projector_and_nothing_of_the_text(projector):
    source, text, vision, _ = projector
    assert_holds(vision.tensors["mm.model.fc.weight"], source.floats("multi_modal_projector.linear_1.weight"))
    assert all(name.startswith(("v.", "mm.")) for name in vision.tensors)
    assert not [name for name in text.tensors if name.startswith(("v.", "mm."))]
    from_vision = [name for name in source.sources if not name.startswith("language_model.")]
    assert len(vision.tensors) == len(from_vision)


def test_mmproj_says_what_it_is(projector):
    source, _, vision, _ = projector
    config = source.vision
    preprocessor = json.loads((CHECKPOINT / "preprocessor_config.json").read_text())
    want = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "llama4",
        "clip.use_gelu": True,
        "clip.vision.projection_dim": source.text["hidden_size"],
        "clip.vision.image_size": config["image_size"],
        "clip.vision.patch_size": config["patch_size"],
        "clip.vision.embedding_length": config["hidden_size"],
        "clip.vision.feed_forward_length": config["intermediate_size"],
        "clip.vision.block_count": config["num_hidden_layers"],
        "clip.vision.attention.head_count": config["num_attention_heads"],
        "clip.vision.projector.scale_factor": int(1 / config["pixel_shuffle_ratio"]),
        "clip.vision.image_mean": preprocessor["image_mean"],
        "clip.vision.image_std": preprocessor["image_std"],
    }
    assert {key: vision.values.get(key) for key in want} == want
    assert not [key for key in vision.values if key.startswith("tokenizer.")]


def test_mmproj_does_not_change_the_text_file(projector, tmp_path):
    convert(CHECKPOINT, tmp_path / "alone.gguf")
    convert(CHECKPOINT, tmp_path / "beside.gguf", "--mmproj", tmp_path / "vision.gguf")
    assert sha256(tmp_path / "alone.gguf") == sha256(tmp_path / "beside.gguf")
    assert "--mmproj" not in projector[3]


def test_without_mmproj_a_warning_names_it(tmp_path):
    vision = [name for name in load_tensors(CHECKPOINT) if not name.startswith("language_model.")]
    message = f"warning: {len(vision)} vision tensors are left out: --mmproj FILE writes them"
    assert message in convert(CHECKPOINT, tmp_path / "out.gguf").stderr
    assert message in print_of_plan(CHECKPOINT, "llama.cpp")
    assert "--mmproj" not in convert(CHECKPOINT, tmp_path / "ollama.gguf", "--dialect", "ollama").stderr


@pytest.mark.parametrize("case, dialect", [("llama4-tiny", "ollama"), ("llama-tiny", "llama.cpp"),
                                           ("mllama-tiny", "ollama")])
def test_mmproj_is_a_usage_error_where_there_is_no_such_file(tmp_path, case, dialect):
    result = run("convert", GOLDEN / "checkpoints" / case, tmp_path / "out.gguf", "--dialect", dialect,
                 "--mmproj", tmp_path / "mmproj.gguf")
    assert_fails(result, 2, "--mmproj does not apply", f"in the {dialect} dialect")
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("outtype, patch", [("auto", "F32"), ("bf16", "F32"), ("f32", "F32"), ("f16", "F16")])
def test_patch_embedding_of_mmproj_is_f16_only_on_demand(tmp_path, outtype, patch):
    convert(CHECKPOINT, tmp_path / "out.gguf", "--mmproj", tmp_path / "vision.gguf", "--outtype", outtype)
    tensors = Gguf(tmp_path / "vision.gguf").tensors
    assert tensors["v.patch_embd.weight"].type == patch
    assert tensors["v.blk.0.attn_q.weight"].type == {"auto": "BF16"}.get(outtype, outtype.upper())


# ---- Text only --------------------------------------------------------------------------------------


def test_text_only_checkpoint_gives_the_same_file(tmp_path):
    result = convert(text_only_llama4(tmp_path), tmp_path / "text.gguf")
    convert(CHECKPOINT, tmp_path / "both.gguf")
    assert sha256(tmp_path / "text.gguf") == sha256(tmp_path / "both.gguf")
    assert "vision" not in result.stderr


def test_text_only_checkpoint_has_no_mmproj(tmp_path):
    result = run("convert", text_only_llama4(tmp_path), tmp_path / "out.gguf", "--mmproj", tmp_path / "mmproj.gguf")
    assert_fails(result, 2, "--mmproj does not apply")


def test_text_only_checkpoint_is_refused_by_ollama(tmp_path):
    refuse(text_only_llama4(tmp_path), tmp_path, 4, "Llama4ForCausalLM in the ollama dialect", "--dialect llama.cpp",
           arguments=("--dialect", "ollama"))


# ---- Layers -----------------------------------------------------------------------------------------


def make_dense(tensors, blocks):
    for block in blocks:
        prefix = FEED_FORWARD.format(block)
        for name in [name for name in tensors if name.startswith(prefix)]:
            del tensors[name]
        for part, shape in (("gate", (128, 64)), ("up", (128, 64)), ("down", (64, 128))):
            tensors[f"{prefix}{part}_proj.weight"] = random_bf16(*shape, seed=ord(part[0]) + block)


@both
@pytest.mark.parametrize("step, sparse", [(2, [1, 3]), (4, [3])])
def test_every_nth_layer_is_a_mixture_of_experts(tmp_path, dialect, step, sparse):
    dense = [block for block in range(4) if block not in sparse]
    checkpoint = variant(
        "llama4-tiny", tmp_path,
        lambda config: config["text_config"].update(interleave_moe_layer_step=step, moe_layers=sparse),
        lambda tensors: make_dense(tensors, dense))
    model = Converted(checkpoint, tmp_path)
    names = model[dialect].tensors
    assert [block for block in range(4) if f"blk.{block}.ffn_gate_inp.weight" in names] == sparse
    assert [block for block in range(4) if f"blk.{block}.ffn_gate.weight" in names] == dense
    for part in ("gate", "up", "down"):
        assert_renamed(model, dialect, FEED_FORWARD + f"{part}_proj.weight", f"blk.{{}}.ffn_{part}.weight")


def test_moe_layers_that_the_step_does_not_give_are_refused(tmp_path):
    checkpoint = variant("llama4-tiny", tmp_path,
                         lambda config: config["text_config"].update(moe_layers=[0, 1]),
                         lambda tensors: make_dense(tensors, [2, 3]))
    refuse(checkpoint, tmp_path, 4, "moe_layers is not what interleave_moe_layer_step gives")


@both
def test_full_attention_in_all_layers(tmp_path, dialect):
    checkpoint = text_variant(tmp_path, layer_types=["full_attention"] * 4)
    window = Converted(checkpoint, tmp_path)[dialect].values.get("llama4.attention.sliding_window")
    # llama.cpp takes the absence for chunks of 8192; Ollama has a key for the chunks.
    assert window == (0 if dialect == "llama.cpp" else None)


# ---- use_qk_norm: llama.cpp decides by the number of experts ----------------------------------------


def with_experts(folder, count, use_qk_norm):
    def widen(tensors):
        for block in range(4):
            prefix = FEED_FORWARD.format(block)
            tensors[prefix + "router.weight"] = random_bf16(count, 64, seed=1)
            tensors[prefix + "experts.gate_up_proj"] = random_bf16(count, 64, 16, seed=2)
            tensors[prefix + "experts.down_proj"] = random_bf16(count, 8, 64, seed=3)
            for part, shape in (("gate", (8, 64)), ("up", (8, 64)), ("down", (64, 8))):
                tensors[f"{prefix}shared_expert.{part}_proj.weight"] = random_bf16(*shape, seed=4)

    return variant("llama4-tiny", folder, lambda config: config["text_config"].update(
        num_local_experts=count, intermediate_size=8, use_qk_norm=use_qk_norm, attention_chunk_size=8192), widen)


@pytest.mark.parametrize("experts, use_qk_norm, warns", [(16, True, False), (16, False, True),
                                                         (128, False, False), (128, True, True)])
def test_use_qk_norm_that_the_loader_ignores_is_a_warning(tmp_path, experts, use_qk_norm, warns):
    checkpoint = with_experts(tmp_path, experts, use_qk_norm)
    printed = print_of_plan(checkpoint, "llama.cpp")
    assert (f"use_qk_norm is {str(use_qk_norm).lower()}" in printed) is warns
    assert ("logits will differ" in printed) is warns
    assert "use_qk_norm" not in print_of_plan(checkpoint, "ollama")


def test_use_qk_norm_does_not_change_the_llama_cpp_file(tmp_path):
    for flag in (True, False):
        convert(text_variant(tmp_path / str(flag), use_qk_norm=flag), tmp_path / f"{flag}.gguf")
    assert sha256(tmp_path / "True.gguf") == sha256(tmp_path / "False.gguf")


# ---- Attention: which layers rotate, chunks, temperature ---------------------------------------------

KEYS = {"no_rope_interval": "uint32", "attention.temperature_tuning": "bool", "attention.scale": "float32",
        "attention.floor_scale": "float32"}


def attention_keys(file):
    return {key: file.values[f"llama4.{key}"] for key in KEYS if f"llama4.{key}" in file.values}


@both
@pytest.mark.parametrize("fields", [
    {}, {"no_rope_layers": []}, {"no_rope_layers": None}, {"no_rope_layers": [1, 1, 1, 0, 1]},
    # As the first published files had it.
    {"attn_temperature_tuning": 4}, {"no_rope_layer_interval": 7}])
def test_usual_attention_has_no_keys_and_no_warnings(tmp_path, dialect, fields):
    model = Converted(text_variant(tmp_path, attention_chunk_size=8192, **fields), tmp_path)
    assert attention_keys(model[dialect]) == {}
    assert "will differ" not in model.messages[dialect]


@pytest.mark.parametrize("fields, interval", [
    ({"no_rope_layers": [1, 0, 1, 0]}, 2), ({"no_rope_layers": [1, 1, 0, 1]}, 3), ({"no_rope_layers": [1] * 4}, 5),
    ({"no_rope_layers": [0] * 4}, 1), ({"no_rope_layers": [], "no_rope_layer_interval": 2}, 2)])
def test_layers_that_rotate(tmp_path, fields, interval):
    layer_types = ["chunked_attention" if (i + 1) % interval else "full_attention" for i in range(4)]
    checkpoint = text_variant(tmp_path, attention_chunk_size=8192, layer_types=layer_types, **fields)
    model = Converted(checkpoint, tmp_path)
    assert attention_keys(model["ollama"]) == {"no_rope_interval": interval}
    assert model["ollama"].types["llama4.no_rope_interval"] == "uint32"
    assert "will differ" not in model.messages["ollama"]
    assert attention_keys(model["llama.cpp"]) == {}
    (warning,) = [line for line in model.messages["llama.cpp"].splitlines() if "no_rope_layers" in line]
    assert warning.endswith("logits will differ from the original model")


@both
def test_layers_that_rotate_at_no_interval(tmp_path, dialect):
    printed = print_of_plan(text_variant(tmp_path, no_rope_layers=[1, 0, 0, 1]), dialect)
    assert "warning: no_rope_layers " in printed


@both
def test_layers_that_rotate_without_chunks(tmp_path, dialect):
    layer_types = ["chunked_attention", "full_attention", "chunked_attention", "full_attention"]
    printed = print_of_plan(text_variant(tmp_path, layer_types=layer_types), dialect)
    assert "warning: layer_types has chunks elsewhere than in the layers that rotate" in printed


def test_list_of_layers_that_rotate_is_too_short(tmp_path):
    refuse(text_variant(tmp_path, no_rope_layers=[1, 1, 1]), tmp_path, 3,
           "no_rope_layers has not one entry for each layer")


@pytest.mark.parametrize("field, value, key", [("attn_temperature_tuning", False, "attention.temperature_tuning"),
                                               ("attn_temperature_tuning", 0, "attention.temperature_tuning"),
                                               ("attn_scale", 0.25, "attention.scale"),
                                               ("floor_scale", 4096, "attention.floor_scale")])
def test_temperature_of_attention(tmp_path, field, value, key):
    model = Converted(text_variant(tmp_path, max_position_embeddings=8192, **{field: value}), tmp_path)
    assert attention_keys(model["ollama"]) == {key: value}
    assert model["ollama"].types[f"llama4.{key}"] == KEYS[key]
    assert "attn_scale" not in model.messages["ollama"]
    assert attention_keys(model["llama.cpp"]) == {}
    assert "warning: attn_temperature_tuning, attn_scale or floor_scale is not" in model.messages["llama.cpp"]


@pytest.mark.parametrize("fields", [{"attn_temperature_tuning": False}, {"attn_scale": 0.25}, {"floor_scale": 6000}])
def test_temperature_that_no_text_is_long_enough_for(tmp_path, fields):
    assert "attn_scale" not in print_of_plan(text_variant(tmp_path, **fields), "llama.cpp")


@pytest.mark.parametrize("chunk, context, first", [(128, 4096, 128), (16384, 16384, 8192), (8192, 16384, None),
                                                   (4096, 4096, None), (0, 4096, None), (0, 16384, 8192)])
def test_chunks_that_llama_cpp_takes_otherwise(tmp_path, chunk, context, first):
    checkpoint = text_variant(tmp_path, attention_chunk_size=chunk, max_position_embeddings=context)
    printed = print_of_plan(checkpoint, "llama.cpp")
    text = f"attention_chunk_size is {chunk}, but llama.cpp always takes 8192: from token {first} on"
    assert (text in printed) is (first is not None)
    assert ("attention_chunk_size" in printed) is (first is not None)
    assert "attention_chunk_size" not in print_of_plan(checkpoint, "ollama")


@pytest.mark.parametrize("field, value, expected", [
    ("no_rope_layers", "1110", "a list of integers"), ("no_rope_layer_interval", 0, "an integer from 1"),
    ("attn_temperature_tuning", "yes", "true, false or an integer"), ("attn_scale", "0.1", "a number"),
    ("floor_scale", 0, "a number above 0"), ("attention_bias", 1, "true or false")])
def test_attention_fields_that_are_unusable(tmp_path, field, value, expected):
    refuse(text_variant(tmp_path, **{field: value}), tmp_path, 3, f"field '{field}' is unusable", expected)


@both
def test_biases_of_projections_are_refused(tmp_path, dialect):
    refuse(text_variant(tmp_path, attention_bias=True), tmp_path, 4, "attention_bias true",
           arguments=("--dialect", dialect))


# ---- RoPE -------------------------------------------------------------------------------------------

SCOUT = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0,
         "original_max_position_embeddings": 8192, "rope_type": "llama3"}
MAVERICK = {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 4096, "rope_type": "llama3"}


@both
@pytest.mark.parametrize("scaling", [SCOUT, MAVERICK])
def test_rope_factors(tmp_path, dialect, scaling):
    checkpoint = text_variant(tmp_path, rope_scaling=scaling)
    written = Converted(checkpoint, tmp_path)[dialect].tensors["rope_freqs.weight"]
    assert written.type == "F32"
    want = llama3_factors(scaling, 500000.0, 16)
    numpy.testing.assert_allclose(written.floats(), want, rtol=1e-6)
    if scaling is SCOUT:
        assert set(written.floats()) == {1.0, 8.0}


@both
def test_no_rope_factors_without_scaling(tmp_path, dialect):
    file = Converted(text_variant(tmp_path, rope_scaling=None), tmp_path)[dialect]
    assert "rope_freqs.weight" not in file.tensors
    assert file.values["llama4.rope.freq_base"] == 500000.0


@both
def test_rope_factors_follow_the_head_width_of_their_reader(tmp_path, dialect):
    def widen(tensors):
        for block in range(4):
            attention = f"language_model.model.layers.{block}.self_attn."
            for part, shape in (("q", (128, 64)), ("k", (64, 64)), ("v", (64, 64)), ("o", (64, 128))):
                tensors[f"{attention}{part}_proj.weight"] = random_bf16(*shape, seed=block)

    checkpoint = variant("llama4-tiny", tmp_path, lambda config: config["text_config"].update(head_dim=32), widen)
    model = Converted(checkpoint, tmp_path)
    # Ollama's converter takes hidden_size / heads where head_dim differs.
    dim = {"llama.cpp": 32, "ollama": 64 // 4}[dialect]
    numpy.testing.assert_allclose(model[dialect].tensors["rope_freqs.weight"].floats(),
                                  llama3_factors(model.text["rope_scaling"], 500000.0, dim), rtol=1e-6)
    assert model[dialect].values["llama4.rope.dimension_count"] == dim
    assert model[dialect].values["llama4.attention.key_length"] == 32


@both
def test_head_dim_of_a_config_without_it_is_that_of_transformers(tmp_path, dialect):
    def widen(tensors):
        for block in range(4):
            attention = f"language_model.model.layers.{block}.self_attn."
            for part, shape in (("q", (512, 64)), ("k", (256, 64)), ("v", (256, 64)), ("o", (64, 512))):
                tensors[f"{attention}{part}_proj.weight"] = random_bf16(*shape, seed=block)

    checkpoint = variant("llama4-tiny", tmp_path, lambda config: config["text_config"].pop("head_dim"), widen)
    values = Converted(checkpoint, tmp_path)[dialect].values
    # Ollama's converter writes the key only where config.json has the field.
    want = {"llama.cpp": 128, "ollama": None}[dialect]
    assert values.get("llama4.attention.key_length") == want
    assert values.get("llama4.attention.value_length") == want
