"""Quantized checkpoints whose tensors or configuration do not go together: both tensors are named."""
import numpy
import pytest

from prequantized import Awq, Fp8Blocks, Gptq, Mxfp4, Nvfp4, Packed, Scaled, quantized, tensor
from sluice_cli import (Gguf, assert_fails, assert_nothing_written, convert, edit_json, encode, load_tensors, read_safetensors,
                        refuse, replace_tensors, run)

UP = "model.layers.0.mlp.up_proj"
WEIGHT = f"{UP}.weight"
SCHEMES = {
    "fp8": Fp8Blocks(), "fp8-rows": Scaled(lambda shape: (shape[0], 1)),
    "int8": Scaled(lambda shape: (shape[0], 1), "I8"), "mxfp4": Mxfp4(), "modelopt": Nvfp4(True),
    "nvfp4": Nvfp4(False), "int4": Packed(), "int4-zeros": Packed(symmetric=False), "gptq": Gptq(order=True),
    "awq": Awq(), "int4-order": Packed(order=True),
}


def broken(folder, scheme, change=None, configure=None):
    checkpoint, _ = quantized("llama-tiny", folder, SCHEMES[scheme])
    if change:
        tensors = load_tensors(checkpoint)
        change(tensors)
        replace_tensors(checkpoint, tensors)
    if configure:
        edit_json(checkpoint / "config.json", lambda config: configure(config["quantization_config"]))
    return checkpoint


def reshaped(name, shape):
    """The tensor becomes one of that shape, all zero bytes."""
    def change(tensors):
        dtype, old, raw = tensors[name]
        tensors[name] = (dtype, shape, bytes(len(raw) // int(numpy.prod(old)) * int(numpy.prod(shape))))
    return change


@pytest.mark.parametrize("scheme, codes, missing", [
    ("fp8", "weight", "weight_scale_inv"), ("fp8-rows", "weight", "weight_scale"),
    ("mxfp4", "weight_packed", "weight_scale"), ("modelopt", "weight", "weight_scale"),
    ("modelopt", "weight", "weight_scale_2"), ("nvfp4", "weight_packed", "weight_scale"),
    ("nvfp4", "weight_packed", "weight_global_scale"), ("int4", "weight_packed", "weight_scale"),
    ("gptq", "qweight", "scales"), ("gptq", "qweight", "qzeros"), ("awq", "qweight", "scales"),
    ("awq", "qweight", "qzeros"), ("gptq", "qweight", "g_idx"), ("int4-order", "weight_packed", "weight_g_idx"),
])
def test_missing_companion(tmp_path, scheme, codes, missing):
    checkpoint = broken(tmp_path, scheme, lambda tensors: tensors.pop(f"{UP}.{missing}"))
    refuse(checkpoint, tmp_path, 3, f"tensor '{UP}.{codes}'", f"'{UP}.{missing}' beside it")


@pytest.mark.parametrize("scheme, codes, left", [
    ("fp8", "weight", "weight_scale_inv"), ("fp8-rows", "weight", "weight_scale"),
    ("int4", "weight_packed", "weight_scale"), ("int4-zeros", "weight_packed", "weight_zero_point"),
    ("int4", "weight_packed", "weight_shape"), ("nvfp4", "weight_packed", "weight_scale"),
    ("nvfp4", "weight_packed", "weight_global_scale"), ("mxfp4", "weight_packed", "weight_scale"),
    ("gptq", "qweight", "scales"), ("awq", "qweight", "qzeros"),
])
def test_companions_without_codes(tmp_path, scheme, codes, left):
    checkpoint = broken(tmp_path, scheme, lambda tensors: tensors.pop(f"{UP}.{codes}"))
    result = run("convert", checkpoint, tmp_path / "out.gguf")
    assert_fails(result, 3, "that are not there")
    line, = [line for line in result.stderr.splitlines() if f"tensor '{UP}.{left}'" in line]
    assert "codes in '" in line and f"'{UP}.{codes}'" in line


@pytest.mark.parametrize("dtype", [numpy.int64, numpy.int32])
@pytest.mark.parametrize("stated", [[160, 80], [160, 48], [160, 0], [160, -1], [159, 64]])
def test_shape_of_packed_integers_that_does_not_fit_them(tmp_path, stated, dtype):
    shape = tensor({8: "I64", 4: "I32"}[dtype(0).itemsize], numpy.array(stated, dtype))
    checkpoint = broken(tmp_path, "int4", lambda tensors: tensors.update({f"{WEIGHT}_shape": shape}))
    shown = stated[1] if stated[1] >= 0 else 2 ** 64 - 1
    refuse(checkpoint, tmp_path, 3, f"tensor '{WEIGHT}_shape'", f"expected [160, 64] for '{WEIGHT}_packed' of shape [160, 8]",
           f"got [{stated[0]}, {shown}]")


@pytest.mark.parametrize("shape, words", [
    (("F32", [2], bytes(8)), ["I64, I32", "got F32"]), (("I64", [3], bytes(24)), ["expected [2]", "got [3]"])])
def test_shape_of_packed_integers_that_is_none(tmp_path, shape, words):
    checkpoint = broken(tmp_path, "int4", lambda tensors: tensors.update({f"{WEIGHT}_shape": shape}))
    refuse(checkpoint, tmp_path, 3, f"tensor '{WEIGHT}_shape'", f"for '{WEIGHT}_packed'", *words)


def test_scales_of_weights_that_are_not_quantized(tmp_path):
    checkpoint = broken(tmp_path, "fp8", lambda tensors: tensors.update({WEIGHT: tensors["lm_head.weight"]}))
    refuse(checkpoint, tmp_path, 3, f"tensor '{WEIGHT}_scale_inv'", f"codes in '{WEIGHT}'", "that in BF16")


# up_proj is [160, 64], stored by GPTQ and AWQ as [64, 160].
@pytest.mark.parametrize("scheme, codes, name, shape, expected", [
    ("fp8", "weight", "weight_scale_inv", [5, 3], "[5, 2] (blocks of 32 x 48)"),
    ("fp8", "weight", "weight_scale_inv", [2, 5], "[5, 2] (blocks of 32 x 48)"),
    ("fp8", "weight", "weight_scale_inv", [1], "[5, 2]"),
    ("fp8", "weight", "weight_scale_inv", [0, 2], "[5, 2]"),
    ("fp8-rows", "weight", "weight_scale", [64, 1], "[] or [160, 1]"),
    ("fp8-rows", "weight", "weight_scale", [2, 2, 2], "[] or [160, 1]"),
    ("mxfp4", "weight_packed", "weight_scale", [160, 4], "[160, 2]"),
    ("modelopt", "weight", "weight_scale", [160, 2], "[160, 4]"),
    ("modelopt", "weight", "weight_scale_2", [160], "[] or [1]"),
    ("nvfp4", "weight_packed", "weight_scale", [80, 4], "[160, 4]"),
    ("int4", "weight_packed", "weight_scale", [160, 5], "[160, 4] (groups of 16, 4 bits)"),
    ("int4", "weight_packed", "weight_scale", [150, 4], "[160, 4]"),
    ("int4-zeros", "weight_packed", "weight_zero_point", [20, 5], "[20, 4]"),
    ("gptq", "qweight", "scales", [5, 160], "[4, 160]"),
    ("gptq", "qweight", "qzeros", [4, 160], "[4, 20]"),
    ("gptq", "qweight", "g_idx", [65], "[64]"),
    ("awq", "qweight", "scales", [4, 20], "[4, 160]"),
    ("awq", "qweight", "qzeros", [64, 20], "[4, 20]"),
])
def test_companion_of_another_shape(tmp_path, scheme, codes, name, shape, expected):
    checkpoint = broken(tmp_path, scheme, reshaped(f"{UP}.{name}", shape))
    shown = "[" + ", ".join(map(str, shape)) + "]"
    refuse(checkpoint, tmp_path, 3, f"tensor '{UP}.{name}'", f"expected {expected}", f"for '{UP}.{codes}' of shape",
           f"got {shown}")


@pytest.mark.parametrize("scheme, codes, shape, about", [
    ("fp8", "weight", [160, 48], "weight_scale_inv"), ("mxfp4", "weight_packed", [160, 24], "weight_scale"),
    ("modelopt", "weight", [160, 31], "weight_scale"), ("int4", "weight_packed", [160, 9], "weight_scale"),
    ("gptq", "qweight", [9, 160], "scales"), ("awq", "qweight", [64, 21], "scales"),
    ("gptq", "qweight", [2, 8, 160], "qweight"), ("awq", "qweight", [65, 20], "scales"),
])
def test_codes_of_another_shape(tmp_path, scheme, codes, shape, about):
    checkpoint = broken(tmp_path, scheme, reshaped(f"{UP}.{codes}", shape))
    refuse(checkpoint, tmp_path, 3, f"tensor '{UP}.{about}'", "does not fit", f"'{UP}.")


def test_weights_of_another_shape_than_the_model(tmp_path):
    def change(tensors):
        for part, shape in (("qweight", [64, 24]), ("qzeros", [4, 24]), ("scales", [4, 192])):
            reshaped(f"{UP}.{part}", shape)(tensors)

    refuse(broken(tmp_path, "awq", change), tmp_path, 3, f"tensor '{WEIGHT}'", "does not fit config.json",
           "expected [160, 64]", "got [192, 64]")


@pytest.mark.parametrize("scheme, codes, name, dtype", [
    ("fp8", "weight", "weight_scale_inv", "I32"), ("mxfp4", "weight_packed", "weight_scale", "F32"),
    ("modelopt", "weight", "weight_scale_2", "I8"), ("int4", "weight_packed", "weight_scale", "U8"),
    ("int4-zeros", "weight_packed", "weight_zero_point", "F32"), ("gptq", "qweight", "qzeros", "U8"),
    ("gptq", "qweight", "g_idx", "I64"), ("awq", "qweight", "scales", "F64"),
])
def test_companion_of_another_dtype(tmp_path, scheme, codes, name, dtype):
    widths = {"I8": 1, "U8": 1, "I32": 4, "F32": 4, "F64": 8, "I64": 8}

    def change(tensors):
        _, shape, _ = tensors[f"{UP}.{name}"]
        tensors[f"{UP}.{name}"] = (dtype, shape, bytes(int(numpy.prod(shape)) * widths[dtype]))

    refuse(broken(tmp_path, scheme, change), tmp_path, 3, f"tensor '{UP}.{name}'", f"for '{UP}.{codes}'", f"got {dtype}")


def test_scales_of_another_kind(tmp_path):
    def change(tensors):
        _, shape, raw = tensors[f"{WEIGHT}_scale"]
        tensors[f"{WEIGHT}_scale"] = ("U8", shape, raw)

    refuse(broken(tmp_path, "modelopt", change), tmp_path, 3, f"tensor '{WEIGHT}_scale'", "expected [160, 2]", f"for '{WEIGHT}'")


@pytest.mark.parametrize("scheme, codes, scales", [
    ("fp8", "weight", "weight_scale_inv"), ("fp8-rows", "weight", "weight_scale"), ("int8", "weight", "weight_scale"),
    ("mxfp4", "weight_packed", "weight_scale"), ("modelopt", "weight", "weight_scale"),
    ("nvfp4", "weight_packed", "weight_global_scale"), ("int4", "weight_packed", "weight_scale"), ("gptq", "qweight", "g_idx"),
    ("awq", "qweight", "qzeros"),
])
def test_codes_and_scales_that_config_json_does_not_mention(tmp_path, scheme, codes, scales):
    checkpoint = broken(tmp_path, scheme)
    edit_json(checkpoint / "config.json", lambda config: config.pop("quantization_config"))
    down = "model.layers.0.mlp.down_proj"
    refuse(checkpoint, tmp_path, 3, f"config.json: tensor '{down}.{codes}'", "expected quantization_config",
           f"beside '{down}.{scales}'")


def test_two_tensors_of_scales(tmp_path):
    checkpoint = broken(tmp_path, "fp8", lambda tensors: tensors.update(
        {f"{WEIGHT}_scale": tensors[f"{WEIGHT}_scale_inv"]}))
    refuse(checkpoint, tmp_path, 3, f"tensor '{WEIGHT}'", f"'{WEIGHT}_scale_inv' or '{WEIGHT}_scale'", "got both")


def test_the_weights_themselves_beside_their_codes(tmp_path):
    checkpoint = broken(tmp_path, "gptq", lambda tensors: tensors.update(
        {WEIGHT: tensor("F32", numpy.zeros((160, 64), numpy.float32))}))
    refuse(checkpoint, tmp_path, 3, f"tensor '{WEIGHT}'", "the same weights twice", f"'{UP}.qweight'")


@pytest.mark.parametrize("group", [-1, 4, 1 << 30])
@pytest.mark.parametrize("scheme, name, scales", [("gptq", "g_idx", "scales"),
                                                  ("int4", "weight_g_idx", "weight_scale")])
def test_group_number_without_scales(tmp_path, scheme, name, scales, group):
    numbers = numpy.zeros(64, numpy.int32)
    numbers[17] = group
    checkpoint = broken(tmp_path, scheme, lambda tensors: tensors.update({f"{UP}.{name}": tensor("I32", numbers)}))
    assert_fails(run("convert", checkpoint, tmp_path / "out.gguf"), 3, f"tensor '{UP}.{name}'",
                 f"0 to 3, the groups of '{UP}.{scales}'", f"got {group} at position 17")


# ---- Scales that are no numbers ---------------------------------------------------------------------

BITS = {"E8M0 nan": ("U8", b"\xff"), "E4M3 nan": ("F8_E4M3", b"\x7f")}  # that encode() does not know
BAD_SCALES = [
    ("fp8", "weight", "weight_scale_inv", "nan"), ("fp8", "weight", "weight_scale_inv", "-inf"),
    ("fp8-rows", "weight", "weight_scale", "inf"), ("mxfp4", "weight_packed", "weight_scale", "E8M0 nan"),
    ("modelopt", "weight", "weight_scale", "E4M3 nan"), ("nvfp4", "weight_packed", "weight_scale", "E4M3 nan"),
    ("int4", "weight_packed", "weight_scale", "nan"), ("int4-zeros", "weight_packed", "weight_scale", "inf"),
    ("gptq", "qweight", "scales", "nan"), ("awq", "qweight", "scales", "-inf"),
]


def with_scale(scheme, name, value, element=7):
    """A change that gives one scale another value."""
    def change(tensors):
        dtype, shape, raw = tensors[f"{UP}.{name}"]
        _, bits = BITS.get(value) or (dtype, encode(dtype, [float(value)]))
        at = element * len(bits)
        tensors[f"{UP}.{name}"] = (dtype, shape, raw[:at] + bits + raw[at + len(bits):])
    return change


@pytest.mark.parametrize("arguments", [["--outtype", "f32"], ["--type", "Q8_0"], ["--outtype", "bf16", "--io", "read"]],
                         ids=" ".join)
@pytest.mark.parametrize("scheme, codes, name, value", BAD_SCALES)
def test_scale_that_is_no_finite_number(tmp_path, scheme, codes, name, value, arguments):
    checkpoint = broken(tmp_path, scheme, with_scale(scheme, name, value))
    result = run("convert", checkpoint, tmp_path / "out.gguf", *arguments)
    header, _ = read_safetensors(checkpoint / "model.safetensors")
    begin, end = header[f"{UP}.{name}"]["data_offsets"]
    width = (end - begin) // numpy.prod(header[f"{UP}.{name}"]["shape"])
    data = (checkpoint / "model.safetensors").stat().st_size - max(
        entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__")
    assert_fails(result, 3, f"model.safetensors: tensor '{UP}.{name}' at byte {data + begin + 7 * width}:",
                 "a scale that is no finite number", f"finite scales for '{UP}.{codes}'",
                 f"got {value.split()[-1]} in element 7", "--nan zero")
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("scheme, codes, name, value", BAD_SCALES)
def test_values_of_such_a_scale_can_be_zeros(tmp_path, scheme, codes, name, value):
    packed, plain = quantized("llama-tiny", tmp_path, SCHEMES[scheme])
    tensors = load_tensors(packed)
    with_scale(scheme, name, value)(tensors)
    replace_tensors(packed, tensors)
    result = convert(packed, tmp_path / "out.gguf", "--outtype", "f32", "--type", "F32", "--nan", "zero")
    convert(plain, tmp_path / "plain.gguf", "--outtype", "f32")
    values, right = (Gguf(tmp_path / name).tensors["blk.0.ffn_up.weight"].floats() for name in ("out.gguf", "plain.gguf"))
    zeroed = values != right
    assert numpy.all(values[zeroed] == 0)
    covered = {"fp8": 32 * 16, "fp8-rows": 64, "mxfp4": 32}.get(scheme, 16)  # elements that share the scale
    assert 0.5 * covered < zeroed.sum() <= covered
    assert f"{covered} values" in result.stderr


@pytest.mark.parametrize("arguments", [["--type", "Q4_0"], ["--outtype", "f32"]], ids=" ".join)
@pytest.mark.parametrize("scheme, codes, name, value, told", [
    ("modelopt", "weight", "weight_scale_2", "nan", "got nan in element 0"),
    ("modelopt", "weight", "weight_scale_2", "inf", "got inf in element 0"),
    ("nvfp4", "weight_packed", "weight_global_scale", "0", "got 0 in element 0"),
    ("nvfp4", "weight_packed", "weight_global_scale", "inf", "got inf in element 0"),
])
def test_scale_of_the_scales_that_is_no_finite_number(tmp_path, scheme, codes, name, value, told, arguments):
    checkpoint = broken(tmp_path, scheme, with_scale(scheme, name, value, 0))
    result = run("convert", checkpoint, tmp_path / "out.gguf", *arguments)
    assert_fails(result, 3, f"tensor '{UP}.{name}'", "that is not finite", f"for '{UP}.{codes}'", told, "--nan zero")
    assert_nothing_written(tmp_path)


def test_scale_that_overflows_with_that_of_the_scales(tmp_path):
    def change(tensors):
        with_scale("modelopt", "weight_scale_2", "3e38", 0)(tensors)
        dtype, shape, raw = tensors[f"{WEIGHT}_scale"]
        tensors[f"{WEIGHT}_scale"] = (dtype, shape, b"\0" * 5 + b"\x40" + raw[6:])  # 2

    result = run("convert", broken(tmp_path, "modelopt", change), tmp_path / "out.gguf", "--outtype", "f32")
    assert_fails(result, 3, f"tensor '{WEIGHT}_scale'", f"finite scales for '{WEIGHT}'",
                 f"got 2 in element 5, inf once times '{WEIGHT}_scale_2'")


def test_measuring_and_choosing_types_meet_such_a_scale(tmp_path):
    checkpoint = broken(tmp_path, "gptq", with_scale("gptq", "scales", "nan"))
    for command in (["measure", checkpoint, "--type", "Q8_0"], ["plan", checkpoint, "--target-bpw", "9"]):
        assert_fails(run(*command), 3, f"tensor '{UP}.scales'", f"for '{UP}.qweight'", "element 7")
        assert run(*command, "--nan", "zero").returncode == 0


def convert_repacked(checkpoint, folder, type_name, *arguments):
    return run("convert", checkpoint, folder / "out.gguf", "--type", "Q8_0", "--tensor-type", f"ffn_up={type_name}",
               *arguments)


@pytest.mark.parametrize("scheme, codes, scale, where", [
    ("mxfp4", "weight_packed", 0xFF, "row 1, column 32"), ("modelopt", "weight", 0x7F, "row 0, column 48"),
    ("modelopt", "weight", 0xFF, "row 0, column 48"), ("nvfp4", "weight_packed", 0x80, "row 0, column 48")])
def test_scales_that_no_block_holds(tmp_path, scheme, codes, scale, where):
    def change(tensors):
        dtype, shape, raw = tensors[f"{WEIGHT}_scale"]
        tensors[f"{WEIGHT}_scale"] = (dtype, shape, raw[:3] + bytes([scale]) + raw[4:])

    checkpoint = broken(tmp_path, scheme, change)
    result = convert_repacked(checkpoint, tmp_path, "MXFP4" if scheme == "mxfp4" else "NVFP4", "--nan", "error")
    assert_fails(result, 3, f"tensor '{WEIGHT}_scale'", "no number or negative", f"for '{UP}.{codes}'",
                 f"byte {scale:#04x} in element 3, for {where}")
    assert ("--nan zero" in result.stderr) == (scale != 0x80)  # which is a number
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("scheme, codes, name, value", [
    ("modelopt", "weight", "weight_scale_2", "nan"), ("modelopt", "weight", "weight_scale_2", "-inf"),
    ("nvfp4", "weight_packed", "weight_global_scale", "nan"), ("nvfp4", "weight_packed", "weight_global_scale", "0"),
    ("nvfp4", "weight_packed", "weight_global_scale", "inf"),
])
def test_repacked_blocks_whose_scale_of_the_scales_is_not_finite(tmp_path, scheme, codes, name, value):
    def change(tensors):
        dtype, shape, _ = tensors[f"{UP}.{name}"]
        tensors[f"{UP}.{name}"] = (dtype, shape, numpy.float32(value).tobytes())

    result = convert_repacked(broken(tmp_path, scheme, change), tmp_path, "NVFP4")
    assert_fails(result, 3, f"tensor '{UP}.{name}'", "that is not finite", f"for '{UP}.{codes}'", f"got {value} in element 0",
                 "--nan zero")
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("scheme, field, value, code, words", [
    ("fp8", "quant_method", "bitsandbytes", 4, ["quantized by this method", "gptq, awq", "got bitsandbytes"]),
    ("fp8", "quant_method", None, 4, ["quantized by this method", "got none"]),
    ("fp8", "weight_block_size", [128], 3, ["weight_block_size", "two positive integers", "got [128]"]),
    ("fp8", "weight_block_size", [0, 128], 3, ["weight_block_size", "got [0,128]"]),
    ("fp8", "modules_to_not_convert", "lm_head", 3, ["modules_to_not_convert", "a list of module names"]),
    ("fp8", "modules_to_not_convert", ["re:" + "(" * 20000 + "a" + ")" * 20000], 3,
     ["modules_to_not_convert", "at most 4096 bytes"]),
    ("int4", "format", "marlin-24", 4, ["compressed-tensors weights in this format", "got marlin-24"]),
    ("int4", "config_groups", {}, 3, ["config_groups", "a group with weights"]),
    ("gptq", "bits", 3, 4, ["weights of this many bits", "2 or 4 or 8", "got 3 bits"]),
    ("gptq", "bits", 0, 3, ["quantization_config.bits", "got 0"]),
    ("gptq", "group_size", 0, 3, ["quantization_config.group_size", "a positive integer, or -1", "got 0"]),
    ("gptq", "group_size", "16", 3, ["quantization_config.group_size"]),
    ("gptq", "checkpoint_format", "marlin", 4, ["GPTQ weights in this format", "got marlin"]),
    ("awq", "bits", 8, 4, ["weights of this many bits", "got 8 bits"]),
    ("awq", "version", "gemv", 4, ["AWQ weights in this layout", "got gemv"]),
])
def test_configuration(tmp_path, scheme, field, value, code, words):
    checkpoint = broken(tmp_path, scheme, configure=lambda config: config.update({field: value}))
    refuse(checkpoint, tmp_path, code, "config.json", *words)


@pytest.mark.parametrize("scheme, codes, scales", [("gptq", "qweight", "scales"), ("awq", "qweight", "scales")])
def test_group_size_that_does_not_fit_the_scales(tmp_path, scheme, codes, scales):
    checkpoint = broken(tmp_path, scheme, configure=lambda config: config.update(group_size=33))
    result = run("convert", checkpoint, tmp_path / "out.gguf")
    assert_fails(result, 3, f"tensor '{UP}.{scales}'", "expected [2, 160]", f"for '{UP}.{codes}'")


def test_group_size_of_compressed_tensors_that_does_not_fit(tmp_path):
    checkpoint = broken(tmp_path, "int4", configure=lambda config: config["config_groups"]["group_0"]["weights"].update(
        group_size=33))
    assert_fails(run("convert", checkpoint, tmp_path / "out.gguf"), 3, f"tensor '{WEIGHT}_scale'", "(groups of 33, 4 bits)",
                 f"for '{WEIGHT}_packed'")


def test_pattern_that_takes_exponential_time(tmp_path):
    pattern = r"re:(?:\w+\.?)+[!?]"
    checkpoint = broken(tmp_path, "int4", configure=lambda config: config.update(ignore=["lm_head", pattern]))
    refuse(checkpoint, tmp_path, 4, "config.json", "tensor 'model.layers.", "takes too much work", "'re:(?:", "match limit")


def test_bits_of_compressed_tensors(tmp_path):
    checkpoint = broken(tmp_path, "int4", configure=lambda config: config["config_groups"]["group_0"]["weights"].update(
        num_bits=3))
    refuse(checkpoint, tmp_path, 4, "weights of this many bits", "got 3 bits")
