"""GLM-4 MoE Lite checkpoints wide enough for every group size, and what they are when quantized."""
import json
import re

import numpy

from mlx_layout import TYPES, dequantize, quantize
from sluice_cli import encode, load_tensors, replace_tensors, source_floats
from test_logits import make_checkpoint

WIDE = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "q_lora_rank": 64,
        "kv_lora_rank": 128, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 64,
        "intermediate_size": 256, "moe_intermediate_size": 128, "n_routed_experts": 4,
        "num_experts_per_tok": 2}


def wide_checkpoint(folder, dtype="BF16", **config):
    return make_checkpoint(folder, dtype=dtype, **(WIDE | config))


def stacked(tensors):
    """{name: float32 array} with the experts of a layer as one, as the output has them."""
    values, stacks = {}, {}
    for name in tensors:
        match = re.fullmatch(r"(.*\.mlp)\.experts\.(\d+)\.(.*)", name)
        if match:
            stack = stacks.setdefault(f"{match[1]}.switch_mlp.{match[3]}", {})
            stack[int(match[2])] = source_floats(tensors, name)
        else:
            values[name] = source_floats(tensors, name)
    for name, experts in stacks.items():
        values[name] = numpy.stack([experts[i] for i in range(len(experts))])
    return values


def unstacked(values):
    """{name: float32 array} with the experts one by one, as the reference reads them."""
    single = {}
    for name, array in values.items():
        head, found, tail = name.partition(".switch_mlp.")
        if not found:
            single[name] = array
            continue
        for expert, matrix in enumerate(array):
            single[f"{head}.experts.{expert}.{tail}"] = matrix
    return single


def write_plain(checkpoint, values):
    """Makes the checkpoint one of F32 tensors with these values."""
    replace_tensors(checkpoint, {name: ("F32", array.shape, encode("F32", array))
                                 for name, array in unstacked(values).items()})


def quantized_values(folder):
    """{name: float32 array} of a folder in the MLX layout, by its config.json."""
    tensors = load_tensors(folder)
    quantization = json.loads((folder / "config.json").read_text())["quantization"]
    values = {}
    for name, (dtype, _, _) in tensors.items():
        module = name.removesuffix(".weight")
        if dtype == "U32":
            kind, group = kind_of(quantization.get(module, quantization))
            parts = {suffix: tensors[module + suffix] for suffix in (".weight", ".scales", ".biases")
                     if module + suffix in tensors}
            values[name] = dequantize(parts, kind, group)
        elif not name.endswith((".scales", ".biases")):
            values[name] = source_floats(tensors, name)
    return values


def kind_of(entry):
    """(type, group) of an entry of config.json."""
    named = [kind for kind, (mode, bits, _) in TYPES.items()
             if (mode, bits) == (entry["mode"], entry["bits"])]
    return named[0], entry["group_size"]


def quantize_tensors(values, choose, suffixes=(".weight", ".scales", ".biases")):
    """Tensors of a checkpoint and their float32 values: choose(name) gives the type and group of a
    tensor, or None for one that stays F32."""
    tensors, decoded = {}, {}
    for name, array in values.items():
        kind = choose(name)
        if kind is None:
            tensors[name] = ("F32", array.shape, encode("F32", array))
            decoded[name] = array
            continue
        parts = quantize(array, *kind)
        module = name.removesuffix(".weight")
        for suffix, part in zip(suffixes, parts.values()):
            tensors[module + suffix] = part
        decoded[name] = dequantize(parts, *kind)
    return tensors, decoded
