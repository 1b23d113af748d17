"""Runs commands in turn and measures them fairly: wall time, CPU time, peak memory.

On virtual machines that hand free memory back to their host the first touch of a page is slow, so
before each timed run as much memory as the run will use is touched and freed, for every command
alike. Nothing here needs a package beyond Python's own.
"""
import ctypes
import mmap
import os
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass, field


def touch(num_bytes):
    """Touches and frees that many bytes, so that the machine holds them ready."""
    with mmap.mmap(-1, max(num_bytes, mmap.PAGESIZE)) as memory:
        view = ctypes.c_char.from_buffer(memory)
        ctypes.memset(ctypes.addressof(view), 1, len(memory))
        del view


def cache(paths):
    """Reads files, so that their pages are in the cache."""
    for path in paths:
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass


@dataclass
class Command:
    """A shell command line. `output` is the file it writes, removed before and after each run: a
    file that is left behind would be flushed to the disk during the next command's run."""
    name: str
    line: str
    output: str = ""
    seconds: list = field(default_factory=list)
    cpu_seconds: list = field(default_factory=list)
    peak_resident: int = 0
    peak_anonymous: int = 0

    @property
    def median(self):
        return statistics.median(self.seconds)

    @property
    def median_cpu(self):
        return statistics.median(self.cpu_seconds)


def remove(path):
    if path and os.path.exists(path):
        os.remove(path)


def run_once(command, touched_bytes, timed=True):
    remove(command.output)
    touch(touched_bytes)
    start = time.perf_counter()
    process = subprocess.Popen(["/bin/sh", "-c", "exec " + command.line], stdout=subprocess.DEVNULL)
    sampler = None if timed else sample_memory(process.pid, command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    remove(command.output)
    process.returncode = os.waitstatus_to_exitcode(status)
    if sampler:
        sampler.join()
    if process.returncode != 0:
        raise SystemExit(f"{command.name} failed with exit code {process.returncode}: {command.line}")
    if timed:
        command.seconds.append(seconds)
        command.cpu_seconds.append(usage.ru_utime + usage.ru_stime)


def sample_memory(pid, command, interval=0.002):
    """Follows the memory of a process until it ends. (ru_maxrss would count this script's own.)"""

    def follow():
        while True:
            try:
                with open(f"/proc/{pid}/status") as file:
                    lines = dict(line.split(":", 1) for line in file)
            except OSError:
                return
            if "RssAnon" not in lines:
                return  # a zombie has no memory
            kib = {key: int(lines[key].split()[0]) for key in ("RssAnon", "VmHWM")}
            command.peak_anonymous = max(command.peak_anonymous, kib["RssAnon"] * 1024)
            command.peak_resident = max(command.peak_resident, kib["VmHWM"] * 1024)
            time.sleep(interval)

    thread = threading.Thread(target=follow)
    thread.start()
    return thread


def interleave(commands, rounds, touched_bytes):
    """One warm-up run of each command, then `rounds` timed runs in turn."""
    for command in commands:
        run_once(command, touched_bytes, timed=False)
    for _ in range(rounds):
        for command in commands:
            run_once(command, touched_bytes)


def report(commands, gigabytes):
    """A table with each command's medians and its ratio to the first one."""
    base = commands[0]
    print(f"{'':34} {'median s':>9} {'min':>7} {'max':>7} {'ratio':>7} {'CPU s/GB':>9} "
          f"{'peak anon':>10} {'peak RSS':>10}")
    for command in commands:
        print(f"{command.name:34} {command.median:9.3f} {min(command.seconds):7.3f} "
              f"{max(command.seconds):7.3f} {command.median / base.median:7.2f} "
              f"{command.median_cpu / gigabytes:9.3f} {command.peak_anonymous / 1e6:8.1f}MB "
              f"{command.peak_resident / 1e6:8.1f}MB")
    print()
