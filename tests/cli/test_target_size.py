"""`--target-size` and `--target-bpw`: the best mix of types that fits, and the file that repeats it."""
import itertools
import json
import os
import pathlib
import re

import gguf
import numpy
import pytest

from sluice_cli import GOLDEN, Gguf, assert_fails, convert, run, sha256

CHECKPOINTS = GOLDEN / "checkpoints"
MODEL = CHECKPOINTS / "llama-q256"
IMATRIX = GOLDEN / "quants" / "recipes" / "llama-q256.imatrix.gguf"
PRE = ("--pre", "llama-bpe")
K_QUANTS = {"Q2_K": "Q2_K", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "Q6_K": "Q6_K", "Q8_0": "Q8_0"}


def choose(out, *arguments):
    """Converts to a target; gives the text of the file of types."""
    lines = out.with_suffix(".types")
    convert(MODEL, out, *PRE, "--save-types", lines, *arguments)
    return lines.read_text()


def recipe_of(types):
    return re.search(r"^# for --type (\S+)$", types, re.M)[1]


def claimed_percent(types):
    return float(re.search(r"at most (\S+) % above", types)[1])


def types_of(path):
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}


def smallest_size(*arguments):
    """The size that the error about an unreachable target names."""
    result = run("plan", MODEL, *PRE, "--target-size", 1, *arguments)
    assert_fails(result, 2, "no mix of types is as small", "--target-size", "IQ4_XS")
    return int(re.search(r"expected --target-size (\d+) or more", result.stderr)[1])


@pytest.fixture(scope="module")
def sizes():
    """From the smallest file to one of Q8_0, in steps that are no round numbers."""
    least = smallest_size()
    return [least, least + 1, least + 12345, least * 5 // 4, least * 3 // 2, least * 2 + 77, least * 3, least * 9]


# ---- Size ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(8))
def test_file_fits_and_uses_the_room(step, sizes, tmp_path):
    out = tmp_path / "out.gguf"
    types = choose(out, "--target-size", sizes[step])
    written = out.stat().st_size
    assert written <= sizes[step] and f"a file of {written} bytes" in types
    given = types_of(out)
    quantized = {name: given[name] for name in given if name.endswith("weight") and "norm" not in name
                 and name != "rope_freqs.weight"}
    assert set(quantized.values()) <= set(K_QUANTS)
    if step == 0:
        assert written == sizes[0] and set(quantized.values()) == {"Q2_K"}
    elif step == 7:
        assert set(quantized.values()) == {"Q8_0"}
    else:
        # No tensor could get the next better type: from Q2_K to Q8_0 a 512 x 256 matrix takes 96 KiB.
        assert sizes[step] - written < 100_000


@pytest.mark.parametrize("bits", [2.7, 3.5, 4.5, 5.25, 6.0, 8.0])
def test_bits_per_weight(bits, tmp_path):
    out = tmp_path / "out.gguf"
    types = choose(out, "--target-bpw", bits)
    tensors = gguf.GGUFReader(out).tensors
    got = 8 * sum(int(tensor.n_bytes) for tensor in tensors) / sum(int(tensor.n_elements) for tensor in tensors)
    assert bits - 0.25 < got <= bits
    assert types.startswith(f"# {got:.4f} bits per weight")


def test_unreachable_targets_name_the_smallest(tmp_path):
    out = tmp_path / "out.gguf"
    least = smallest_size()
    assert_fails(run("convert", MODEL, out, *PRE, "--target-size", least - 1), 2, f"--target-size {least} or more",
                 f"got {least - 1}")
    result = run("convert", MODEL, out, *PRE, "--target-bpw", 2)
    assert_fails(result, 2, "got 2")
    bits = re.search(r"--target-bpw ([\d.]+) or more", result.stderr)[1]
    assert not out.exists()
    choose(out, "--target-bpw", bits)
    assert out.stat().st_size == least


# ---- Choice -------------------------------------------------------------------------------------


def decoded(path):
    return {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float64)
            for tensor in gguf.GGUFReader(path).tensors}


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """{(name, type): (bytes, squared error)} of every matrix in each of the K-quants, by numpy."""
    folder = tmp_path_factory.mktemp("errors")
    convert(MODEL, folder / "plain.gguf", *PRE)
    exact = decoded(folder / "plain.gguf")
    found = {}
    for name, recipe in K_QUANTS.items():
        convert(MODEL, folder / f"{name}.gguf", *PRE, "--type", recipe, "--pure")
        coded = decoded(folder / f"{name}.gguf")
        for tensor in gguf.GGUFReader(folder / f"{name}.gguf").tensors:
            if tensor.tensor_type.name == name:
                squares = ((exact[tensor.name] - coded[tensor.name].reshape(exact[tensor.name].shape))**2).sum()
                found[tensor.name, name] = int(tensor.n_bytes), squares
    return found


FREE = ["blk.0.attn_k.weight", "blk.1.attn_v.weight", "blk.0.ffn_up.weight", "blk.1.ffn_down.weight", "output.weight"]
FIXED = ("--tensor-type", r"^(?!blk\.0\.attn_k\.|blk\.1\.attn_v\.|blk\.0\.ffn_up\.|blk\.1\.ffn_down\.|output\.)=q8_0")


@pytest.mark.parametrize("share", [0.03, 0.2, 0.41, 0.6, 0.83])
def test_choice_against_all_others(share, errors, tmp_path):
    # Five matrices are free: all 6^5 mixes are tried.
    least = smallest_size(*FIXED)
    room = sum(errors[name, "Q8_0"][0] - errors[name, "Q2_K"][0] for name in FREE)
    target = least + int(share * room)
    out = tmp_path / "out.gguf"
    types = choose(out, "--target-size", target, *FIXED)
    smallest_bytes = sum(errors[name, "Q2_K"][0] for name in FREE)
    best = min(sum(errors[pair][1] for pair in zip(FREE, mix))
               for mix in itertools.product(K_QUANTS, repeat=len(FREE))
               if sum(errors[pair][0] for pair in zip(FREE, mix)) - smallest_bytes <= target - least)
    given = types_of(out)
    chosen = sum(errors[name, given[name]][1] for name in FREE)
    assert best * (1 - 1e-9) <= chosen <= best * (1 + claimed_percent(types) / 100) * (1 + 1e-5)
    assert all(given[name] == "Q8_0" for name in given if (name, "Q8_0") in errors and name not in FREE)


def test_importance_changes_the_choice(sizes, tmp_path):
    plain, weighted = tmp_path / "plain.gguf", tmp_path / "weighted.gguf"
    choose(plain, "--target-size", sizes[4])
    choose(weighted, "--target-size", sizes[4] + 1000, "--imatrix", IMATRIX)
    assert weighted.stat().st_size <= sizes[4] + 1000
    assert types_of(plain) != types_of(weighted)
    assert "quantize.imatrix.file" in Gguf(weighted).values


@pytest.mark.parametrize("family, expected", [
    ("Q5_0", {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"}),
    ("IQ4_XS", {"IQ3_S", "IQ4_XS", "Q5_K", "Q6_K", "Q8_0"}),
    ("Q6_K", set(K_QUANTS)),
])
def test_type_names_the_family(family, expected, tmp_path):
    out = tmp_path / "out.gguf"
    types = choose(out, "--type", family, "--target-bpw", 5.3)
    assert recipe_of(types) == family
    given = {line.rsplit("=", 1)[1].upper() for line in types.splitlines() if not line.startswith("#")}
    assert len(given) > 1 and given <= expected


def test_types_that_need_importance_are_chosen_with_it(tmp_path):
    types = choose(tmp_path / "out.gguf", "--type", "IQ2_M", "--target-bpw", 2.9, "--imatrix", IMATRIX)
    assert re.search(r"attn_\w+\\\.weight\$=iq[12]", types)
    # Those without data get none of them.
    assert not re.search(r"^\^(output|token_embd).*=iq(1_s|2_xs|2_xxs)$", types, re.M)


def test_rows_that_do_not_fill_blocks_get_what_recipes_would_give(tmp_path):
    out = tmp_path / "out.gguf"
    convert(CHECKPOINTS / "glm-tiny", out, "--target-bpw", 9)
    assert {"Q5_0", "Q8_0"} & set(types_of(out).values())


def test_the_file_type_is_that_of_most_weights(tmp_path):
    assert recipe_of(choose(tmp_path / "a.gguf", "--target-bpw", 8.4)) == "Q8_0"
    assert recipe_of(choose(tmp_path / "b.gguf", "--target-bpw", 2.7)) == "Q2_K"
    assert Gguf(tmp_path / "b.gguf").values["general.file_type"] == 10


# ---- Repeating it -------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [
    (), ("--imatrix", IMATRIX), ("--type", "IQ4_XS"), ("--output-tensor-type", "q8_0"), ("--leave-output-tensor",),
    ("--tensor-type", "attn_v=q5_0", "--token-embedding-type", "q4_k"), ("--dialect", "ollama"),
])
def test_the_printed_types_give_the_same_file(arguments, tmp_path):
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    types = choose(first, "--target-bpw", 4.9, *arguments)
    again = [word for word in arguments]
    for flag in ("--type", "--tensor-type"):  # the file has these
        if flag in again:
            at = again.index(flag)
            del again[at : at + 2]
    convert(MODEL, second, *PRE, "--type", recipe_of(types), "--tensor-types", tmp_path / "first.types", *again)
    assert first.read_bytes() == second.read_bytes()


def test_choice_does_not_depend_on_the_run(sizes, tmp_path):
    variants = [("--threads", 1), ("--threads", 2), ("--threads", 7), ("--memory", "8M"), ("--io", "read")]
    files = []
    for number, variant in enumerate(variants):
        files.append(tmp_path / f"{number}.gguf")
        choose(files[-1], "--target-size", sizes[5], *variant)
    assert len({sha256(path) for path in files}) == 1
    assert len({path.with_suffix(".types").read_text() for path in files}) == 1


def test_quantize_chooses_as_convert(sizes, tmp_path):
    source, one, two = (tmp_path / name for name in ("source.gguf", "one.gguf", "two.gguf"))
    convert(MODEL, source, *PRE)
    choose(one, "--target-size", sizes[3])
    result = run("quantize", source, two, "--target-size", sizes[3])
    assert result.returncode == 0, result.stderr
    assert sha256(one) == sha256(two)
    assert (tmp_path / "one.types").read_text() in result.stderr
    assert_fails(run("quantize", one, tmp_path / "x.gguf", "--target-size", sizes[2]), 2, "already quantized", one)
    again = run("quantize", one, tmp_path / "x.gguf", "--target-size", sizes[2], "--allow-requantize")
    assert again.returncode == 0 and (tmp_path / "x.gguf").stat().st_size <= sizes[2]


def test_plan_shows_the_choice(sizes, tmp_path):
    out = tmp_path / "out.gguf"
    types = choose(out, "--target-size", sizes[4])
    result = run("plan", MODEL, *PRE, "--target-size", sizes[4], "--json")
    assert result.returncode == 0, result.stderr
    (file,) = json.loads(result.stdout)["files"]
    assert file["bytes"] == out.stat().st_size
    assert {tensor["name"]: tensor["type"] for tensor in file["tensors"]} == types_of(out)
    assert sum(tensor["reason"] == "--target-size" for tensor in file["tensors"]) == 16
    assert types in result.stderr
    assert run("-q", "plan", MODEL, *PRE, "--target-size", sizes[4]).stderr == ""


# ---- Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, words", [
    (["--target-size", "0"], ["--target-size"]),
    (["--target-size", "many"], ["--target-size"]),
    (["--target-bpw", "0"], ["--target-bpw"]),
    (["--target-bpw", "nan"], ["bits per weight"]),
    (["--target-bpw", "4", "--target-size", "1G"], ["--target-"]),
    (["--target-size", "1G", "--max-shard-size", "1M"], ["--max-shard-size"]),
    (["--target-size", "1G", "--pure"], ["--pure"]),
    (["--target-size", "1G", "--type", "MXFP4_MOE"], ["family", "MXFP4_MOE"]),
    (["--target-size", "1G", "--type", "COPY"], ["family", "COPY"]),
    (["--target-size", "1G", "--tensor-type", "nothing=q8_0"], ["matches no tensor"]),
    (["--type", "Q8_0", "--save-types", "x"], ["--save-types needs"]),
])
def test_bad_input(arguments, words, tmp_path):
    out = tmp_path / "out.gguf"
    assert_fails(run("convert", MODEL, out, *PRE, *arguments), 2, *words)
    assert not out.exists()


@pytest.mark.parametrize("name, code, words", [("mine", 2, ["output exists"]), ("none/out", 5, ["there is no folder"])])
def test_an_output_that_cannot_be_written_is_noticed_before_types_are_chosen(tmp_path, name, code, words):
    source = tmp_path / "source.gguf"
    convert(MODEL, source, *PRE)
    (tmp_path / "mine").write_text("mine")
    for command in (["convert", MODEL, tmp_path / name, *PRE], ["quantize", source, tmp_path / name]):
        result = run(*command, "--target-bpw", "8")
        assert_fails(result, code, name, *words)
        assert "bits per weight" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "source.gguf"]


def test_verify_chooses_the_same_types(sizes, tmp_path):
    out = tmp_path / "out.gguf"
    types = choose(out, "--target-size", sizes[3])
    lines = out.with_suffix(".types")
    result = run("verify", MODEL, out, *PRE, "--target-size", sizes[3], "--save-types", lines)
    assert result.returncode == 0, result.stdout + result.stderr
    assert lines.read_text() == types
    assert run("verify", MODEL, out, *PRE, "--target-size", sizes[4]).returncode == 1


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("target", ["-", "/dev/null", "fifo", "."])
def test_types_go_to_a_file(target, force, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    result = run("convert", MODEL, "out.gguf", *PRE, "--target-size", "1G", "--save-types", target, *force, cwd=tmp_path)
    assert_fails(result, 2, f"{target}: output is", "the name of")
    assert [path.name for path in tmp_path.iterdir()] == ["fifo"]
    assert pathlib.Path("/dev/null").is_char_device()


def test_a_file_of_types_is_not_replaced(sizes, tmp_path):
    lines = tmp_path / "mine"
    lines.write_text("mine")
    result = run("plan", MODEL, *PRE, "--target-size", sizes[3], "--save-types", lines)
    assert_fails(result, 2, "output exists", lines)
    assert lines.read_text() == "mine"
    result = run("plan", MODEL, *PRE, "--target-size", sizes[3], "--save-types", lines, "--force")
    assert result.returncode == 0, result.stderr
    assert "attn_k" in lines.read_text()


@pytest.mark.parametrize("command", ["convert", "plan"])
@pytest.mark.parametrize("flag, content", [("--tensor-types", "ffn_down=q8_0"), ("--chat-template", "{{ 1 }}")])
def test_types_do_not_replace_what_is_read(command, flag, content, tmp_path):
    read = tmp_path / "read"
    read.write_text(content)
    out = [tmp_path / "out.gguf"] if command == "convert" else []
    result = run(command, MODEL, *out, *PRE, "--target-bpw", "8", flag, read, "--save-types", tmp_path / "." / "read", "--force")
    assert_fails(result, 2, "output is one of the sources", "read")
    assert read.read_text() == content
