"""Outputs that must not or cannot be written: refused before the first byte."""
import os
import subprocess

import pytest

from sluice_cli import (GOLDEN, MAKE_CHECKPOINT, TIMEOUT_SECONDS, assert_fails, assert_nothing_written,
                        assert_one_message, convert, copy_checkpoint, run, sha256)

LLAMA = GOLDEN / "checkpoints" / "llama-tiny"
LLAMA4 = GOLDEN / "checkpoints" / "llama4-tiny"


def refuse_output(checkpoint, out, code, *words, arguments=()):
    result = run("convert", checkpoint, out, *arguments)
    assert_fails(result, code, *words)
    assert_one_message(result)
    assert result.stdout == ""


def contents(folder):
    return {path.name: sha256(path) for path in folder.iterdir()}


# ---- Usage: exit code 2 -------------------------------------------------------------------------


def test_output_exists(tmp_path):
    out = tmp_path / "out.gguf"
    out.write_text("precious")
    refuse_output(LLAMA, out, 2, out, "output exists", "--force")
    assert out.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


def test_projector_output_exists(tmp_path):
    out, projector = tmp_path / "out.gguf", tmp_path / "mmproj.gguf"
    projector.write_text("precious")
    refuse_output(LLAMA4, out, 2, projector, "output exists", arguments=("--mmproj", projector))
    assert projector.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["mmproj.gguf"]


def test_output_that_exists_survives_a_checkpoint_that_is_refused(tmp_path):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    (checkpoint / "config.json").unlink()
    out = tmp_path / "out.gguf"
    out.write_text("precious")
    refuse_output(checkpoint, out, 3, "config.json", arguments=("--force",))
    assert out.read_text() == "precious"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json",
                                  "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("arguments", [(), ("--force",)])
def test_output_is_the_input(tmp_path, name, arguments):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    before = contents(checkpoint)
    refuse_output(checkpoint, checkpoint / name, 2, checkpoint / name, "one of the sources",
                  arguments=arguments)
    assert contents(checkpoint) == before


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_output_is_another_name_of_the_input(tmp_path, link):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    out = tmp_path / "out.gguf"
    link(checkpoint / "model.safetensors", out)
    before = contents(checkpoint)
    refuse_output(checkpoint, out, 2, out, "one of the sources", arguments=("--force",))
    assert contents(checkpoint) == before


def test_output_is_the_input_by_way_of_a_relative_path(tmp_path):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    before = contents(checkpoint)
    result = run("convert", "llama-tiny", "./llama-tiny/../llama-tiny/model.safetensors", "--force",
                 cwd=tmp_path)
    assert_fails(result, 2, "one of the sources")
    assert contents(checkpoint) == before


@pytest.mark.parametrize("flag", ["--chat-template", "--imatrix", "--tensor-types"])
def test_output_is_a_file_that_a_flag_names(tmp_path, flag):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    path = tmp_path / "given.txt"
    path.write_text("precious")
    refuse_output(checkpoint, path, 2, path, "one of the sources", arguments=("--force", flag, path))
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("command", [("convert", "CHECKPOINT", "OUT", "--target-bpw", "16", "--save-types"),
                                     ("measure", "CHECKPOINT", "--type", "Q8_0", "--html")])
def test_second_output_is_the_input(tmp_path, command, name):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    before = contents(checkpoint)
    words = {"CHECKPOINT": checkpoint, "OUT": tmp_path / "out.gguf"}
    result = run(*(words.get(word, word) for word in command), checkpoint / name, "--force")
    assert_fails(result, 2, checkpoint / name, "one of the sources")
    assert contents(checkpoint) == before
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("arguments", [(), ("--force",)])
def test_types_and_model_are_two_files(tmp_path, arguments):
    out = tmp_path / "out.gguf"
    result = run("convert", LLAMA, out, "--target-bpw", "16", "--save-types", tmp_path / "." / "out.gguf", *arguments)
    assert_fails(result, 2, "two outputs are the same")
    assert_nothing_written(tmp_path)


def test_projector_output_is_the_input(tmp_path):
    checkpoint = copy_checkpoint("llama4-tiny", tmp_path)
    before = contents(checkpoint)
    refuse_output(checkpoint, tmp_path / "out.gguf", 2, "one of the sources",
                  arguments=("--mmproj", checkpoint / "model.safetensors", "--force"))
    assert contents(checkpoint) == before
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("other", ["out.gguf", "./out.gguf", "sub/../out.gguf"])
def test_both_outputs_are_the_same(tmp_path, other):
    (tmp_path / "sub").mkdir()
    refuse_output(LLAMA4, tmp_path / "out.gguf", 2, "two outputs are the same",
                  arguments=("--mmproj", os.path.join(tmp_path, other)))
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("arguments", [(), ("--force",)])
def test_output_is_a_folder(tmp_path, arguments):
    out = tmp_path / "out"
    out.mkdir()
    refuse_output(LLAMA, out, 2, out, "output is a folder", "name of a file", arguments=arguments)
    assert list(tmp_path.iterdir()) == [out] and list(out.iterdir()) == []


def test_output_in_the_checkpoint_folder_is_allowed(tmp_path):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    convert(checkpoint, checkpoint / "model.gguf")
    convert(checkpoint, checkpoint / "model.gguf", "--force")


# ---- Input and output: exit code 5 --------------------------------------------------------------


def test_output_folder_missing(tmp_path):
    out = tmp_path / "nowhere" / "out.gguf"
    refuse_output(LLAMA, out, 5, tmp_path / "nowhere", "cannot open", "No such file or directory",
                  f"there is no folder '{tmp_path}/nowhere'")
    assert list(tmp_path.iterdir()) == []


def test_output_below_a_regular_file(tmp_path):
    (tmp_path / "file").write_text("no folder")
    refuse_output(LLAMA, tmp_path / "file" / "out.gguf", 5, tmp_path / "file", "Not a directory")


def test_output_in_a_folder_that_takes_no_files():
    # procfs refuses new files even to root.
    refuse_output(LLAMA, "/proc/out.gguf", 5, "/proc/out.gguf", "cannot open")


def test_partial_name_is_taken_by_a_folder(tmp_path):
    (tmp_path / "out.gguf.partial").mkdir()
    refuse_output(LLAMA, tmp_path / "out.gguf", 5, "out.gguf.partial", "cannot open")
    assert not (tmp_path / "out.gguf").exists()


def test_device_that_is_full():
    refuse_output(LLAMA, "/dev/full", 5, "/dev/full", "cannot write", "No space left")


def sparse_checkpoint(folder, output_bytes):
    """A checkpoint without disk space whose GGUF has at least this size."""
    width = output_bytes // (8 * 3 * 64 * 2) + 1  # 8 experts of 3 matrices with 64 columns in BF16
    settings = {"hidden_size": 64, "num_hidden_layers": 2, "n_routed_experts": 8,
                "moe_intermediate_size": width, "n_shared_experts": 1}
    arguments = [f"--set={name}={value}" for name, value in settings.items()]
    subprocess.run([MAKE_CHECKPOINT, "glm", folder, "--sparse", *arguments], check=True,
                   timeout=TIMEOUT_SECONDS)


def free_bytes(folder):
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def test_too_little_space(tmp_path):
    sparse_checkpoint(tmp_path / "huge", 2 * free_bytes(tmp_path))
    out = tmp_path / "out.gguf"
    refuse_output(tmp_path / "huge", out, 5, tmp_path, "too little space", "bytes free")
    assert_nothing_written(tmp_path)


def test_too_little_space_for_a_replacement_keeps_the_old_output(tmp_path):
    sparse_checkpoint(tmp_path / "huge", 2 * free_bytes(tmp_path))
    out = tmp_path / "out.gguf"
    out.write_text("precious")
    refuse_output(tmp_path / "huge", out, 5, "too little space", arguments=("--force",))
    assert out.read_text() == "precious"
    assert not (tmp_path / "out.gguf.partial").exists()


def test_leftover_partial_file_does_not_count_against_the_free_space(tmp_path):
    # A killed run's preallocated file is cut before space is measured.
    leftover = tmp_path / "out.gguf.partial"
    leftover.write_bytes(b"old bytes" * 1000)
    convert(LLAMA, tmp_path / "out.gguf")
    convert(LLAMA, tmp_path / "clean.gguf")
    assert not leftover.exists()
    assert sha256(tmp_path / "out.gguf") == sha256(tmp_path / "clean.gguf")
