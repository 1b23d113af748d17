"""What happens to a conversion while it runs: a shard shrinks, a signal comes, another run begins.

A named pipe or a pipe that nobody reads holds a conversion at a known point: no timing is involved.
"""
import array
import fcntl
import os
import pathlib
import signal
import subprocess
import termios
import threading

import pytest

from sluice_cli import (GOLDEN, MAKE_CHECKPOINT, SLUICE, assert_fails, assert_nothing_written, convert,
                        copy_checkpoint, run, sha256, wait_until)

LLAMA4 = GOLDEN / "checkpoints" / "llama4-tiny"


HANG_SECONDS = 60  # far beyond what any of these runs needs


# Whatever the tests inherit: nohup ignores SIGHUP, a shell that starts a job may ignore SIGINT.
DEFAULT_SIGNALS = ("env", "--default-signal=HUP,INT,TERM")


def start(*arguments, before=DEFAULT_SIGNALS, **options):
    return subprocess.Popen([*before, SLUICE, *map(str, arguments)], stderr=subprocess.PIPE, **options)


def finish(process):
    """Waits for the end without reading standard output."""
    try:
        process.wait(HANG_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail("the process hangs")
    with process.stderr:
        stderr = process.stderr.read().decode()
    return subprocess.CompletedProcess(process.args, process.returncode, "", stderr)


def drain(descriptor):
    """Reads to the end, in the background."""

    def read():
        while os.read(descriptor, 1 << 16):
            pass

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def bytes_waiting(descriptor):
    """How much a pipe holds."""
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


class BlockedPipe:
    """A named pipe that takes one write of at most a page and is not read until drain() is called."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path = path
        # Not blocking: there is no writer yet.
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.descriptor, True)

    def is_full(self):
        return bytes_waiting(self.descriptor) > 0

    def drain(self):
        return drain(self.descriptor)

    def close(self):
        os.close(self.descriptor)


class Blocked:
    """`convert` of Llama 4 that has begun to write OUT.partial and hangs in its second output."""

    def __init__(self, folder):
        self.out = folder / "out.gguf"
        self.partial = folder / "out.gguf.partial"
        self.pipe = BlockedPipe(folder / "mmproj.pipe")
        self.process = start("convert", LLAMA4, self.out, "--mmproj", self.pipe.path)
        wait_until(self.pipe.is_full, "the projector fills its pipe")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        self.pipe.close()


# ---- Signals ------------------------------------------------------------------------------------


def test_signal_while_nobody_reads_the_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start("convert", LLAMA4, pipe)
    channel = pathlib.Path(f"/proc/{process.pid}/wchan")
    wait_until(lambda: channel.read_text() == "wait_for_partner", "it opens the pipe")
    process.send_signal(signal.SIGTERM)
    assert_fails(finish(process), 6, "cancelled")


CANCELLING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", CANCELLING)
def test_signal_cancels_and_removes_the_partial_file(number, tmp_path):
    with Blocked(tmp_path) as run_in_progress:
        assert run_in_progress.partial.exists()
        assert not run_in_progress.out.exists()
        run_in_progress.process.send_signal(number)
        # Nobody reads the pipe: cancelling must not wait for a write that never ends.
        assert_fails(finish(run_in_progress.process), 6, "cancelled")
    assert_nothing_written(tmp_path)


def start_long_conversion(folder, out, *arguments, **options):
    """2.6 GB from holes, by one thread: it cannot end before a signal comes."""
    subprocess.run([MAKE_CHECKPOINT, "glm", folder / "large", "--sparse"], check=True)
    process = start("convert", folder / "large", out, "--outtype", "f16", "--threads", "1", *arguments, **options)
    wait_until(out.with_name(out.name + ".partial").exists, "the partial file appears")
    return process


@pytest.mark.parametrize("number", CANCELLING)
def test_signal_during_a_conversion_to_a_file(number, tmp_path):
    process = start_long_conversion(tmp_path, tmp_path / "out.gguf")
    process.send_signal(number)
    assert_fails(finish(process), 6, "cancelled")
    assert_nothing_written(tmp_path)


def test_terminal_that_closes_sends_its_signal_twice(tmp_path):
    with Blocked(tmp_path) as run_in_progress:
        for _ in range(2):
            run_in_progress.process.send_signal(signal.SIGHUP)
        assert_fails(finish(run_in_progress.process), 6, "cancelled")
    assert_nothing_written(tmp_path)


def test_hangup_under_nohup_is_ignored(tmp_path):
    pipe = BlockedPipe(tmp_path / "pipe")
    process = start("convert", LLAMA4, pipe.path, before=("env", "--ignore-signal=HUP"))
    wait_until(pipe.is_full, "the conversion fills its pipe")
    process.send_signal(signal.SIGHUP)
    reader = pipe.drain()
    result = finish(process)
    reader.join()
    pipe.close()
    assert result.returncode == 0, result.stderr


# ---- A limit on the size of files -----------------------------------------------------------------


def run_with_file_limit(blocks, *arguments, stdout=subprocess.PIPE):
    """Blocks of 512 or 1024 bytes, as the shell has it. Python gives its children the default action of SIGXFSZ."""
    return subprocess.run(["sh", "-c", f'ulimit -f {blocks}; exec "$0" "$@"', SLUICE, *map(str, arguments)],
                          stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=HANG_SECONDS)


@pytest.mark.parametrize("arguments", [(), ("--type", "Q8_0"), ("--max-shard-size", "100K")])
def test_file_size_limit_is_a_write_error(arguments, tmp_path):
    result = run_with_file_limit(100, "convert", LLAMA4, tmp_path / "out.gguf", *arguments)
    assert_fails(result, 5, ".gguf.partial", "File too large")
    assert_nothing_written(tmp_path)


def test_file_size_limit_on_what_is_printed(tmp_path):
    assert run_with_file_limit(4, "-q", "plan", LLAMA4).returncode == 0  # a pipe has no size
    with open(tmp_path / "plan.txt", "w") as file:
        assert_fails(run_with_file_limit(4, "-q", "plan", LLAMA4, stdout=file), 5, "standard output", "File too large")


def test_cancelled_replacement_keeps_the_old_output(tmp_path):
    (tmp_path / "out.gguf").write_text("precious")
    process = start_long_conversion(tmp_path, tmp_path / "out.gguf", "--force")
    process.send_signal(signal.SIGTERM)
    assert_fails(finish(process), 6, "cancelled")
    assert (tmp_path / "out.gguf").read_text() == "precious"
    assert not (tmp_path / "out.gguf.partial").exists()


def test_signal_while_a_reader_drains_the_pipe(tmp_path):
    subprocess.run([MAKE_CHECKPOINT, "glm", tmp_path / "large", "--sparse"], check=True)
    process = start("convert", tmp_path / "large", "-", stdout=subprocess.PIPE)
    assert os.read(process.stdout.fileno(), 4) == b"GGUF"
    process.send_signal(signal.SIGINT)
    reader = drain(process.stdout.fileno())
    result = finish(process)
    reader.join()
    assert_fails(result, 6, "cancelled")
    process.stdout.close()


def test_kill_leaves_only_a_partial_file_and_a_later_run_succeeds(tmp_path):
    with Blocked(tmp_path) as run_in_progress:
        run_in_progress.process.kill()
        run_in_progress.process.wait(HANG_SECONDS)
        assert run_in_progress.partial.exists()
        assert not run_in_progress.out.exists()
    convert(LLAMA4, tmp_path / "out.gguf")
    convert(LLAMA4, tmp_path / "clean.gguf")
    assert not (tmp_path / "out.gguf.partial").exists()
    assert sha256(tmp_path / "out.gguf") == sha256(tmp_path / "clean.gguf")


def test_second_run_to_the_same_output_is_refused(tmp_path):
    with Blocked(tmp_path) as first:
        second = run("convert", GOLDEN / "checkpoints" / "llama-tiny", first.out)
        assert_fails(second, 5, first.partial, "another process is writing")
        assert first.partial.exists()
        reader = first.pipe.drain()
        first.process.wait(HANG_SECONDS)
        reader.join()
        assert first.process.returncode == 0
    convert(LLAMA4, tmp_path / "clean.gguf")
    assert sha256(tmp_path / "out.gguf") == sha256(tmp_path / "clean.gguf")


# ---- The reader of a pipe goes away --------------------------------------------------------------


def test_reader_that_goes_away_is_a_write_error(tmp_path):
    subprocess.run([MAKE_CHECKPOINT, "glm", tmp_path / "large", "--sparse"], check=True)
    process = start("convert", tmp_path / "large", "-", stdout=subprocess.PIPE)
    os.read(process.stdout.fileno(), 4)
    process.stdout.close()
    assert_fails(finish(process), 5, "standard output", "cannot write", "Broken pipe")


def test_reader_that_goes_away_leaves_no_partial_file(tmp_path):
    with Blocked(tmp_path) as run_in_progress:
        os.dup2(os.open(os.devnull, os.O_RDONLY), run_in_progress.pipe.descriptor)
        assert_fails(finish(run_in_progress.process), 5, "mmproj.pipe", "cannot write", "Broken pipe")
    assert_nothing_written(tmp_path)


# ---- Shards that change -------------------------------------------------------------------------

# A copy goes straight from the mapping to the pipe; F32 is decoded from it; a stack is both.
OUTTYPES = ["auto", "f32"]


def start_blocked_conversion(checkpoint, outtype, io):
    """Starts a conversion to a pipe, at whose first byte it is known that the plan is made."""
    process = start("convert", checkpoint, "-", "--outtype", outtype, "--io", io, "--threads", "1",
                    stdout=subprocess.PIPE)
    assert os.read(process.stdout.fileno(), 4) == b"GGUF"
    return process


def finish_with_reader(process):
    reader = drain(process.stdout.fileno())
    result = finish(process)
    reader.join()
    process.stdout.close()
    return result


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Large enough that most of it is still unread when the pipe is full."""
    folder = tmp_path_factory.mktemp("large") / "checkpoint"
    settings = ["hidden_size=512", "n_routed_experts=16", "moe_intermediate_size=512", "vocab_size=1024",
                "intermediate_size=1024"]
    subprocess.run([MAKE_CHECKPOINT, "glm", folder, *(f"--set={setting}" for setting in settings)], check=True)
    return folder


@pytest.fixture
def checkpoint(large, tmp_path):
    # Of its own, because it is cut; links would cut the others as well.
    subprocess.run(["cp", "-r", large, tmp_path / "checkpoint"], check=True)
    return tmp_path / "checkpoint"


def last_shard(checkpoint):
    return max(checkpoint.glob("*.safetensors"))


@pytest.mark.parametrize("io", ["mmap", "read"])
@pytest.mark.parametrize("outtype", OUTTYPES)
@pytest.mark.parametrize("left", ["header", "half", "nothing"])
def test_shard_that_shrinks_while_it_is_read(checkpoint, io, outtype, left):
    shard = last_shard(checkpoint)
    size = shard.stat().st_size
    process = start_blocked_conversion(checkpoint, outtype, io)
    os.truncate(shard, {"header": 8192, "half": size // 2, "nothing": 0}[left])
    assert_fails(finish_with_reader(process), 3, shard, "expected", "got")


@pytest.mark.parametrize("io", ["mmap", "read"])
def test_shard_that_shrinks_leaves_no_output(io, tmp_path):
    checkpoint = copy_checkpoint("llama4-tiny", tmp_path)
    pipe = BlockedPipe(tmp_path / "mmproj.pipe")
    process = start("convert", checkpoint, tmp_path / "out.gguf", "--mmproj", pipe.path, "--io", io,
                    "--threads", "1")
    wait_until(pipe.is_full, "the projector fills its pipe")
    os.truncate(checkpoint / "model.safetensors", 16384)
    reader = pipe.drain()
    assert_fails(finish(process), 3, checkpoint / "model.safetensors", "expected", "got")
    reader.join()
    pipe.close()
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("io", ["mmap", "read"])
def test_shard_that_is_rewritten_while_it_is_read(checkpoint, io):
    # Same size, other bytes: the output would be a mixture.
    shard = last_shard(checkpoint)
    process = start_blocked_conversion(checkpoint, "auto", io)
    with open(shard, "r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\x12\x34")
    assert_fails(finish_with_reader(process), 3, shard, "changed while it was read", "finish")


@pytest.mark.parametrize("io", ["mmap", "read"])
def test_shard_that_is_replaced_while_it_is_read(checkpoint, io):
    shard = last_shard(checkpoint)
    process = start_blocked_conversion(checkpoint, "auto", io)
    replacement = shard.with_suffix(".new")
    replacement.write_bytes(shard.read_bytes() + b"longer")
    os.replace(replacement, shard)
    assert_fails(finish_with_reader(process), 3, shard, "changed while it was read")


@pytest.mark.parametrize("io", ["mmap", "read"])
def test_shard_that_is_deleted_while_it_is_read_is_no_crash(checkpoint, io):
    # The bytes are still there, and so is the result; saying that the file is gone is right as well.
    shard = last_shard(checkpoint)
    process = start_blocked_conversion(checkpoint, "auto", io)
    shard.unlink()
    result = finish_with_reader(process)
    assert result.returncode in (0, 3), result.stderr
