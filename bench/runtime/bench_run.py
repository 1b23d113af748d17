#!/usr/bin/env python3
"""Speed and memory of running a model, beside llama-bench where it is on PATH.

    ./dev bench run                       BF16, Q8_0 and Q4_0 (about ten minutes on two slow cores)
    ./dev bench run --type Q4_K_M         another type; may be repeated
    ./dev bench run --checkpoint DIR      a checkpoint of GLM-4 MoE Lite instead of the generator's

Both programs take the same GGUF file in turn, with the same number of threads: a prompt of 128 tokens
with the logits of its last, and 64 tokens one by one. What is to be reached stands in
docs/performance.md.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench/convert"))
from side_by_side import cache, touch  # noqa: E402

BUILD = ROOT / "build/release"
SLUICE = BUILD / "cli/sluice"
PROMPT, GENERATE = 128, 64
MEMORY_BEYOND = 200 << 20  # what a run may take besides weights and cache


def output_of(*command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True).stdout


def inspect(gguf):
    return json.loads(output_of(SLUICE, "inspect", "--json", gguf))


def bytes_per_token(gguf):
    """Bytes of weights that one token needs: of routed experts those it is sent to, of the embedding
    one row. An upper bound of what it reads from memory: caches keep some."""
    content = inspect(gguf)
    keys = content["key_values"]
    architecture = keys["general.architecture"]["value"]
    experts = keys[f"{architecture}.expert_count"]["value"]
    used = keys[f"{architecture}.expert_used_count"]["value"]
    total = 0
    for tensor in content["tensors"]:
        size = tensor["bytes"]
        if tensor["name"] == "token_embd.weight":
            size //= tensor["shape"][0]
        elif "_exps." in tensor["name"]:
            size = size * used // experts
        total += size
    return total


class Bench:
    def __init__(self, folder, checkpoint, rounds):
        self.folder = pathlib.Path(folder)
        self.checkpoint = checkpoint or self.folder / "glm"
        self.rounds = rounds
        self.threads = len(os.sched_getaffinity(0))
        self.peer = shutil.which("llama-bench")

    def prepare(self, outtype):
        """The checkpoint as a GGUF file of a type, made once."""
        if not pathlib.Path(self.checkpoint).exists():
            output_of(BUILD / "bench/sluice-make-checkpoint", "glm", self.checkpoint)
        gguf = self.folder / f"{pathlib.Path(self.checkpoint).name}-{outtype}.gguf"
        if not gguf.exists():
            output_of(SLUICE, "-q", "convert", self.checkpoint, gguf, "--pre", "glm4", "--type", outtype)
        cache([gguf])
        return gguf

    def run_sluice(self, gguf, prompt=PROMPT, generate=GENERATE, repeat=3):
        touch(256 << 20)
        return json.loads(output_of(BUILD / "bench/sluice-bench-model", gguf, "--threads", self.threads,
                                    "--prompt", prompt, "--generate", generate, "--repeat", repeat))

    def run_peer(self, gguf, repeat=3):
        touch(256 << 20)
        runs = json.loads(output_of(self.peer, "-m", gguf, "-t", self.threads, "-p", PROMPT,
                                    "-n", GENERATE, "-r", repeat, "-o", "json"))
        return {"prefill" if run["n_prompt"] else "decode": statistics.median(run["samples_ts"])
                for run in runs}

    def bandwidth(self):
        return float(output_of(BUILD / "bench/sluice-bench-memory", self.threads))

    def measure(self, gguf):
        """The runs of both programs, in turn."""
        ours, theirs = [], []
        for _ in range(self.rounds):
            ours.append(self.run_sluice(gguf))
            if self.peer:
                theirs.append(self.run_peer(gguf))
        return ours, theirs

    def speed(self, outtype, gguf, ours, theirs):
        for what in ("prefill", "decode"):
            speed = statistics.median(run[what] for run in ours)
            line = f"{outtype:8} {what:8} {speed:9.1f}"
            if theirs:
                peer = statistics.median(run[what] for run in theirs)
                line += f" {peer:12.1f} {speed / peer:7.2f}"
            print(line)
            if what == "decode":
                read = bytes_per_token(gguf)
                print(f"{'':8} {read / 1e6:.1f} MB a token: {read * speed / 1e9:.1f} GB/s, "
                      f"{read * speed / self.bandwidth():.0%} of the memory's bandwidth")

    def memory(self, outtype, gguf, whole):
        """Anonymous memory of the timed runs, and all memory of a run of one token."""
        one = self.run_sluice(gguf, prompt=0, generate=1, repeat=0)
        read = bytes_per_token(gguf)
        for name, run, weights in (("prompt and generation", whole, os.path.getsize(gguf)),
                                   ("one token", one, read)):
            bound = weights + run["cache_bytes"] + MEMORY_BEYOND
            print(f"{outtype:8} {name:22} {run['peak_resident_bytes'] / 1e6:9.1f}MB "
                  f"{bound / 1e6:9.1f}MB {weights / 1e6:9.1f}MB {run['cache_bytes'] / 1e6:7.1f}MB "
                  f"{run['anonymous_bytes'] / 1e6:9.1f}MB")

    def run(self, outtypes):
        print(f"## speed ({self.threads} threads; tokens/s, medians of {self.rounds}; memory gives "
              f"{self.bandwidth() / 1e9:.1f} GB/s)")
        print(f"{'':17} {'sluice':>9} {'llama-bench':>12} {'ratio':>7}")
        runs = {}
        for outtype in outtypes:
            gguf = self.prepare(outtype)
            ours, theirs = self.measure(gguf)
            self.speed(outtype, gguf, ours, theirs)
            runs[outtype] = (gguf, max(ours, key=lambda run: run["peak_resident_bytes"]))
            sys.stdout.flush()
        print("\n## memory (bound: weights touched + cache + 200 MiB)")
        print(f"{'':31} {'peak RSS':>11} {'bound':>11} {'weights':>11} {'cache':>9} {'anonymous':>11}")
        for outtype, (gguf, whole) in runs.items():
            self.memory(outtype, gguf, whole)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", action="append", dest="types")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--checkpoint")
    parser.add_argument("--folder", help="where checkpoint and models go; default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as temporary:
        bench = Bench(arguments.folder or temporary, arguments.checkpoint, arguments.rounds)
        bench.run(arguments.types or ["BF16", "Q8_0", "Q4_0"])


if __name__ == "__main__":
    main()
