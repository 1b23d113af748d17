#!/usr/bin/env python3
"""Whole quantizing runs, as shares of llama-quantize's wall time in the same command.

    ./dev bench quantize                        all types (40 minutes on two cores with llama-quantize)
    ./dev bench quantize --type Q4_0 --runs 1   some types (repeatable), fewer runs of each
    ./dev bench quantize --checkpoint DIR       another checkpoint than the generated one (2.64 GB)
    ./dev bench quantize --imatrix FILE         both with this importance matrix, which IQ2_XS and smaller types need

`sluice convert CHECKPOINT OUT --type TYPE` from safetensors against `llama-quantize` from the 16-bit
GGUF of the same checkpoint, where it is on PATH: the step from safetensors to that GGUF is not
counted for it. The two take turns; files are in the page cache, neither flushes its output to the
disk, both use all processors. What is to be reached stands beside the results.
"""
import argparse
import glob
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench/convert"))

from side_by_side import Command, cache, run_once  # noqa: E402

# The share of llama-quantize's wall time that is to be reached.
TARGETS = {"Q8_0": 0.22, "Q4_0": 0.35, "Q4_K_M": 0.11, "Q6_K": 0.14, "Q2_K": 0.15, "IQ4_XS": 0.03}
# CPU time over wall time with two threads, of types that keep the processors busy.
BUSY_TARGET = 1.85
BUSY_TYPES = ("Q4_K_M", "Q6_K", "Q2_K", "IQ4_XS")


class Bench:
    def __init__(self, folder, build, checkpoint, pre, runs, imatrix=None):
        self.folder = pathlib.Path(folder)
        self.sluice = build / "cli/sluice"
        self.pre = pre
        self.runs = runs
        self.imatrix = f"--imatrix {shlex.quote(str(imatrix.resolve()))}" if imatrix else ""
        self.checkpoint = checkpoint or self.make_checkpoint(build)
        self.shards = sorted(glob.glob(f"{self.checkpoint}/*.safetensors"))
        if not self.shards:
            raise SystemExit(f"{self.checkpoint}: no *.safetensors files")
        self.peer = shutil.which("llama-quantize")
        self.gguf = self.make_gguf() if self.peer else None

    def make_checkpoint(self, build):
        path = self.folder / "glm"
        if not path.exists():
            subprocess.run([build / "bench/sluice-make-checkpoint", "glm", path], check=True)
        return path

    def make_gguf(self):
        """The 16-bit file that llama-quantize starts from."""
        path = self.folder / "16-bit.gguf"
        subprocess.run([self.sluice, "-q", "convert", "--force", self.checkpoint, path,
                        "--pre", self.pre], check=True)
        return path

    def measure(self, name):
        """One line: medians of both programs, which take turns."""
        out = str(self.folder / "out.gguf")
        ours = Command(f"sluice {name}", f"{self.sluice} -q convert {self.checkpoint} {out} "
                       f"--type {name} --pre {self.pre} {self.imatrix} --no-sync", out)
        commands = [ours]
        if self.peer:
            commands.append(Command(f"llama-quantize {name}",
                                    f"{self.peer} {self.imatrix} {self.gguf} {out} {name} 2> /dev/null", out))
        touched_bytes = sum(os.path.getsize(path) for path in self.shards)
        for _ in range(self.runs):
            for command in commands:
                run_once(command, touched_bytes)
        self.report(name, *commands)

    @staticmethod
    def report(name, ours, peer=None):
        busy = f"{ours.median_cpu / ours.median:9.2f}"
        busy += f" {BUSY_TARGET:7.2f}" if name in BUSY_TYPES else f" {'':7}"
        line = f"{name:8} {ours.median:9.3f} {ours.median_cpu:9.2f} {busy}"
        if peer:
            target = f"{TARGETS[name]:.2f}" if name in TARGETS else ""
            line += f" {peer.median:15.3f} {ours.median / peer.median:8.3f} {target:>7}"
        print(line.rstrip(), flush=True)

    def run(self, types):
        cache(self.shards + ([self.gguf] if self.peer else []))
        size = sum(os.path.getsize(path) for path in self.shards)
        print(f"## quantize ({size / 1e9:.2f} GB, medians of {self.runs})")
        line = f"{'':8} {'sluice s':>9} {'CPU s':>9} {'CPU/wall':>9} {'target':>7}"
        print(line + (f" {'llama-quantize s':>15} {'share':>7} {'target':>7}" if self.peer else ""))
        for name in types:
            self.measure(name)
        if not self.peer:
            print("llama-quantize is not on PATH: no shares")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", action="append", help="a recipe; default: " + " ".join(TARGETS))
    parser.add_argument("--runs", type=int, default=5, help="runs of each program (5)")
    parser.add_argument("--checkpoint")
    parser.add_argument("--pre", default="llama-bpe",
                        help="name of the pre-tokenizer; that of the generated checkpoint: llama-bpe")
    parser.add_argument("--imatrix", type=pathlib.Path, help="importance matrix for both; default: none")
    parser.add_argument("--folder", help="where files go, 8 GB; default: a temporary folder")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release",
                        help="build folder; default: build/release")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as temporary:
        bench = Bench(arguments.folder or temporary, arguments.build.resolve(),
                      arguments.checkpoint, arguments.pre, arguments.runs, arguments.imatrix)
        bench.run(arguments.type or TARGETS)


if __name__ == "__main__":
    main()
