"""Broken safetensors files: each is refused with exit code 3 (a dtype: 4) and one message that says
which file, tensor and byte are wrong, what was expected and what is there."""
import json
import os
import struct

import pytest

from sluice_cli import (copy_checkpoint, load_tensors, read_safetensors, refuse, write_safetensors,
                        write_tensors)

NORM = "model.norm.weight"


@pytest.fixture
def checkpoint(tmp_path):
    return copy_checkpoint("llama-tiny", tmp_path)


@pytest.fixture
def shard(checkpoint):
    return checkpoint / "model.safetensors"


def cut(shard, length):
    os.truncate(shard, length)


def edit_header(shard, change):
    """Rewrites the header after `change`; the data stays."""
    header, data = read_safetensors(shard)
    change(header)
    write_safetensors(shard, header, data)
    return header


def data_start(shard):
    return 8 + struct.unpack("<Q", shard.read_bytes()[:8])[0]


# ---- Truncated ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 5])
def test_shard_truncated_inside_the_header_length(checkpoint, shard, tmp_path, length):
    cut(shard, length)
    refuse(checkpoint, tmp_path, 3, shard, "file ends inside the header length",
           "expected at least 8 bytes", f"got {length} bytes", "download")


@pytest.mark.parametrize("length", [8, 9, 500])
def test_shard_truncated_in_the_header(checkpoint, shard, tmp_path, length):
    header_bytes = data_start(shard) - 8
    cut(shard, length)
    refuse(checkpoint, tmp_path, 3, shard, "at byte 0", f"got {header_bytes}", "truncated", "download")


def test_shard_truncated_right_after_the_header(checkpoint, shard, tmp_path):
    start = data_start(shard)
    cut(shard, start)
    refuse(checkpoint, tmp_path, 3, shard, "tensor '", f"at byte {start}", "at most 0 bytes",
           "truncated", "download")


def test_shard_truncated_in_the_data(checkpoint, shard, tmp_path):
    header, data = read_safetensors(shard)
    last = max((entry["data_offsets"][1], name) for name, entry in header.items()
               if name != "__metadata__")[1]
    begin, end = header[last]["data_offsets"]
    cut(shard, shard.stat().st_size - 1)
    refuse(checkpoint, tmp_path, 3, shard, f"tensor '{last}'", f"at byte {data_start(shard) + begin}",
           f"at most {len(data) - 1} bytes", f"ends at {end}", "truncated", "download")


# ---- Header length ------------------------------------------------------------------------------


def test_header_length_zero(checkpoint, shard, tmp_path):
    shard.write_bytes(struct.pack("<Q", 0) + b"{}")
    refuse(checkpoint, tmp_path, 3, shard, "at byte 0", "header length", "got 0")


@pytest.mark.parametrize("length", [2**40, 2**63, 2**64 - 1])
def test_header_length_larger_than_the_file(checkpoint, shard, tmp_path, length):
    size = shard.stat().st_size
    with open(shard, "r+b") as file:
        file.write(struct.pack("<Q", length))
    refuse(checkpoint, tmp_path, 3, shard, "at byte 0", "header length", f"1 to {size - 8} bytes",
           f"got {length}")


def test_header_length_one_byte_larger_than_the_file(checkpoint, shard, tmp_path):
    shard.write_bytes(struct.pack("<Q", 3) + b"{}")
    refuse(checkpoint, tmp_path, 3, shard, "header length", "1 to 2 bytes", "got 3")


def test_header_length_larger_than_100_mb_in_a_file_that_is_larger_still(checkpoint, shard, tmp_path):
    with open(shard, "r+b") as file:
        file.write(struct.pack("<Q", 100_000_001))
        file.truncate(200_000_000)  # a hole: costs no space
    refuse(checkpoint, tmp_path, 3, shard, "header length", "1 to 100000000 bytes", "got 100000001")


# ---- Header text --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"garbage!", b'{"a":', b"\xff\xfe\x00\x01", b'{"a":1,}', b"\0" * 8,
                                  b"[" * 100_000])
def test_header_not_json(checkpoint, shard, tmp_path, text):
    write_safetensors(shard, text, b"")
    refuse(checkpoint, tmp_path, 3, shard, "not valid JSON")


@pytest.mark.parametrize("text, kind", [(b"[]", "an array"), (b'"text"', "a string"), (b"7", "an integer")])
def test_header_no_json_object(checkpoint, shard, tmp_path, text, kind):
    write_safetensors(shard, text, b"")
    refuse(checkpoint, tmp_path, 3, shard, "at byte 8", "no JSON object", f"got {kind}")


def test_header_names_a_tensor_twice(checkpoint, shard, tmp_path):
    header, data = read_safetensors(shard)
    text = json.dumps(header)[:-1] + f', "{NORM}": {json.dumps(header[NORM])}}}'
    write_safetensors(shard, text.encode(), data)
    refuse(checkpoint, tmp_path, 3, shard, f"tensor '{NORM}'", "twice")


@pytest.mark.parametrize("again", ['"dtype": "F16"', '"shape": [32, 2]', '"data_offsets": [0, 128]'])
def test_header_entry_names_a_field_twice(checkpoint, shard, tmp_path, again):
    # Readers disagree on which of the two counts, so neither may be taken silently.
    header, data = read_safetensors(shard)
    entry = json.dumps(header[NORM])
    text = json.dumps(header).replace(entry, f"{entry[:-1]}, {again}}}", 1)
    assert text.count(again) == 1
    write_safetensors(shard, text.encode(), data)
    refuse(checkpoint, tmp_path, 3, shard, "twice")


@pytest.mark.parametrize("field", ["dtype", "shape", "data_offsets"])
@pytest.mark.parametrize("value", [None, 7, "text", {}])
def test_header_entry_lacks_a_field_or_has_it_of_another_type(checkpoint, shard, tmp_path, field, value):
    def change(header):
        if value is None:
            del header[NORM][field]
        elif field == "dtype" and value == "text":
            header[NORM][field] = ["BF16"]
        else:
            header[NORM][field] = value

    edit_header(shard, change)
    refuse(checkpoint, tmp_path, 3, shard, f"tensor '{NORM}'", field, "missing or no")


def test_header_entry_is_no_object(checkpoint, shard, tmp_path):
    edit_header(shard, lambda header: header.update({NORM: 7}))
    refuse(checkpoint, tmp_path, 3, shard, f"tensor '{NORM}'", "dtype is missing")


# ---- Numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("field, value, shown", [
    ("shape", [-64], "-64"), ("shape", [64.0], "64.0"), ("shape", ["64"], '"64"'), ("shape", [None], "null"),
    ("data_offsets", [-128, 0], "-128"), ("data_offsets", [0, -1], "-1"),
    ("data_offsets", [0.5, 128], "0.5"),
])
def test_negative_or_fractional_numbers(checkpoint, shard, tmp_path, field, value, shown):
    edit_header(shard, lambda header: header[NORM].update({field: value}))
    refuse(checkpoint, tmp_path, 3, shard, f"tensor '{NORM}'", field, "integers from 0", f"got {shown}")


@pytest.mark.parametrize("shape", [[2**32, 2**32], [2**63, 2], [2**64 - 1, 2**64 - 1], [2**63], [2**62, 3]])
def test_shape_whose_size_overflows(checkpoint, shard, tmp_path, shape):
    header = edit_header(shard, lambda header: header[NORM].update({"shape": shape}))
    begin, end = header[NORM]["data_offsets"]
    refuse(checkpoint, tmp_path, 3, shard, f"tensor '{NORM}'", f"at byte {data_start(shard) + begin}",
           "64 bits", f"got {end - begin} bytes")


@pytest.mark.parametrize("field, value", [("shape", [2**64]), ("data_offsets", [0, 2**64]), ("shape", [10**30])])
def test_number_beyond_64_bits(checkpoint, shard, tmp_path, field, value):
    edit_header(shard, lambda header: header[NORM].update({field: value}))
    refuse(checkpoint, tmp_path, 3, shard)


def test_zero_in_a_shape_does_not_hide_an_overflow(checkpoint, shard, tmp_path):
    edit_header(shard, lambda header: header[NORM].update({"shape": [2**63, 2**63, 0]}))
    refuse(checkpoint, tmp_path, 3, shard, f"tensor '{NORM}'")


# ---- dtypes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["F8_E9M9", "bf16", "", "COMPLEX64"])
def test_dtype_unknown(checkpoint, shard, tmp_path, dtype):
    edit_header(shard, lambda header: header[NORM].update({"dtype": dtype}))
    refuse(checkpoint, tmp_path, 4, shard, f"tensor '{NORM}'", "unknown dtype", f"'{dtype}'")


@pytest.mark.parametrize("dtype, width", [("I64", 8), ("I32", 4), ("I16", 2), ("I8", 1), ("U8", 1),
                                          ("U16", 2), ("U32", 4), ("U64", 8), ("BOOL", 1)])
def test_integer_dtype_where_weights_belong(checkpoint, tmp_path, dtype, width):
    tensors = load_tensors(checkpoint)
    tensors[NORM] = (dtype, [64], bytes(64 * width))
    write_tensors(checkpoint / "model.safetensors", tensors)
    refuse(checkpoint, tmp_path, 4, f"tensor '{NORM}'", "BF16", f"got {dtype}")


# ---- Ranges -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, bytes_wanted", [([65], 130), ([63], 126), ([], 2), ([64, 2], 256), ([0], 0)])
def test_shape_times_dtype_is_not_the_byte_range(checkpoint, shard, tmp_path, shape, bytes_wanted):
    header = edit_header(shard, lambda header: header[NORM].update({"shape": shape}))
    begin, _ = header[NORM]["data_offsets"]
    refuse(checkpoint, tmp_path, 3, shard, f"tensor '{NORM}'", f"at byte {data_start(shard) + begin}",
           f"expected {bytes_wanted} bytes for BF16", "got 128 bytes")


def test_dtype_of_another_width_is_not_the_byte_range(checkpoint, shard, tmp_path):
    edit_header(shard, lambda header: header[NORM].update({"dtype": "F32"}))
    refuse(checkpoint, tmp_path, 3, shard, f"tensor '{NORM}'", "256 bytes for F32 [64]", "got 128 bytes")


@pytest.mark.parametrize("offsets", [[128, 0], [0], [0, 64, 128], []])
def test_range_is_no_pair(checkpoint, shard, tmp_path, offsets):
    edit_header(shard, lambda header: header[NORM].update({"data_offsets": offsets}))
    refuse(checkpoint, tmp_path, 3, shard, f"tensor '{NORM}'", "[begin, end)", f"got {offsets}")


def test_ranges_overlap(checkpoint, shard, tmp_path):
    header, _ = read_safetensors(shard)
    other = header["model.layers.0.input_layernorm.weight"]["data_offsets"]
    edit_header(shard, lambda changed: changed[NORM].update({"data_offsets": other}))
    refuse(checkpoint, tmp_path, 3, shard, "tensor '", f"at byte {data_start(shard) + other[0]}",
           "overlap", "expected a range that begins at")


def test_ranges_leave_a_gap(checkpoint, shard, tmp_path):
    def shift(header):
        for name, entry in header.items():
            if name != "__metadata__" and entry["data_offsets"] != [0, 0] and entry["data_offsets"][0] > 0:
                entry["data_offsets"] = [offset + 16 for offset in entry["data_offsets"]]

    header, data = read_safetensors(shard)
    shift(header)
    write_safetensors(shard, header, data + bytes(16))
    refuse(checkpoint, tmp_path, 3, shard, "tensor '", "at byte", "gap", "expected a range that begins at")


def test_first_range_does_not_begin_at_0(checkpoint, shard, tmp_path):
    header, data = read_safetensors(shard)
    for name, entry in header.items():
        if name != "__metadata__":
            entry["data_offsets"] = [offset + 8 for offset in entry["data_offsets"]]
    write_safetensors(shard, header, bytes(8) + data)
    refuse(checkpoint, tmp_path, 3, shard, "gap", "begins at 0", "got 8")


def test_range_passes_the_end(checkpoint, shard, tmp_path):
    header, data = read_safetensors(shard)
    begin = len(data) - 64
    edit_header(shard, lambda changed: changed[NORM].update({"data_offsets": [begin, begin + 128]}))
    refuse(checkpoint, tmp_path, 3, shard, f"tensor '{NORM}'", f"at byte {data_start(shard) + begin}",
           "passes the end", f"ends at {begin + 128}")


def test_bytes_after_the_last_range(checkpoint, shard, tmp_path):
    size = shard.stat().st_size
    with open(shard, "ab") as file:
        file.write(b"more")
    refuse(checkpoint, tmp_path, 3, shard, f"at byte {size}", f"a file of {size} bytes",
           f"got {size + 4} bytes")


# ---- Other files in a shard's place --------------------------------------------------------------

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea\nsize 1234\n"


def test_shard_is_a_git_lfs_pointer(checkpoint, shard, tmp_path):
    shard.write_bytes(LFS_POINTER)
    refuse(checkpoint, tmp_path, 3, shard, "Git LFS pointer", "git lfs pull")


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json",
                                  "tokenizer_config.json"])
def test_json_file_is_a_git_lfs_pointer(checkpoint, tmp_path, name):
    (checkpoint / name).write_bytes(LFS_POINTER)
    refuse(checkpoint, tmp_path, 3, checkpoint / name, "Git LFS pointer", "git lfs pull")


def test_index_is_a_git_lfs_pointer(checkpoint, tmp_path):
    index = checkpoint / "model.safetensors.index.json"
    index.write_bytes(LFS_POINTER)
    refuse(checkpoint, tmp_path, 3, index, "Git LFS pointer", "git lfs pull")


@pytest.mark.parametrize("name", ["tokenizer.model", "chat_template.jinja"])
def test_optional_file_is_a_git_lfs_pointer(checkpoint, tmp_path, name):
    # A pointer must not pass for a vocabulary or a chat template.
    (checkpoint / name).write_bytes(LFS_POINTER)
    tokenizer_config = json.loads((checkpoint / "tokenizer_config.json").read_text())
    tokenizer_config.pop("chat_template", None)
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    refuse(checkpoint, tmp_path, 3, checkpoint / name, "Git LFS pointer", "git lfs pull")


def test_shard_is_a_folder(checkpoint, shard, tmp_path):
    shard.unlink()
    shard.mkdir()
    refuse(checkpoint, tmp_path, 3, shard, "not a regular file", "a folder")


def test_shard_is_a_named_pipe(checkpoint, shard, tmp_path):
    # Opening it must not wait for a writer.
    shard.unlink()
    os.mkfifo(shard)
    refuse(checkpoint, tmp_path, 3, shard, "not a regular file", "a pipe")
