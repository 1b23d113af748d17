"""Logits of the command line: against transformers' (recorded) and against the NumPy reference."""
import json

import numpy
import pytest

from glm_reference import reference_logits, rope_frequencies
from record_attention import attention_case
from sluice_cli import (GOLDEN, assert_fails, convert, copy_checkpoint, edit_json, encode,
                        load_tensors, replace_tensors, run)

CASES = ("glm-tiny", "glm-tiny-v5")
DIALECTS = ("llama.cpp", "ollama")
TRANSFORMERS = ("--latent-eps", "1e-6")  # the norms inside attention have an epsilon of their own
TOLERANCE = 2e-5
TOKENS = json.loads((GOLDEN / "logits" / "tokens.json").read_text())["token_ids"]
# Chosen by expert sharing: the same ids again and again, and some that come once.
MANY = [(7 * i * i + 3 * i) % 500 for i in range(96)]


def logits(model, folder, tokens=TOKENS, *arguments):
    """The rows that `sluice logits` writes."""
    out = folder / "logits.f32"
    result = run("logits", model, "--tokens", ",".join(map(str, tokens)), "--output", out,
                 "--force", *arguments)
    assert result.returncode == 0, result.stderr
    return numpy.fromfile(out, numpy.float32).reshape(len(tokens), -1)


def recorded(case):
    raw = numpy.fromfile(GOLDEN / "logits" / f"{case}.f32", numpy.float32)
    return raw.reshape(len(TOKENS), -1)


def assert_close(got, want, tolerance=TOLERANCE):
    assert got.shape == want.shape
    assert numpy.abs(got - want).max() < tolerance
    assert (got.argmax(-1) == want.argmax(-1)).all()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Golden checkpoints and their conversions: (case, kind) -> path."""
    folder = tmp_path_factory.mktemp("models")
    paths = {}
    for case in CASES:
        paths[case, "checkpoint"] = GOLDEN / "checkpoints" / case
        for dialect in DIALECTS:
            for outtype in ("f32", "bf16"):
                path = folder / f"{case}.{dialect}.{outtype}.gguf"
                convert(GOLDEN / "checkpoints" / case, path, "--dialect", dialect,
                        "--outtype", outtype)
                paths[case, f"{dialect} {outtype}"] = path
    return paths


KINDS = ["checkpoint"] + [f"{dialect} {outtype}" for dialect in DIALECTS
                          for outtype in ("f32", "bf16")]


@pytest.mark.parametrize("case", CASES)
def test_reference_is_transformers(case):
    folder = GOLDEN / "checkpoints" / case
    for form in ("naive", "absorbed"):
        assert_close(reference_logits(folder, TOKENS, form=form), recorded(case), 5e-6)


def test_recorded_attention_is_the_reference():
    for name, values in zip(("inputs", "outputs"), attention_case()):
        stored = numpy.fromfile(GOLDEN / "attention" / f"{name}.f32", numpy.float32)
        assert numpy.abs(stored - values.reshape(-1)).max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_equals_transformers(models, case, kind, tmp_path):
    for chunk in ((), ("--chunk", 1), ("--chunk", 5)):
        for form in ("auto", "naive", "absorbed"):
            got = logits(models[case, kind], tmp_path, TOKENS, *TRANSFORMERS, "--attention", form,
                         *chunk)
            assert_close(got, recorded(case))


def test_long_prompts_in_chunks_equal_the_reference(models, tmp_path):
    want = reference_logits(models["glm-tiny", "checkpoint"], MANY, latent_eps=1e-5)
    for chunk in ((), ("--chunk", 1), ("--chunk", 7), ("--chunk", 64)):
        assert_close(logits(models["glm-tiny", "ollama bf16"], tmp_path, MANY, *chunk), want)


def test_a_narrow_cache_changes_little(models, tmp_path):
    want = recorded("glm-tiny")
    for cache, least, most in (("f16", 1e-5, 1e-2), ("bf16", 1e-4, 5e-2)):
        got = logits(models["glm-tiny", "checkpoint"], tmp_path, TOKENS, *TRANSFORMERS,
                     "--cache", cache)
        assert least < numpy.abs(got - want).max() < most


def test_threads_do_not_change_bits(models, tmp_path):
    one, many = (logits(models["glm-tiny", "checkpoint"], tmp_path, MANY, "--threads", threads)
                 for threads in (1, 5))
    assert (one == many).all()


# ---- Variants: every rule of the configuration that the golden checkpoints do not use ------------

SMALL = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "q_lora_rank": 24,
         "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 24,
         "intermediate_size": 80, "moe_intermediate_size": 32, "n_routed_experts": 12,
         "num_experts_per_tok": 3, "vocab_size": 520, "num_nextn_predict_layers": 0,
         "rope_scaling": None}
LINEAR = {"type": "linear", "factor": 3.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
# Where the edges of the ramp lie between the pairs of a head.
WIDE = YARN | {"rope_theta": 1e4, "original_max_position_embeddings": 512}
GROUPS = {"n_group": 3, "topk_group": 1}
VARIANTS = {
    "base": {},
    "no low-rank query": {"q_lora_rank": None},
    "weights not normed": {"norm_topk_prob": False},
    "tied": {"tie_word_embeddings": True},
    "one of three groups": GROUPS,
    "three of six groups": {"n_group": 6, "topk_group": 3},
    "one expert": {"num_experts_per_tok": 1},
    "two shared experts": {"n_shared_experts": 2},
    "no shared expert": {"n_shared_experts": 0},
    "two dense layers": {"first_k_dense_replace": 2},
    "no dense layer": {"first_k_dense_replace": 0},
    "norm epsilon": {"rms_norm_eps": 1e-3},
    "routed scale": {"routed_scaling_factor": 2.5},
    "linear": {"rope_scaling": LINEAR},
    "linear with mscale_all_dim": {"rope_scaling": LINEAR | {"mscale_all_dim": 1.0}},
    "yarn": {"rope_scaling": YARN},
    "yarn with mscale": {"rope_scaling": YARN | {"mscale": 0.7, "mscale_all_dim": 1.2}},
    "yarn with equal mscale": {"rope_scaling": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}},
    "yarn with mscale_all_dim": {"rope_scaling": YARN | {"mscale_all_dim": 1.0}},
    "yarn with betas": {"rope_parameters": WIDE | {"beta_fast": 8, "beta_slow": 2}},
    "yarn without truncate": {"rope_parameters": WIDE | {"truncate": False}},
    "yarn with attention factor": {"rope_scaling": YARN | {"attention_factor": 1.3}},
    "odd widths": {"hidden_size": 50, "q_lora_rank": 21, "qk_nope_head_dim": 13,
                   "moe_intermediate_size": 27, "v_head_dim": 11},
    "long names of RoPE": {"rope_theta": None, "rope_parameters": {"rope_type": "default",
                                                                   "rope_theta": 5e5}},
}
# What the llama.cpp dialect has no key for, and what a conversion says of it.
LOST = {
    "linear with mscale_all_dim": "mscale_all_dim of linear rope scaling is not written",
    "yarn with mscale": "mscale of yarn is not written",
    "yarn with mscale_all_dim": "mscale of yarn is not written",
    "yarn without truncate": "truncate false of yarn is not written",
}
# What no key of the dialect can say; a checkpoint says everything.
CANNOT_SAY = {
    "checkpoint": set(),
    "llama.cpp": set(LOST),
    "ollama": {name for name in VARIANTS if name.startswith(("linear", "yarn"))},
}


def shapes(c):
    """{name: shape} of every tensor of a checkpoint in the published layout."""
    h, heads, m = c["hidden_size"], c["num_attention_heads"], c["moe_intermediate_size"]
    dq = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
    rk, dv, rq = c["kv_lora_rank"], c["v_head_dim"], c["q_lora_rank"]
    tensors = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,)}
    if not c.get("tie_word_embeddings"):
        tensors["lm_head.weight"] = (c["vocab_size"], h)

    def mlp(prefix, width):
        tensors[prefix + "gate_proj.weight"] = tensors[prefix + "up_proj.weight"] = (width, h)
        tensors[prefix + "down_proj.weight"] = (h, width)

    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        tensors[p + "input_layernorm.weight"] = tensors[p + "post_attention_layernorm.weight"] = (h,)
        a = p + "self_attn."
        if rq is None:
            tensors[a + "q_proj.weight"] = (heads * dq, h)
        else:
            tensors[a + "q_a_proj.weight"] = (rq, h)
            tensors[a + "q_a_layernorm.weight"] = (rq,)
            tensors[a + "q_b_proj.weight"] = (heads * dq, rq)
        tensors[a + "kv_a_proj_with_mqa.weight"] = (rk + c["qk_rope_head_dim"], h)
        tensors[a + "kv_a_layernorm.weight"] = (rk,)
        tensors[a + "kv_b_proj.weight"] = (heads * (c["qk_nope_head_dim"] + dv), rk)
        tensors[a + "o_proj.weight"] = (h, heads * dv)
        if layer < c["first_k_dense_replace"]:
            mlp(p + "mlp.", c["intermediate_size"])
            continue
        tensors[p + "mlp.gate.weight"] = (c["n_routed_experts"], h)
        tensors[p + "mlp.gate.e_score_correction_bias"] = (c["n_routed_experts"],)
        for expert in range(c["n_routed_experts"]):
            mlp(f"{p}mlp.experts.{expert}.", m)
        if c["n_shared_experts"]:
            mlp(p + "mlp.shared_experts.", c["n_shared_experts"] * m)
    return tensors


def random_values(name, shape, random):
    if len(shape) == 1 and name.endswith("bias"):
        return random.normal(0, 0.2, shape)
    if len(shape) == 1:
        return random.normal(1, 0.2, shape)
    return random.normal(0, 1 / numpy.sqrt(shape[-1]), shape)


def make_checkpoint(folder, variant=None, dtype="BF16", **config):
    """A random checkpoint of a variant, with the tokenizer of glm-tiny."""
    path = copy_checkpoint("glm-tiny", folder)

    def change(content):
        content.update(SMALL | VARIANTS.get(variant, {}) | config)
        for key in [key for key, value in content.items() if value is None]:
            del content[key]

    edit_json(path / "config.json", change)
    content = json.loads((path / "config.json").read_text())
    content.setdefault("q_lora_rank", None)
    random = numpy.random.default_rng(5)
    replace_tensors(path, {
        name: (dtype, shape, encode(dtype, random_values(name, shape, random)))
        for name, shape in shapes(content).items()})
    return path


@pytest.mark.parametrize("variant, kind", [(variant, kind) for kind in CANNOT_SAY
                                           for variant in VARIANTS
                                           if variant not in CANNOT_SAY[kind]])
def test_variants_equal_the_reference(variant, kind, tmp_path):
    model = checkpoint = make_checkpoint(tmp_path, variant)
    if kind != "checkpoint":
        model = tmp_path / "model.gguf"
        assert "not written" not in convert(checkpoint, model, "--dialect", kind).stderr
    want = reference_logits(checkpoint, MANY)
    for arguments in ((), ("--chunk", 1), ("--chunk", 13, "--attention", "absorbed"),
                      ("--chunk", 13, "--attention", "naive")):
        assert_close(logits(model, tmp_path, MANY, *TRANSFORMERS, *arguments), want)


@pytest.mark.parametrize("variant", [name for name in VARIANTS
                                     if name.startswith(("linear ", "yarn "))])
def test_variants_of_scaling_differ_from_the_plain_one(variant, tmp_path):
    checkpoint = make_checkpoint(tmp_path, variant)
    got = reference_logits(checkpoint, MANY)
    spellings = {"rope_scaling": LINEAR if variant.startswith("linear") else YARN,
                 "rope_parameters": WIDE}
    edit_json(checkpoint / "config.json", lambda content: content.update(
        {key: plain for key, plain in spellings.items() if content.get(key)}))
    assert numpy.abs(got - reference_logits(checkpoint, MANY)).max() > 50 * TOLERANCE


@pytest.mark.parametrize("variant", ("yarn with betas", "yarn without truncate"))
def test_edges_of_the_ramp_change_frequencies(variant):
    width = SMALL["qk_rope_head_dim"]
    edges, _ = rope_frequencies(VARIANTS[variant]["rope_parameters"], width)
    assert numpy.abs(edges / rope_frequencies(WIDE, width)[0] - 1).max() > 0.01


@pytest.mark.parametrize("variant", LOST)
def test_what_a_file_cannot_say_is_warned_of(variant, tmp_path):
    checkpoint = make_checkpoint(tmp_path, variant)
    assert f"warning: {LOST[variant]}" in convert(checkpoint, tmp_path / "m.gguf").stderr
    want = reference_logits(checkpoint, MANY)
    got = logits(tmp_path / "m.gguf", tmp_path, MANY, *TRANSFORMERS)
    assert numpy.abs(got - want).max() > 50 * TOLERANCE  # else the warning would be a false alarm
    # Nothing is lost where nothing is written.
    result = run("logits", checkpoint, "--tokens", "5", "--output", tmp_path / "one.f32")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("dtype", ("F32", "F16", "BF16"))
def test_element_types_of_a_checkpoint(dtype, tmp_path):
    checkpoint = make_checkpoint(tmp_path, dtype=dtype)
    assert_close(logits(checkpoint, tmp_path, TOKENS, *TRANSFORMERS),
                 reference_logits(checkpoint, TOKENS))


def stack_experts(tensors, name):
    """Experts as one tensor for each projection, called mlp.<name>."""
    stacked = {}
    for key in list(tensors):
        head, found, tail = key.partition(".experts.")
        if not found or "shared" in key:
            continue
        projection = tail.split(".", 1)[1]
        dtype, shape, raw = tensors.pop(key)
        whole = stacked.setdefault(f"{head}.{name}.{projection}", [dtype, [0] + list(shape), b""])
        whole[1][0] += 1
        whole[2] += raw
    tensors.update({key: tuple(value) for key, value in stacked.items()})


def split_kv_b(tensors, config):
    """kv_b_proj as embed_q [A, rk, dn] and unembed_out [A, dv, rk]."""
    heads, dn, dv = (config[key] for key in ("num_attention_heads", "qk_nope_head_dim",
                                             "v_head_dim"))
    for key in [key for key in tensors if key.endswith("kv_b_proj.weight")]:
        dtype, shape, raw = tensors.pop(key)
        whole = numpy.frombuffer(raw, numpy.uint16).reshape(heads, dn + dv, -1)
        embed = numpy.ascontiguousarray(whole[:, :dn].transpose(0, 2, 1))
        unembed = numpy.ascontiguousarray(whole[:, dn:])
        for name, part in (("embed_q", embed), ("unembed_out", unembed)):
            tensors[key.replace("kv_b_proj", name)] = (dtype, part.shape, part.tobytes())


@pytest.mark.parametrize("layout", ("experts", "switch_mlp", "split kv_b"))
def test_other_layouts_of_a_checkpoint(layout, tmp_path):
    checkpoint = make_checkpoint(tmp_path)
    want = reference_logits(checkpoint, TOKENS)
    tensors = load_tensors(checkpoint)
    if layout == "split kv_b":
        split_kv_b(tensors, json.loads((checkpoint / "config.json").read_text()))
    else:
        stack_experts(tensors, layout)
    replace_tensors(checkpoint, tensors)
    assert_close(logits(checkpoint, tmp_path, TOKENS, *TRANSFORMERS), want)


# ---- Configurations that are read by a rule ------------------------------------------------------

NO_HEAD = ("warning: tie_word_embeddings is false but the checkpoint has no lm_head.weight: "
           "the embedding is the output head\n")


def assert_reads(model, want, folder, messages=""):
    """A model gives the logits and says only `messages`."""
    out = folder / "rows.f32"
    result = run("logits", model, "--tokens", ",".join(map(str, TOKENS)), "--output", out, "--force", *TRANSFORMERS)
    assert (result.returncode, result.stderr) == (0, messages)
    assert_close(numpy.fromfile(out, numpy.float32).reshape(want.shape), want)


def assert_reads_alike(checkpoint, want, folder):
    """A checkpoint and its files of both dialects give the logits."""
    for kind in CANNOT_SAY:
        model = checkpoint
        if kind != "checkpoint":
            model = folder / f"{kind}.gguf"
            convert(checkpoint, model, "--dialect", kind)
        assert_reads(model, want, folder)


@pytest.mark.parametrize("count", (0, 1, 3))
def test_types_of_layers_win_over_the_count_of_dense_ones(count, tmp_path):
    checkpoint = make_checkpoint(tmp_path, "two dense layers")
    want = reference_logits(checkpoint, TOKENS)
    edit_json(checkpoint / "config.json", lambda content: content.update(
        first_k_dense_replace=count, mlp_layer_types=["dense", "dense", "sparse"]))
    assert_reads_alike(checkpoint, want, tmp_path)


def test_the_short_name_of_the_architecture(tmp_path):
    checkpoint = make_checkpoint(tmp_path)
    edit_json(checkpoint / "config.json",
              lambda content: content.update(architectures=["GLM4MoeLite"]))
    assert_reads_alike(checkpoint, reference_logits(checkpoint, TOKENS), tmp_path)


def test_without_an_output_head_the_embedding_is_it(tmp_path):
    checkpoint = make_checkpoint(tmp_path, "tied")
    want = reference_logits(checkpoint, TOKENS)
    edit_json(checkpoint / "config.json",
              lambda content: content.update(tie_word_embeddings=False))
    assert_reads(checkpoint, want, tmp_path, NO_HEAD)


# What would be left out of a file, or counted in it, is no matter where none is written.
def test_running_says_nothing_of_prediction_layers(tmp_path):
    whole = copy_checkpoint("glm-tiny", tmp_path / "whole")
    unnamed = copy_checkpoint("glm-tiny", tmp_path / "unnamed")
    edit_json(unnamed / "config.json",
              lambda content: content.update(num_nextn_predict_layers=0))
    absent = copy_checkpoint("glm-tiny", tmp_path / "absent")
    replace_tensors(absent, {name: value for name, value in load_tensors(absent).items()
                             if not name.startswith("model.layers.3.")})
    for checkpoint in (whole, unnamed, absent):
        result = run("logits", checkpoint, "--tokens", ",".join(map(str, TOKENS)), "--output",
                     tmp_path / "rows.f32", "--force", *TRANSFORMERS)
        assert (result.returncode, result.stderr) == (0, "")
        rows = numpy.fromfile(tmp_path / "rows.f32", numpy.float32)
        assert_close(rows.reshape(len(TOKENS), -1), recorded("glm-tiny"))


# ---- Mistakes: the comparisons above would notice each of them -----------------------------------

MISTAKES = {
    "all norms 1e-6": "base", "half-split RoPE": "base", "theta 1e4": "base",
    "scale of the cache row": "base", "no group selection": "one of three groups",
    "best one of a group": "one of three groups", "no correction bias": "base",
    "bias in the weight": "base", "no normalisation": "base", "no routed scale": "base",
    "no shared expert": "base", "gate and up swapped": "base", "BF16 router": "base",
    "positions of a chunk from 0": "base",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_would_notice(mistake, tmp_path):
    checkpoint = make_checkpoint(tmp_path, MISTAKES[mistake])
    got = logits(checkpoint, tmp_path, MANY, *TRANSFORMERS, "--chunk", 13)
    assert_close(got, reference_logits(checkpoint, MANY, chunk=13))
    wrong = reference_logits(checkpoint, MANY, chunk=13, mistakes=[mistake])
    assert numpy.abs(got - wrong).max() > 5 * TOLERANCE


def test_would_notice_the_wrong_latent_epsilon(models, tmp_path):
    got = logits(models["glm-tiny", "checkpoint"], tmp_path)
    assert numpy.abs(got - recorded("glm-tiny")).max() > TOLERANCE


def test_would_notice_masked_groups_at_zero(tmp_path):
    # Only where a kept expert is worth less than nothing.
    checkpoint = make_checkpoint(tmp_path, "one of three groups")
    tensors = load_tensors(checkpoint)
    for name in [name for name in tensors if name.endswith("e_score_correction_bias")]:
        values = numpy.random.default_rng(6).normal(-2, 0.2, tensors[name][1])
        tensors[name] = ("F32", tensors[name][1], encode("F32", values))
    replace_tensors(checkpoint, tensors)
    got = logits(checkpoint, tmp_path, MANY, *TRANSFORMERS)
    assert_close(got, reference_logits(checkpoint, MANY))
    wrong = reference_logits(checkpoint, MANY, mistakes=["masked groups 0"])
    assert numpy.abs(got - wrong).max() > 5 * TOLERANCE
