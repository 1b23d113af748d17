"""`sluice quantize` and `--max-shard-size`, `merge`, `edit`: GGUF files made from GGUF files."""
import json
import os
import pathlib
import shutil
import subprocess

import gguf
import numpy
import pytest

from sluice_cli import (GOLDEN, Gguf, assert_fails, assert_nothing_written, convert, copy_checkpoint,
                        encode, load_tensors, replace_tensors, run, sha256, source_floats)

CHECKPOINTS = GOLDEN / "checkpoints"
PRE = {"llama-q256": "llama-bpe", "lfm2-q256": "lfm2"}
TWO_STEP = sorted(path.stem for path in (GOLDEN / "two-step").glob("*.json")
                  if path.stem.split(".")[0] in PRE)
LLAMA = CHECKPOINTS / "llama-tiny"


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The golden checkpoints in 16 bits, by name."""
    folder = tmp_path_factory.mktemp("converted")
    files = {}
    for model, pre in PRE.items():
        files[model] = folder / f"{model}.gguf"
        convert(CHECKPOINTS / model, files[model], "--pre", pre)
    return files


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    convert(LLAMA, out)
    return out


def succeed(*arguments):
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    return result


def quantize(source, out, *arguments):
    return succeed("quantize", source, out, *arguments)


def shards_of(out):
    return sorted(out.parent.glob(f"{out.stem}-*-of-*.gguf"))


# ---- quantize -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", TWO_STEP)
def test_second_step_is_that_of_llama_quantize(case, converted, tmp_path):
    model, file_type = case.split(".")
    expected = json.loads((GOLDEN / "two-step" / f"{case}.json").read_text())
    out = tmp_path / "out.gguf"
    quantize(converted[model], out, "--type", file_type, "--bit-exact")
    assert sha256(out) == expected["file_sha256"]


@pytest.mark.parametrize("model", ["glm-tiny", "llama-q256", "lfm2-q256"])
@pytest.mark.parametrize("dialect", ["llama.cpp", "ollama"])
def test_one_pass_equals_two(dialect, model, tmp_path):
    one, source, two = (tmp_path / name for name in ("one.gguf", "source.gguf", "two.gguf"))
    arguments = ("--dialect", dialect, "--pre", "llama-bpe")
    convert(CHECKPOINTS / model, one, "--type", "Q8_0", *arguments)
    convert(CHECKPOINTS / model, source, *arguments)
    quantize(source, two, "--type", "Q8_0")
    assert sha256(one) == sha256(two)


@pytest.mark.parametrize("variant", [("--threads", 1), ("--memory", "16M"), ("--io", "read"),
                                     ("--io", "mmap", "--threads", 7)])
def test_bytes_do_not_depend_on_the_run(variant, converted, tmp_path):
    expected = json.loads((GOLDEN / "two-step" / "llama-q256.Q4_K_M.json").read_text())
    out = tmp_path / "out.gguf"
    quantize(converted["llama-q256"], out, "--type", "Q4_K_M", *variant)
    assert sha256(out) == expected["file_sha256"]


def test_output_to_a_pipe(converted, tmp_path):
    out = tmp_path / "out.gguf"
    quantize(converted["llama-q256"], out, "--type", "Q8_0")
    piped = run("quantize", converted["llama-q256"], "-", "--type", "Q8_0", text=False)
    assert piped.returncode == 0 and piped.stdout == out.read_bytes()


def test_copy_keeps_every_byte_of_the_tensors(converted, tmp_path):
    source, out = tmp_path / "q4.gguf", tmp_path / "copy.gguf"
    quantize(converted["llama-q256"], source, "--type", "Q4_K_M")
    for io in ("mmap", "read"):
        quantize(source, out, "--type", "COPY", "--io", io, "--force")
        assert sha256(out) == sha256(source)


def test_requantizing_needs_consent(converted, tmp_path):
    source, out = tmp_path / "q8.gguf", tmp_path / "out.gguf"
    quantize(converted["llama-q256"], source, "--type", "Q8_0")
    result = run("quantize", source, out, "--type", "Q4_0")
    assert_fails(result, 2, "already quantized to Q8_0", "--allow-requantize", source)
    assert not out.exists()


@pytest.mark.parametrize("io", ["mmap", "read"])
@pytest.mark.parametrize("file_type", ["Q8_0", "Q4_K_M", "IQ4_XS", "Q5_1", "TQ2_0"])
def test_requantizing_takes_the_decoded_values(file_type, io, converted, tmp_path):
    # Decoded to F32 by an independent reader, every tensor must be what ours becomes in F32.
    source, out = tmp_path / "source.gguf", tmp_path / "f32.gguf"
    quantize(converted["llama-q256"], source, "--type", file_type)
    quantize(source, out, "--type", "F32", "--allow-requantize", "--io", io)
    decoded = {tensor.name: tensor.data for tensor in gguf.GGUFReader(out).tensors}
    for tensor in gguf.GGUFReader(source).tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        got = decoded[tensor.name].reshape(values.shape)
        assert numpy.array_equal(got, values), tensor.name


def test_quantized_source_in_pieces(converted, tmp_path):
    # From several files to one, by the smallest budget.
    parts, whole, a, b = (tmp_path / name for name in ("p.gguf", "w.gguf", "a.gguf", "b.gguf"))
    quantize(converted["lfm2-q256"], whole, "--type", "Q8_0")
    quantize(converted["lfm2-q256"], parts, "--type", "Q8_0", "--max-shard-size", "400K")
    first = shards_of(parts)[0]
    quantize(whole, a, "--type", "Q4_0", "--allow-requantize")
    quantize(first, b, "--type", "Q4_0", "--allow-requantize", "--memory", "8M")
    assert len(shards_of(parts)) > 2 and sha256(a) == sha256(b)


def test_importance_and_rules(converted, tmp_path):
    out, one = tmp_path / "out.gguf", tmp_path / "one.gguf"
    arguments = ("--type", "IQ3_XXS", "--imatrix", GOLDEN / "quants" / "recipes" / "llama-q256.imatrix.gguf",
                 "--tensor-type", "ffn_down=q6_k", "--output-tensor-type", "q8_0")
    quantize(converted["llama-q256"], out, *arguments)
    convert(CHECKPOINTS / "llama-q256", one, "--pre", "llama-bpe", *arguments)
    assert sha256(out) == sha256(one)


def test_bad_input_of_quantize(converted, tmp_path):
    out = tmp_path / "out.gguf"
    source = converted["llama-q256"]
    assert_fails(run("quantize", source, out), 2, "--type")
    assert_fails(run("quantize", source, out, "--type", "Q99"), 2, "Q99")
    assert_fails(run("quantize", tmp_path / "no.gguf", out, "--type", "Q8_0"), 3, "no.gguf")
    assert_fails(run("quantize", LLAMA / "config.json", out, "--type", "Q8_0"), 3, "no GGUF file")
    assert_fails(run("quantize", source, source, "--type", "Q8_0", "--force"), 2, "one of the sources")
    assert_fails(run("quantize", source, out, "--type", "IQ2_XS"), 3, "needs importance data", "--imatrix")
    broken = tmp_path / "broken"
    broken.write_bytes(source.read_bytes()[:-4096])
    assert_fails(run("quantize", broken, out, "--type", "Q8_0"), 3, "data passes the end", broken)
    assert_nothing_written(tmp_path)


def write_bare_model(path, shape):
    """A GGUF file with one tensor and no facts about its model."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("a.weight", numpy.zeros(shape, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("shape", [(0,), (4, 0), (0, 64)])
def test_a_tensor_without_elements_is_refused(shape, tmp_path):
    source = tmp_path / "bare"
    write_bare_model(source, shape)
    result = run("edit", source, "--set", "general.name=str:longer than before")
    assert_fails(result, 4, source, "'a.weight': a tensor without elements")


def test_a_model_without_architecture_is_refused(tmp_path):
    source, out = tmp_path / "bare", tmp_path / "out.gguf"
    write_bare_model(source, (4, 64))
    assert_fails(run("quantize", source, out, "--type", "Q8_0"), 3, "llama.block_count", source)


def write_gguf(path, tensors):
    """A model of no use with these arrays as tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("io", ["mmap", "read"])
@pytest.mark.parametrize("file_type", ["Q8_0", "Q4_K_M", "F32", "F16", "BF16"])
def test_numbers_of_64_bits_are_rounded_to_32(file_type, io, tmp_path):
    values = numpy.random.default_rng(7).normal(size=(16, 256))
    one, two, a, b = (tmp_path / f"{name}.gguf" for name in ("one", "two", "a", "b"))
    norm = {"blk.0.attn_norm.weight": values[0]}
    write_gguf(one, {"blk.0.ffn_down.weight": values, **norm})
    write_gguf(two, {"blk.0.ffn_down.weight": values.astype(numpy.float32), **norm})
    quantize(one, a, "--type", file_type, "--io", io)
    quantize(two, b, "--type", file_type)
    assert sha256(a) == sha256(b)
    kept = Gguf(a).tensors["blk.0.attn_norm.weight"]  # one row
    assert kept.type == "F64" and kept.raw == values[0].tobytes()


def test_numbers_beyond_32_bits_are_refused(tmp_path):
    values = numpy.ones((4, 256))
    values[2, 9] = 1e300
    write_gguf(tmp_path / "in", {"blk.0.ffn_down.weight": values})
    assert_fails(run("quantize", tmp_path / "in", tmp_path / "out.gguf", "--type", "Q8_0"), 3,
                 "blk.0.ffn_down.weight", "got inf in row 2, column 9")


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_integers_are_kept_or_refused(dtype, tmp_path):
    table = numpy.arange(1024).astype(dtype).reshape(4, 256)
    source, out = tmp_path / "in", tmp_path / "out.gguf"
    write_gguf(source, {"blk.0.ffn_gate_tid2eid.weight": table, "blk.0.ffn_up.weight": table})
    name = f"I{8 * table.itemsize}"
    assert_fails(run("quantize", source, out, "--type", "Q8_0"), 4, "blk.0.ffn_up.weight", f"cannot quantize {name}",
                 "F64, F32, F16, BF16", "COPY")
    quantize(source, out, "--type", "COPY")
    write_gguf(source, {"blk.0.ffn_gate_tid2eid.weight": table})
    quantize(source, out, "--type", "Q8_0", "--force")
    kept = Gguf(out).tensors["blk.0.ffn_gate_tid2eid.weight"]
    assert kept.type == name and kept.raw == table.tobytes()


# ---- --max-shard-size and merge -----------------------------------------------------------------


@pytest.mark.parametrize("size", ["1", "20K", "100K"])
def test_split_and_merge_give_back_the_file(size, tiny, tmp_path):
    parts, merged = tmp_path / "parts.gguf", tmp_path / "merged.gguf"
    convert(LLAMA, parts, "--max-shard-size", size)
    files = shards_of(parts)
    assert len(files) > 1 and not parts.exists()
    succeed("merge", files[0], merged)
    assert sha256(merged) == sha256(tiny)


@pytest.mark.parametrize("command", ["convert", "quantize"])
def test_shards_are_those_that_llama_cpp_reads(command, tiny, tmp_path):
    parts, limit = tmp_path / "parts.gguf", 100 * 1024
    source = LLAMA if command == "convert" else tiny
    succeed(command, source, parts, "--max-shard-size", "100K", "--type", "Q8_0")
    whole = tmp_path / "whole.gguf"
    succeed(command, source, whole, "--type", "Q8_0")
    expected, names = Gguf(whole), []
    files = shards_of(parts)
    for number, path in enumerate(files):
        assert path.name == f"parts-{number + 1:05}-of-{len(files):05}.gguf"
        shard = Gguf(path)
        split = {"split.no": number, "split.count": len(files),
                 "split.tensors.count": len(expected.tensors)}
        assert list(shard.values.items())[-3:] == list(split.items())
        assert [shard.types[key] for key in split] == ["uint16", "uint16", "int32"]
        assert len(shard.values) == 3 + (len(expected.values) if number == 0 else 0)
        for name, tensor in shard.tensors.items():
            names.append(name)
            assert (tensor.type, tensor.shape) == (expected.tensors[name].type, expected.tensors[name].shape)
            assert tensor.raw == expected.tensors[name].raw
        sizes = [len(tensor.raw) for tensor in shard.tensors.values()]
        assert sum(sizes) <= limit or len(sizes) == 1
    assert names == list(expected.tensors)


def test_a_model_that_fits_is_not_split(tiny, tmp_path):
    out = tmp_path / "out.gguf"
    convert(LLAMA, out, "--max-shard-size", "1G")
    assert sha256(out) == sha256(tiny)


def test_split_beside_a_projector(tmp_path):
    out, projector, plain = (tmp_path / name for name in ("o.gguf", "mmproj.gguf", "plain.gguf"))
    checkpoint = CHECKPOINTS / "llama4-tiny"
    convert(checkpoint, out, "--mmproj", projector, "--max-shard-size", "200K")
    assert len(shards_of(out)) > 1
    convert(checkpoint, tmp_path / "whole.gguf", "--mmproj", plain)
    assert sha256(projector) == sha256(plain)


def test_bad_input_of_split_and_merge(tiny, tmp_path):
    parts, out = tmp_path / "parts.gguf", tmp_path / "out.gguf"
    convert(LLAMA, parts, "--max-shard-size", "100K")
    files = shards_of(parts)
    assert_fails(run("merge", files[1], out), 2, "not the first file", files[0])
    assert_fails(run("merge", tiny, out), 2, "in one file already")
    assert_fails(run("merge", files[0], files[1], "--force"), 2, "one of the sources")
    assert_fails(run("convert", LLAMA, out, "--max-shard-size", "0"), 2, "--max-shard-size")
    assert_fails(run("convert", LLAMA, "-", "--max-shard-size", "100K"), 2, "standard output takes one file")
    assert_fails(run("convert", LLAMA, parts, "--max-shard-size", "100K"), 2, "output exists", files[0])
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for target in ("/dev/null", fifo, tmp_path):
        for command in (("convert", LLAMA), ("quantize", tiny)):
            result = run(*command, target, "--type", "Q8_0", "--max-shard-size", "100K", "--force")
            assert_fails(result, 2, target, "pipes, devices and folders take no files", "--max-shard-size")
    assert not list(pathlib.Path("/dev").glob("null-*"))
    files[2].unlink()
    assert_fails(run("merge", files[0], out), 3, files[2])
    assert not out.exists()


# ---- Values that a type cannot hold -------------------------------------------------------------


@pytest.mark.parametrize("file_type, value, refused", [
    ("Q8_0", 1e10, True), ("Q4_K_M", 1e10, True), ("Q6_K", -1e10, True), ("MXFP4_MOE", 1e10, True),
    ("IQ4_XS", 1e10, True), ("NVFP4", 1e10, False), ("BF16", 1e10, False), ("Q8_0", 6e4, False),
    ("F16", 1e10, True), ("F16", 6e4, False)])
def test_scale_that_overflows(file_type, value, refused, tmp_path):
    checkpoint = copy_checkpoint("llama-q256", tmp_path)
    name = "model.layers.0.mlp.gate_proj.weight"
    tensors = load_tensors(checkpoint)
    values = source_floats(tensors, name).copy()
    values[3, 40] = value
    tensors[name] = ("BF16", list(values.shape), encode("BF16", values))
    replace_tensors(checkpoint, tensors)
    out = tmp_path / "out.gguf"
    result = run("convert", checkpoint, out, "--type", file_type)
    if refused:
        assert_fails(result, 3, "blk.0.ffn_gate.weight", "row 3, columns ", "--tensor-type")
    assert out.exists() != refused and result.returncode == (3 if refused else 0), result.stderr


@pytest.mark.parametrize("flag, value", [("--output-tensor-type", "q4_k_m"), ("--token-embedding-type", "q4_k_m"),
                                         ("--tensor-type", "ffn=q4_k_m"), ("--tensor-type", "ffn")])
def test_errors_of_types_name_the_flag(flag, value, tmp_path):
    result = run("convert", LLAMA, tmp_path / "out.gguf", "--type", "Q8_0", flag, value)
    assert_fails(result, 2, f"error: {flag}: ", f"got {value.rpartition('=')[2]}")


def test_pattern_that_is_too_long(tmp_path):
    pattern = "(" * 20000 + "a" + ")" * 20000
    (tmp_path / "types").write_text(f"{pattern}=q8_0\n")
    assert_fails(run("convert", LLAMA, tmp_path / "out.gguf", "--type", "Q8_0", "--tensor-types", tmp_path / "types"),
                 2, "too long", "40001 bytes")


# ---- An alignment that is not 32 ----------------------------------------------------------------

ALIGNMENTS = json.loads((GOLDEN / "alignment" / "runs.json").read_text())


@pytest.mark.parametrize("case", ALIGNMENTS, ids=lambda case: f"{case['alignment']}-{case['type']}")
def test_alignment_that_llama_quantize_ignores(case, tmp_path):
    source, exact, one, right, plain = (tmp_path / f"{name}.gguf" for name in
                                        ("source", "exact", "one", "right", "plain"))
    key = ("--set", f"general.alignment=u32:{case['alignment']}")
    convert(LLAMA, source, *key)
    assert sha256(source) == case["source_sha256"]
    result = quantize(source, exact, "--type", case["type"], "--bit-exact")
    assert f"laid out by alignment 32, as llama-quantize does it, though the file says {case['alignment']}" in result.stderr
    assert sha256(exact) == case["sha256"]
    convert(LLAMA, one, *key, "--type", case["type"], "--bit-exact")
    assert sha256(one) == case["sha256"]
    result = quantize(source, right, "--type", case["type"])
    assert f"laid out by alignment {case['alignment']}, as the file says" in result.stderr
    convert(LLAMA, plain, "--type", case["type"])
    tensors, expected = Gguf(right).tensors, Gguf(plain).tensors
    assert list(tensors) == list(expected)
    for name, tensor in tensors.items():
        assert tensor.offset % case["alignment"] == 0 and tensor.raw == expected[name].raw


def test_ollama_files_are_laid_out_as_they_say(tmp_path):
    files = tmp_path / "a.gguf", tmp_path / "b.gguf"
    for out, flags in zip(files, ((), ("--bit-exact",))):
        convert(LLAMA, out, "--dialect", "ollama", "--set", "general.alignment=u32:256", "--type", "Q8_0", *flags)
    assert sha256(files[0]) == sha256(files[1])
    assert all(tensor.offset % 256 == 0 for tensor in Gguf(files[0]).tensors.values())


# ---- edit ---------------------------------------------------------------------------------------


def edited_copy(source, folder, *settings):
    path = folder / "edited.gguf"
    shutil.copy(source, path)
    arguments = [word for setting in settings for word in ("--set", setting)]
    return path, succeed("edit", path, *arguments)


def assert_edited(path, before, changes):
    """The file has these values beside the old ones, and the tensors it had."""
    after, source = Gguf(path), Gguf(before)
    assert after.values == source.values | changes
    assert list(after.values) == list(source.values | changes)
    assert list(after.tensors) == list(source.tensors)
    for name, tensor in source.tensors.items():
        assert after.tensors[name].raw == tensor.raw


def test_edit_in_place(tiny, tmp_path):
    path, result = edited_copy(tiny, tmp_path, "general.file_type=u32:7", "llama.context_length=u32:99")
    assert "changed in place" in result.stderr
    assert path.stat().st_size == tiny.stat().st_size
    assert_edited(path, tiny, {"general.file_type": 7, "llama.context_length": 99})


def test_edit_with_a_larger_head(tiny, tmp_path):
    path, result = edited_copy(tiny, tmp_path, "general.description=str:" + "long " * 50,
                               "general.file_type=u32:7")
    assert "written anew" in result.stderr
    assert_edited(path, tiny, {"general.file_type": 7, "general.description": "long " * 50})
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_edit_through_a_link_keeps_the_link(tiny, tmp_path):
    path, link = tmp_path / "file.gguf", tmp_path / "link.gguf"
    shutil.copy(tiny, path)
    link.symlink_to(path)
    for settings in ("general.file_type=u32:7", "general.name=str:" + "x" * 200):
        before = sha256(path)
        succeed("edit", link, "--set", settings)
        assert link.is_symlink() and sha256(path) != before


def test_edit_back_gives_the_same_file(tiny, tmp_path):
    name = Gguf(tiny).values["general.name"]
    path, _ = edited_copy(tiny, tmp_path, "general.name=str:" + "x" * 200)
    assert sha256(path) != sha256(tiny)
    succeed("edit", path, "--set", f"general.name=str:{name}")
    assert sha256(path) == sha256(tiny)


def test_edit_of_the_alignment_moves_the_tensors(tiny, tmp_path):
    path, _ = edited_copy(tiny, tmp_path, "general.alignment=u32:256")
    assert_edited(path, tiny, {"general.alignment": 256})
    assert all(tensor.offset % 256 == 0 for tensor in Gguf(path).tensors.values())


def test_edit_of_a_first_shard_keeps_the_split(tiny, tmp_path):
    parts, merged = tmp_path / "parts.gguf", tmp_path / "merged.gguf"
    convert(LLAMA, parts, "--max-shard-size", "100K")
    first = shards_of(parts)[0]
    succeed("edit", first, "--set", "general.description=str:" + "long " * 50)
    succeed("merge", first, merged)
    assert Gguf(merged).values == Gguf(tiny).values | {"general.description": "long " * 50}


def test_bad_input_of_edit(tiny, tmp_path):
    path = tmp_path / "edited.gguf"
    shutil.copy(tiny, path)
    assert_fails(run("edit", path), 2, "--set")
    assert_fails(run("edit", path, "--set", "general.name"), 2, "KEY=TYPE:VALUE")
    assert_fails(run("edit", path, "--set", "general.file_type=u32:x"), 2, "u32:x")
    assert_fails(run("edit", path, "--set", "general.alignment=u32:3"), 2, "general.alignment", path)
    assert_fails(run("edit", path, "--set", "split.no=u16:1"), 2, path, "split.no", "sluice merge")
    for key, expected, setting in [("general.architecture", "str", "u32:1"), ("llama.context_length", "u32", "u64:9"),
                                   ("general.alignment", "a u32 power of two", "u64:64"),
                                   ("general.name", "str", "bool:true"), ("llama.rope.scaling.factor", "f32", "u32:8"),
                                   ("tokenizer.ggml.tokens", "an array, which --set cannot write", "str:x")]:
        assert_fails(run("edit", path, "--set", f"{key}={setting}"), 2, path, key, f"expected {expected}")
    assert_fails(run("edit", path, "--set", "general.architecture=str:mamba"), 2, path,
                 "an architecture of which the file has no key: expected llama, got mamba")
    assert_fails(run("edit", tmp_path / "no.gguf", "--set", "a=u8:1"), 3, "no.gguf")
    assert_fails(run("edit", LLAMA / "config.json", "--set", "a=u8:1"), 3, "no GGUF file")
    assert sha256(path) == sha256(tiny)


def test_edit_keeps_permissions(tiny, tmp_path):
    for setting, mode in (("general.file_type=u32:7", 0o640), ("general.name=str:" + "x" * 200, 0o604)):
        path = tmp_path / "file.gguf"
        shutil.copy(tiny, path)
        path.chmod(mode)
        succeed("edit", path, "--set", setting)
        assert path.stat().st_mode & 0o7777 == mode
        assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_head_of_an_interrupted_edit_can_be_put_back(tiny, tmp_path):
    # Torn half-way: the file's name has lost its middle, and the old head lies beside it.
    path, kept = tmp_path / "file.gguf", tmp_path / "file.gguf.head"
    torn = bytearray(tiny.read_bytes())
    kept.write_bytes(torn[:4000])
    torn[2000:3000] = bytes(1000)
    path.write_bytes(torn)
    result = run("edit", path, "--set", "general.file_type=u32:7")
    assert_fails(result, 3, kept, "interrupted", "dd if=")
    assert path.read_bytes() == torn
    advice = result.stderr.splitlines()[1].strip()
    subprocess.run(advice.split(" puts it back")[0], shell=True, check=True, capture_output=True)
    assert sha256(path) == sha256(tiny)
    kept.unlink()
    succeed("edit", path, "--set", "general.file_type=u32:7")
    assert_edited(path, tiny, {"general.file_type": 7})
