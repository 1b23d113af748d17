"""Runs the program under test and reads GGUF files with the independent `gguf` package."""
import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import time

import numpy
from gguf import GGUFReader, GGUFValueType

SLUICE = os.environ["SLUICE"]
MAKE_CHECKPOINT = os.environ.get("SLUICE_MAKE_CHECKPOINT", "")  # where a test needs a large one
SANITIZE = os.environ.get("SLUICE_SANITIZE", "")
TESTS = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = TESTS / "golden"
TIMEOUT_SECONDS = 300  # a hang, not a slow machine


def run(*arguments, **options):
    """Runs `sluice ARGUMENTS...`; gives the completed process with text output."""
    options.setdefault("capture_output", True)
    options.setdefault("timeout", TIMEOUT_SECONDS)
    if options["capture_output"]:
        options.setdefault("text", True)
    return subprocess.run([SLUICE, *map(str, arguments)], **options)


def convert(checkpoint, out, *arguments):
    """Converts and insists on success."""
    result = run("convert", checkpoint, out, *arguments)
    assert result.returncode == 0, result.stderr
    return result


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def read_gguf(path):
    """(key-values, tensors) in the form and order of tests/golden/expected/*.json."""
    reader = GGUFReader(path)
    values = {}
    for key, field in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        if field.types[0] == GGUFValueType.ARRAY:
            content = field.contents()
            of = field.types[1].name.lower() if len(field.types) > 1 else None
            values[key] = {"type": "array", "of": of, "len": len(content), "value": content}
        else:
            values[key] = {"type": field.types[0].name.lower(), "value": field.contents()}
    tensors = [
        {
            "name": tensor.name,
            "type": tensor.tensor_type.name,
            "ne": [int(extent) for extent in tensor.shape],
            "sha256": hashlib.sha256(tensor.data.tobytes()).hexdigest(),
        }
        for tensor in reader.tensors
    ]
    return values, tensors


def copy_checkpoint(case, folder):
    """A golden checkpoint that a test may change."""
    target = pathlib.Path(folder) / case
    shutil.copytree(GOLDEN / "checkpoints" / case, target)
    return target


def edit_json(path, change):
    """Applies `change` to a JSON file's content, in place."""
    path = pathlib.Path(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def read_safetensors(path):
    """(header dict, data bytes) of a safetensors file."""
    raw = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write_safetensors(path, header, data):
    """Writes a header as it is, right or wrong, in front of `data`."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_tensors(path, tensors):
    """Writes {name: (dtype, shape, bytes)} as a correct safetensors file."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    write_safetensors(path, header, data)


def load_tensors(folder):
    """{name: (dtype, shape, bytes)} of all shards of a checkpoint folder."""
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        header, data = read_safetensors(path)
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                tensors[name] = (entry["dtype"], entry["shape"], data[begin:end])
    return tensors


def replace_tensors(folder, tensors):
    """Makes the checkpoint a single shard with these tensors and no index."""
    folder = pathlib.Path(folder)
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    write_tensors(folder / "model.safetensors", tensors)


class Tensor:
    """Type, shape (outermost first) and raw bytes of one tensor of a GGUF file."""

    def __init__(self, record):
        self.type = record.tensor_type.name
        self.shape = tuple(int(extent) for extent in record.shape)[::-1]
        self.raw = record.data.tobytes()
        self.offset = int(record.data_offset)

    def floats(self):
        return decode(self.type, self.raw).reshape(self.shape)


class Gguf:
    """A whole GGUF file: `values` by key, `types` by key, `tensors` by name, all in file order."""

    def __init__(self, path):
        entries, _ = read_gguf(path)
        self.values = {key: entry["value"] for key, entry in entries.items()}
        self.types = {
            key: f"array of {entry['of']}" if entry["type"] == "array" else entry["type"]
            for key, entry in entries.items()
        }
        self.tensors = {record.name: Tensor(record) for record in GGUFReader(path).tensors}


def decode(dtype, raw):
    """The values of F64, F32, F16, BF16, F8_E4M3 and F8_E5M2 bytes as float32 (F64: float64)."""
    if dtype == "BF16":
        return (numpy.frombuffer(raw, numpy.uint16).astype(numpy.uint32) << 16).view(numpy.float32)
    if dtype == "F8_E4M3":
        return numpy.array([_float8(byte, 4, 3) for byte in raw], numpy.float32)
    if dtype == "F8_E5M2":
        return numpy.array([_float8(byte, 5, 2) for byte in raw], numpy.float32)
    plain = {"F64": numpy.float64, "F32": numpy.float32, "F16": numpy.float16}[dtype]
    values = numpy.frombuffer(raw, plain)
    return values if dtype == "F64" else values.astype(numpy.float32)


def _float8(byte, exponent_bits, mantissa_bits):
    """One 8-bit float. E4M3 has no infinity and one NaN per sign; E5M2 follows IEEE 754."""
    sign = -1.0 if byte & 0x80 else 1.0
    exponent = (byte >> mantissa_bits) & ((1 << exponent_bits) - 1)
    mantissa = byte & ((1 << mantissa_bits) - 1)
    bias = (1 << (exponent_bits - 1)) - 1
    if exponent_bits == 4 and byte & 0x7F == 0x7F:
        return float("nan")
    if exponent_bits == 5 and exponent == 31:
        return float("nan") if mantissa else sign * float("inf")
    if exponent == 0:
        return sign * mantissa * 2.0 ** (1 - bias - mantissa_bits)
    return sign * (1 + mantissa / (1 << mantissa_bits)) * 2.0 ** (exponent - bias)


def encode(dtype, values):
    """float32 values as F32, F16 or BF16 bytes, rounded to nearest even."""
    values = numpy.ascontiguousarray(values, numpy.float32)
    if dtype == "F32":
        return values.tobytes()
    if dtype == "F16":
        with numpy.errstate(over="ignore"):
            return values.astype(numpy.float16).tobytes()
    bits = values.reshape(-1).view(numpy.uint32).astype(numpy.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet_nan = (bits >> 16) | 0x40
    is_nan = numpy.isnan(values.reshape(-1))
    return numpy.where(is_nan, quiet_nan, rounded).astype(numpy.uint16).tobytes()


def source_floats(tensors, name):
    """A tensor of load_tensors() as a float32 array of its shape."""
    dtype, shape, raw = tensors[name]
    return decode(dtype, raw).reshape(shape)


def assert_fails(result, code, *words):
    """The run failed in an orderly way, with this exit code and one message that has these words."""
    assert result.returncode == code, f"exit {result.returncode}\n{result.stderr}"
    assert result.stderr.startswith("error: "), result.stderr
    for trace in ("Sanitizer", "terminate called", "runtime error", "Assertion"):
        assert trace not in result.stderr
    for word in words:
        assert str(word) in result.stderr, f"{word!r} is not in:\n{result.stderr}"


def assert_one_message(result):
    """One problem in one line, and at most one line of advice."""
    first, *rest = result.stderr.rstrip("\n").split("\n")
    assert first.startswith("error: "), result.stderr
    assert len(rest) <= 1 and all(line.startswith("  ") for line in rest), result.stderr


def assert_nothing_written(folder):
    """No output and no partial output lies in `folder`."""
    left = [path.name for path in pathlib.Path(folder).iterdir() if "gguf" in path.name]
    assert left == []


def wait_until(condition, what, seconds=TIMEOUT_SECONDS):
    """Polls until `condition()` gives something true, and gives it."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.002)


def refuse(checkpoint, folder, code, *words, arguments=()):
    """`convert` and `plan` refuse the checkpoint with this exit code and one message that has
    these words; nothing is written to `folder`."""
    for command in (["convert", checkpoint, pathlib.Path(folder) / "out.gguf"], ["plan", checkpoint]):
        result = run(*command, *arguments)
        assert_fails(result, code, *words)
        assert_one_message(result)
        assert result.stdout == ""
    assert_nothing_written(folder)
