"""`sluice diff`: exit code, key-values, tensors, order, largest differences."""
import json
import os

import numpy
import pytest
from gguf import GGUFReader, GGUFWriter, dequantize

from sluice_cli import GOLDEN, Gguf, assert_fails, convert, encode, run

LLAMA = GOLDEN / "checkpoints" / "llama-tiny"

VALUES = {"x.number": ("uint32", 7), "x.text": ("string", "hello"), "x.real": ("float32", 0.5)}
TENSORS = {"one": numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
           "two": numpy.ones(40000, numpy.float32)}


def write(path, values=VALUES, tensors=TENSORS, alignment=32):
    """A GGUF file, by the independent writer."""
    writer = GGUFWriter(path, "test")
    writer.add_custom_alignment(alignment)
    for key, (kind, value) in values.items():
        getattr(writer, f"add_{kind}")(key, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def diff(a, b):
    """(differences, lines of text); both forms and the exit code must agree."""
    as_json, as_text = run("diff", a, b, "--json"), run("diff", a, b)
    content = json.loads(as_json.stdout)
    assert set(content) == {"format", "differences"} and content["format"] == 1
    differences, lines = content["differences"], as_text.stdout.splitlines()
    assert as_json.returncode == as_text.returncode == (1 if differences else 0)
    assert as_json.stderr == as_text.stderr == ""
    assert len(differences) == len(lines)
    return differences, lines


@pytest.fixture
def base(tmp_path):
    return write(tmp_path / "a.gguf")


def entry(kind, name, what, a="", b="", **more):
    return {"kind": kind, "name": name, "what": what, "a": a, "b": b, **more}


# ---- Equal --------------------------------------------------------------------------------------


def test_same_content(tmp_path, base):
    assert diff(base, base) == ([], [])
    assert diff(base, write(tmp_path / "b.gguf")) == ([], [])


def test_converted_twice(tmp_path):
    for name, threads in (("a.gguf", 1), ("b.gguf", 3)):
        convert(LLAMA, tmp_path / name, "--threads", threads)
    assert diff(tmp_path / "a.gguf", tmp_path / "b.gguf") == ([], [])


def test_padding_does_not_count(tmp_path, base):
    b = tmp_path / "b.gguf"
    b.write_bytes(base.read_bytes() + bytes(100))
    assert diff(base, b) == ([], [])


# ---- Key-values ---------------------------------------------------------------------------------


def test_changed_value(tmp_path, base):
    b = write(tmp_path / "b.gguf", {**VALUES, "x.number": ("uint32", 8)})
    differences, lines = diff(base, b)
    assert differences == [entry("key", "x.number", "value", "u32 7", "u32 8")]
    assert lines == ["key x.number: value, A u32 7, B u32 8"]


def test_changed_type_of_an_equal_number(tmp_path, base):
    b = write(tmp_path / "b.gguf", {**VALUES, "x.number": ("uint64", 7)})
    assert diff(base, b)[0] == [entry("key", "x.number", "value", "u32 7", "u64 7")]


def test_keys_on_one_side(tmp_path, base):
    fewer = {key: VALUES[key] for key in ("x.number", "x.text")}
    b = write(tmp_path / "b.gguf", {**fewer, "x.new": ("string", "new")})
    differences, lines = diff(base, b)
    assert differences == [entry("key", "x.real", "only in A", a="f32 0.5"),
                           entry("key", "x.new", "only in B", b="str new")]
    assert lines == ["key x.real: only in A, A f32 0.5", "key x.new: only in B, B str new"]


def test_values_are_shortened(tmp_path):
    def with_list(name, last):
        numbers = [*range(1000), last]
        writer = GGUFWriter(tmp_path / name, "test")
        writer.add_array("x.list", numbers)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / name

    differences, lines = diff(with_list("a.gguf", 1), with_list("b.gguf", 2))
    assert [difference["name"] for difference in differences] == ["x.list"]
    assert differences[0]["a"].startswith("arr[1001] of i32 [0, 1, 2, ")
    assert len(lines[0]) < 300


# ---- Tensors ------------------------------------------------------------------------------------


def test_largest_difference_of_floats(tmp_path, base):
    changed = TENSORS["two"].copy()
    changed[[5, 20000, 39999]] += numpy.float32([0.25, -1.5, 1e-3])  # in three tiles
    b = write(tmp_path / "b.gguf", tensors={**TENSORS, "two": changed})
    largest = float(numpy.abs(changed.astype(numpy.float64) - TENSORS["two"]).max())
    assert largest == 1.5
    differences, lines = diff(base, b)
    assert differences == [entry("tensor", "two", "bytes", "F32", "F32", largest_difference=1.5)]
    assert lines == ["tensor two: bytes, A F32, B F32, largest difference 1.5"]


def test_difference_in_one_bit_of_zero(tmp_path):
    b = write(tmp_path / "b.gguf", tensors={**TENSORS, "one": TENSORS["one"] * numpy.float32(-1)})
    a = write(tmp_path / "c.gguf", tensors={**TENSORS, "one": numpy.abs(TENSORS["one"])})
    assert diff(a, b)[0][0]["largest_difference"] == 10
    zeros = numpy.zeros((2, 3), numpy.float32)
    a = write(tmp_path / "d.gguf", tensors={"one": zeros})
    b = write(tmp_path / "e.gguf", tensors={"one": -zeros})
    assert diff(a, b)[0] == [entry("tensor", "one", "bytes", "F32", "F32", largest_difference=0)]


@pytest.mark.parametrize("special", [numpy.nan, numpy.inf, -numpy.inf])
def test_nan_and_infinity_differ_infinitely_from_numbers(tmp_path, special):
    a = write(tmp_path / "a.gguf", tensors={"x": numpy.float32([1, 2, 3, 4])})
    b = write(tmp_path / "b.gguf", tensors={"x": numpy.float32([1, special, 3, 3.5])})
    differences, lines = diff(a, b)
    assert differences == [entry("tensor", "x", "bytes", "F32", "F32", largest_difference="inf")]
    assert lines == ["tensor x: bytes, A F32, B F32, largest difference inf"]


def test_nan_and_infinity_do_not_differ_from_their_like(tmp_path):
    a = write(tmp_path / "a.gguf", tensors={"x": numpy.float32([1, numpy.nan, numpy.inf, 4])})
    b = write(tmp_path / "b.gguf", tensors={"x": numpy.float32([1, numpy.nan, numpy.inf, 3.5])})
    assert diff(a, b)[0] == [entry("tensor", "x", "bytes", "F32", "F32", largest_difference=0.5)]


@pytest.mark.parametrize("outtype, kind", [("f32", "F32"), ("f16", "F16")])
def test_largest_difference_between_types_equals_numpys(tmp_path, outtype, kind):
    a, b = tmp_path / "a.gguf", tmp_path / "b.gguf"
    convert(LLAMA, a)
    convert(LLAMA, b, "--outtype", outtype)
    in_a, in_b = Gguf(a).tensors, Gguf(b).tensors
    differences = {difference["name"]: difference for difference in diff(a, b)[0]}
    assert differences.pop("general.file_type")["kind"] == "key"
    assert set(differences) == {name for name, tensor in in_a.items() if tensor.type == "BF16"}
    for name, difference in differences.items():
        largest = numpy.abs(in_a[name].floats().astype(numpy.float64) - in_b[name].floats()).max()
        assert difference == entry("tensor", name, "type", "BF16", kind, largest_difference=largest)
    if outtype == "f16":
        assert any(difference["largest_difference"] > 0 for difference in differences.values())


def test_largest_difference_between_quantized_types(tmp_path):
    def quantized(kind):
        path = tmp_path / f"{kind}.gguf"
        convert(GOLDEN / "checkpoints" / "llama-q256", path, "--pre", "llama-bpe", "--type", kind)
        return path, {tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(numpy.float64)
                      for tensor in GGUFReader(path).tensors}

    (a, in_a), (b, in_b) = quantized("Q4_K_M"), quantized("Q5_0")
    differences = [difference for difference in diff(a, b)[0] if difference["kind"] == "tensor"]
    assert {(difference["a"], difference["b"]) for difference in differences} >= {("Q4_K", "Q5_0")}
    for difference in differences:
        name = difference["name"]
        assert difference["largest_difference"] == numpy.abs(in_a[name] - in_b[name]).max() > 0


def test_bytes_of_equal_type(tmp_path):
    a, b = tmp_path / "a.gguf", tmp_path / "b.gguf"
    convert(LLAMA, a)
    tensor = Gguf(a).tensors["output_norm.weight"]
    raw = bytearray(a.read_bytes())
    values = tensor.floats()
    values[3] += 2
    raw[tensor.offset : tensor.offset + len(tensor.raw)] = encode("F32", values)
    b.write_bytes(raw)
    (difference,), _ = diff(a, b)
    largest = numpy.abs(values.astype(numpy.float64) - tensor.floats()).max()
    assert difference == entry("tensor", "output_norm.weight", "bytes", "F32", "F32",
                               largest_difference=largest)


def test_shape(tmp_path, base):
    b = write(tmp_path / "b.gguf", tensors={**TENSORS, "one": TENSORS["one"].reshape(3, 2)})
    assert diff(base, b)[0] == [entry("tensor", "one", "shape", "[2, 3]", "[3, 2]")]


def test_integers_have_no_largest_difference(tmp_path):
    a = write(tmp_path / "a.gguf", tensors={"x": numpy.int32([1, 2])})
    b = write(tmp_path / "b.gguf", tensors={"x": numpy.int32([1, 3])})
    assert diff(a, b)[0] == [entry("tensor", "x", "bytes", "I32", "I32")]


def test_tensors_on_one_side(tmp_path, base):
    b = write(tmp_path / "b.gguf", tensors={"one": TENSORS["one"], "new": TENSORS["one"]})
    differences, lines = diff(base, b)
    assert differences == [entry("tensor", "two", "only in A", a="[40000]"),
                           entry("tensor", "new", "only in B", b="[2, 3]")]
    assert lines == ["tensor two: only in A, A [40000]", "tensor new: only in B, B [2, 3]"]


# ---- Order --------------------------------------------------------------------------------------


def test_order_of_tensors_and_keys(tmp_path, base):
    reverse = dict(reversed(list(TENSORS.items())))
    differences, lines = diff(base, write(tmp_path / "b.gguf", tensors=reverse))
    assert differences == [entry("order", "", "tensors are in another order")]
    assert lines == ["order tensors are in another order"]
    reverse = dict(reversed(list(VALUES.items())))
    differences, _ = diff(base, write(tmp_path / "b.gguf", reverse))
    assert differences == [entry("order", "", "key-values are in another order")]


# ---- Flags and errors ---------------------------------------------------------------------------


def test_quiet_says_only_whether_they_differ(tmp_path, base):
    b = write(tmp_path / "b.gguf", {})
    result = run("diff", "-q", base, b)
    assert (result.returncode, result.stdout, result.stderr) == (1, f"Files {base} and {b} differ\n", "")
    result = run("diff", "-q", base, base)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_quiet_and_json(tmp_path, base):
    b = write(tmp_path / "b.gguf", {})
    assert run("diff", "-q", "--json", base, b).stdout == run("diff", "--json", base, b).stdout


def test_folder_or_pipe_instead_of_a_file(tmp_path, base):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path, "a folder"), (LLAMA, "a folder"), (tmp_path / "pipe", "a pipe")):
        for a, b in ((base, path), (path, base)):
            assert_fails(run("diff", a, b), 3, f"{path}: not a regular file: got {kind}")


def test_empty_name(base):
    assert_fails(run("diff", base, ""), 2, "B: expected a value, got an empty one")


def test_what_is_no_gguf_file(tmp_path, base):
    for a, b in ((base, LLAMA / "model.safetensors"), (LLAMA / "model.safetensors", base)):
        assert_fails(run("diff", a, b), 3, LLAMA / "model.safetensors", "magic")
    assert_fails(run("diff", base, tmp_path / "nowhere.gguf"), 3, "nowhere.gguf", "No such file")


def test_truncated_file(tmp_path, base):
    b = tmp_path / "b.gguf"
    b.write_bytes(base.read_bytes()[:-40000])
    assert_fails(run("diff", base, b), 3, b, "expected")
