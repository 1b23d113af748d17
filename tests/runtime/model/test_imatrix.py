"""`sluice imatrix` against the NumPy reference, which listens to what its weights meet."""
import json
import re
import struct

import numpy
import pytest
from gguf import GGUFReader

from glm_reference import Reference
from sluice_cli import GOLDEN, Gguf, assert_fails, convert, copy_checkpoint, run
from test_logits import make_checkpoint

CONTEXT = 40
NAMES = {
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_b_proj": "attn_q_b", "self_attn.q_proj": "attn_q",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.embed_q": "attn_k_b",
    "self_attn.unembed_out": "attn_v_b", "self_attn.o_proj": "attn_output",
    "mlp.gate": "ffn_gate_inp", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp",
}


class Listener(Reference):
    """Sums of squares and numbers of rows, by the names of GGUF; of experts by their index."""

    def __init__(self, folder):
        super().__init__(folder, latent_eps=1e-5, form="absorbed")
        self.sums, self.counts = {}, {}

    def saw(self, name, rows):
        layer, name = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", name).groups()
        index = 0
        expert = re.fullmatch(r"mlp\.experts\.(\d+)\.(\w+)_proj", name)
        if expert:
            index, name = int(expert[1]), f"ffn_{expert[2]}_exps"
        else:
            name = NAMES[name]
        key = f"blk.{layer}.{name}.weight", index
        squares = (rows**2).sum(-2)  # of heads one after the other
        self.sums[key] = self.sums.get(key, 0) + squares.reshape(-1)
        self.counts[key] = self.counts.get(key, 0) + rows.shape[-2]


def listen(checkpoint, windows):
    listener = Listener(checkpoint)
    for window in windows:
        listener.cache = [cache[:0] for cache in listener.cache]
        listener.forward(window)
    return listener


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "calibration.txt"
    path.write_text("All happy families are alike; every unhappy family... 1877\n" * 12)
    return path


def windows_of(checkpoint, text):
    tokens = [token["id"] for token in
              json.loads(run("tokenize", checkpoint, "--file", text, "--json").stdout)["tokens"]]
    return [tokens[i : i + CONTEXT] for i in range(0, len(tokens) - CONTEXT + 1, CONTEXT)]


def collect(model, text, out, *arguments):
    result = run("imatrix", model, text, out, "--context", CONTEXT, *arguments)
    assert result.returncode == 0, result.stderr
    return result


def assert_collected(path, listener, experts):
    """Every weight that the reference has seen is in the file, and nothing else."""
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    names = sorted({name for name, _ in listener.sums})
    assert list(tensors) == [name + end for name in names for end in (".in_sum2", ".counts")]
    for name in names:
        sums, counts = (numpy.array(tensors[name + end].data) for end in (".in_sum2", ".counts"))
        matrices = experts if name.endswith("_exps.weight") else 1
        assert sums.shape[0] == matrices and counts.shape == (matrices, 1)
        for index in range(matrices):
            assert counts[index, 0] == listener.counts.get((name, index), 0)
            want = listener.sums.get((name, index), numpy.zeros(sums.shape[1]))
            assert numpy.abs(sums[index] - want).max() <= 1e-4 * max(want.max(), 1e-9), name


@pytest.mark.parametrize("variant", [None, "no low-rank query", "tied"])
def test_sums_and_counts_equal_the_reference(variant, text, tmp_path):
    checkpoint = make_checkpoint(tmp_path, variant)
    windows = windows_of(checkpoint, text)
    assert len(windows) > 2
    listener = listen(checkpoint, windows)
    for kind in ("checkpoint", "llama.cpp", "ollama"):
        model = checkpoint
        if kind != "checkpoint":
            model = tmp_path / f"{kind}.gguf"
            convert(checkpoint, model, "--dialect", kind)
        out = tmp_path / f"{kind}.imatrix.gguf"
        collect(model, text, out)
        assert_collected(out, listener, 12)
        values = Gguf(out).values
        assert values["general.type"] == "imatrix"
        assert values["imatrix.datasets"] == [str(text)]
        assert values["imatrix.chunk_count"] == len(windows)
        assert values["imatrix.chunk_size"] == CONTEXT


def test_windows_longer_than_a_pass_of_the_stream(text, tmp_path):
    checkpoint = make_checkpoint(tmp_path)
    tokens = sum(windows_of(checkpoint, text), [])
    result = run("imatrix", checkpoint, text, tmp_path / "out.gguf", "--context", 300, "--chunks", 1)
    assert result.returncode == 0, result.stderr
    assert_collected(tmp_path / "out.gguf", listen(checkpoint, [tokens[:300]]), 12)


def test_threads_and_repetition_do_not_change_bytes(text, tmp_path):
    checkpoint = GOLDEN / "checkpoints" / "glm-tiny"
    for threads in (1, 2, 5):
        collect(checkpoint, text, tmp_path / f"{threads}.gguf", "--threads", threads)
    first, *others = (path.read_bytes() for path in tmp_path.glob("*.gguf"))
    assert all(other == first for other in others)


def test_the_output_too(text, tmp_path):
    checkpoint = GOLDEN / "checkpoints" / "glm-tiny"
    collect(checkpoint, text, tmp_path / "without.gguf")
    collect(checkpoint, text, tmp_path / "with.gguf", "--process-output")
    more = set(Gguf(tmp_path / "with.gguf").tensors) - set(Gguf(tmp_path / "without.gguf").tensors)
    assert more == {"output.weight.in_sum2", "output.weight.counts"}


def read_legacy(path):
    """({name: (calls, values)}, chunks, dataset)"""
    raw, at = path.read_bytes(), 0

    def number():
        nonlocal at
        at += 4
        return struct.unpack_from("<i", raw, at - 4)[0]

    def take(count):
        nonlocal at
        at += count
        return raw[at - count : at]

    entries = {}
    for _ in range(number()):
        name = take(number()).decode()
        calls = number()
        entries[name] = calls, numpy.frombuffer(take(4 * number()), numpy.float32)
    chunks, dataset = number(), take(number()).decode()
    assert at == len(raw)
    return entries, chunks, dataset


def test_the_legacy_form(text, tmp_path):
    checkpoint = make_checkpoint(tmp_path)
    collect(checkpoint, text, tmp_path / "m.gguf", "--chunks", 1)
    collect(checkpoint, text, tmp_path / "m.dat", "--chunks", 1)
    entries, chunks, dataset = read_legacy(tmp_path / "m.dat")
    assert (chunks, dataset) == (1, str(text))
    tensors = {tensor.name: numpy.array(tensor.data) for tensor in
               GGUFReader(tmp_path / "m.gguf").tensors}
    assert list(entries) == sorted(name[: -len(".counts")] for name in tensors if "counts" in name)
    unused = 0
    for name, (calls, values) in entries.items():
        sums, counts = tensors[name + ".in_sum2"], tensors[name + ".counts"]
        assert calls == -(-int(counts.max()) // CONTEXT)
        unused += (counts == 0).sum()
        want = numpy.where(counts > 0, sums / numpy.maximum(counts, 1), 1) * calls
        assert numpy.allclose(values, want.reshape(-1), rtol=1e-6)
    assert unused > 0


@pytest.mark.parametrize("form", ["gguf", "dat"])
def test_convert_takes_the_result(form, text, tmp_path):
    # Rows of 256: what IQ2_XS needs; those of attn_k_b and the like fall back to IQ4_NL.
    checkpoint = make_checkpoint(tmp_path, hidden_size=256, q_lora_rank=256, kv_lora_rank=256,
                                 moe_intermediate_size=256, intermediate_size=512, v_head_dim=64,
                                 qk_nope_head_dim=32, num_attention_heads=4)
    collect(checkpoint, text, tmp_path / f"m.{form}")
    result = convert(checkpoint, tmp_path / "with.gguf", "--type", "IQ2_XS", "--imatrix",
                     tmp_path / f"m.{form}")
    assert "no data" not in result.stderr
    types = {tensor.type for tensor in Gguf(tmp_path / "with.gguf").tensors.values()}
    assert {"IQ2_XS", "IQ4_NL"} <= types
    assert run("logits", tmp_path / "with.gguf", "--tokens", "1,2", "--output",
               tmp_path / "out.f32").returncode == 0
    assert_fails(run("convert", checkpoint, tmp_path / "without.gguf", "--type", "IQ2_XS"), 3,
                 "--imatrix")


def test_weighing_helps(text, tmp_path):
    checkpoint = make_checkpoint(tmp_path, hidden_size=64, moe_intermediate_size=64)
    collect(checkpoint, text, tmp_path / "m.gguf")
    apart = []
    for arguments in ([], ["--imatrix", tmp_path / "m.gguf"]):
        convert(checkpoint, tmp_path / "q.gguf", "--force", "--type", "Q4_0", *arguments)
        report = run("verify", "--logits", checkpoint, tmp_path / "q.gguf", "--text", text, "--json")
        apart.append(json.loads(report.stdout)["kl_divergence"])
    assert apart[1] < apart[0]


def test_experts_without_tokens_are_mentioned(text, tmp_path):
    checkpoint = make_checkpoint(tmp_path)
    result = run("imatrix", checkpoint, text, tmp_path / "m.gguf", "--context", 4, "--chunks", 1)
    counts = [tensor.floats() for name, tensor in Gguf(tmp_path / "m.gguf").tensors.items()
              if name.endswith("ffn_gate_exps.weight.counts")]
    unused = sum(int((values == 0).sum()) for values in counts)
    assert unused > 0 and f"warning: {unused} experts met no token" in result.stderr
    assert f"{tmp_path / 'm.gguf'}: " in result.stderr.splitlines()[-1]
    assert run("-q", "imatrix", checkpoint, text, tmp_path / "q.gguf", "--context", 4, "--chunks",
               1).stderr == ""


def test_bad_input(text, tmp_path):
    glm = GOLDEN / "checkpoints" / "glm-tiny"
    out = tmp_path / "out.gguf"
    out.write_text("kept")
    assert_fails(run("imatrix", glm, text, out, "--context", 32), 2, "output exists", "--force")
    assert out.read_text() == "kept"
    short = tmp_path / "short.txt"
    short.write_text("Hello")
    assert_fails(run("imatrix", glm, short, tmp_path / "new.gguf"), 2, "one window of 512")
    assert_fails(run("imatrix", tmp_path / "none", text, tmp_path / "new.gguf"), 3, "none")
    assert_fails(run("imatrix", glm, text, tmp_path / "no" / "folder.gguf"), 5, "folder.gguf")
    llama = GOLDEN / "checkpoints" / "llama-tiny"
    assert_fails(run("imatrix", llama, text, tmp_path / "new.gguf"), 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.gguf", "short.txt"]
    assert run("imatrix", glm, text, out, "--context", 32, "--force").returncode == 0
    assert out.read_bytes()[:4] == b"GGUF"


def test_sources_are_not_replaced(text, tmp_path):
    checkpoint = copy_checkpoint("glm-tiny", tmp_path)
    model = tmp_path / "model.gguf"
    convert(checkpoint, model)
    own = tmp_path / "own.txt"
    own.write_bytes(text.read_bytes())
    link = tmp_path / "link.gguf"
    link.symlink_to(model)
    shard = checkpoint / "model-00001-of-00002.safetensors"
    for source, out in ((model, model), (model, link), (model, own), (checkpoint, shard)):
        before = out.read_bytes()
        result = run("imatrix", source, own, out, "--context", CONTEXT, "--force")
        assert_fails(result, 2, "one of the sources", out)
        assert out.read_bytes() == before
