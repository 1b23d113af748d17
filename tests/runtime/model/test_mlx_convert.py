"""`sluice convert --format safetensors`: every byte of the folder, and what is refused."""
import json
import shutil

import numpy
import pytest

from mlx_checkpoint import kind_of, stacked, wide_checkpoint
from mlx_layout import TYPES, quantize
from prequantized import Fp8Blocks, Gptq, Nvfp4, Packed, quantized
from sluice_cli import (GOLDEN, assert_fails, assert_one_message, convert, copy_checkpoint, edit_json,
                        encode, load_tensors, read_safetensors, replace_tensors, run, sha256, source_floats)

BYTES = {"U32": 4, "F32": 4, "BF16": 2, "F16": 2, "U8": 1}


def to_folder(checkpoint, out, kind, *arguments):
    return convert(checkpoint, out, "--format", "safetensors", "--type", kind, *arguments)


def refuse(checkpoint, out, code, *words, kind="int4", arguments=()):
    result = run("convert", checkpoint, out, "--format", "safetensors", "--type", kind, *arguments)
    assert_fails(result, code, *words)
    assert_one_message(result)


def kinds(folder):
    """{module: (type, group)} of the modules that are quantized."""
    quantization = json.loads((folder / "config.json").read_text())["quantization"]
    return {name.removesuffix(".weight"): kind_of(quantization.get(name.removesuffix(".weight"),
                                                                   quantization))
            for name, (dtype, _, _) in load_tensors(folder).items() if dtype == "U32"}


def contents(folder):
    return {path.name: sha256(path) for path in folder.iterdir()}


# ---- Codes, scales and biases -------------------------------------------------------------------


def assert_equals_formulas(checkpoint, folder):
    """Every tensor of the folder is what the NumPy formulas make of the checkpoint's."""
    got, chosen = load_tensors(folder), kinds(folder)
    sources = load_tensors(checkpoint)
    for name, values in stacked(sources).items():
        module = name.removesuffix(".weight")
        source_dtype = sources.get(name, next(iter(sources.values())))[0]
        if module not in chosen:
            assert got.pop(name) == (source_dtype, list(values.shape), encode(source_dtype, values))
            continue
        for suffix, (dtype, shape, raw) in quantize(values, *chosen[module],
                                                    scale_dtype=source_dtype).items():
            assert got.pop(module + suffix) == (dtype, shape, raw), module + suffix
    assert got == {}


@pytest.mark.parametrize("kind, group", [(kind, None) for kind in TYPES]
                         + [(kind, group) for kind in ("int4", "int8") for group in (32, 128)])
def test_every_tensor_equals_the_formulas(kind, group, tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    to_folder(checkpoint, tmp_path / "out", kind, *(("--group-size", group) if group else ()))
    assert_equals_formulas(checkpoint, tmp_path / "out")


@pytest.mark.parametrize("dtype", ("F16", "F32"))
def test_scales_have_the_dtype_of_the_source(dtype, tmp_path):
    checkpoint = wide_checkpoint(tmp_path, dtype=dtype)
    to_folder(checkpoint, tmp_path / "out", "int4")
    tensors = load_tensors(tmp_path / "out")
    assert tensors["lm_head.scales"][0] == tensors["lm_head.biases"][0] == dtype
    assert_equals_formulas(checkpoint, tmp_path / "out")


def test_groups_of_zeros_equal_values_and_small_values(tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    tensors = load_tensors(checkpoint)
    rows = numpy.random.default_rng(1).normal(0, 1, (520, 128))
    rows[0], rows[1], rows[2], rows[3] = 0, 3, -0.7, rows[3] * 1e-20
    rows[4], rows[5] = numpy.abs(rows[4]), -numpy.abs(rows[5])
    tensors["lm_head.weight"] = ("BF16", [520, 128], encode("BF16", rows))
    replace_tensors(checkpoint, tensors)
    for kind in TYPES:
        to_folder(checkpoint, tmp_path / kind, kind)
        assert_equals_formulas(checkpoint, tmp_path / kind)


# ---- Which tensors ------------------------------------------------------------------------------

LAYER = "model.layers.1."
PLAIN = {"self_attn.q_a_proj", "self_attn.q_b_proj", "self_attn.kv_a_proj_with_mqa",
         "self_attn.kv_b_proj", "self_attn.o_proj", "mlp.switch_mlp.gate_proj",
         "mlp.switch_mlp.up_proj", "mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj"}
EXPERT_DOWN = {"mlp.switch_mlp.down_proj", "mlp.shared_experts.down_proj"}


@pytest.mark.parametrize("kind, head, dense_down, expert_down", [
    ("int4", "int8", "int8", "int8"), ("int8", "int8", "int8", "int8"),
    ("nvfp4", "mxfp8", "mxfp8", "nvfp4"), ("mxfp4", "mxfp8", "mxfp8", "mxfp4"),
    ("mxfp8", "mxfp8", "mxfp8", "mxfp8")])
def test_policy(kind, head, dense_down, expert_down, tmp_path):
    to_folder(wide_checkpoint(tmp_path), tmp_path / "out", kind)
    chosen = {module: chosen[0] for module, chosen in kinds(tmp_path / "out").items()}
    assert chosen.pop("lm_head") == head
    assert chosen.pop("model.layers.0.mlp.down_proj") == dense_down
    for name in EXPERT_DOWN:
        assert chosen.pop(LAYER + name) == expert_down
    assert {name.removeprefix(LAYER) for name in chosen if name.startswith(LAYER)} == PLAIN
    assert set(chosen.values()) == {kind}


def test_what_does_not_divide_into_groups_stays(tmp_path):
    checkpoint = wide_checkpoint(tmp_path, q_lora_rank=48)
    to_folder(checkpoint, tmp_path / "out", "int4")
    assert LAYER + "self_attn.q_b_proj" not in kinds(tmp_path / "out")
    assert_equals_formulas(checkpoint, tmp_path / "out")
    to_folder(checkpoint, tmp_path / "nvfp4", "nvfp4")
    assert kinds(tmp_path / "nvfp4")[LAYER + "self_attn.q_b_proj"] == ("nvfp4", 16)


def test_small_matrices_stay(tmp_path):
    # 16 rows of 32 elements are fewer than 1024; the stack of 8 such experts is more.
    checkpoint = wide_checkpoint(tmp_path, moe_intermediate_size=16, hidden_size=32,
                                 n_routed_experts=8, n_shared_experts=1)
    to_folder(checkpoint, tmp_path / "out", "int8", "--group-size", 32)
    chosen = kinds(tmp_path / "out")
    assert LAYER + "mlp.switch_mlp.up_proj" in chosen
    assert LAYER + "mlp.shared_experts.up_proj" not in chosen


# ---- The folder ---------------------------------------------------------------------------------


def test_other_files_are_copied_and_config_says_what_was_done(tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    (checkpoint / "chat_template.jinja").write_text("{{ messages }}")
    to_folder(checkpoint, tmp_path / "out", "nvfp4")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json",
                 "chat_template.jinja"):
        assert (tmp_path / "out" / name).read_bytes() == (checkpoint / name).read_bytes()
    before = json.loads((checkpoint / "config.json").read_text())
    after = json.loads((tmp_path / "out" / "config.json").read_text())
    quantization = after.pop("quantization")
    assert after == before and list(after) == list(before)
    assert quantization == {"group_size": 16, "bits": 4, "mode": "nvfp4"} | {
        module: {"group_size": 32, "bits": 8, "mode": "mxfp8"}
        for module in ("lm_head", "model.layers.0.mlp.down_proj")}
    assert read_safetensors(tmp_path / "out" / "model.safetensors")[0]["__metadata__"] == {
        "format": "mlx"}


def test_shards_and_their_index(tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    to_folder(checkpoint, tmp_path / "one", "int4")
    to_folder(checkpoint, tmp_path / "many", "int4", "--max-shard-size", "60K")
    assert load_tensors(tmp_path / "many") == load_tensors(tmp_path / "one")
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    shards = sorted(path.name for path in (tmp_path / "many").glob("*.safetensors"))
    assert len(shards) > 2 and shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    for shard in shards:
        header, data = read_safetensors(tmp_path / "many" / shard)
        names = set(header) - {"__metadata__"}
        assert names == {name for name, where in index["weight_map"].items() if where == shard}
        assert len(data) <= 60 * 1024 or len(names) == 1
    assert index["metadata"]["total_size"] == sum(
        len(raw) for _, _, raw in load_tensors(tmp_path / "one").values())
    assert not (tmp_path / "one" / "model.safetensors.index.json").exists()


def test_tensors_are_aligned_whatever_their_shapes(tmp_path):
    checkpoint = wide_checkpoint(tmp_path, hidden_size=96, n_routed_experts=3, vocab_size=521,
                                 moe_intermediate_size=129, num_experts_per_tok=1)
    to_folder(checkpoint, tmp_path / "out", "mxfp4")
    header, _ = read_safetensors(tmp_path / "out" / "model.safetensors")
    assert header["lm_head.scales"]["shape"] == [521, 3]
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] % BYTES[entry["dtype"]] == 0, name
    assert_equals_formulas(checkpoint, tmp_path / "out")


def test_bytes_do_not_depend_on_threads_memory_or_reading(tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    for kind in ("int4", "mxfp8"):
        to_folder(checkpoint, tmp_path / kind, kind, "--threads", 1)
        for arguments in (("--threads", 5), ("--memory", "8M"), ("--io", "read")):
            to_folder(checkpoint, tmp_path / "again", kind, "--force", *arguments)
            assert contents(tmp_path / "again") == contents(tmp_path / kind)
        shutil.rmtree(tmp_path / "again")


def test_multi_token_prediction_layers(tmp_path):
    checkpoint = GOLDEN / "checkpoints" / "glm-tiny"
    to_folder(checkpoint, tmp_path / "kept", "int8", "--group-size", 32)
    to_folder(checkpoint, tmp_path / "left", "int8", "--group-size", 32, "--no-mtp")
    kept, left = load_tensors(tmp_path / "kept"), load_tensors(tmp_path / "left")
    assert {name for name in kept if name not in left} == {
        name for name in kept if name.startswith("model.layers.3.")}
    assert kept["model.layers.3.eh_proj.weight"][0] == "U32"
    assert {name: kept[name] for name in left} == left
    config = json.loads((tmp_path / "left" / "config.json").read_text())
    assert config["num_nextn_predict_layers"] == 0


# ---- Refused ------------------------------------------------------------------------------------


def test_existing_files_need_force(tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    to_folder(checkpoint, tmp_path / "out", "int4")
    before = contents(tmp_path / "out")
    refuse(checkpoint, tmp_path / "out", 2, "output exists", "--force", kind="int8")
    assert contents(tmp_path / "out") == before
    to_folder(checkpoint, tmp_path / "out", "int8", "--force")
    to_folder(checkpoint, tmp_path / "fresh", "int8")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_weights_of_another_conversion_are_in_the_way(tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    to_folder(checkpoint, tmp_path / "out", "int4", "--max-shard-size", "60K")
    before = contents(tmp_path / "out")
    refuse(checkpoint, tmp_path / "out", 2, "the folder holds other weights", arguments=("--force",))
    assert contents(tmp_path / "out") == before


def test_the_checkpoint_itself(tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    before = contents(checkpoint)
    refuse(checkpoint, checkpoint, 2, "one of the sources", arguments=("--force",))
    assert contents(checkpoint) == before


def test_a_failed_conversion_leaves_no_folder(tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    tensors = load_tensors(checkpoint)
    values = numpy.ones((520, 128), numpy.float32)
    values[17, 5] = numpy.nan
    tensors["lm_head.weight"] = ("BF16", [520, 128], encode("BF16", values))
    replace_tensors(checkpoint, tensors)
    refuse(checkpoint, tmp_path / "out", 3, "not finite", "(row 17, column 5 of 'lm_head.weight')")
    assert not (tmp_path / "out").exists()
    result = to_folder(checkpoint, tmp_path / "out", "int4", "--nan", "zero")
    assert result.stderr.count("1 values that are not finite became 0") == 1
    values[17, 5] = 0
    tensors["lm_head.weight"] = ("BF16", [520, 128], encode("BF16", values))
    replace_tensors(checkpoint, tensors)
    assert_equals_formulas(checkpoint, tmp_path / "out")


def test_a_folder_that_is_overwritten_in_vain_stays_as_it_was(tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    to_folder(checkpoint, tmp_path / "out", "int4")
    before = contents(tmp_path / "out")
    tensors = load_tensors(checkpoint)
    tensors["lm_head.weight"] = ("BF16", [520, 128], b"\xff" * (2 * 520 * 128))
    replace_tensors(checkpoint, tensors)
    refuse(checkpoint, tmp_path / "out", 3, "not finite", arguments=("--force",))
    assert contents(tmp_path / "out") == before


def test_output_is_a_file_or_has_no_parent(tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    (tmp_path / "file").write_text("precious")
    refuse(checkpoint, tmp_path / "file", 2, "output is no folder", arguments=("--force",))
    assert (tmp_path / "file").read_text() == "precious"
    refuse(checkpoint, tmp_path / "no" / "out", 5, "cannot make folder")


def test_other_families(tmp_path):
    refuse(GOLDEN / "checkpoints" / "llama-tiny", tmp_path / "out", 4, "GLM-4 MoE Lite", "config.json")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_is_quantized_already(tmp_path):
    to_folder(wide_checkpoint(tmp_path), tmp_path / "out", "int4")
    for arguments in ((tmp_path / "again", "--format", "safetensors", "--type", "int8"),
                      (tmp_path / "out.gguf",)):
        result = run("convert", tmp_path / "out", *arguments)
        assert_fails(result, 4, "weights are quantized in the MLX layout")
        assert_one_message(result)


@pytest.mark.parametrize("scheme", [Fp8Blocks(), Nvfp4(True), Gptq(), Packed(symmetric=False)],
                         ids=["fp8", "nvfp4", "gptq", "int4-packed"])
def test_a_checkpoint_that_other_tools_quantized(scheme, tmp_path):
    packed, plain = quantized("glm-tiny", tmp_path, scheme)
    # To BF16, as what loads such a checkpoint dequantizes it.
    sources, was = load_tensors(plain), load_tensors(packed)
    replace_tensors(plain, {name: tensor if name in was and was[name][0] == tensor[0] else
                            ("BF16", tensor[1], encode("BF16", source_floats(sources, name)))
                            for name, tensor in sources.items()})
    (packed / "hf_quant_config.json").write_text("{}")
    for checkpoint in (packed, plain):
        to_folder(checkpoint, checkpoint.parent / "out", "int4", "--group-size", 32)
    assert load_tensors(packed.parent / "out") == load_tensors(plain.parent / "out")
    assert any(dtype == "U32" for dtype, _, _ in load_tensors(plain.parent / "out").values())
    assert "quantization_config" not in json.loads((packed.parent / "out/config.json").read_text())
    assert not (packed.parent / "out/hf_quant_config.json").exists()


def test_a_checkpoint_that_lacks_a_tensor(tmp_path):
    checkpoint = wide_checkpoint(tmp_path)
    tensors = load_tensors(checkpoint)
    del tensors["model.layers.1.mlp.experts.2.up_proj.weight"]
    replace_tensors(checkpoint, tensors)
    refuse(checkpoint, tmp_path / "out", 3, "expert 2 is missing")


@pytest.mark.parametrize("arguments, words", [
    ((), ("needs a --type of its own", "int4, int8, nvfp4, mxfp4 or mxfp8", "got none")),
    (("--type", "Q4_K_M"), ("needs a --type of its own", "got Q4_K_M")),
    (("--type", "int4", "--group-size", "16"), ("--group-size",)),
    (("--type", "int4", "--pure"), ("--pure does not apply to --format safetensors",)),
    (("--type", "int4", "--dialect", "ollama"), ("--dialect does not apply",)),
    (("--type", "int4", "--outtype", "f16"), ("--outtype does not apply",)),
    (("--type", "int4", "--imatrix", "x"), ("--imatrix does not apply",))])
def test_wrong_flags(arguments, words, tmp_path):
    result = run("convert", GOLDEN / "checkpoints" / "glm-tiny", tmp_path / "out", "--format",
                 "safetensors", *arguments)
    assert_fails(result, 2, *words)
    assert_one_message(result)
    assert not (tmp_path / "out").exists()


def test_group_size_is_of_safetensors_only(tmp_path):
    result = run("convert", GOLDEN / "checkpoints" / "glm-tiny", tmp_path / "out.gguf", "--group-size",
                 "32")
    assert_fails(result, 2, "--group-size does not apply to --format gguf")
    result = run("convert", GOLDEN / "checkpoints" / "glm-tiny", tmp_path / "out.gguf", "--type", "int4")
    assert_fails(result, 2, "int4")
