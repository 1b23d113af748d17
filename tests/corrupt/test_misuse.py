"""What nobody means to do, and what a hostile checkpoint would like to: odd names, links, pipes, limits."""
import json
import os
import re
import stat

import pytest

from sluice_cli import (GOLDEN, Gguf, assert_fails, assert_nothing_written, convert, copy_checkpoint,
                        edit_json, load_tensors, refuse, replace_tensors, run, sha256)

LLAMA = GOLDEN / "checkpoints" / "llama-tiny"
EVIL = "\x1b[2J\r\nerror: \x9b1m\u202e"
# Control characters other than the end of a line: C0, delete, C1, and the directions of writing.
ACTS_ON_A_TERMINAL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def llama(tmp_path):
    return copy_checkpoint("llama-tiny", tmp_path)


# ---- Text of a hostile checkpoint ---------------------------------------------------------------


def assert_harmless(result):
    assert not ACTS_ON_A_TERMINAL.search(result.stdout + result.stderr)
    assert not any(line.startswith("error: \\xc2\\x9b") for line in result.stderr.splitlines())


def name_architecture(checkpoint):
    edit_json(checkpoint / "config.json", lambda config: config.update(architectures=[EVIL]))


def name_tensor(checkpoint):
    tensors = load_tensors(checkpoint)
    tensors[EVIL] = tensors.pop("model.norm.weight")
    replace_tensors(checkpoint, tensors)


def name_shard(checkpoint):
    (checkpoint / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"model.norm.weight": EVIL + ".safetensors"}}))


def name_token(checkpoint):
    edit_json(checkpoint / "tokenizer.json", lambda content: content["model"]["vocab"].update({EVIL: -1}))


def name_pattern(checkpoint):
    edit_json(checkpoint / "tokenizer.json", lambda content: content.update(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": EVIL}, "behavior": "Isolated", "invert": False}))


@pytest.mark.parametrize("change, code", [(name_architecture, 4), (name_tensor, 3), (name_shard, 3),
                                          (name_token, 3), (name_pattern, 4)])
def test_error_of_a_hostile_checkpoint(llama, tmp_path, change, code):
    change(llama)
    for command in (["convert", llama, tmp_path / "out.gguf"], ["plan", llama]):
        result = run(*command)
        assert_fails(result, code, "\\x1b[2J\\x0d\\nerror: \\xc2\\x9b1m\\xe2\\x80\\xae")
        assert_harmless(result)
    assert_nothing_written(tmp_path)


def test_warning_of_a_hostile_checkpoint(llama, tmp_path):
    (llama / "README.md").write_text("---\nname: [\x1b[2J\n---\n")
    checkpoint = copy_checkpoint("glm-tiny-v5", tmp_path)
    (checkpoint / f"stale{EVIL}.safetensors").write_bytes(b"")
    for folder in (llama, checkpoint):
        result = run("convert", folder, tmp_path / "out.gguf", "--force")
        assert result.returncode == 0 and "warning: " in result.stderr
        assert_harmless(result)


def test_text_of_a_hostile_checkpoint(llama, tmp_path):
    odd = llama.rename(tmp_path / ("odd" + EVIL))
    (odd / "README.md").write_text(f"---\nauthor: {json.dumps(EVIL)}\n---\n")
    for command in (["plan", odd], ["inspect", odd], ["convert", odd, tmp_path / f"out{EVIL}.gguf"],
                    ["inspect", tmp_path / f"out{EVIL}.gguf"], ["inspect", odd, "--tensor", EVIL],
                    ["diff", "-q", tmp_path / f"out{EVIL}.gguf", odd], ["plan", odd, f"--{EVIL}"], [EVIL]):
        assert_harmless(run(*command))
    # As data they stay what they are.
    assert Gguf(tmp_path / f"out{EVIL}.gguf").values["general.author"] == EVIL


# ---- Names and places -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b", "-", "--force", "\u6a21\u578b \U0001f600", "new\nline", "{}%s", "a" * 240])
def test_odd_names(llama, tmp_path, name):
    convert(llama, tmp_path / "plain.gguf")
    odd = llama.rename(tmp_path / name)
    for checkpoint in (odd, f"{odd}/", f"{odd}/.", f"{tmp_path}//{name}"):
        convert(checkpoint, tmp_path / f"{name[:200]}.gguf", "--model-name", "x", "--force")
    assert list(Gguf(tmp_path / f"{name[:200]}.gguf").tensors) == list(Gguf(tmp_path / "plain.gguf").tensors)


def test_names_that_are_no_utf_8(llama, tmp_path):
    out = os.fsdecode(bytes(tmp_path) + b"/\xff\xfe.gguf")
    result = convert(llama, out)
    assert "\\xff\\xfe.gguf: 31 tensors" in result.stderr
    assert sha256(out)


def test_checkpoint_by_way_of_links(llama, tmp_path):
    convert(llama, tmp_path / "plain.gguf")
    (tmp_path / "link").symlink_to("llama-tiny")
    (tmp_path / "loop").symlink_to("loop")
    convert(tmp_path / "link", tmp_path / "linked.gguf")
    assert sha256(tmp_path / "linked.gguf") == sha256(tmp_path / "plain.gguf")
    refuse(tmp_path / "loop", tmp_path / "llama-tiny", 3, "not a checkpoint folder")


@pytest.mark.parametrize("checkpoint", ["", "/dev/null", "/dev/full", "/nowhere/at/all", "x" * 300])
def test_checkpoint_that_is_none(tmp_path, checkpoint):
    result = run("convert", checkpoint, tmp_path / "out.gguf")
    assert_fails(result, 3 if checkpoint else 2)
    assert_nothing_written(tmp_path)


# A download that broke off leaves links to nothing. Taking such a file for absent would lose what it
# says without a word.
@pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json", "tokenizer.json",
                                  "added_tokens.json", "chat_template.jinja", "special_tokens_map.json",
                                  "model.safetensors.index.json"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_file_that_cannot_be_read_is_not_taken_for_absent(llama, tmp_path, name, kind):
    if name == "chat_template.jinja":
        edit_json(llama / "tokenizer_config.json", lambda content: content.pop("chat_template"))
    path = llama / name
    path.unlink(missing_ok=True)
    {"link": lambda: path.symlink_to("nowhere"), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    what = {"link": "No such file", "pipe": "not a regular file: got a pipe",
            "folder": "not a regular file: got a folder"}[kind]
    refuse(llama, tmp_path, 3, f"{path}: ", what)


def test_empty_files(llama, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        content = (llama / name).read_bytes()
        (llama / name).write_bytes(b"")
        refuse(llama, tmp_path, 3, llama / name)
        (llama / name).write_bytes(content)


@pytest.mark.parametrize("command", ["inspect", "diff", "edit"])
def test_commands_that_read_gguf_on_what_is_none(tmp_path, command):
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "short.gguf").write_bytes(b"GGUF")
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "loop.gguf").symlink_to("loop.gguf")
    for name in ("empty.gguf", "short.gguf", "pipe.gguf", "loop.gguf", "none.gguf"):
        arguments = {"inspect": [], "diff": [tmp_path / name], "edit": ["--set", "x=u8:1"]}[command]
        result = run(command, tmp_path / name, *arguments)
        assert_fails(result, 5 if name == "loop.gguf" else 3, tmp_path / name)


# ---- Outputs ----------------------------------------------------------------------------------------


def test_partial_output_is_a_link_to_the_input(llama, tmp_path):
    before = (llama / "model.safetensors").read_bytes()
    for make in (os.symlink, os.link):
        make(llama / "model.safetensors", tmp_path / "out.gguf.partial")
        result = run("convert", llama, tmp_path / "out.gguf")
        assert_fails(result, 5, "out.gguf.partial")
        assert (llama / "model.safetensors").read_bytes() == before
        (tmp_path / "out.gguf.partial").unlink()
    assert_nothing_written(tmp_path)


def test_output_is_a_link_to_nothing(llama, tmp_path):
    (tmp_path / "out.gguf").symlink_to("nowhere")
    assert_fails(run("convert", llama, tmp_path / "out.gguf"), 2, "output exists")
    convert(llama, tmp_path / "out.gguf", "--force")
    assert not (tmp_path / "out.gguf").is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_force_replaces_a_link_and_not_what_it_leads_to(llama, tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out.gguf").symlink_to("precious")
    convert(llama, tmp_path / "out.gguf", "--force")
    assert (tmp_path / "precious").read_text() == "precious"


def test_output_has_a_name_that_is_too_long(llama, tmp_path):
    for length in (255, 256, 5000):
        assert_fails(run("convert", llama, tmp_path / ("x" * length)), 5, "too long")


def test_output_keeps_the_umask(llama, tmp_path):
    before = os.umask(0o027)
    try:
        convert(llama, tmp_path / "out.gguf")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.gguf").stat().st_mode) == 0o640


# ---- Limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("--memory", "8M", "--threads", "1024"), ("--memory", "15000P"),
                                       ("--memory", "100T", "--threads", "64"), ("--memory", "8388608")])
def test_extreme_limits(tmp_path, arguments):
    result = run("convert", LLAMA, tmp_path / "out.gguf", *arguments)
    if "15000P" in arguments:
        assert_fails(result, 2, "--memory")
        return
    assert result.returncode == 0, result.stderr
    convert(LLAMA, tmp_path / "plain.gguf")
    assert sha256(tmp_path / "out.gguf") == sha256(tmp_path / "plain.gguf")


@pytest.mark.parametrize("arguments", [("--memory", "8388607"), ("--memory", "0"), ("--memory", "-1"), ("--memory", ""),
                                       ("--memory", "1e9"), ("--memory", "17179869184G"), ("--memory", "nan"),
                                       ("--threads", "0"), ("--threads", "-1"), ("--threads", "1025"),
                                       ("--threads", "two"), ("--threads", "99999999999999999999"),
                                       ("--max-shard-size", "0"), ("--io", "x"), ("--dialect", "")])
def test_unusable_limits(tmp_path, arguments):
    assert_fails(run("convert", LLAMA, tmp_path / "out.gguf", *arguments), 2, arguments[0])
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("text", ["1e400", "-1e400", "NaN", "Infinity", "1" + "0" * 400, "0x10", "1e", "--1"])
def test_numbers_that_are_none(llama, tmp_path, text):
    config = (llama / "config.json").read_text()
    (llama / "config.json").write_text(re.sub(r'("rms_norm_eps": )[^,]+', rf"\g<1>{text}", config))
    refuse(llama, tmp_path, 3, llama / "config.json")


@pytest.mark.parametrize("id", [-1, 2**32, 2**40, 1.5, "one"])
def test_special_ids_that_are_none_are_left_out(llama, tmp_path, id):
    edit_json(llama / "config.json", lambda config: config.update(sep_token_id=id))
    convert(llama, tmp_path / "out.gguf")
    assert "tokenizer.ggml.seperator_token_id" not in Gguf(tmp_path / "out.gguf").values
