"""Logits of quantized files: those of the NumPy reference on the values that the blocks stand for, as
the independent `gguf` package decodes them."""
import re

import numpy
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize

from glm_reference import reference_logits
from sluice_cli import convert, encode, replace_tensors, run
from test_logits import TOKENS, TRANSFORMERS, logits, make_checkpoint

NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q_a": "self_attn.q_a_proj", "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj", "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate", "exp_probs_b": "mlp.gate.e_score_correction",
    "ffn_gate_shexp": "mlp.shared_experts.gate_proj", "ffn_up_shexp": "mlp.shared_experts.up_proj",
    "ffn_down_shexp": "mlp.shared_experts.down_proj",
}
# Rows of whole blocks wherever a recipe wants blocks of 256.
SIZES = {"hidden_size": 256, "q_lora_rank": 256, "kv_lora_rank": 256, "qk_nope_head_dim": 256,
         "v_head_dim": 256, "num_attention_heads": 2, "intermediate_size": 512,
         "moe_intermediate_size": 256, "num_hidden_layers": 2}


def source_tensors(path):
    """{name in a checkpoint: float32 values} of a GGUF file of GLM-4 MoE Lite."""
    sources, halves = {}, {}
    for tensor in GGUFReader(path).tensors:
        shape = [int(extent) for extent in tensor.shape][::-1]
        values = dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32).reshape(shape)
        stem, ending = tensor.name.rsplit(".", 1)
        layer, prefix = "", ""
        block = re.fullmatch(r"blk\.(\d+)\.(.*)", stem)
        if block:
            layer, stem = block.groups()
            prefix = f"model.layers.{layer}."
        if stem in ("attn_k_b", "attn_v_b"):
            halves[layer, stem] = values
        elif stem.endswith("_exps"):
            projection = stem.split("_")[1]
            for expert, matrix in enumerate(values):
                sources[f"{prefix}mlp.experts.{expert}.{projection}_proj.weight"] = matrix
        else:
            joint = "_" if stem == "exp_probs_b" else "."
            sources[prefix + NAMES[stem] + joint + ending] = values
    for (layer, stem), keys in halves.items():
        if stem == "attn_k_b":
            whole = numpy.concatenate([keys.transpose(0, 2, 1), halves[layer, "attn_v_b"]], 1)
            sources[f"model.layers.{layer}.self_attn.kv_b_proj.weight"] = whole.reshape(
                -1, whole.shape[-1])
    return sources


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), **SIZES)


@pytest.fixture(scope="module")
def imatrix(checkpoint):
    """What the smallest types insist on."""
    text, out = checkpoint.parent / "text.txt", checkpoint.parent / "imatrix.gguf"
    text.write_text("Some text that activates this and that. " * 20)
    assert run("imatrix", checkpoint, text, out, "--context", 64).returncode == 0
    return out


@pytest.mark.parametrize("recipe", ["F16", "Q8_0", "Q4_0", "Q5_1", "Q2_K", "Q3_K_M", "Q4_K_M",
                                    "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ3_S", "IQ3_XXS",
                                    "IQ2_M", "IQ2_XXS", "IQ1_S", "IQ1_M", "TQ1_0", "TQ2_0",
                                    "MXFP4_MOE", "NVFP4"])
def test_equal_the_reference_on_decoded_values(recipe, checkpoint, imatrix, tmp_path):
    model = tmp_path / "model.gguf"
    convert(checkpoint, model, "--type", recipe, "--imatrix", imatrix)
    decoded = tmp_path / "decoded"
    decoded.mkdir()
    (decoded / "config.json").write_text((checkpoint / "config.json").read_text())
    replace_tensors(decoded, {name: ("F32", values.shape, encode("F32", values))
                              for name, values in source_tensors(model).items()})
    want = reference_logits(decoded, TOKENS)
    for arguments in ((), ("--chunk", 1), ("--attention", "absorbed")):
        got = logits(model, tmp_path, TOKENS, *TRANSFORMERS, *arguments)
        assert numpy.abs(got - want).max() < 1e-5 * numpy.abs(want).max()
        assert (got.argmax(-1) == want.argmax(-1)).all()
