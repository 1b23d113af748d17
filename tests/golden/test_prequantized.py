"""Checkpoints that are quantized already: every scheme gives the values its description says."""
import json

import numpy
import pytest

from converted import DIALECTS, fuse_glm_experts, variant
from prequantized import (Awq, Fp8Blocks, Gptq, Mxfp4, Nvfp4, Packed, Scaled, is_linear, quantized,
                          tensor)
from sluice_cli import Gguf, convert, decode, edit_json, load_tensors, replace_tensors, run

SCHEMES = {
    "fp8-blocks": Fp8Blocks(),
    "fp8-blocks-of-128": Fp8Blocks((128, 128), "BF16"),
    "fp8-blocks-scale": Fp8Blocks((16, 128), "F32", "_scale"),
    "fp8-blocks-compressed": Fp8Blocks((32, 16), "BF16", "_scale", "compressed-tensors"),
    "fp8-rows": Scaled(lambda shape: (*shape[:-1], 1), scale_dtype="BF16"),
    "fp8-tensor": Scaled(lambda shape: (1,), scale_dtype="F16"),
    "fp8-fbgemm": Scaled(lambda shape: (shape[0], 1), config={"quant_method": "fbgemm_fp8"}),
    "fp8-modelopt": Scaled(lambda shape: (), config={"quant_method": "modelopt", "quant_algo": "FP8"}),
    "int8-rows": Scaled(lambda shape: (shape[0], 1), "I8"),
    "mxfp4-compressed": Mxfp4(),
    "nvfp4-modelopt": Nvfp4(True),
    "nvfp4-compressed": Nvfp4(False),
    "int4-packed": Packed(),
    "int4-packed-zeros": Packed(symmetric=False, dtype="F16"),
    "int4-packed-order": Packed(symmetric=False, order=True),
    "int4-packed-rows": Packed(group=None, dtype="F32"),
    "int4-packed-partly": Packed(group=48, symmetric=False),  # 64 columns are a group and a third
    "int8-packed": Packed(8, 32),
    "gptq": Gptq(),
    "gptq-order": Gptq(order=True),
    "gptq-without-list": Gptq(group=32, with_list=False),
    "gptq-v2": Gptq(version=2),
    "gptq-one-group": Gptq(group=None),
    "gptq-8": Gptq(8, 32),
    "gptq-2": Gptq(2),
    "awq": Awq(),
    "awq-32": Awq(32),
}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)


def is_stack_or_linear(name, shape):
    return is_linear(name, shape) or (len(shape) == 3 and ".experts." in name)


def assert_same_values(packed, plain, folder, *arguments):
    """Both checkpoints become files with the same tensors; gives that of the packed one."""
    files = []
    for number, checkpoint in enumerate((packed, plain)):
        out = folder / f"{number}.gguf"
        convert(checkpoint, out, *arguments)
        files.append(Gguf(out))
    assert sorted(files[0].tensors) == sorted(files[1].tensors)
    for name, one in files[0].tensors.items():
        other = files[1].tensors[name]
        assert (one.type, one.shape) == (other.type, other.shape), name
        assert one.raw == other.raw, name
    return files[0]


# ---- Values -----------------------------------------------------------------------------------------


@every_scheme
@pytest.mark.parametrize("case", ["llama-tiny", "glm-tiny"])
def test_dequantizes_to_the_described_values(tmp_path, scheme, case):
    packed, plain = quantized(case, tmp_path, SCHEMES[scheme])
    assert_same_values(packed, plain, tmp_path, "--outtype", "f32")


@every_scheme
def test_reads_without_mapping_in_little_memory_by_several_threads(tmp_path, scheme):
    packed, plain = quantized("glm-tiny", tmp_path, SCHEMES[scheme])
    assert_same_values(packed, plain, tmp_path, "--outtype", "f32", "--io", "read", "--memory", "8M", "--threads", "3")


@pytest.mark.parametrize("case, dialect, scheme", [
    ("lfm2-tiny", "llama.cpp", "int4-packed"), ("lfm2-tiny", "ollama", "gptq"),
    ("mllama-tiny", "ollama", "fp8-rows"), ("llama4-tiny", "llama.cpp", "nvfp4-modelopt"),
    ("llama4-tiny", "ollama", "fp8-blocks"), ("glm-tiny", "ollama", "awq"), ("glm-tiny-v5", "llama.cpp", "fp8-blocks"),
    ("llama-tiny-v5", "ollama", "nvfp4-compressed"),
])
def test_families_and_dialects(tmp_path, case, dialect, scheme):
    packed, plain = quantized(case, tmp_path, SCHEMES[scheme], is_stack_or_linear)
    assert_same_values(packed, plain, tmp_path, "--dialect", dialect, "--outtype", "f32")


@pytest.mark.parametrize("type_name", ["Q8_0", "Q4_0", "F16"])
@pytest.mark.parametrize("scheme", ["fp8-blocks", "nvfp4-modelopt", "gptq-order", "awq"])
def test_quantizes_what_was_quantized_otherwise(tmp_path, scheme, type_name):
    packed, plain = quantized("glm-tiny", tmp_path, SCHEMES[scheme])
    assert_same_values(packed, plain, tmp_path, "--outtype", "f32", "--type", type_name)


@pytest.mark.parametrize("case", ["llama4-tiny"])
def test_stacks_in_blocks_of_gpt_oss(tmp_path, case):
    """The blocks are stored [experts, outputs, inputs], the parameter is [experts, inputs, outputs]."""
    class Transposed(Mxfp4):
        def pack(self, name, shape, generator):
            parts, values = super().pack(name, (shape[0], shape[2], shape[1]), generator)
            return parts, numpy.ascontiguousarray(values.transpose(0, 2, 1))

    packed, plain = quantized(case, tmp_path, Transposed(blocks=True), lambda name, shape: "experts." in name)
    assert_same_values(packed, plain, tmp_path, "--outtype", "f32")


@pytest.mark.parametrize("scheme", ["fp8-blocks", "fp8-rows", "nvfp4-modelopt", "mxfp4-compressed"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_experts_of_glm_as_transformers_5_saves_them(tmp_path, dialect, scheme):
    packed, plain = quantized("glm-tiny", tmp_path, SCHEMES[scheme], lambda name, shape: len(shape) == 3,
                              change=fuse_glm_experts)
    assert_same_values(packed, plain, tmp_path, "--dialect", dialect, "--outtype", "f32")


def test_experts_of_llama4_one_by_one(tmp_path):
    def split(tensors):
        for name in [name for name in tensors if ".experts." in name]:
            dtype, shape, raw = tensors.pop(name)
            stack = numpy.frombuffer(raw, numpy.uint16).reshape(shape).transpose(0, 2, 1)
            halves = [("down_proj", stack)]
            if name.endswith("gate_up_proj"):
                half = shape[2] // 2
                halves = [("gate_proj", stack[:, :half]), ("up_proj", stack[:, half:])]
            for projection, values in halves:
                for expert, matrix in enumerate(values):
                    one = f"{name.rsplit('.', 1)[0]}.{expert}.{projection}.weight"
                    tensors[one] = (dtype, list(matrix.shape), numpy.ascontiguousarray(matrix).tobytes())

    for kind in ("stacked", "single"):
        (tmp_path / kind).mkdir()
    single = variant("llama4-tiny", tmp_path / "single", change_tensors=split)
    assert_same_values(single, variant("llama4-tiny", tmp_path / "stacked"), tmp_path)


def test_mixed_experts_share_a_stack(tmp_path):
    odd = [".experts.1.", ".experts.4."]
    packed, plain = quantized("glm-tiny", tmp_path, SCHEMES["fp8-rows"],
                              lambda name, shape: is_linear(name, shape) and any(part in name for part in odd))
    assert_same_values(packed, plain, tmp_path, "--outtype", "f32", "--io", "read")


# ---- Which type comes out ---------------------------------------------------------------------------


def test_auto_type_follows_the_first_matrix_of_16_bits(tmp_path):
    for scheme, want in (("fp8-blocks", "BF16"), ("fp8-tensor", "BF16"), ("awq", "F16")):
        folder = tmp_path / scheme
        folder.mkdir()
        packed, _ = quantized("llama-tiny", folder, SCHEMES[scheme])
        tensors = load_tensors(packed)
        if want == "F16":  # the scales are the only matrices of 16 bits
            for name in ("lm_head.weight", "model.embed_tokens.weight"):
                dtype, shape, raw = tensors[name]
                tensors[name] = tensor("F32", decode(dtype, raw).reshape(shape))
            replace_tensors(packed, tensors)
        convert(packed, folder / "out.gguf")
        assert Gguf(folder / "out.gguf").tensors["blk.0.ffn_up.weight"].type == want
        convert(packed, folder / "ollama.gguf", "--dialect", "ollama")
        assert Gguf(folder / "ollama.gguf").tensors["blk.0.ffn_up.weight"].type == "BF16"


@pytest.mark.parametrize("scheme, words", [
    ("fp8-blocks", "dequantise F8_E4M3 with a scale for each block of 32 x 48"),
    ("fp8-rows", "dequantise F8_E4M3 with a scale for each row"),
    ("nvfp4-modelopt", "dequantise NVFP4 with a scale of the scales"),
    ("mxfp4-compressed", "dequantise MXFP4"),
    ("int4-packed", "dequantise 4-bit integers in groups of 16"),
    ("gptq-order", "dequantise 4-bit integers in groups of 16 by activation order"),
])
def test_plan_says_what_is_dequantised(tmp_path, scheme, words):
    packed, _ = quantized("llama-tiny", tmp_path, SCHEMES[scheme])
    plan = json.loads(run("plan", packed, "--json").stdout)
    views = {entry["name"]: entry["views"] for entry in plan["files"][0]["tensors"]}
    assert views["blk.0.ffn_up.weight"] == words
    assert views["blk.0.attn_q.weight"] == f"{words}, interleave rotary halves of 4 heads"
    assert views["token_embd.weight"] == ""


def test_scales_of_activations_are_left_out_with_a_note(tmp_path):
    packed, _ = quantized("llama-tiny", tmp_path, SCHEMES["nvfp4-modelopt"])
    result = run("plan", packed)
    assert result.returncode == 0
    assert "21 scales of activations left out" in result.stderr


# ---- The same blocks --------------------------------------------------------------------------------


def blocks_of(codes, scales, group, groups):
    """Rows of ggml blocks: the scales of `groups` groups, then of each its codes, halves side by side."""
    rows = codes.shape[0]
    codes = codes.reshape(rows, -1, groups, group)
    packed = codes[..., : group // 2] | codes[..., group // 2 :] << 4
    scales = scales.reshape(rows, -1, groups)
    return numpy.concatenate([scales, packed.reshape(rows, codes.shape[1], -1)], -1).astype(numpy.uint8)


def source_codes(tensors, name):
    _, shape, raw = tensors[name]
    both = numpy.frombuffer(raw, numpy.uint8).reshape(shape[0], -1)
    return numpy.stack([both & 15, both >> 4], -1).reshape(shape[0], -1)


def source_scales(tensors, name):
    return numpy.frombuffer(tensors[name][2], numpy.uint8)


def test_mxfp4_is_repacked_without_loss(tmp_path):
    packed, _ = quantized("glm-tiny", tmp_path, Mxfp4())
    convert(packed, tmp_path / "out.gguf", "--type", "MXFP4_MOE")
    tensors, source = Gguf(tmp_path / "out.gguf").tensors, load_tensors(packed)
    stack = tensors["blk.1.ffn_up_exps.weight"]
    assert stack.type == "MXFP4"
    name = "model.layers.1.mlp.experts.{}.up_proj.weight"
    want = [blocks_of(source_codes(source, name.format(expert) + "_packed"),
                      source_scales(source, name.format(expert) + "_scale"), 32, 1) for expert in range(8)]
    assert stack.raw == numpy.stack(want).tobytes()
    assert tensors["blk.1.ffn_up_shexp.weight"].type == "Q8_0"


def test_blocks_of_gpt_oss_are_repacked_without_loss(tmp_path):
    packed, _ = quantized("llama4-tiny", tmp_path, Mxfp4(blocks=True), lambda name, shape: "experts.down" in name)
    # The parameter is [experts, 96, 64], so the blocks that fit it are [experts, 64, 96 / 32, 16].
    tensors = load_tensors(packed)
    generator = numpy.random.default_rng(5)
    for name in [name for name in tensors if name.endswith("_blocks")]:
        tensors[name] = tensor("U8", generator.integers(0, 256, (4, 64, 3, 16), numpy.uint8))
        tensors[name.replace("_blocks", "_scales")] = tensor("U8", generator.integers(100, 130, (4, 64, 3), numpy.uint8))
    replace_tensors(packed, tensors)
    convert(packed, tmp_path / "out.gguf", "--type", "MXFP4_MOE", "--dialect", "llama.cpp")
    stack = Gguf(tmp_path / "out.gguf").tensors["blk.0.ffn_down_exps.weight"]
    assert stack.type == "MXFP4"
    name = "language_model.model.layers.0.feed_forward.experts.down_proj"
    _, shape, raw = tensors[name + "_blocks"]
    both = numpy.frombuffer(raw, numpy.uint8)
    codes = numpy.stack([both & 15, both >> 4], -1).reshape(4 * 64, -1)
    assert stack.raw == blocks_of(codes, source_scales(tensors, name + "_scales"), 32, 1).tobytes()


@pytest.mark.parametrize("io", ["mmap", "read"])
@pytest.mark.parametrize("model_opt", [True, False])
def test_nvfp4_is_repacked_without_loss(tmp_path, model_opt, io):
    packed, _ = quantized("llama-tiny", tmp_path, Nvfp4(model_opt))
    convert(packed, tmp_path / "out.gguf", "--type", "NVFP4", "--tensor-type", "ffn_down=Q8_0", "--io", io)
    tensors, source = Gguf(tmp_path / "out.gguf").tensors, load_tensors(packed)
    name = "model.layers.0.mlp.up_proj.weight"
    want = blocks_of(source_codes(source, name if model_opt else name + "_packed"),
                     source_scales(source, name + "_scale"), 16, 4)
    up = tensors["blk.0.ffn_up.weight"]
    assert (up.type, up.raw) == ("NVFP4", want.tobytes())
    whole = numpy.frombuffer(source[name + ("_scale_2" if model_opt else "_global_scale")][2], numpy.float32)
    scale = tensors["blk.0.ffn_up.scale"]
    assert (scale.type, scale.shape) == ("F32", (1,))
    assert scale.floats() == (whole if model_opt else numpy.float32(1) / whole)
    # The rows of a permuted tensor are whole blocks as well.
    name = "model.layers.0.self_attn.q_proj.weight"
    rows = blocks_of(source_codes(source, name if model_opt else name + "_packed"),
                     source_scales(source, name + "_scale"), 16, 4)
    order = numpy.arange(64).reshape(4, 2, 8).transpose(0, 2, 1).reshape(-1)
    assert tensors["blk.0.attn_q.weight"].raw == rows[order].tobytes()
    # What is not repacked has its scales in its values.
    assert tensors["blk.0.ffn_down.weight"].type == "Q8_0"
    assert "blk.0.ffn_down.scale" not in tensors


def with_bytes(packed, name, first, content):
    """Puts bytes into a tensor."""
    tensors = load_tensors(packed)
    dtype, shape, raw = tensors[name]
    tensors[name] = (dtype, shape, raw[:first] + content + raw[first + len(content):])
    replace_tensors(packed, tensors)


@pytest.mark.parametrize("io", ["mmap", "read"])
@pytest.mark.parametrize("scheme, codes, type_name, group, nan", [
    (Mxfp4(), "_packed", "MXFP4", 32, 0xFF), (Nvfp4(True), "", "NVFP4", 16, 0x7F), (Nvfp4(True), "", "NVFP4", 16, 0xFF)])
def test_values_whose_scale_is_no_number_become_zeros(tmp_path, scheme, codes, type_name, group, nan, io):
    packed, _ = quantized("llama-tiny", tmp_path, scheme)
    name, arguments = "model.layers.0.mlp.up_proj.weight", ("--type", "Q8_0", "--tensor-type", f"ffn_up={type_name}", "--io", io)
    with_bytes(packed, name + "_scale", 7, bytes([nan]))
    result = convert(packed, tmp_path / "a.gguf", *arguments, "--nan", "zero")
    assert f"'blk.0.ffn_up.weight': {group} values that are not finite became 0" in result.stderr
    with_bytes(packed, name + "_scale", 7, bytes(1))
    with_bytes(packed, name + codes, 7 * group // 2, bytes(group // 2))
    convert(packed, tmp_path / "b.gguf", *arguments)
    for tensor, other in zip(Gguf(tmp_path / "a.gguf").tensors.values(), Gguf(tmp_path / "b.gguf").tensors.values()):
        assert tensor.raw == other.raw


@pytest.mark.parametrize("model_opt, value", [(True, "nan"), (True, "inf"), (False, "nan"), (False, "0")])
def test_scale_of_the_scales_that_is_no_number_becomes_zero(tmp_path, model_opt, value):
    packed, _ = quantized("llama-tiny", tmp_path, Nvfp4(model_opt))
    arguments = ("--type", "NVFP4", "--tensor-type", "ffn_down=Q8_0")
    convert(packed, tmp_path / "a.gguf", *arguments)
    with_bytes(packed, "model.layers.0.mlp.up_proj.weight" + ("_scale_2" if model_opt else "_global_scale"), 0,
               numpy.float32(value).tobytes())
    result = convert(packed, tmp_path / "b.gguf", *arguments, "--nan", "zero")
    assert "'blk.0.ffn_up.scale': 1 values that are not finite became 0" in result.stderr
    before, after = (Gguf(tmp_path / f"{name}.gguf").tensors for name in "ab")
    assert after["blk.0.ffn_up.scale"].floats() == 0
    assert {name for name in before if before[name].raw != after[name].raw} == {"blk.0.ffn_up.scale"}


def test_nvfp4_experts_keep_a_scale_each(tmp_path):
    packed, _ = quantized("glm-tiny", tmp_path, Nvfp4(True))
    convert(packed, tmp_path / "out.gguf", "--type", "NVFP4", "--tensor-type", "attn_[kqv]_b|ffn_down=F16",
            "--tensor-type", "attn_kv_a=NVFP4")
    tensors, source = Gguf(tmp_path / "out.gguf").tensors, load_tensors(packed)
    name = "model.layers.1.mlp.experts.{}.up_proj.weight_scale_2"
    want = [numpy.frombuffer(source[name.format(expert)][2], numpy.float32)[0] for expert in range(8)]
    assert tensors["blk.1.ffn_up_exps.scale"].floats().tolist() == want
    # Nothing reads a scale of attn_kv_a_mqa, so it is quantized anew.
    assert tensors["blk.1.attn_kv_a_mqa.weight"].type == "NVFP4"
    assert "blk.1.attn_kv_a_mqa.scale" not in tensors


def test_ollama_gets_nvfp4_without_scale_tensors(tmp_path):
    packed, plain = quantized("llama-tiny", tmp_path, Nvfp4(True))
    file = assert_same_values(packed, plain, tmp_path, "--dialect", "ollama", "--outtype", "f32", "--type", "NVFP4",
                              "--tensor-type", "ffn_down=Q8_0")
    assert file.tensors["blk.0.ffn_up.weight"].type == "NVFP4"


# ---- What the configuration leaves out --------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["lm_head", "re:.*lm_head", "lm_*", "re:lm_head$", "re:(?P<m>lm)_(?i)HEAD"])
def test_modules_that_are_kept_need_no_scales(tmp_path, pattern):
    packed, plain = quantized("llama-tiny", tmp_path, SCHEMES["fp8-blocks"])
    codes = numpy.random.default_rng(3).integers(0, 0x7E, (256, 64), numpy.uint8)
    for checkpoint in (packed, plain):
        tensors = load_tensors(checkpoint)
        shape = tensors["lm_head.weight"][1]
        codes = numpy.random.default_rng(3).integers(0, 0x7E, shape, numpy.uint8)
        tensors["lm_head.weight"] = tensor("F8_E4M3", codes)
        replace_tensors(checkpoint, tensors)
    edit_json(packed / "config.json",
              lambda config: config["quantization_config"].update(modules_to_not_convert=[pattern]))
    assert_same_values(packed, plain, tmp_path, "--outtype", "f32")


@pytest.mark.parametrize("place", ["compression_config", "text_config", "hf_quant_config.json"])
def test_places_of_the_configuration(tmp_path, place):
    scheme = Nvfp4(True) if place.endswith("json") else SCHEMES["fp8-blocks-compressed"]
    packed, plain = quantized("llama4-tiny" if place == "text_config" else "llama-tiny", tmp_path, scheme)

    def move(config):
        quantization = config.pop("quantization_config")
        if place == "compression_config":
            del quantization["quant_method"]
            config[place] = quantization
        elif place == "text_config":
            config[place]["quantization_config"] = quantization

    edit_json(packed / "config.json", move)
    if place.endswith("json"):
        (packed / place).write_text(json.dumps({"producer": {"name": "modelopt", "version": "0.33"}, "quantization": {
            "quant_algo": "NVFP4", "group_size": 16, "exclude_modules": ["lm_head"]}}))
    assert_same_values(packed, plain, tmp_path, "--outtype", "f32")


def test_several_groups_of_compressed_tensors(tmp_path):
    four, eight = Packed(4, 16), Packed(8, 32)
    packed, plain = quantized("llama-tiny", tmp_path, four, lambda name, shape: is_linear(name, shape) and "mlp" in name)
    (tmp_path / "second").mkdir()
    attention, plain_attention = quantized("llama-tiny", tmp_path / "second", eight,
                                           lambda name, shape: is_linear(name, shape) and "self_attn" in name)
    for target, source in ((packed, attention), (plain, plain_attention)):
        tensors = {name: value for name, value in load_tensors(target).items() if "self_attn" not in name}
        tensors |= {name: value for name, value in load_tensors(source).items() if "self_attn" in name}
        replace_tensors(target, tensors)
    edit_json(packed / "config.json", lambda config: config["quantization_config"]["config_groups"].update(
        group_1=eight.config()["config_groups"]["group_0"]))
    assert_same_values(packed, plain, tmp_path, "--outtype", "f32")
