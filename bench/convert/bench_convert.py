#!/usr/bin/env python3
"""Conversion speed and memory, as ratios to `cat` measured in the same run.

    ./dev bench convert                     everything (about an hour on two slow cores)
    ./dev bench convert --only types        one part: types, sync, f32, transposed, memory, cores, plan
    ./dev bench convert --checkpoint DIR    take this checkpoint for `types`, `sync` and `memory`

What each part does stands in its function; what is to be reached stands in docs/performance.md.
"""
import argparse
import glob
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from side_by_side import Command, cache, interleave, report, sample_memory, touch

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SLUICE = ROOT / "build/release/cli/sluice"
MAKE_CHECKPOINT = ROOT / "build/release/bench/sluice-make-checkpoint"
ROUNDS = 7


def shards_of(checkpoint):
    return sorted(glob.glob(f"{checkpoint}/*.safetensors"))


def bytes_of(paths):
    return sum(os.path.getsize(path) for path in paths)


class Bench:
    def __init__(self, folder, checkpoint):
        self.folder = pathlib.Path(folder)
        self.given_checkpoint = checkpoint

    def make(self, name, preset, *arguments):
        """A checkpoint of the generator, made once."""
        path = self.folder / name
        if not path.exists():
            subprocess.run([MAKE_CHECKPOINT, preset, path, *arguments], check=True)
        return path

    def glm(self):
        return self.given_checkpoint or self.make("glm", "glm")

    def out(self, name):
        return str(self.folder / name)

    def cat(self, shards, after=""):
        out = self.out("cat.out")
        return Command("cat shards > file" + (", fsync" if after else ""),
                       f"sh -c 'cat {' '.join(shards)} > {out}{after}'", out)

    def convert(self, name, checkpoint, arguments):
        out = self.out("sluice.gguf")
        return Command(f"sluice {name}", f"{SLUICE} -q convert {checkpoint} {out} {arguments}", out)

    def compare(self, title, commands, checkpoint):
        shards = shards_of(checkpoint)
        size = bytes_of(shards)
        cache(shards)
        print(f"## {title} ({size / 1e9:.2f} GB, medians of {ROUNDS})")
        interleave(commands, ROUNDS, 2 * size)
        report(commands, size / 1e9)

    def types(self):
        """Each output type against copying the shards; neither side flushes to the disk."""
        checkpoint = self.glm()
        commands = [self.cat(shards_of(checkpoint))]
        for outtype in ("bf16", "f16", "f32"):
            commands.append(self.convert(f"--outtype {outtype}", checkpoint,
                                         f"--no-sync --outtype {outtype}"))
        commands.append(self.convert("--io read", checkpoint, "--no-sync --io read"))
        peer = shutil.which("convert_hf_to_gguf.py")
        if peer:
            out = self.out("peer.gguf")
            commands.append(Command("convert_hf_to_gguf.py",
                                    f"{peer} {checkpoint} --outfile {out}", out))
        self.compare("types", commands, checkpoint)

    def sync(self):
        """The same, and both sides flush their output to the disk."""
        checkpoint = self.glm()
        commands = [self.cat(shards_of(checkpoint), f" && sync {self.out('cat.out')}")]
        for outtype in ("bf16", "f16"):
            commands.append(self.convert(f"--outtype {outtype}, fsync", checkpoint,
                                         f"--outtype {outtype}"))
        self.compare("sync", commands, checkpoint)

    def f32(self):
        """F32 to BF16 against reading the source once and writing as many bytes as the result."""
        checkpoint = self.make("glm-f32", "glm", "--dtype", "F32")
        shards = shards_of(checkpoint)
        out = self.out("write.out")
        half = bytes_of(shards) // 2
        copy = Command("cat shards > /dev/null, write half",
                       f"sh -c 'cat {' '.join(shards)} > /dev/null && "
                       f"head -c {half} /dev/zero > {out}'", out)
        self.compare("f32", [copy, self.convert("--outtype bf16", checkpoint,
                                                "--no-sync --outtype bf16")], checkpoint)

    def transposed(self):
        """Llama 4: every expert matrix is transposed, half of them split as well."""
        checkpoint = self.make("llama4", "llama4")
        commands = [self.cat(shards_of(checkpoint)),
                    self.convert("--outtype bf16", checkpoint, "--no-sync"),
                    self.convert("--outtype bf16 --memory 32M", checkpoint,
                                 "--no-sync --memory 32M")]
        self.compare("transposed", commands, checkpoint)

    def memory(self):
        """Peak memory against the bound, at 2.6 GB and beyond 100 GB, and time per GB of both.

        The bound: --memory + 64 MiB + 4 x (headers, index and tokenizer files). Both checkpoints are
        holes, both outputs go into a pipe, so that no disk takes part.
        """
        print("## memory (--memory 32M --outtype f16)")
        small = self.make("sparse", "glm", "--sparse")
        large = self.make("sparse-100", "glm", "--sparse", "--shards", "40",
                          "--set", "num_hidden_layers=84")
        checkpoints = [("2.6 GB", self.glm(), 1), ("2.6 GB, sparse", small, 3),
                       ("100 GB, sparse", large, 1)]
        print(f"{'':18} {'GB':>8} {'s/GB':>8} {'peak anon':>11} {'bound':>11} {'peak RSS':>11}")
        for name, checkpoint, rounds in checkpoints:
            command = Command(name, "")
            seconds = min(self.pipe(checkpoint, command) for _ in range(rounds))
            size = bytes_of(shards_of(checkpoint))
            bound = (32 << 20) + (64 << 20) + 4 * self.metadata_bytes(checkpoint)
            print(f"{name:18} {size / 1e9:8.2f} {seconds / size * 1e9:8.3f} "
                  f"{command.peak_anonymous / 1e6:9.1f}MB {bound / 1e6:9.1f}MB "
                  f"{command.peak_resident / 1e6:9.1f}MB")
        print()

    def pipe(self, checkpoint, command):
        """Converts into a process that reads and discards; gives the wall time."""
        for shard in shards_of(checkpoint):  # a large checkpoint is never in the page cache
            with open(shard, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        touch(1 << 30)
        start = time.perf_counter()
        sluice = subprocess.Popen([SLUICE, "-q", "convert", checkpoint, "-", "--memory", "32M",
                                   "--outtype", "f16"], stdout=subprocess.PIPE)
        reader = subprocess.Popen(["cat"], stdin=sluice.stdout, stdout=subprocess.DEVNULL)
        sampler = sample_memory(sluice.pid, command, interval=0.01)
        sluice.stdout.close()
        if sluice.wait() != 0 or reader.wait() != 0:
            raise SystemExit("conversion into a pipe failed")
        sampler.join()
        return time.perf_counter() - start

    @staticmethod
    def metadata_bytes(checkpoint):
        """Bytes of shard headers, index and tokenizer files."""
        total = 0
        for shard in shards_of(checkpoint):
            with open(shard, "rb") as file:
                total += 8 + int.from_bytes(file.read(8), "little")
        for pattern in ("*.index.json", "tokenizer*", "vocab.json", "merges.txt"):
            total += bytes_of(glob.glob(f"{checkpoint}/{pattern}"))
        return total

    def cores(self):
        """CPU time over wall time of work that does not wait for a disk, with two threads."""
        checkpoint = self.make("glm-f32", "glm", "--dtype", "F32")
        shards = shards_of(checkpoint)
        cache(shards)
        command = Command("F32 to F16, discarded",
                          f"{SLUICE} -q convert {checkpoint} /dev/null --threads 2 --outtype f16")
        interleave([command], ROUNDS, 1 << 30)
        print("## cores (two threads)")
        print(f"{command.name}: CPU {command.median_cpu:.3f} s / wall {command.median:.3f} s = "
              f"{command.median_cpu / command.median:.2f}\n")

    def plan(self):
        """`sluice plan` on 100,000 tensors in 200 shards."""
        checkpoint = self.make("many", "many")
        command = Command("plan", f"{SLUICE} -q plan {checkpoint}")
        interleave([command], ROUNDS, 1 << 26)
        print(f"## plan (100,000 tensors in 200 shards)\nmedian {command.median:.3f} s\n")


PARTS = ("types", "sync", "f32", "transposed", "memory", "cores", "plan")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--checkpoint")
    parser.add_argument("--folder", help="where checkpoints and outputs go; default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as temporary:
        bench = Bench(arguments.folder or temporary, arguments.checkpoint)
        for part in arguments.only or PARTS:
            getattr(bench, part)()
            sys.stdout.flush()


if __name__ == "__main__":
    main()
