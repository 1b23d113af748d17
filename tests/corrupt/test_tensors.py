"""Tensors that do not fit the architecture: all problems of a checkpoint are reported in one run."""
import pytest

from sluice_cli import (assert_fails, assert_nothing_written, copy_checkpoint, edit_json, load_tensors,
                        refuse, replace_tensors, run)

EXPERT = "model.layers.1.mlp.experts.{}.{}_proj.weight"


@pytest.fixture
def glm(tmp_path):
    return copy_checkpoint("glm-tiny", tmp_path)


def rewrite(checkpoint, change):
    tensors = load_tensors(checkpoint)
    change(tensors)
    replace_tensors(checkpoint, tensors)


def problems(result):
    """The lines of a failed run that name a problem."""
    lines = result.stderr.rstrip("\n").removeprefix("error: ").split("\n")
    return [line for line in lines if not line.startswith("  ")]


@pytest.mark.parametrize("expert", [0, 3])
def test_expert_ids_with_a_gap(glm, tmp_path, expert):
    rewrite(glm, lambda tensors: tensors.pop(EXPERT.format(expert, "up")))
    refuse(glm, tmp_path, 3, "tensor 'model.layers.1.mlp.experts.{xid}.up_proj.weight'",
           f"expert {expert} is missing", "experts 0 to 7")


def test_last_expert_missing(glm, tmp_path):
    rewrite(glm, lambda tensors: tensors.pop(EXPERT.format(7, "down")))
    refuse(glm, tmp_path, 3, "expert 7 is missing", "experts 0 to 7")


def test_gap_of_several_experts(glm, tmp_path):
    rewrite(glm, lambda tensors: [tensors.pop(EXPERT.format(expert, "gate")) for expert in (2, 3, 4)])
    refuse(glm, tmp_path, 3, "experts 2 to 4 are missing")


def test_expert_ids_do_not_begin_at_0(glm, tmp_path):
    # Renumbered 1..8: one is missing and one is too many.
    def change(tensors):
        for expert in reversed(range(8)):
            tensors[EXPERT.format(expert + 1, "up")] = tensors.pop(EXPERT.format(expert, "up"))

    rewrite(glm, change)
    result = run("convert", glm, tmp_path / "out.gguf")
    assert_fails(result, 3, "expert 0 is missing", "expert beyond the configured number", "got expert 8")
    assert len(problems(result)) == 2


def test_more_experts_than_configured(glm, tmp_path):
    rewrite(glm, lambda tensors: tensors.update({EXPERT.format(8, "up"): tensors[EXPERT.format(7, "up")]}))
    refuse(glm, tmp_path, 3, f"tensor '{EXPERT.format(8, 'up')}'", "experts 0 to 7", "got expert 8")


def test_fewer_experts_configured_than_there_are(glm, tmp_path):
    edit_json(glm / "config.json", lambda config: config.update(n_routed_experts=7))
    result = run("convert", glm, tmp_path / "out.gguf")
    assert_fails(result, 3, "got expert 7", "experts 0 to 6")
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("number", ["08", "-1", "1x", "18446744073709551616", "1.5"])
def test_expert_id_that_is_no_plain_number(glm, tmp_path, number):
    rewrite(glm, lambda tensors: tensors.update(
        {EXPERT.format(number, "up"): tensors[EXPERT.format(7, "up")]}))
    refuse(glm, tmp_path, 3, f"tensor '{EXPERT.format(number, 'up')}'", "no rule of this architecture",
           "a name like")


@pytest.mark.parametrize("name, shape, expected", [
    ("model.norm.weight", [32, 2], "[64]"),
    ("lm_head.weight", [64, 520], "[520, 64]"),
    ("model.layers.0.self_attn.o_proj.weight", [128, 64], "[64, 128]"),
    ("model.layers.1.mlp.experts.5.up_proj.weight", [64, 32], "[32, 64]"),
    ("model.layers.2.mlp.gate.e_score_correction_bias", [8, 1], "[8]"),
    ("model.layers.0.self_attn.kv_b_proj.weight", [7168], "[224, 32]"),
    ("model.layers.0.self_attn.kv_b_proj.weight", [4, 56, 32], "[224, 32]"),
])
def test_wrong_dimension(glm, tmp_path, name, shape, expected):
    def change(tensors):
        dtype, _, raw = tensors[name]
        tensors[name] = (dtype, shape, raw)

    rewrite(glm, change)
    result = run("convert", glm, tmp_path / "out.gguf")
    shown = "[" + ", ".join(map(str, shape)) + "]"
    assert_fails(result, 3, f"tensor '{name}'", "shape does not fit", f"expected {expected}", f"got {shown}")
    assert_nothing_written(tmp_path)


def test_tensor_without_elements(glm, tmp_path):
    rewrite(glm, lambda tensors: tensors.update({"model.norm.weight": ("BF16", [0], b"")}))
    refuse(glm, tmp_path, 3, "tensor 'model.norm.weight'", "expected [64]", "got [0]")


def test_heads_without_elements(tmp_path):
    # More heads than columns: without head_dim a head has 0 elements, and so have these tensors.
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)

    def change(config):
        del config["head_dim"]
        config.update(num_attention_heads=65, num_key_value_heads=65)

    def cut(tensors):
        for name in tensors:
            if "self_attn" in name:
                shape = [64, 0] if "o_proj" in name else [0, 64]
                tensors[name] = ("BF16", shape, b"")

    edit_json(checkpoint / "config.json", change)
    rewrite(checkpoint, cut)
    for arguments in ([], ["--type", "Q8_0"], ["--dialect", "ollama"]):
        refuse(checkpoint, tmp_path, 4, "tensor 'blk.0.attn_", "a tensor without elements", arguments=arguments)


def test_required_tensor_missing(glm, tmp_path):
    rewrite(glm, lambda tensors: tensors.pop("model.layers.0.self_attn.o_proj.weight"))
    refuse(glm, tmp_path, 3, "tensor 'model.layers.0.self_attn.o_proj.weight'", "missing",
           "blk.0.attn_output.weight")


def test_untied_checkpoint_without_an_output_tensor(glm, tmp_path):
    rewrite(glm, lambda tensors: tensors.pop("lm_head.weight"))
    refuse(glm, tmp_path, 3, "tensor 'lm_head.weight'", "missing", "output.weight")


def test_layer_missing_as_a_whole(glm, tmp_path):
    def change(tensors):
        for name in [name for name in tensors if name.startswith("model.layers.2.")]:
            del tensors[name]

    rewrite(glm, change)
    result = run("convert", glm, tmp_path / "out.gguf")
    assert_fails(result, 3, "model.layers.2.self_attn.o_proj.weight", "model.layers.2.mlp.gate.weight",
                 "model.layers.2.input_layernorm.weight")


@pytest.mark.parametrize("name, like", [
    ("model.layers.0.self_attn.qq_proj.weight", "model.layers.{bid}.self_attn.q"),
    ("model.layers.1.mlp.experts.0.up_proj.bias", "model.layers.{bid}.mlp.experts.{xid}.up_proj.weight"),
    ("model.embed_token.weight", "model.embed_tokens.weight"),
    ("model.layers.9.input_layernorm.weight", "model.layers.{bid}.input_layernorm.weight"),
    ("", "a name like"),
])
def test_unknown_tensor_is_reported_with_the_nearest_rule(glm, tmp_path, name, like):
    rewrite(glm, lambda tensors: tensors.update({name: ("F32", [1], bytes(4))}))
    result = run("convert", glm, tmp_path / "out.gguf")
    assert_fails(result, 3, f"tensor '{name}'" if name else "no rule", "no rule of this architecture", like)
    assert_nothing_written(tmp_path)


def test_unknown_tensors_names_are_printed_as_they_are(glm, tmp_path):
    name = "model.läyers.\N{SNOWMAN}.weight"
    rewrite(glm, lambda tensors: tensors.update({name: ("F32", [1], bytes(4))}))
    refuse(glm, tmp_path, 3, f"tensor '{name}'")


def test_all_problems_are_reported_at_once(glm, tmp_path):
    missing = ["model.norm.weight", "model.layers.0.mlp.up_proj.weight",
               "model.layers.2.self_attn.q_a_layernorm.weight"]
    unknown = ["model.layers.0.extra.weight", "vision.patch.weight"]
    misshapen = {"lm_head.weight": [64, 520], "model.layers.1.mlp.gate.weight": [64, 8]}

    def change(tensors):
        for name in missing:
            del tensors[name]
        for name in unknown:
            tensors[name] = ("F32", [1], bytes(4))
        for name, shape in misshapen.items():
            dtype, _, raw = tensors[name]
            tensors[name] = (dtype, shape, raw)
        del tensors[EXPERT.format(4, "gate")]
        tensors["model.layers.2.input_layernorm.weight"] = ("I32", [64], bytes(256))

    rewrite(glm, change)
    for command in (["convert", glm, tmp_path / "out.gguf"], ["plan", glm]):
        result = run(*command)
        assert_fails(result, 3, *missing, *unknown, *misshapen, "expert 4 is missing", "got I32")
        assert len(problems(result)) == len(missing) + len(unknown) + len(misshapen) + 2
    assert_nothing_written(tmp_path)


def test_problems_of_several_shards_are_reported_at_once(tmp_path):
    checkpoint = copy_checkpoint("glm-tiny-v5", tmp_path)
    shards = sorted(checkpoint.glob("*.safetensors"))
    shards[0].write_bytes(b"short")
    shards[2].write_bytes(bytes(64))
    result = run("convert", checkpoint, tmp_path / "out.gguf")
    assert_fails(result, 3, f"{shards[0]}: file ends", f"{shards[2]}: at byte 0: impossible header length")
    assert_nothing_written(tmp_path)


def test_partial_mtp_layer_is_refused(glm, tmp_path):
    rewrite(glm, lambda tensors: tensors.pop("model.layers.3.eh_proj.weight"))
    refuse(glm, tmp_path, 3, "tensor 'model.layers.3.eh_proj.weight'", "missing")


def test_vision_tensor_missing_in_the_projector(tmp_path):
    checkpoint = copy_checkpoint("llama4-tiny", tmp_path)
    rewrite(checkpoint, lambda tensors: tensors.pop("vision_model.class_embedding"))
    result = run("convert", checkpoint, tmp_path / "out.gguf", "--mmproj", tmp_path / "mmproj.gguf")
    assert_fails(result, 3, "tensor 'vision_model.class_embedding'", "missing", "v.class_embd")
    assert_nothing_written(tmp_path)


def test_vision_preprocessor_missing(tmp_path):
    checkpoint = copy_checkpoint("llama4-tiny", tmp_path)
    (checkpoint / "preprocessor_config.json").unlink()
    result = run("convert", checkpoint, tmp_path / "out.gguf", "--mmproj", tmp_path / "mmproj.gguf")
    assert_fails(result, 3, "clip.vision.image_mean", "clip.vision.image_std", "preprocessor_config.json")
    assert_nothing_written(tmp_path)
