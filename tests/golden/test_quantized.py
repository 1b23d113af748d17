"""`convert --type` against what llama.cpp's two steps, convert and llama-quantize, wrote."""
import os
import struct

import gguf
import numpy
import pytest

import recorded_runs
from recorded_runs import (RECIPES, arguments_of, assert_same_tensors, load_recipe, load_two_step, recipe_runs,
                           two_step_runs)
from sluice_cli import (GOLDEN, assert_fails, assert_nothing_written, convert, copy_checkpoint, decode,
                        encode, load_tensors, read_gguf, replace_tensors, run, sha256)

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


@pytest.mark.parametrize("case", RECIPE_RUNS)
def test_tensors_are_those_of_llama_quantize(case, tmp_path):
    # The recorded runs had a source without rope_freqs.weight: tensors are compared, not files.
    run = load_recipe(case)
    out = quantize(run["model"], tmp_path, "--type", run["ftype"], *arguments_of(run))
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
def test_bytes_do_not_depend_on_threads_memory_or_io(file_type, tmp_path):
    importance = ("--imatrix", RECIPES / "llama-q256.imatrix.gguf") if file_type == "Q4_0" else ()
    results = {
        sha256(quantize("llama-q256", tmp_path, "--type", file_type, *importance, *variant,
                        name=f"{number}.gguf"))
        for number, variant in enumerate([("--threads", 1), ("--threads", 7), ("--memory", "16M"),
                                          ("--io", "read"), ("--io", "mmap")])
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


def with_value(value, folder):
    """The Llama checkpoint, with this value in row 3, column 5 of a matrix that is quantized."""
    model = copy_checkpoint("llama-q256", folder)
    tensors = load_tensors(model)
    name = "model.layers.0.mlp.gate_proj.weight"
    dtype, shape, raw = tensors[name]
    values = decode(dtype, raw).reshape(shape).copy()
    values[3, 5] = value
    tensors[name] = (dtype, shape, encode(dtype, values))
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
