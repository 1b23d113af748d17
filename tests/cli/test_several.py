"""`sluice convert CHECKPOINT --to PATH:TYPE[:DIALECT] ...`: several files from one read."""
import json
import os
import signal
import subprocess

import pytest

from sluice_cli import (GOLDEN, MAKE_CHECKPOINT, SLUICE, TIMEOUT_SECONDS, assert_fails,
                        assert_nothing_written, assert_one_message, convert, run, sha256, wait_until)

CHECKPOINTS = GOLDEN / "checkpoints"
LLAMA = CHECKPOINTS / "llama-q256"
IMATRIX = GOLDEN / "quants" / "recipes" / "llama-q256.imatrix.gguf"
# Rows of 256 and of fewer elements (glm-tiny has fallbacks), experts, a split KV_B, convolutions;
# the flags that each needs.
MODELS = {"llama-q256": ("--pre", "llama-bpe"), "lfm2-q256": ("--pre", "lfm2"), "glm-tiny": (),
          "llama4-tiny": ()}
DIALECTS = ["llama.cpp", "ollama"]
TYPES = ["Q4_K_M", "Q8_0", "BF16", "F16", "IQ4_XS", "F32", "MXFP4_MOE"]


def several(checkpoint, targets, *arguments):
    """Converts to {path: "TYPE" or "TYPE:DIALECT"} and insists on success."""
    flags = [word for path, what in targets.items() for word in ("--to", f"{path}:{what}")]
    result = run("convert", checkpoint, *flags, *arguments)
    assert result.returncode == 0, result.stderr
    return result


def refuse(targets, *words, code=2, checkpoint=LLAMA, arguments=()):
    flags = [word for target in targets for word in ("--to", target)]
    result = run("convert", checkpoint, *flags, *arguments)
    assert_fails(result, code, *words)
    assert_one_message(result)
    assert result.stdout == ""


# ---- The bytes of single conversions ------------------------------------------------------------


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """sha256 of what `convert --type TYPE --dialect DIALECT` writes."""
    folder = tmp_path_factory.mktemp("single")
    known = {}

    def digest(model, file_type, dialect, *arguments):
        key = (model, file_type, dialect, *arguments)
        if key not in known:
            convert(CHECKPOINTS / model, folder / "out.gguf", "--type", file_type, "--dialect",
                    dialect, "--force", *MODELS[model], *arguments)
            known[key] = sha256(folder / "out.gguf")
        return known[key]

    return digest


@pytest.mark.parametrize("run_flags", [("--threads", 1), ("--threads", 2), ("--threads", 7),
                                       ("--memory", "16M", "--threads", 7), ("--io", "read")])
@pytest.mark.parametrize("model", MODELS)
def test_files_are_those_of_single_conversions(single, tmp_path, model, run_flags):
    cases = [(file_type, dialect) for file_type in TYPES for dialect in DIALECTS]
    targets = {tmp_path / f"{file_type}.{dialect}": f"{file_type}:{dialect}"
               for file_type, dialect in cases}
    several(CHECKPOINTS / model, targets, *MODELS[model], *run_flags)
    for file_type, dialect in cases:
        written = sha256(tmp_path / f"{file_type}.{dialect}")
        assert written == single(model, file_type, dialect), (file_type, dialect)


def test_dialect_and_the_other_flags_hold_for_all(single, tmp_path):
    flags = ("--imatrix", IMATRIX, "--set", "general.name=str:several", "--tensor-type",
             "ffn_down=q6_k", "--outtype", "f32")
    several(LLAMA, {tmp_path / "a": "Q4_K_M", tmp_path / "b": "IQ3_XXS:llama.cpp"},
            "--dialect", "ollama", *MODELS["llama-q256"], *flags)
    assert sha256(tmp_path / "a") == single("llama-q256", "Q4_K_M", "ollama", *flags)
    assert sha256(tmp_path / "b") == single("llama-q256", "IQ3_XXS", "llama.cpp", *flags)


def test_one_target_is_a_single_conversion(single, tmp_path):
    result = several(LLAMA, {tmp_path / "a": "Q4_0"}, *MODELS["llama-q256"], "--dialect", "llama.cpp")
    assert sha256(tmp_path / "a") == single("llama-q256", "Q4_0", "llama.cpp")
    line, = result.stderr.splitlines()
    assert line.startswith(f"{tmp_path}/a: ") and " tensors, " in line


def test_one_target_in_a_pipe_is_called_so():
    result = run("convert", LLAMA, "--to", "-:Q8_0:ollama", text=False)
    assert result.stderr.startswith(b"standard output: ") and result.stdout.startswith(b"GGUF")


def test_one_target_in_a_pipe_leads_whatever_its_place(single, tmp_path):
    # The dialects differ in order; the pipe takes its own.
    for dialect, other in (DIALECTS, DIALECTS[::-1]):
        result = run("convert", LLAMA, "--to", f"{tmp_path}/{other}:Q8_0:{other}", "--to",
                     f"-:Q4_K_M:{dialect}", "--force", *MODELS["llama-q256"], text=False)
        assert result.returncode == 0, result.stderr
        (tmp_path / "piped").write_bytes(result.stdout)
        assert sha256(tmp_path / "piped") == single("llama-q256", "Q4_K_M", dialect)
        assert sha256(tmp_path / other) == single("llama-q256", "Q8_0", other)


def test_every_output_is_split_by_its_own_size(tmp_path):
    size = ("--max-shard-size", "1M", *MODELS["llama-q256"])
    (tmp_path / "one").mkdir()
    (tmp_path / "all").mkdir()
    for file_type in ("Q4_0", "F32"):
        convert(LLAMA, tmp_path / "one" / f"{file_type}.gguf", "--type", file_type, *size)
    several(LLAMA, {tmp_path / "all" / "Q4_0.gguf": "Q4_0", tmp_path / "all" / "F32.gguf": "F32"}, *size)
    files = {path.name: sha256(path) for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: sha256(path) for path in (tmp_path / "all").iterdir()}
    assert any("F32-00002-of-" in name for name in files)


def test_flags_in_any_order(single, tmp_path):
    result = run("convert", "--to", f"{tmp_path}/a:Q4_0:ollama", LLAMA, *MODELS["llama-q256"])
    assert result.returncode == 0, result.stderr
    assert sha256(tmp_path / "a") == single("llama-q256", "Q4_0", "ollama")


def test_paths_may_hold_colons(tmp_path):
    target = tmp_path / "llama.cpp:Q8_0:x"
    several(LLAMA, {target: "Q4_0", f"{target}:Q4_0": "Q8_0:ollama"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama.cpp:Q8_0:x",
                                                                "llama.cpp:Q8_0:x:Q4_0"]


# ---- What is said ---------------------------------------------------------------------------------


def test_summary_lists_each_output(tmp_path):
    first, second = tmp_path / "a.gguf", tmp_path / "b.gguf"
    lines = several(LLAMA, {first: "Q4_K_M", second: "F32"}).stderr.splitlines()
    sizes = [path.stat().st_size for path in (first, second)]
    assert lines[0].startswith(f"{first}: ") and lines[1].startswith(f"{second}: ")
    for line, size in zip(lines, sizes):
        assert f"{size / 1e6:.2f} MB" in line and " tensors, " in line
    assert lines[2].startswith("2 outputs: ") and f"{sum(sizes) / 1e6:.2f} MB out" in lines[2]
    assert len(lines) == 3


def test_json_lists_each_output(tmp_path):
    targets = {tmp_path / "b.gguf": "F32", tmp_path / "a.gguf": "Q4_K_M"}
    events = [json.loads(line) for line in
              several(LLAMA, targets, "--progress", "json").stderr.splitlines()]
    done = events[-1]
    assert [(output["name"], output["bytes"]) for output in done["outputs"]] == [
        (str(path), path.stat().st_size) for path in targets]
    assert sum(output["tensors"] for output in done["outputs"]) == done["tensors"]
    total = sum(path.stat().st_size for path in targets)
    assert done["bytes_out"] == total == events[-2]["bytes_done"]
    assert done["bytes_in"] == (LLAMA / "model.safetensors").stat().st_size


def test_warnings_are_said_once(tmp_path):
    # llama4-tiny's vision part is left out of every output.
    targets = {tmp_path / "a": "Q8_0:llama.cpp", tmp_path / "b": "F16:llama.cpp"}
    lines = several(CHECKPOINTS / "llama4-tiny", targets).stderr.splitlines()
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == len(set(warnings)) and any("vision" in line for line in warnings)


# ---- Wrong command lines --------------------------------------------------------------------------


@pytest.mark.parametrize("target, words", [
    ("a.gguf", ["PATH:TYPE", "a.gguf"]),
    (":Q8_0", ["PATH:TYPE", ":Q8_0"]),
    (":Q8_0:ollama", ["PATH:TYPE"]),
    ("a.gguf:", ["PATH:TYPE", "a.gguf:"]),
    ("a.gguf:ollama", ["PATH:TYPE"]),
    ("a.gguf:Q9_0", ["unknown quantization type", "Q9_0", "Q4_K_M"]),
    ("a.gguf:Q8_0:gg", ["unknown dialect", "gg", "llama.cpp or ollama"]),
    ("", ["PATH:TYPE"]),
])
def test_targets_that_say_nothing_useful(tmp_path, target, words):
    text = f"{tmp_path}/{target}" if target.startswith("a") else target
    refuse([text], *words)
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("arguments, words", [
    (["OUT"], ["OUT and --to"]),
    (["--type", "Q8_0"], ["--type and --to"]),
    (["--mmproj", "p.gguf"], ["--mmproj and --to"]),
    (["--target-size", "1G"], ["--to excludes", "--target-size"]),
    (["--target-bpw", "4"], ["--to excludes", "--target-bpw"]),
    (["--save-types", "types"], ["--to excludes", "--save-types"]),
])
def test_flags_that_exclude_to(tmp_path, arguments, words):
    arguments = [word.replace("OUT", str(tmp_path / "out.gguf")) for word in arguments]
    refuse([f"{tmp_path}/a.gguf:Q4_0"], *words, arguments=arguments)
    assert_nothing_written(tmp_path)


def test_same_path_twice(tmp_path):
    (tmp_path / "sub").mkdir()
    for other in ("a.gguf", "sub/../a.gguf"):
        refuse([f"{tmp_path}/a.gguf:Q4_0", f"{tmp_path}/{other}:Q8_0"], "two outputs are the same")
    refuse(["-:Q4_0", "-:Q8_0"], "two outputs are the same")
    for first, second in (("a.gguf", "./a.gguf"), ("./a.gguf", str(tmp_path / "sub" / ".." / "a.gguf"))):
        result = run("convert", LLAMA, "--to", f"{first}:Q4_0", "--to", f"{second}:Q8_0", cwd=tmp_path)
        assert_fails(result, 2, "two outputs are the same")
    refuse(["-:Q4_0", "/dev/null:Q8_0"], "pipes or devices")
    assert_nothing_written(tmp_path)


def test_output_exists(tmp_path):
    (tmp_path / "b.gguf").write_text("precious")
    targets = [f"{tmp_path}/a.gguf:Q4_0", f"{tmp_path}/b.gguf:Q8_0"]
    refuse(targets, "b.gguf", "output exists", "--force")
    assert [path.name for path in tmp_path.iterdir()] == ["b.gguf"]
    assert (tmp_path / "b.gguf").read_text() == "precious"


def test_output_is_the_input(tmp_path):
    refuse([f"{tmp_path}/a.gguf:Q4_0", f"{LLAMA}/model.safetensors:Q8_0"], "one of the sources",
           arguments=("--force",))
    assert_nothing_written(tmp_path)


def test_pipe_in_pieces(tmp_path):
    refuse([f"{tmp_path}/a.gguf:Q4_0", "-:F32"], "standard output takes one file",
           arguments=("--max-shard-size", "1M"))
    assert_nothing_written(tmp_path)


def test_type_that_needs_an_importance_matrix(tmp_path):
    result = run("convert", LLAMA, "--to", f"{tmp_path}/a.gguf:Q4_0", "--to", f"{tmp_path}/b.gguf:IQ2_XXS")
    assert_fails(result, 3, "IQ2_XXS needs importance data", "--imatrix")
    assert_nothing_written(tmp_path)


# ---- All or nothing -------------------------------------------------------------------------------


def test_no_output_looks_finished_when_one_cannot_be_written(tmp_path):
    refuse([f"{tmp_path}/a.gguf:Q4_0", "/dev/full:Q8_0"], "/dev/full", "No space left", code=5)
    refuse([f"{tmp_path}/a.gguf:Q4_0", f"{tmp_path}/none/b.gguf:Q8_0"], "No such file", code=5)
    assert_nothing_written(tmp_path)


def test_no_output_looks_finished_when_the_source_is_bad(tmp_path):
    source = tmp_path / "source"
    subprocess.run([MAKE_CHECKPOINT, "glm", source, "--sparse", "--set=num_hidden_layers=2"],
                   check=True, timeout=TIMEOUT_SECONDS)
    with open(next(iter(sorted(source.glob("*.safetensors")))), "r+b") as shard:
        shard.seek(-2, os.SEEK_END)
        shard.write(b"\x80\x7f")  # the last value of a BF16 tensor becomes infinite
    targets = [f"{tmp_path}/a.gguf:BF16", f"{tmp_path}/b.gguf:Q8_0", f"{tmp_path}/c.gguf:Q4_0"]
    refuse(targets, "not finite", code=3, checkpoint=source)
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_removes_every_partial_file(tmp_path, number):
    # 2.6 GB from holes, by one thread: it cannot end before the signal comes.
    subprocess.run([MAKE_CHECKPOINT, "glm", tmp_path / "large", "--sparse"], check=True)
    process = subprocess.Popen(
        [SLUICE, "convert", tmp_path / "large", "--threads", "1", "--to", f"{tmp_path}/a.gguf:Q4_K_M",
         "--to", f"{tmp_path}/b.gguf:Q8_0:ollama"], stderr=subprocess.PIPE, text=True)
    partial = [tmp_path / f"{name}.gguf.partial" for name in "ab"]
    wait_until(lambda: all(path.exists() for path in partial), "both outputs have begun")
    process.send_signal(number)
    _, messages = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 6 and "cancelled" in messages
    assert_nothing_written(tmp_path)
