"""Element types: every source type, every --outtype, and values that do not fit."""
import json

import numpy
import pytest

from converted import DIALECTS, Converted, assert_holds, interleaved, variant
from sluice_cli import convert, decode, encode, refuse, run, source_floats

both = pytest.mark.parametrize("dialect", DIALECTS)
SOURCE_TYPES = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"]
INTEGERS = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8}
FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}
UP = "model.layers.0.mlp.up_proj.weight"


def random_tensor(dtype, shape, seed):
    """Finite values all over the range of the small types, and of the usual size in the others."""
    generator = numpy.random.default_rng(seed)
    count = int(numpy.prod(shape))
    if dtype in ("F8_E4M3", "F8_E5M2"):
        every = bytes(range(256))
        finite = numpy.frombuffer(every, numpy.uint8)[numpy.isfinite(decode(dtype, every))]
        return dtype, shape, generator.choice(finite, count).tobytes()
    values = generator.normal(size=count)
    if dtype == "F64":
        return dtype, shape, values.tobytes()
    return dtype, shape, encode(dtype, values)


def llama_of(folder, dtype):
    def change(tensors):
        for seed, (name, (_, shape, _)) in enumerate(list(tensors.items())):
            tensors[name] = random_tensor(dtype, shape, seed)

    return variant("llama-tiny", folder, change_tensors=change)


def written_type(dialect, outtype, source):
    if outtype != "auto":
        return outtype.upper()
    if dialect == "ollama":  # for each tensor by itself
        return "BF16" if source in ("BF16", "F8_E4M3", "F8_E5M2") else "F16"
    return "BF16" if source == "BF16" else "F16"


@both
@pytest.mark.parametrize("outtype", ["auto", "f32", "f16", "bf16"])
@pytest.mark.parametrize("source", SOURCE_TYPES)
def test_every_source_type_becomes_every_outtype(tmp_path, dialect, outtype, source):
    model = Converted(llama_of(tmp_path, source), tmp_path, "--outtype", outtype)
    file, want = model[dialect], written_type(dialect, outtype, source)
    permuted = {"attn_q": interleaved(4), "attn_k": interleaved(2)}
    for old, new in [("embed_tokens", "token_embd"), ("norm", "output_norm"),
                     ("layers.1.self_attn.q_proj", "blk.1.attn_q"), ("layers.1.self_attn.k_proj", "blk.1.attn_k"),
                     ("layers.2.mlp.down_proj", "blk.2.ffn_down"), ("layers.0.input_layernorm", "blk.0.attn_norm")]:
        tensor = file.tensors[f"{new}.weight"]
        values = model.floats(f"model.{old}.weight").astype(numpy.float32)
        assert tensor.type == (want if values.ndim == 2 else "F32")
        assert_holds(tensor, permuted.get(new.split(".")[-1], numpy.array)(values))
    assert file.values["general.file_type"] == FILE_TYPES[want]
    assert "became infinite" not in model.messages[dialect]


@both
@pytest.mark.parametrize("dtype", list(INTEGERS) + ["F8_E8M0"])
def test_integers_are_refused(tmp_path, dialect, dtype):
    def change(tensors):
        shape = tensors[UP][1]
        tensors[UP] = (dtype, shape, bytes(int(numpy.prod(shape)) * INTEGERS.get(dtype, 1)))

    checkpoint = variant("llama-tiny", tmp_path, change_tensors=change)
    refuse(checkpoint, tmp_path, 4, f"tensor '{UP}'", "F64, F32, F16, BF16, F8_E4M3 or F8_E5M2", f"got {dtype}",
           arguments=("--dialect", dialect))


# ---- Several types in one checkpoint ----------------------------------------------------------------


def with_one_of_type(folder, name, dtype):
    return variant("llama-tiny", folder, change_tensors=lambda tensors: tensors.update(
        {name: random_tensor(dtype, tensors[name][1], 0)}))


def test_ollama_chooses_for_each_tensor(tmp_path):
    tensors = Converted(with_one_of_type(tmp_path, UP, "F32"), tmp_path)["ollama"].tensors
    assert tensors["blk.0.ffn_up.weight"].type == "F16"
    assert tensors["blk.1.ffn_up.weight"].type == "BF16"


@pytest.mark.parametrize("first, want", [("BF16", "BF16"), ("F16", "F16"), ("F32", "BF16")])
def test_llama_cpp_chooses_for_the_file_by_the_first_matrix_of_16_bits(tmp_path, first, want):
    model = Converted(with_one_of_type(tmp_path, "lm_head.weight", first), tmp_path)
    assert next(iter(model.sources)) == "lm_head.weight"
    matrices = {tensor.type for tensor in model["llama.cpp"].tensors.values() if len(tensor.shape) > 1}
    assert matrices == {want}
    assert model["llama.cpp"].values["general.file_type"] == FILE_TYPES[want]


@both
def test_experts_of_several_types_become_one_tensor(tmp_path, dialect):
    expert = "model.layers.1.mlp.experts.{}.up_proj.weight"

    def mix(tensors):
        for number, dtype in enumerate(SOURCE_TYPES):
            tensors[expert.format(number)] = random_tensor(dtype, tensors[expert.format(number)][1], number)

    model = Converted(variant("glm-tiny", tmp_path, change_tensors=mix), tmp_path)
    stack = [model.floats(expert.format(number)).astype(numpy.float32) for number in range(8)]
    assert_holds(model[dialect].tensors["blk.1.ffn_up_exps.weight"], numpy.stack(stack))


# ---- Tensors with a type of their own ---------------------------------------------------------------


@pytest.mark.parametrize("outtype, want", [("auto", "F16"), ("f16", "F16"), ("bf16", "F16"), ("f32", "F32")])
@pytest.mark.parametrize("case", ["llama4-tiny", "mllama-tiny"])
def test_vision_matrices_of_ollama_are_never_bf16(tmp_path, case, outtype, want):
    tensors = Converted.golden(case, tmp_path, "--outtype", outtype)["ollama"].tensors
    assert tensors["v.blk.0.attn_q.weight"].type == want
    assert tensors["blk.0.attn_q.weight"].type == written_type("ollama", outtype, "BF16")


@both
@pytest.mark.parametrize("outtype", ["auto", "f16", "bf16"])
def test_routers_norms_and_convolutions_are_always_f32(tmp_path, dialect, outtype):
    for case, names in [("glm-tiny", ["blk.1.ffn_gate_inp.weight", "blk.1.exp_probs_b.bias", "output_norm.weight",
                                      "blk.0.attn_kv_a_norm.weight"]),
                        ("llama4-tiny", ["blk.0.ffn_gate_inp.weight", "rope_freqs.weight"]),
                        ("lfm2-tiny", ["blk.0.shortconv.conv.weight", "blk.2.attn_q_norm.weight"])]:
        folder = tmp_path / case
        folder.mkdir()
        tensors = Converted.golden(case, folder, "--outtype", outtype)[dialect].tensors
        assert {tensors[name].type for name in names} == {"F32"}


# ---- Values that do not fit -------------------------------------------------------------------------

FLOAT32_MAX = 3.4028234663852886e38
HALF_MAX, HALF_LIMIT = 65504.0, 65520.0  # from the limit on, rounding to nearest gives infinity
BRAIN_LIMIT = 3.3961775292304957e38


def with_values(folder, dtype, values):
    def change(tensors):
        weights = source_floats(tensors, UP).astype(numpy.float64)
        weights.reshape(-1)[: len(values)] = values
        raw = weights.tobytes() if dtype == "F64" else encode(dtype, weights)
        tensors[UP] = (dtype, tensors[UP][1], raw)

    return variant("llama-tiny", folder, change_tensors=change)


@both
@pytest.mark.parametrize("outtype, source, values, count", [
    ("f16", "F32", [HALF_MAX, 65519.99, -HALF_MAX], 0),
    ("f16", "F32", [HALF_LIMIT, -1e5, FLOAT32_MAX], 3),
    ("f16", "BF16", [65536.0, -65536.0], 2),
    ("f16", "F32", [numpy.inf, -numpy.inf], 0),
    ("bf16", "F32", [3.3895313892515355e38, BRAIN_LIMIT * (1 - 1e-7)], 0),
    ("bf16", "F32", [BRAIN_LIMIT, -FLOAT32_MAX], 2),
    ("f32", "F32", [FLOAT32_MAX, numpy.inf], 0),
    ("f32", "F64", [1e39, -1e300, FLOAT32_MAX], 2),
    ("f16", "F64", [1e39, 1e5, numpy.inf], 2),
])
def test_values_that_become_infinite_are_counted(tmp_path, dialect, outtype, source, values, count):
    model = Converted(with_values(tmp_path, source, values), tmp_path, "--outtype", outtype)
    tensor = model[dialect].tensors["blk.0.ffn_up.weight"]
    infinite = numpy.isinf(tensor.floats()).sum()
    assert infinite == count + numpy.isinf(values).sum()
    message = f"warning: tensor 'blk.0.ffn_up.weight': {count} finite values became infinite in {tensor.type}\n"
    assert (message in model.messages[dialect]) is (count > 0)
    assert model.messages[dialect].count("became infinite") == (1 if count else 0)


def test_overflow_is_counted_over_all_tensors_and_in_json(tmp_path):
    checkpoint = with_values(tmp_path, "F32", [1e6] * 5000)
    result = convert(checkpoint, tmp_path / "out.gguf", "--outtype", "f16", "--progress", "json")
    done = json.loads(result.stderr.splitlines()[-1])
    assert done["warnings"] == ["tensor 'blk.0.ffn_up.weight': 5000 finite values became infinite in F16"]


def test_quiet_says_nothing_of_overflow(tmp_path):
    result = run("--quiet", "convert", with_values(tmp_path, "F32", [1e6]), tmp_path / "out.gguf", "--outtype", "f16")
    assert (result.returncode, result.stderr) == (0, "")
