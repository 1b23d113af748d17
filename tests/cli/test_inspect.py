"""`sluice inspect`: GGUF files, safetensors files and checkpoint folders; one value; statistics."""
import json
import re

import numpy
import pytest
from gguf import GGUFReader, GGUFWriter, dequantize

from sluice_cli import (GOLDEN, Gguf, assert_fails, convert, copy_checkpoint, decode, encode,
                        edit_json, load_tensors, read_safetensors, run, write_safetensors, write_tensors)

LLAMA = GOLDEN / "checkpoints" / "llama-tiny"
GLM = GOLDEN / "checkpoints" / "glm-tiny"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "out.gguf"
    convert(GLM, out)
    return out


def inspect(*arguments):
    result = run("inspect", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def inspect_json(*arguments):
    return json.loads(inspect(*arguments, "--json"))


# ---- Whole files --------------------------------------------------------------------------------


def test_gguf_json(model):
    seen = inspect_json(model)
    assert seen["path"] == str(model)
    assert seen["kind"] == "GGUF version 3"
    assert seen["bytes"] == model.stat().st_size
    assert seen["warnings"] == []
    real = Gguf(model)
    assert {key: entry["value"] for key, entry in seen["key_values"].items()} == real.values
    assert list(seen["key_values"]) == list(real.values)
    assert {tensor.pop("name"): tensor for tensor in seen["tensors"]} == {
        name: {"type": tensor.type, "shape": list(tensor.shape), "offset": tensor.offset,
               "bytes": len(tensor.raw)}
        for name, tensor in real.tensors.items()
    }


def test_gguf_text(model):
    text = inspect(model)
    lines = text.splitlines()
    assert lines[0] == f"{model}: GGUF version 3, {model.stat().st_size / 1000:.2f} kB, 76 tensors"
    for tensor in GGUFReader(model).tensors:
        shape = ", ".join(str(extent) for extent in reversed(tensor.shape))
        row = (rf"{re.escape(tensor.name)} +{tensor.tensor_type.name} +\[{shape}\] "
               rf"+{tensor.data_offset} +{tensor.n_bytes}")
        assert sum(bool(re.fullmatch(row, line)) for line in lines) == 1, tensor.name
    for key in Gguf(model).values:
        assert sum(line.startswith(key + " ") for line in lines) == 1, key


def write_every_type(path):
    """A GGUF file of another writer with a value of each type."""
    writer = GGUFWriter(path, "test")
    for name, value in EVERY_TYPE.items():
        getattr(writer, f"add_{name}")(f"x.{name}", value)
    for name, value in LISTS.items():
        writer.add_array(f"x.{name}", value)
    writer.add_tensor("t", numpy.arange(6, dtype=numpy.float32).reshape(2, 3))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


EVERY_TYPE = {"uint8": 255, "int8": -128, "uint16": 65535, "int16": -32768, "uint32": 2**32 - 1,
              "int32": -(2**31), "uint64": 2**64 - 1, "int64": -(2**63), "float32": 0.5,
              "float64": 1e300, "bool": True, "string": "a \"quoted\"\nstring é"}
LISTS = {"floats": [0.5, float("nan"), float("inf"), float("-inf")], "flags": [True, False],
         "words": ["a", "b c", ""], "numbers": list(range(100))}


def test_values_of_every_type(tmp_path):
    path = tmp_path / "every.gguf"
    write_every_type(path)
    values = inspect_json(path)["key_values"]
    names = ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bool", "str"]
    for (name, value), type_name in zip(EVERY_TYPE.items(), names, strict=True):
        assert values[f"x.{name}"] == {"type": type_name, "value": value}
    # JSON has no NaN and no infinity.
    assert values["x.floats"] == {"type": "arr", "of": "f32", "value": [0.5, "nan", "inf", "-inf"]}
    assert values["x.flags"] == {"type": "arr", "of": "bool", "value": [True, False]}
    assert values["x.words"] == {"type": "arr", "of": "str", "value": LISTS["words"]}
    assert values["x.numbers"] == {"type": "arr", "of": "i32", "value": LISTS["numbers"]}


def test_text_shortens_long_values_and_keeps_each_on_its_line(tmp_path):
    path = tmp_path / "every.gguf"
    write_every_type(path)
    text = inspect(path)
    shortened = r"\[0, 1, 2, 3, 4, 5, 6, 7, \.\.\. \(100 elements\)\]"
    assert re.search(rf"^x\.numbers +i32\[100\]  {shortened}$", text, re.M)
    assert re.search(r"^x\.words +str\[3\]  \[\"a\", \"b c\", \"\"\]$", text, re.M)
    assert re.search(r'^x\.string +str  a "quoted"\\nstring é$', text, re.M)


def test_text_shortens_long_strings(tmp_path):
    out = tmp_path / "out.gguf"
    convert(LLAMA, out, "--set", f"x=str:{'y' * 1000}")
    (line,) = [line for line in inspect(out).splitlines() if line.startswith("x ")]
    assert line.endswith("yyyy... (1000 bytes)") and len(line) < 200


def test_control_characters_do_not_reach_the_terminal(tmp_path):
    # A file from elsewhere must not move the cursor or pass off its text as ours.
    out = tmp_path / "out.gguf"
    convert(LLAMA, out, "--set", "x\x1b[1m=str:a\x1b[2J\r\tb\x7f")
    write_tensors(tmp_path / "x.safetensors", {"evil\x1b[31m\nname": ("F32", [1], bytes(4))})
    for path in (out, tmp_path / "x.safetensors"):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", inspect(path))
    assert len(inspect(tmp_path / "x.safetensors").splitlines()) < 6


def test_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    header, data = read_safetensors(LLAMA / "model.safetensors")
    header["__metadata__"] = {"format": "pt", "note": "line\nbreak"}
    write_safetensors(path, header, data)
    seen = inspect_json(path)
    assert seen["kind"] == "safetensors"
    assert seen["bytes"] == path.stat().st_size
    assert seen["key_values"] == {"format": {"type": "str", "value": "pt"},
                                  "note": {"type": "str", "value": "line\nbreak"}}
    start = path.stat().st_size - len(data)
    del header["__metadata__"]
    assert {tensor.pop("name"): tensor for tensor in seen["tensors"]} == {
        name: {"type": entry["dtype"], "shape": entry["shape"],
               "offset": start + entry["data_offsets"][0],
               "bytes": entry["data_offsets"][1] - entry["data_offsets"][0]}
        for name, entry in header.items()
    }
    assert inspect(path, "--kv", "note") == "line\nbreak\n"
    assert re.search(r"^lm_head\.weight +BF16 +\[512, 64\] +\d+ +65536$", inspect(path), re.M)


def test_folder():
    seen = inspect_json(GLM)
    shards = sorted(GLM.glob("*.safetensors"))
    assert seen["kind"] == "checkpoint folder, 2 shards"
    assert seen["bytes"] == sum(shard.stat().st_size for shard in shards)
    tensors = {tensor["name"]: tensor for tensor in seen["tensors"]}
    assert set(tensors) == set(load_tensors(GLM))
    for shard in shards:
        raw = shard.read_bytes()
        for name, (dtype, shape, content) in load_tensors(GLM).items():
            if tensors[name]["file"] == shard.name:
                offset = tensors[name]["offset"]
                assert raw[offset : offset + tensors[name]["bytes"]] == content
                assert (tensors[name]["type"], tensors[name]["shape"]) == (dtype, shape)
    assert {tensor["file"] for tensor in seen["tensors"]} == {shard.name for shard in shards}
    line = r"^lm_head\.weight +BF16 +\[520, 64\] +\d+ +66560  model-00001-of-00002\.safetensors$"
    assert re.search(line, inspect(GLM), re.M)


def test_fields_of_config_json_are_the_key_values_of_a_folder(tmp_path):
    checkpoint = copy_checkpoint("llama4-tiny", tmp_path)
    edit_json(checkpoint / "config.json", lambda config: config.update(
        empty=[], mixed=[1, "a"], nested=[[1], [2]], large=2**63, absent=None))
    config = json.loads((checkpoint / "config.json").read_text())
    values = inspect_json(checkpoint)["key_values"]
    assert values["architectures"] == {"type": "arr", "of": "str", "value": config["architectures"]}
    text = config["text_config"]
    assert values["text_config.hidden_size"] == {"type": "i64", "value": text["hidden_size"]}
    assert values["text_config.no_rope_layers"] == {"type": "arr", "of": "i64", "value": text["no_rope_layers"]}
    assert values["text_config.rope_scaling.factor"] == {"type": "f64", "value": 8.0}
    assert values["text_config.use_qk_norm"] == {"type": "bool", "value": True}
    assert values["text_config.model_type"] == {"type": "str", "value": "llama4_text"}
    assert values["large"] == {"type": "u64", "value": 2**63}
    for name, shown in (("empty", "[]"), ("mixed", '[1,"a"]'), ("nested", "[[1],[2]]")):
        assert values[name] == {"type": "str", "value": shown}
    assert "absent" not in values and "text_config" not in values
    assert inspect(checkpoint, "--kv", "text_config.head_dim") == "16\n"


def test_folder_with_a_broken_configuration(tmp_path):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    (checkpoint / "config.json").write_text("{")
    assert_fails(run("inspect", checkpoint), 3, checkpoint / "config.json", "not valid JSON")


def test_folder_needs_no_configuration(tmp_path):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    (checkpoint / "config.json").unlink()
    assert len(inspect_json(checkpoint)["tensors"]) == 30


# ---- One value ----------------------------------------------------------------------------------


def test_one_value_is_raw_and_whole(model):
    values = Gguf(model).values
    assert inspect(model, "--kv", "general.architecture") == "deepseek2\n"
    assert inspect(model, "--kv", "deepseek2.block_count") == f"{values['deepseek2.block_count']}\n"
    template = values["tokenizer.chat_template"]
    assert len(template) > 100
    assert inspect(model, "--kv", "tokenizer.chat_template") == template + "\n"
    numbers = ", ".join(str(number) for number in values["tokenizer.ggml.token_type"])
    assert inspect(model, "--kv", "tokenizer.ggml.token_type") == f"[{numbers}]\n"


def test_one_value_as_json(model):
    for key in ("general.architecture", "tokenizer.ggml.tokens"):
        assert inspect_json(model, "--kv", key) == {"format": 1, "key": key,
                                                    "value": Gguf(model).values[key]}


def test_bytes_that_are_no_utf8_are_still_json(tmp_path):
    out = tmp_path / "out.gguf"
    convert(LLAMA, out, "--set", "x=str:a#b")
    out.write_bytes(out.read_bytes().replace(b"a#b", b"a\xffb"))
    assert inspect_json(out, "--kv", "x")["value"] == "a\N{REPLACEMENT CHARACTER}b"


def test_unknown_names(model):
    assert_fails(run("inspect", model, "--kv", "general.nonsense"), 3, model, "general.nonsense")
    assert_fails(run("inspect", model, "--tensor", "nonsense"), 3, model, "nonsense")


@pytest.mark.parametrize("flag", ["--kv", "--tensor"])
def test_empty_name(model, flag):
    assert_fails(run("inspect", model, flag, ""), 2, f"{flag}: expected a value, got an empty one")


def test_key_and_tensor_exclude_each_other(model):
    result = run("inspect", model, "--kv", "general.name", "--tensor", "output.weight")
    assert_fails(result, 2, "--kv", "--tensor")


# ---- Statistics ---------------------------------------------------------------------------------


def numpy_statistics(values):
    finite = values[numpy.isfinite(values)].astype(numpy.float64)
    return {"elements": values.size, "min": finite.min(), "max": finite.max(),
            "mean": finite.mean(), "standard_deviation": finite.std(),
            "zeros": int((finite == 0).sum()), "nans": int(numpy.isnan(values).sum()),
            "infinities": int(numpy.isinf(values).sum())}


def assert_statistics(path, tensor, values):
    seen = inspect_json(path, "--tensor", tensor)
    assert (seen.pop("format"), seen.pop("tensor")) == (1, tensor)
    # Sums differ in the order of additions.
    assert seen == pytest.approx(numpy_statistics(values), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("outtype, kind", [("auto", "BF16"), ("f32", "F32"), ("f16", "F16")])
def test_statistics_of_a_gguf_tensor(tmp_path, outtype, kind):
    out = tmp_path / "out.gguf"
    convert(LLAMA, out, "--outtype", outtype)
    real = Gguf(out).tensors["token_embd.weight"]
    assert real.type == kind
    assert_statistics(out, "token_embd.weight", real.floats())


def test_statistics_of_quantized_tensors(tmp_path):
    out = tmp_path / "out.gguf"
    convert(GOLDEN / "checkpoints" / "llama-q256", out, "--pre", "llama-bpe", "--type", "Q4_K_M")
    tensors = {tensor.tensor_type.name: tensor for tensor in GGUFReader(out).tensors}
    assert set(tensors) == {"F32", "Q4_K", "Q6_K"}
    for tensor in tensors.values():
        assert_statistics(out, tensor.name, dequantize(tensor.data, tensor.tensor_type).reshape(-1))


# More than one tile of 16384 elements, and special values.
VALUES = numpy.random.default_rng(1).normal(size=40000).astype(numpy.float32)
VALUES[[0, 17000, 39999]] = [numpy.nan, numpy.inf, -numpy.inf]
VALUES[100:110] = 0.0
VALUES[105] = -0.0


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_statistics_of_a_safetensors_tensor(tmp_path, dtype):
    raw = {"F64": lambda: VALUES.astype(numpy.float64).tobytes(),
           "F8_E4M3": lambda: bytes(range(256)) * 100,
           "F8_E5M2": lambda: bytes(range(256)) * 100}.get(dtype, lambda: encode(dtype, VALUES))()
    values = decode(dtype, raw).astype(numpy.float32)
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"before": ("U8", [8], bytes(8)), "x": (dtype, [values.size], raw)})
    assert_statistics(path, "x", values)


def test_statistics_of_a_folder():
    dtype, shape, raw = load_tensors(GLM)["model.norm.weight"]
    assert_statistics(GLM, "model.norm.weight", decode(dtype, raw).reshape(shape))


def test_statistics_of_an_empty_tensor_and_of_no_finite_value(tmp_path):
    path = tmp_path / "x.safetensors"
    nans = encode("F32", numpy.full(3, numpy.nan))
    write_tensors(path, {"empty": ("F32", [0], b""), "nans": ("F32", [3], nans)})
    for name, elements in (("empty", 0), ("nans", 3)):
        seen = inspect_json(path, "--tensor", name)
        assert (seen["elements"], seen["nans"], seen["mean"]) == (elements, elements, 0)


def test_values_that_hardly_differ(tmp_path):
    # The difference of two large sums would drown the deviation of a norm's weights.
    values = numpy.full(40000, 0.1, numpy.float32)
    nearly = (1000 + 1e-3 * numpy.random.default_rng(2).normal(size=40000)).astype(numpy.float32)
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"same": ("F32", [40000], values.tobytes()),
                         "nearly": ("F32", [40000], nearly.tobytes())})
    deviations = {name: inspect_json(path, "--tensor", name)["standard_deviation"]
                  for name in ("same", "nearly")}
    assert deviations["same"] == pytest.approx(0, abs=1e-12)
    assert deviations["nearly"] == pytest.approx(nearly.astype(numpy.float64).std(), rel=1e-6)


def test_statistics_in_words(tmp_path):
    path = tmp_path / "x.safetensors"
    values = numpy.array([1, -2, 0, numpy.nan, numpy.inf, 0, 0, 0, 9], numpy.float32)
    write_tensors(path, {"x": ("F32", [9], values.tobytes())})
    assert inspect(path, "--tensor", "x") == (
        "x: 9 elements\n"
        "min -2, max 9, mean 1.14286, standard deviation 3.31355\n"
        "zeros 4, NaNs 1, infinities 1\n"
        "first values: 1, -2, 0, nan, inf, 0, 0, 0\n")


def test_statistics_of_integers_are_refused(tmp_path):
    write_tensors(tmp_path / "x.safetensors", {"x": ("I64", [1], bytes(8))})
    assert_fails(run("inspect", tmp_path / "x.safetensors", "--tensor", "x"), 4, "I64")


# ---- What is no such file -----------------------------------------------------------------------


@pytest.mark.parametrize("name, content, words", [
    ("missing.gguf", None, ["No such file"]),
    ("empty.gguf", b"", ["file ends", "truncated"]),
    ("empty.safetensors", b"", ["file ends", "truncated"]),
    ("magic.gguf", b"GGUF", ["file ends", "byte 4"]),
    ("other.gguf", b"PK\3\4" + bytes(100), ["magic"]),
    ("config.json", b'{"architectures": []}', ["no safetensors file"]),
])
def test_no_such_file(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    result = run("inspect", path)
    assert_fails(result, 3, path, *words)
    assert result.stdout == ""


def test_truncated_gguf(tmp_path, model):
    path = tmp_path / "cut.gguf"
    for length in (8, 23, 24, 5000, model.stat().st_size - 1):
        path.write_bytes(model.read_bytes()[:length])
        assert_fails(run("inspect", path), 3, path, "expected")
