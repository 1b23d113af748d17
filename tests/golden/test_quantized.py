"""`convert --type` against what llama.cpp's two steps, convert and llama-quantize, wrote."""
import os
import struct

import gguf
import numpy
import pytest

import recorded_runs
from recorded_runs import (RECIPES, arguments_of, assert_same_tensors, load_recipe, load_two_step, recipe_runs,
                           two_step_runs)
from sluice_cli import (GOLDEN, assert_fails, assert_nothing_written, convert, copy_checkpoint,
                        encode, load_tensors, read_gguf, replace_tensors, run, sha256, source_floats)

CHECKPOINTS = GOLDEN / "checkpoints"
TWO_STEP = two_step_runs("llama-q256") + two_step_runs("lfm2-q256")
RECIPE_RUNS = recipe_runs("llama-q256")


def quantize(model, folder, *arguments, name="out.gguf"):
    return recorded_runs.quantize(CHECKPOINTS / model, folder / name, *arguments)


def test_there_are_expectations():
    assert len(TWO_STEP) == 26 and len(RECIPE_RUNS) == 42


@pytest.mark.parametrize("case", TWO_STEP)
def test_file_is_that_of_the_two_steps(case, tmp_path):
    model, file_type = case.split(".")
    expected = load_two_step(case)
    out = quantize(model, tmp_path, "--type", file_type)
    assert out.stat().st_size == expected["file_bytes"]
    assert sha256(out) == expected["file_sha256"]


@pytest.mark.parametrize("threads", [1, 7])
@pytest.mark.parametrize("case", RECIPE_RUNS)
def test_tensors_are_those_of_llama_quantize(case, threads, tmp_path):
    # The recorded runs had a source without rope_freqs.weight: tensors are compared, not files.
    run = load_recipe(case)
    out = quantize(run["model"], tmp_path, "--type", run["ftype"], *arguments_of(run), "--threads", threads)
    assert_same_tensors(out, run["tensors"], also=("rope_freqs.weight",))


def test_importance_keys(tmp_path):
    values, _ = read_gguf(quantize("llama-q256", tmp_path, "--type", "Q4_K_M", "--imatrix",
                                   RECIPES / "llama-q256.imatrix.gguf"))
    keys = {key: value["value"] for key, value in values.items() if key.startswith("quantize.")}
    assert keys["quantize.imatrix.file"].endswith("llama-q256.imatrix.gguf")
    assert keys["quantize.imatrix.entries_count"] > 0
    assert list(values)[-len(keys):] == list(keys)


def test_importance_keys_are_text(tmp_path):
    # The legacy form ends with the length and the bytes of the data set's name.
    raw = (RECIPES / "llama-q256.imatrix.dat").read_bytes()
    name = read_gguf(quantize("llama-q256", tmp_path, "--type", "Q4_0", "--imatrix", RECIPES / "llama-q256.imatrix.dat"))[0][
        "quantize.imatrix.dataset"]["value"].encode()
    assert raw.endswith(struct.pack("<i", len(name)) + name)
    other = b"caf\xe9 \xf0\x9f\x98"
    path = tmp_path / os.fsdecode(b"\xff.dat")
    path.write_bytes(raw[: -4 - len(name)] + struct.pack("<i", len(other)) + other)
    values, _ = read_gguf(quantize("llama-q256", tmp_path, "--type", "Q4_0", "--imatrix", path, name="b.gguf"))
    assert values["quantize.imatrix.dataset"]["value"] == "caf\ufffd \ufffd"
    assert values["quantize.imatrix.file"]["value"].endswith("/\ufffd.dat")


@pytest.mark.parametrize("file_type", ["Q4_K_M", "Q4_0", "IQ4_XS"])
def test_bytes_do_not_depend_on_memory_or_io(file_type, tmp_path):
    importance = ("--imatrix", RECIPES / "llama-q256.imatrix.gguf") if file_type == "Q4_0" else ()
    results = {
        sha256(quantize("llama-q256", tmp_path, "--type", file_type, *importance, *variant,
                        name=f"{number}.gguf"))
        for number, variant in enumerate([(), ("--memory", "16M"), ("--io", "read"), ("--io", "mmap")])
    }
    assert len(results) == 1


# The types that the independent reader decodes, by a recipe that gives them to a tensor.
DECODED = {file_type: file_type for file_type in
           ("F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q6_K", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS",
            "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "NVFP4")}
DECODED |= {"IQ2_M": "IQ2_S", "Q3_K_M": "Q3_K", "Q4_K_M": "Q4_K", "Q5_K_M": "Q5_K", "MXFP4_MOE": "MXFP4"}


@pytest.mark.parametrize("file_type", DECODED)
def test_an_independent_reader_decodes_the_same_values(file_type, tmp_path):
    # Bit for bit: signs of zeros count as well.
    coded = quantize("llama-q256", tmp_path, "--type", file_type, "--imatrix", RECIPES / "llama-q256.imatrix.gguf",
                     *(("--tensor-type", "ffn=mxfp4") if file_type == "MXFP4_MOE" else ()))
    result = run("quantize", coded, tmp_path / "f32.gguf", "--type", "F32", "--allow-requantize")
    assert result.returncode == 0, result.stderr
    ours = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "f32.gguf").tensors}
    tensors = gguf.GGUFReader(coded).tensors
    for tensor in tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert values.dtype == ours[tensor.name].dtype == numpy.float32
        assert ours[tensor.name].tobytes() == values.tobytes(), tensor.name
    assert DECODED[file_type] in {tensor.tensor_type.name for tensor in tensors}


def put_value(tensors, name, row, column, value):
    values = source_floats(tensors, name).copy()
    values[row, column] = value
    dtype = tensors[name][0]
    tensors[name] = (dtype, list(values.shape), encode(dtype, values))


def with_value(value, folder):
    """The Llama checkpoint, with this value in row 3, column 5 of a matrix that is quantized."""
    model = copy_checkpoint("llama-q256", folder)
    tensors = load_tensors(model)
    put_value(tensors, "model.layers.0.mlp.gate_proj.weight", 3, 5, value)
    replace_tensors(model, tensors)
    return model


def in_f32(folder, value=None):
    """The Llama checkpoint with F32 values that no 16 bits hold; `value` as above."""
    model = copy_checkpoint("llama-q256", folder)
    tensors = load_tensors(model)
    generator = numpy.random.default_rng(1)
    for name, (_, shape, _) in tensors.items():
        tensors[name] = ("F32", shape, generator.normal(0, 0.02, shape).astype(numpy.float32).tobytes())
    if value is not None:
        put_value(tensors, "model.layers.0.mlp.gate_proj.weight", 3, 5, value)
    replace_tensors(model, tensors)
    return model


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("file_type", ["Q4_K_M", "Q8_0", "IQ4_NL"])
def test_a_value_that_is_not_finite_is_refused_or_taken_for_zero(file_type, value, tmp_path):
    arguments = ("--pre", "llama-bpe", "--type", file_type)
    model = with_value(value, tmp_path / "bad")
    out = tmp_path / "out.gguf"
    for flags in ((), ("--nan", "error")):
        result = run("convert", model, out, *arguments, *flags)
        assert_fails(result, 3, "blk.0.ffn_gate.weight", f"got {value} in row 3, column 5", "--nan zero")
        assert_nothing_written(tmp_path)
    result = convert(model, out, *arguments, "--nan", "zero")
    assert "'blk.0.ffn_gate.weight': 1 values that are not finite became 0" in result.stderr
    convert(with_value(0.0, tmp_path / "zero"), tmp_path / "zero.gguf", *arguments)
    assert read_gguf(out)[1] == read_gguf(tmp_path / "zero.gguf")[1]


def test_a_value_that_is_not_finite_is_named_in_the_stack_and_in_its_source(tmp_path):
    model = copy_checkpoint("glm-tiny", tmp_path)
    tensors = load_tensors(model)
    name = "model.layers.1.mlp.experts.5.up_proj.weight"
    put_value(tensors, name, 3, 7, float("nan"))
    replace_tensors(model, tensors)
    result = run("convert", model, tmp_path / "out.gguf", "--type", "Q8_0")
    row = 5 * tensors[name][1][0] + 3
    assert_fails(result, 3, f"tensor 'blk.1.ffn_up_exps.weight': a value to be quantized is not finite: "
                            f"got nan in row {row}, column 7 (row 3, column 7 of '{name}')")


@pytest.mark.parametrize("out_type, rounded, value, wider", [
    ("auto", "F16", "100000", "bf16 or f32"), ("f16", "F16", "-65520", "bf16 or f32"), ("bf16", "BF16", "3.4e+38", "f32")])
def test_a_value_too_large_for_the_type_it_is_rounded_to(out_type, rounded, value, wider, tmp_path):
    model = in_f32(tmp_path / "large", float(value))
    arguments = (model, tmp_path / "out.gguf", "--pre", "llama-bpe", "--type", "Q8_0", "--outtype", out_type)
    result = run("convert", *arguments)
    assert_fails(result, 3, "tensor 'blk.0.ffn_gate.weight': a value is too large for the type to which values are "
                            f"rounded first: expected values that {rounded} can hold, got {value} in row 3, column 5",
                 f"--outtype {wider}, or", "--nan zero")
    assert_nothing_written(tmp_path)
    result = convert(*arguments, "--nan", "zero")
    assert f"'blk.0.ffn_gate.weight': 1 finite values became infinite in {rounded}\n" in result.stderr
    assert "'blk.0.ffn_gate.weight': 1 values that are not finite became 0" in result.stderr
    convert(in_f32(tmp_path / "zero", 0.0), tmp_path / "zero.gguf", *arguments[2:])
    assert read_gguf(tmp_path / "out.gguf")[1] == read_gguf(tmp_path / "zero.gguf")[1]


def test_blocks_that_the_reference_writes_wrong_are_counted(tmp_path):
    model = copy_checkpoint("llama-q256", tmp_path)
    tensors = load_tensors(model)
    name = "model.layers.0.mlp.gate_proj.weight"
    values = source_floats(tensors, name).copy()
    values[:, 32:64] = 0
    tensors[name] = ("BF16", list(values.shape), encode("BF16", values))
    replace_tensors(model, tensors)
    # The first super block of each row has a group of zeros with others behind it.
    blocks = len(values)
    right, wrong = tmp_path / "right.gguf", tmp_path / "wrong.gguf"
    result = convert(model, right, "--type", "IQ3_S")
    assert f" {blocks} blocks are right where llama-quantize writes wrong ones" in result.stderr
    result = convert(model, wrong, "--type", "IQ3_S", "--bit-exact")
    assert f" {blocks} blocks are wrong, as llama-quantize writes them" in result.stderr
    assert sha256(right) != sha256(wrong)


@pytest.mark.parametrize("out_type", ["bf16", "f32"])
def test_a_type_that_holds_the_value_takes_it(out_type, tmp_path):
    convert(in_f32(tmp_path, 1e5), tmp_path / "out.gguf", "--pre", "llama-bpe", "--type", "Q8_0", "--outtype", out_type)


# ---- The type that values are rounded to first --------------------------------------------------

OUT_TYPES = ["auto", "f16", "bf16", "f32"]


@pytest.mark.parametrize("file_type", ["F16", "BF16", "F32", "Q8_0", "Q4_K_M"])
def test_one_pass_from_f32_is_both_steps(file_type, tmp_path):
    model = in_f32(tmp_path)
    arguments = ("--pre", "llama-bpe")
    hashes = {}
    for out_type in OUT_TYPES:
        one, middle, two = (tmp_path / f"{out_type}.{part}.gguf" for part in ("one", "middle", "two"))
        convert(model, one, *arguments, "--outtype", out_type, "--type", file_type)
        convert(model, middle, *arguments, "--outtype", out_type)
        result = run("quantize", middle, two, "--type", file_type)
        assert result.returncode == 0, result.stderr
        hashes[out_type] = sha256(one)
        assert hashes[out_type] == sha256(two), out_type
    assert hashes["auto"] == hashes["f16"]
    # F16 holds what F32 would give; BF16 of F32 is what was rounded to BF16 at once.
    assert len(set(hashes.values())) == (2 if file_type in ("F16", "BF16") else 3)


# ---- What is not quantized ----------------------------------------------------------------------


def test_projector_keeps_its_bytes(tmp_path):
    for name, arguments in (("plain", ()), ("quantized", ("--type", "Q4_0"))):
        convert(CHECKPOINTS / "llama4-tiny", tmp_path / f"{name}.gguf", "--mmproj", tmp_path / f"{name}.mmproj.gguf",
                *arguments)
    assert sha256(tmp_path / "plain.mmproj.gguf") == sha256(tmp_path / "quantized.mmproj.gguf")
    assert sha256(tmp_path / "plain.gguf") != sha256(tmp_path / "quantized.gguf")


def test_vision_and_the_norms_and_gates_of_cross_attention_keep_their_type(tmp_path):
    plain, quantized = tmp_path / "plain.gguf", tmp_path / "quantized.gguf"
    convert(CHECKPOINTS / "mllama-tiny", plain, "--dialect", "ollama")
    convert(CHECKPOINTS / "mllama-tiny", quantized, "--dialect", "ollama", "--type", "Q4_0")
    before = {tensor["name"]: tensor for tensor in read_gguf(plain)[1]}
    after = {tensor["name"]: tensor for tensor in read_gguf(quantized)[1]}
    assert list(before) == list(after)
    cross = {name for name in after if "cross_attn" in name}
    matrices = {name for name in cross if name.endswith("_proj.weight")}
    kept = {name for name in after if name.startswith(("v.", "mm."))} | cross - matrices
    assert len(kept) > 40 and len(matrices) == 8 and len(cross - matrices) == 8
    for name in kept:
        assert after[name] == before[name]
    for name in matrices:
        assert after[name]["type"] == "Q4_0", name
