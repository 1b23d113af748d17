"""`sluice convert`: progress, closing summary, pipes, signals, flags of the run."""
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import termios

import pytest

from sluice_cli import (GOLDEN, MAKE_CHECKPOINT, SANITIZE, SLUICE, TIMEOUT_SECONDS, assert_fails,
                        assert_nothing_written, convert, copy_checkpoint, edit_json, run, sha256,
                        wait_until)

LLAMA = GOLDEN / "checkpoints" / "llama-tiny"
LLAMA4 = GOLDEN / "checkpoints" / "llama4-tiny"
GLM = GOLDEN / "checkpoints" / "glm-tiny"


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The file that every way of converting LLAMA must give."""
    out = tmp_path_factory.mktemp("reference") / "out.gguf"
    convert(LLAMA, out)
    return out


def shard_bytes(checkpoint):
    return sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))


def checkpoint_with_warning(folder):
    """GLM without a RoPE base."""
    checkpoint = copy_checkpoint("glm-tiny", folder)
    edit_json(checkpoint / "config.json", lambda config: config.pop("rope_theta"))
    return checkpoint


# ---- Progress and closing summary ---------------------------------------------------------------


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_json_progress(tmp_path):
    out = tmp_path / "out.gguf"
    events = json_lines(convert(GLM, out, "--progress", "json").stderr)
    assert all(event["format"] == 1 for event in events)
    *progress, done = events
    assert [event["event"] for event in progress] == ["progress"] * len(progress) and progress
    assert all(set(event) == {"format", "event", "bytes_done", "bytes_total", "seconds", "tensor"}
               for event in progress)
    assert {event["bytes_total"] for event in progress} == {out.stat().st_size}
    done_bytes = [event["bytes_done"] for event in progress]
    assert done_bytes == sorted(done_bytes) and done_bytes[-1] == out.stat().st_size
    assert progress[-1]["tensor"] == "blk.3.nextn.shared_head_norm.weight"
    assert set(done) == {"format", "event", "bytes_in", "bytes_out", "seconds",
                         "peak_memory_bytes", "tensors", "warnings"}
    assert done["event"] == "done"
    assert done["bytes_in"] == shard_bytes(GLM)
    assert done["bytes_out"] == out.stat().st_size
    assert done["tensors"] == 76
    assert done["warnings"] == []
    assert 0 < done["seconds"] < TIMEOUT_SECONDS
    assert 1 << 20 < done["peak_memory_bytes"] < 1 << 40


def test_json_summary_carries_the_warnings(tmp_path):
    checkpoint = checkpoint_with_warning(tmp_path)
    result = convert(checkpoint, tmp_path / "out.gguf", "--progress", "json")
    (warning,) = json_lines(result.stderr)[-1]["warnings"]
    assert "rope" in warning.lower()


def test_json_summary_counts_both_outputs(tmp_path):
    out, projector = tmp_path / "out.gguf", tmp_path / "mmproj.gguf"
    result = convert(LLAMA4, out, "--mmproj", projector, "--progress", "json")
    *progress, done = json_lines(result.stderr)
    size = out.stat().st_size + projector.stat().st_size
    assert done["bytes_out"] == size and progress[-1]["bytes_done"] == size


AMOUNT = r"\d+(\.\d\d)? (B|kB|MB|GB)"


def test_plain_progress(tmp_path):
    result = convert(LLAMA, tmp_path / "out.gguf", "--progress", "plain")
    *progress, _ = result.stderr.splitlines()
    line = re.compile(rf"\[#*\.*\] +\d+ %  {AMOUNT} of {AMOUNT}  {AMOUNT}/s  ETA \d+:\d\d  \S+")
    assert progress and all(line.fullmatch(text) for text in progress), result.stderr
    assert " 100 % " in progress[-1] and progress[-1].endswith("output_norm.weight")
    assert "\r" not in result.stderr and "\x1b" not in result.stderr


@pytest.mark.parametrize("mode", [(), ("--progress", "auto"), ("--progress", "none")])
def test_closing_summary_is_all_that_a_pipe_gets(tmp_path, mode):
    out = tmp_path / "out.gguf"
    result = convert(LLAMA, out, *mode)
    match = re.fullmatch(
        rf"{re.escape(str(out))}: 31 tensors, (?P<read>{AMOUNT}) in, (?P<written>{AMOUNT}) out, "
        rf"\d+\.\d\d s, {AMOUNT}/s, peak memory {AMOUNT}, 0 warnings\n", result.stderr)
    assert match, result.stderr
    assert match["read"] == f"{shard_bytes(LLAMA) / 1000:.2f} kB"
    assert match["written"] == f"{out.stat().st_size / 1000:.2f} kB"
    assert result.stdout == ""


def test_warnings_are_printed_and_counted(tmp_path):
    result = convert(checkpoint_with_warning(tmp_path), tmp_path / "out.gguf")
    warning, summary = result.stderr.splitlines()
    assert warning.startswith("warning: ")
    assert re.search(r", 1 warnings?$", summary)


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
@pytest.mark.parametrize("mode", ["auto", "plain", "json"])
def test_quiet_prints_nothing_upon_success(tmp_path, flag, mode):
    checkpoint = checkpoint_with_warning(tmp_path)
    for arguments in ([flag, "convert"], ["convert", flag]):
        result = run(*arguments, checkpoint, tmp_path / "out.gguf", "--force", "--progress", mode)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_quiet_prints_errors(tmp_path):
    assert_fails(run("-q", "convert", tmp_path / "nowhere", tmp_path / "out.gguf"), 3, "nowhere")


@pytest.mark.parametrize("target", ["/dev/full", None])
def test_standard_error_that_takes_nothing(tmp_path, reference, target):
    # A full disk or a closed descriptor: the conversion matters more than its messages.
    out = tmp_path / "out.gguf"
    redirection = f"2>{target}" if target else "2>&-"
    command = f'exec "$0" convert "$1" "$2" --progress plain {redirection}'
    result = subprocess.run(["sh", "-c", command, SLUICE, LLAMA, out], timeout=TIMEOUT_SECONDS)
    assert result.returncode == 0
    assert sha256(out) == sha256(reference)


# ---- On a terminal ------------------------------------------------------------------------------


class Terminal:
    """A pseudo-terminal of this width as standard error of `sluice ARGUMENTS...`."""

    def __init__(self, columns, *arguments, **options):
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen([SLUICE, *map(str, arguments)], stderr=slave, **options)
        os.close(slave)
        self.text = ""

    def read(self):
        """Adds what there is to `text`; False at the end."""
        try:
            part = os.read(self.master, 1 << 16)
        except OSError:  # the other side is closed
            part = b""
        self.text += part.decode()
        return bool(part)

    def finish(self):
        while self.read():
            pass
        os.close(self.master)
        return self.process.wait(TIMEOUT_SECONDS)


CLEAR = "\r\x1b[K"


@pytest.mark.parametrize("columns", [120, 80, 40])
def test_progress_on_a_terminal_rewrites_one_line(tmp_path, columns):
    out = tmp_path / "out.gguf"
    terminal = Terminal(columns, "convert", LLAMA, out)
    assert terminal.finish() == 0
    progress, summary = terminal.text.rsplit(CLEAR, 1)
    lines = progress.split("\r")[1:]
    assert all(line.endswith("\x1b[K") for line in lines)
    # Figures come first, then the tensor's name, then the bar.
    assert lines[-1].startswith("[#") or columns < 120
    assert ("ETA 0:00  " in lines[-1]) == (columns >= 80)
    # The last column stays free: some terminals break the line there.
    assert max(len(line.removesuffix("\x1b[K")) for line in lines) <= columns - 1
    assert "\n" not in progress and "100 %" in lines[-1]
    assert summary.startswith(f"{out}: 31 tensors") and summary.endswith("warnings\r\n")


@pytest.mark.parametrize("mode, has_line", [("none", False), ("plain", True), ("json", True)])
def test_other_progress_on_a_terminal_does_not_rewrite(tmp_path, mode, has_line):
    terminal = Terminal(100, "convert", LLAMA, tmp_path / "out.gguf", "--progress", mode)
    assert terminal.finish() == 0
    assert "\x1b" not in terminal.text
    assert (len(terminal.text.splitlines()) > 1) == has_line


def test_binary_output_is_not_written_to_a_terminal():
    master, slave = os.openpty()
    result = run("convert", LLAMA, "-", stdout=slave, stderr=subprocess.PIPE, capture_output=False,
                 text=True, timeout=20)
    os.close(slave)
    os.close(master)
    assert_fails(result, 2, "standard output", "terminal")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_mid_conversion(tmp_path, number):
    # 2.6 GB from holes, by one thread: it cannot end before the signal comes.
    subprocess.run([MAKE_CHECKPOINT, "glm", tmp_path / "large", "--sparse"], check=True)
    terminal = Terminal(100, "convert", tmp_path / "large", tmp_path / "out.gguf", "--threads", "1",
                        "--outtype", "f16")
    wait_until(lambda: terminal.read() and "%" in terminal.text, "progress is shown")
    terminal.process.send_signal(number)
    assert terminal.finish() == 6
    # The error has a line of its own: the progress line is cleared first.
    assert terminal.text.endswith(f"{CLEAR}error: cancelled\r\n")
    assert_nothing_written(tmp_path)


# ---- Where the output goes ----------------------------------------------------------------------


def test_output_into_a_pipe_equals_the_file(reference):
    result = run("convert", LLAMA, "-", text=False)
    assert result.returncode == 0
    assert result.stdout == reference.read_bytes()
    assert result.stderr.startswith(b"standard output: 31 tensors, ")


def test_output_into_a_redirected_file_equals_the_file(tmp_path, reference):
    with open(tmp_path / "out.gguf", "wb") as out:
        result = run("convert", LLAMA, "-", capture_output=False, stdout=out,
                     stderr=subprocess.PIPE)
    assert result.returncode == 0
    assert sha256(tmp_path / "out.gguf") == sha256(reference)


def test_projector_into_a_pipe(tmp_path):
    convert(LLAMA4, tmp_path / "out.gguf", "--mmproj", tmp_path / "mmproj.gguf")
    result = run("convert", LLAMA4, tmp_path / "again.gguf", "--mmproj", "-", text=False)
    assert result.returncode == 0
    assert result.stdout == (tmp_path / "mmproj.gguf").read_bytes()


def test_force_replaces_the_output(tmp_path, reference):
    out = tmp_path / "out.gguf"
    out.write_text("old")
    assert_fails(run("convert", LLAMA, out), 2, out, "output exists", "--force")
    assert out.read_text() == "old"
    convert(LLAMA, out, "--force")
    assert sha256(out) == sha256(reference)


def test_output_without_a_name():
    assert_fails(run("convert", LLAMA, ""), 2, "OUT: expected a value, got an empty one")


def test_no_sync_gives_the_same_file(tmp_path, reference):
    convert(LLAMA, tmp_path / "out.gguf", "--no-sync")
    assert sha256(tmp_path / "out.gguf") == sha256(reference)


# ---- --memory, --threads, --io ------------------------------------------------------------------

ACCEPTED_SIZES = ["8M", "8m", "8MiB", "8192K", "9MB", "8389KB", "8388608", "1G", "1GB", "1T",
                  "17179869184GB"]  # the last is 2^34 GB, which fits 64 bits; 2^34 G do not
REFUSED_SIZES = ["7M", "8MB", "8191K", "8388KB", "8388607", "0", "-1", "-16M", "17179869184G",
                 "99999999999999999999", "8X", "abc", "M", "", "1.5G", "16M16M"]


@pytest.mark.parametrize("size", ACCEPTED_SIZES)
def test_memory_accepts(tmp_path, reference, size):
    convert(LLAMA, tmp_path / "out.gguf", "--memory", size)
    assert sha256(tmp_path / "out.gguf") == sha256(reference)


@pytest.mark.parametrize("size", REFUSED_SIZES)
def test_memory_refuses(tmp_path, size):
    result = run("convert", LLAMA, tmp_path / "out.gguf", f"--memory={size}")
    assert_fails(result, 2, "--memory")
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("number", ["0", "-1", "1025", "two", "1.5", ""])
def test_threads_refuses(tmp_path, number):
    result = run("convert", LLAMA, tmp_path / "out.gguf", f"--threads={number}")
    assert_fails(result, 2, "--threads")
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("flag, word", [("--io", "dma"), ("--progress", "bar"), ("--dialect", "gg"),
                                        ("--outtype", "q8_0")])
def test_choices_refuse_and_name_the_alternatives(tmp_path, flag, word):
    result = run("convert", LLAMA, tmp_path / "out.gguf", flag, word)
    assert_fails(result, 2, flag, word)
    for alternative in CHOICES[flag]:
        assert alternative in result.stderr
    assert_nothing_written(tmp_path)


CHOICES = {"--io": ["auto", "mmap", "read"], "--progress": ["auto", "plain", "json", "none"],
           "--dialect": ["llama.cpp", "ollama"], "--outtype": ["auto", "f32", "f16", "bf16"]}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A checkpoint that no pipe can hold: its conversion waits for a reader."""
    folder = tmp_path_factory.mktemp("large") / "checkpoint"
    subprocess.run([MAKE_CHECKPOINT, "glm", folder, "--sparse", "--set=num_hidden_layers=2"],
                   check=True)
    return folder


class Running:
    """A conversion to a pipe that nobody reads, past its first byte."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([SLUICE, "convert", *map(str, arguments)],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert os.read(self.process.stdout.fileno(), 4) == b"GGUF"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def proc(self, name):
        return f"/proc/{self.process.pid}/{name}"


@pytest.mark.parametrize("io, mapped", [("mmap", True), ("read", False), ("auto", True)])
def test_io_says_how_shards_are_read(large, io, mapped):
    with Running(large, "-", "--io", io) as running:
        with open(running.proc("maps")) as maps:
            assert (".safetensors" in maps.read()) == mapped


@pytest.mark.parametrize("number", [1, 3])
def test_threads_bounds_the_threads(large, number):
    background = 1 if "thread" in SANITIZE else 0  # the sanitizer has a thread of its own
    with Running(large, "-", "--threads", number, "--outtype", "f16") as running:
        assert 1 <= len(os.listdir(running.proc("task"))) <= number + background
