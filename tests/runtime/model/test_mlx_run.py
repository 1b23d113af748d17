"""Weights in the MLX layout and in Ollama's store: logits against the same weights in F32."""
import hashlib
import json
import shutil

import numpy
import pytest

from glm_reference import reference_logits
from mlx_checkpoint import (quantize_tensors, quantized_values, stacked, wide_checkpoint, write_plain)
from mlx_layout import TYPES
from sluice_cli import (assert_fails, assert_one_message, edit_json, encode, load_tensors,
                        replace_tensors, run, write_tensors)
from test_logits import MANY, TOKENS, assert_close, logits

OLLAMA = (".weight", ".weight.scale", ".weight.bias")
OLDER_OLLAMA = (".weight", ".weight_scale", ".weight_qbias")


def is_matrix(name, values):
    return values.ndim > 1 and not name.endswith(("mlp.gate.weight", "norm.weight"))


def expected(folder, scratch, values, tokens):
    """Logits of the checkpoint's configuration with these float32 values."""
    plain = scratch / "plain"
    shutil.copytree(folder, plain, dirs_exist_ok=True)
    write_plain(plain, values)
    return reference_logits(plain, tokens, latent_eps=1e-5)


@pytest.mark.parametrize("kind, group", [(kind, None) for kind in TYPES]
                         + [(kind, group) for kind in ("int4", "int8") for group in (32, 128)])
def test_a_converted_folder_runs_as_its_values_in_f32(kind, group, tmp_path):
    folder = tmp_path / "out"
    checkpoint = wide_checkpoint(tmp_path)
    result = run("convert", checkpoint, folder, "--format", "safetensors", "--type", kind,
                 *(("--group-size", group) if group else ()))
    assert result.returncode == 0, result.stderr
    want = expected(folder, tmp_path, quantized_values(folder), TOKENS)
    for arguments in ((), ("--chunk", 1), ("--chunk", 5, "--attention", "absorbed"),
                      ("--chunk", 5, "--attention", "naive")):
        assert_close(logits(folder, tmp_path, TOKENS, *arguments), want)
    # Not the model that it was made of.
    assert numpy.abs(want - reference_logits(checkpoint, TOKENS, latent_eps=1e-5)).max() > 1e-3


@pytest.mark.parametrize("kind", ("int4", "nvfp4"))
def test_threads_do_not_change_bits(kind, tmp_path):
    run("convert", wide_checkpoint(tmp_path), tmp_path / "out", "--format", "safetensors", "--type",
        kind)
    one, many = (logits(tmp_path / "out", tmp_path, MANY, "--threads", threads) for threads in (1, 5))
    assert (one == many).all()


# ---- Other writers' folders ---------------------------------------------------------------------


def everything(kind):
    """Quantizes every matrix, embeddings and parts of attention included."""
    def choose(values):
        return lambda name: kind if is_matrix(name, values[name]) else None
    return choose


def quantized_folder(tmp_path, kind, suffixes=(".weight", ".scales", ".biases"), config=None,
                     **changes):
    """(a folder with all matrices of one type, their float32 values)."""
    checkpoint = wide_checkpoint(tmp_path, **changes)
    values = stacked(load_tensors(checkpoint))
    tensors, decoded = quantize_tensors(values, everything(kind)(values), suffixes)
    replace_tensors(checkpoint, tensors)
    if config is not None:
        edit_json(checkpoint / "config.json", lambda content: content.update(quantization=config))
    return checkpoint, decoded


@pytest.mark.parametrize("kind", [("int4", 64), ("int8", 32), ("nvfp4",), ("mxfp4",), ("mxfp8",)])
def test_quantized_embeddings_and_attention(kind, tmp_path):
    mode, bits, group = TYPES[kind[0]]
    config = {"bits": bits, "group_size": kind[1] if len(kind) > 1 else group, "mode": mode}
    folder, values = quantized_folder(tmp_path, kind, config=config)
    assert_close(logits(folder, tmp_path), expected(folder, tmp_path, values, TOKENS))


def test_parts_of_kv_b_as_mlx_lm_stores_them(tmp_path):
    checkpoint = wide_checkpoint(tmp_path, qk_nope_head_dim=64)
    values = stacked(load_tensors(checkpoint))
    parts = dict(values)
    for name in [name for name in values if name.endswith("kv_b_proj.weight")]:
        whole = parts.pop(name).reshape(2, 64 + 64, 128)
        parts[name.replace("kv_b_proj", "embed_q")] = whole[:, :64].transpose(0, 2, 1)
        parts[name.replace("kv_b_proj", "unembed_out")] = whole[:, 64:]
    tensors, decoded = quantize_tensors(parts, everything(("int4", 64))(parts))
    replace_tensors(checkpoint, tensors)
    edit_json(checkpoint / "config.json",
              lambda content: content.update(quantization={"bits": 4, "group_size": 64}))
    for name in [name for name in decoded if name.endswith("embed_q.weight")]:
        keys = decoded.pop(name).transpose(0, 2, 1)
        heads = decoded.pop(name.replace("embed_q", "unembed_out"))
        decoded[name.replace("embed_q", "kv_b_proj")] = numpy.concatenate([keys, heads], 1).reshape(
            -1, 128)
    want = expected(checkpoint, tmp_path, decoded, TOKENS)
    assert_close(logits(checkpoint, tmp_path), want)


# (type, what config.json says): shapes alone tell some encodings; where they do not, a hint does.
@pytest.mark.parametrize("kind, config", [
    (("int4", 32), None), (("int8", 64), None), (("int8", 128), None), (("nvfp4",), None),
    (("mxfp4",), None), (("mxfp8",), None), (("int4", 64), {"bits": 4, "group_size": 64}),
    (("int8", 32), {"bits": 8, "group_size": 32}), (("int4", 128), {"bits": 4, "group_size": 128}),
    (("int8", 64), {"bits": 4, "group_size": 64})])
def test_configs_without_a_mode(kind, config, tmp_path):
    folder, values = quantized_folder(tmp_path, kind, config=config, q_lora_rank=128)
    assert_close(logits(folder, tmp_path), expected(folder, tmp_path, values, TOKENS))


def test_global_scales(tmp_path):
    folder, values = quantized_folder(tmp_path, ("nvfp4",))
    tensors = load_tensors(folder)
    factors = {"lm_head": numpy.array(0.5), "model.layers.1.mlp.switch_mlp.up_proj": [2, .5, .25, 1],
               "model.layers.0.self_attn.kv_b_proj": [1.5],
               "model.layers.0.mlp.gate_proj": numpy.linspace(0.5, 2, 256)}
    for module, factor in factors.items():
        factor = numpy.asarray(factor, numpy.float32)
        tensors[f"{module}.weight.global_scale"] = ("F32", factor.shape, encode("F32", factor))
        array = values[f"{module}.weight"]
        values[f"{module}.weight"] = array * factor.reshape(
            factor.shape + (1,) * (array.ndim - factor.ndim) if factor.size > 1 else ())
    replace_tensors(folder, tensors)
    assert_close(logits(folder, tmp_path), expected(folder, tmp_path, values, TOKENS))


# ---- Ollama's store -----------------------------------------------------------------------------


class Store:
    """An empty store, and the manifest of one model in it."""

    def __init__(self, folder):
        self.folder = folder / "store"
        (self.folder / "blobs").mkdir(parents=True)
        self.manifest = self.folder / "manifests/registry.ollama.ai/library/glm/latest"
        self.manifest.parent.mkdir(parents=True)
        self.layers = []

    def add(self, kind, name, content):
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / f"sha256-{digest}").write_bytes(content)
        self.layers.append({"mediaType": f"application/vnd.ollama.image.{kind}", "name": name,
                            "digest": f"sha256:{digest}", "size": len(content)})

    def add_tensors(self, name, tensors, metadata=None):
        path = self.folder / "blob"
        write_tensors(path, tensors)
        if metadata:
            raw = path.read_bytes()
            length = int.from_bytes(raw[:8], "little")
            header = json.loads(raw[8 : 8 + length]) | {"__metadata__": metadata}
            text = json.dumps(header).encode()
            path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
        self.add("tensor", name, path.read_bytes())
        path.unlink()

    def add_texts(self, checkpoint):
        for path in sorted(checkpoint.glob("*.json")):
            if path.name != "model.safetensors.index.json":
                self.add("json", path.name, path.read_bytes())

    def finish(self):
        self.manifest.write_text(json.dumps({"schemaVersion": 2, "layers": self.layers}))
        return self.manifest


def ollama_model(tmp_path, kind, metadata):
    """(manifest, float32 values): one blob for each tensor, the experts of a layer in one."""
    checkpoint, values = quantized_folder(tmp_path, kind, OLLAMA)
    store, blobs = Store(tmp_path), {}
    for name, tensor in load_tensors(checkpoint).items():
        name = name.replace(".switch_mlp.", ".experts.")
        blob = name.partition(".experts.")[0] + ".experts" if ".experts." in name else (
            name.partition(".weight")[0] + ".weight" if ".weight" in name else name)
        blobs.setdefault(blob, {})[name] = tensor
    for name, tensors in blobs.items():
        quantized = any(dtype == "U32" for dtype, _, _ in tensors.values())
        store.add_tensors(name, tensors, metadata(tensors) if quantized else None)
    store.add_texts(checkpoint)
    return store.finish(), values, checkpoint


@pytest.mark.parametrize("kind", [("int4", 64), ("int8", 32), ("nvfp4",), ("mxfp8",)])
def test_ollama_blobs(kind, tmp_path):
    described = {"quant_type": kind[0], "group_size": str(kind[1] if len(kind) > 1 else
                                                          TYPES[kind[0]][2])}
    manifest, values, checkpoint = ollama_model(tmp_path, kind, lambda tensors: described)
    want = expected(checkpoint, tmp_path, values, TOKENS)
    assert_close(logits(manifest, tmp_path), want)


def test_ollama_blobs_that_describe_each_tensor(tmp_path):
    def describe(tensors):
        return {f"{name}.{key}": value for name, (dtype, _, _) in tensors.items() if dtype == "U32"
                for key, value in (("quant_type", "int8"), ("group_size", "32"))}

    manifest, values, checkpoint = ollama_model(tmp_path, ("int8", 32), describe)
    assert_close(logits(manifest, tmp_path), expected(checkpoint, tmp_path, values, TOKENS))


def test_older_ollama_blobs(tmp_path):
    """One array a blob, called "data"; experts by themselves; the group size in model_index.json."""
    checkpoint = wide_checkpoint(tmp_path)
    values = {name: array for name, array in stacked(load_tensors(checkpoint)).items()
              if ".switch_mlp." not in name}
    for name, (dtype, shape, raw) in load_tensors(checkpoint).items():
        if ".experts." in name:
            values[name] = (numpy.frombuffer(raw, numpy.uint16).astype(numpy.uint32) << 16).view(
                numpy.float32).reshape(shape)
    tensors, decoded = quantize_tensors(values, everything(("int8", 32))(values), OLDER_OLLAMA)
    (checkpoint / "model_index.json").write_text('{"quantization": "Q8", "group_size": 32}')
    store = Store(tmp_path)
    for name, tensor in tensors.items():
        store.add_tensors(name, {"data": tensor})
    store.add_texts(checkpoint)
    assert_close(logits(store.finish(), tmp_path), expected(checkpoint, tmp_path, decoded, TOKENS))


@pytest.mark.parametrize("alias, kind", [("Q4", ("int4", 64)), ("FP4", ("int4", 64)), ("fp8", ("int8", 32))])
def test_older_names_of_types(alias, kind, tmp_path):
    manifest, values, checkpoint = ollama_model(
        tmp_path, kind, lambda tensors: {"quant_type": alias, "group_size": str(kind[1])})
    assert_close(logits(manifest, tmp_path), expected(checkpoint, tmp_path, values, TOKENS))


def test_errors_name_blobs_and_manifests(tmp_path):
    manifest, _, _ = ollama_model(tmp_path, ("nvfp4",), lambda tensors: {"quant_type": "nvfp4"})
    content = json.loads(manifest.read_text())
    layers = content["layers"]
    content["layers"] = [layer for layer in layers if layer["name"] != "model.norm.weight"]
    manifest.write_text(json.dumps(content))
    for verb in ("logits", "run"):
        rest = ["--tokens", "1", "--output", tmp_path / "x"] if verb == "logits" else ["-p", "x"]
        assert_fails(run(verb, manifest, *rest), 3, f"error: {manifest}: tensor 'model.norm.weight'", "is missing")
    (name,) = (layer["digest"].replace(":", "-") for layer in layers if layer["name"] == "config.json")
    blob = manifest.parents[4] / "blobs" / name
    blob.write_bytes(b"{")
    assert_fails(run("logits", manifest, "--tokens", "1", "--output", tmp_path / "x"), 3, f"error: {blob}")


def test_tokenize_takes_a_manifest(tmp_path):
    manifest, _, checkpoint = ollama_model(tmp_path, ("nvfp4",), lambda tensors: {"quant_type": "nvfp4"})
    result = run("tokenize", manifest, "-p", "Hello world", "--json")
    assert (result.returncode, result.stdout) == (0, run("tokenize", checkpoint, "-p", "Hello world", "--json").stdout)


def test_ollama_leaves_nothing_behind(tmp_path, monkeypatch):
    manifest, _, _ = ollama_model(tmp_path, ("nvfp4",), lambda tensors: {"quant_type": "nvfp4"})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    logits(manifest, tmp_path)
    next((manifest.parents[4] / "blobs").glob("*")).unlink()
    assert run("logits", manifest, "--tokens", "1", "--output", tmp_path / "x").returncode == 3
    assert list(scratch.iterdir()) == []


def refuse_manifest(tmp_path, change, code, *words):
    store = Store(tmp_path)
    store.add("json", "config.json", b"{}")
    change(store)
    result = run("logits", store.finish(), "--tokens", "1", "--output", tmp_path / "x")
    assert_fails(result, code, *words)
    assert_one_message(result)


def test_broken_manifests(tmp_path):
    def missing(store):
        store.layers[0]["digest"] = "sha256:" + "0" * 64

    def escaping_digest(store):
        store.layers[0]["digest"] = "sha256:../../secret"

    def escaping_name(store):
        store.layers[0]["name"] = "../config.json"

    def twice(store):
        store.layers.append(store.layers[0])

    def no_layers(store):
        store.layers = 5

    def gguf(store):
        store.layers[0]["mediaType"] = "application/vnd.ollama.image.model"

    for number, (change, code, words) in enumerate((
            (missing, 3, ("a blob that the manifest names is missing", "config.json")),
            (escaping_digest, 3, ("layer without a digest",)),
            (escaping_name, 3, ("layer without a plain name",)),
            (twice, 3, ("two layers of one name",)), (no_layers, 3, ("no layers",)),
            (gguf, 4, ("in GGUF",)))):
        (tmp_path / str(number)).mkdir()
        refuse_manifest(tmp_path / str(number), change, code, *words)


# ---- Bad input ----------------------------------------------------------------------------------

MODULE = "model.layers.1.self_attn.o_proj"


def refuse(folder, tmp_path, code, *words):
    result = run("logits", folder, "--tokens", "1", "--output", tmp_path / "x")
    assert_fails(result, code, *words)
    return result


def int4_folder(tmp_path, change, config=None):
    """An int4 folder whose tensors `change` may change."""
    folder, _ = quantized_folder(
        tmp_path, ("int4", 64), config=config or {"bits": 4, "group_size": 64, "mode": "affine"})
    tensors = load_tensors(folder)
    change(tensors)
    replace_tensors(folder, tensors)
    return folder


@pytest.mark.parametrize("part", ("scales", "biases"))
def test_missing_part(part, tmp_path):
    folder = int4_folder(tmp_path, lambda tensors: tensors.pop(f"{MODULE}.{part}"))
    refuse(folder, tmp_path, 3, f"tensor '{MODULE}.weight'", f"without {part}",
           f"a tensor '{MODULE}.{part}'", "model.safetensors")


def test_missing_weight(tmp_path):
    folder = int4_folder(tmp_path, lambda tensors: tensors.pop(f"{MODULE}.weight"))
    refuse(folder, tmp_path, 3, f"{MODULE}.weight", f"{MODULE}.scales")


@pytest.mark.parametrize("suffix, shape, words", [
    ("scales", [127, 2], ("shapes of codes and scales", "[128, 16]", "[127, 2]")),
    ("scales", [128, 3], ("shapes of codes and scales", "[128, 16]", "[128, 3]")),
    ("scales", [128, 1], ("codes and scales", "8 words a scale", "[128, 16]", "[128, 1]")),
    ("scales", [256], ("shapes of codes and scales", "[256]")),
    ("biases", [128, 1], ("scales and biases", "BF16 [128, 2]", "[128, 1]"))])
def test_wrong_shapes(suffix, shape, words, tmp_path):
    def change(tensors):
        raw = bytes(2 * int(numpy.prod(shape)))
        tensors[f"{MODULE}.{suffix}"] = ("BF16", shape, raw)

    refuse(int4_folder(tmp_path, change), tmp_path, 3, f"{MODULE}.scales", *words)


def test_wrong_dtype_of_scales(tmp_path):
    def change(tensors):
        tensors[f"{MODULE}.scales"] = ("F64", [128, 2], bytes(8 * 256))

    refuse(int4_folder(tmp_path, change), tmp_path, 4, f"{MODULE}.weight", f"{MODULE}.scales", "F64")


@pytest.mark.parametrize("config, words", [
    ({"bits": 3, "group_size": 64, "mode": "affine"}, ("affine with 3 bits in groups of 64",)),
    ({"bits": 4, "group_size": 16, "mode": "affine"}, ("affine with 4 bits in groups of 16",)),
    ({"bits": 4, "group_size": 64, "mode": "int3"}, ("mode of quantized weights", "got int3")),
    ({"bits": 4, "group_size": 16, "mode": "nvfp4"}, ("nvfp4 with 4 bits", "BF16"))])
def test_unknown_encodings(config, words, tmp_path):
    folder = int4_folder(tmp_path, lambda tensors: None, config)
    refuse(folder, tmp_path, 4, ".weight", *words)


def test_shapes_that_can_be_two_things(tmp_path):
    folder, _ = quantized_folder(tmp_path, ("int4", 64))
    refuse(folder, tmp_path, 3, "since these shapes can be 4 or 8 bits", "config.json",
           f"{MODULE}.scales")


def test_global_scale_of_a_wrong_shape(tmp_path):
    folder, _ = quantized_folder(tmp_path, ("nvfp4",))
    tensors = load_tensors(folder)
    tensors[f"{MODULE}.weight.global_scale"] = ("F32", [3], bytes(12))
    replace_tensors(folder, tensors)
    refuse(folder, tmp_path, 3, f"{MODULE}.weight.global_scale", f"'{MODULE}.weight'")
