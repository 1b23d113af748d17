"""Llama and Mistral checkpoints that differ from the golden ones, and both layouts of config.json."""
import numpy
import pytest

from converted import DIALECTS, Converted, assert_holds, interleaved, llama3_factors, random_bf16, variant
from sluice_cli import assert_fails, convert, refuse, run, sha256

both = pytest.mark.parametrize("dialect", DIALECTS)


def converted(folder, change_config=None, change_tensors=None):
    return Converted(variant("llama-tiny", folder, change_config, change_tensors), folder)


# ---- Tensors ----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("part, heads", [("q", 4), ("k", 2)])
def test_q_and_k_are_permuted_by_their_heads(tmp_path, dialect, part, heads):
    model = converted(tmp_path)
    for block in range(3):
        rows = model.floats(f"model.layers.{block}.self_attn.{part}_proj.weight")
        assert_holds(model[dialect].tensors[f"blk.{block}.attn_{part}.weight"], interleaved(heads)(rows))


@both
def test_biases_are_permuted_with_their_rows(tmp_path, dialect):
    def add_biases(tensors):
        for block in range(3):
            layer = f"model.layers.{block}."
            for name, width in (("self_attn.q_proj", 64), ("self_attn.k_proj", 32), ("self_attn.v_proj", 32),
                                ("self_attn.o_proj", 64), ("mlp.gate_proj", 160), ("mlp.up_proj", 160),
                                ("mlp.down_proj", 64)):
                tensors[f"{layer}{name}.bias"] = random_bf16(width, seed=block)

    model = converted(tmp_path, lambda config: config.update(attention_bias=True, mlp_bias=True), add_biases)
    tensors = model[dialect].tensors
    permuted = {"attn_q": interleaved(4), "attn_k": interleaved(2)}
    for old, new in [("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"),
                     ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
                     ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down")]:
        bias = model.floats(f"model.layers.1.{old}.bias")
        assert_holds(tensors[f"blk.1.{new}.bias"], permuted.get(new, numpy.array)(bias))


@both
@pytest.mark.parametrize("field, name", [("attention_bias", "self_attn.o_proj"), ("mlp_bias", "mlp.down_proj")])
def test_biases_that_the_config_has_and_the_checkpoint_lacks(tmp_path, dialect, field, name):
    checkpoint = variant("llama-tiny", tmp_path, lambda config: config.update({field: True}))
    result = run("convert", checkpoint, tmp_path / "out.gguf", "--dialect", dialect)
    assert_fails(result, 3, f"tensor 'model.layers.1.{name}.bias': a required tensor is missing")


@both
def test_biases_of_which_the_config_says_nothing_are_taken(tmp_path, dialect):
    def add_biases(tensors):
        for block in range(3):
            tensors[f"model.layers.{block}.self_attn.v_proj.bias"] = random_bf16(32, seed=block)

    model = converted(tmp_path, lambda config: config.pop("attention_bias"), add_biases)
    assert_holds(model[dialect].tensors["blk.1.attn_v.bias"], model.floats("model.layers.1.self_attn.v_proj.bias"))


@both
def test_heads_wider_than_hidden_size_over_heads(tmp_path, dialect):
    def widen(tensors):
        for block in range(3):
            attention = f"model.layers.{block}.self_attn."
            for part, shape in (("q", (128, 64)), ("k", (64, 64)), ("v", (64, 64)), ("o", (64, 128))):
                tensors[f"{attention}{part}_proj.weight"] = random_bf16(*shape, seed=block)

    model = converted(tmp_path, lambda config: config.update(head_dim=32), widen)
    file = model[dialect]
    rows = model.floats("model.layers.0.self_attn.q_proj.weight")
    assert_holds(file.tensors["blk.0.attn_q.weight"], interleaved(4)(rows))
    assert file.values["llama.attention.key_length"] == 32
    assert file.values["llama.attention.value_length"] == 32
    # Ollama's converter takes hidden_size / heads for the rotary dimensions.
    assert file.values["llama.rope.dimension_count"] == {"llama.cpp": 32, "ollama": 16}[dialect]


@both
def test_config_without_head_dim(tmp_path, dialect):
    file = converted(tmp_path, lambda config: config.pop("head_dim"))[dialect]
    assert file.values["llama.rope.dimension_count"] == 16
    lengths = [key for key in file.values if key.endswith(("key_length", "value_length", "head_dim"))]
    assert len(lengths) == (2 if dialect == "llama.cpp" else 0)


@both
def test_config_without_key_value_heads_has_one_for_each_head(tmp_path, dialect):
    def widen(tensors):
        for block in range(3):
            for part in ("k", "v"):
                tensors[f"model.layers.{block}.self_attn.{part}_proj.weight"] = random_bf16(64, 64, seed=block)

    model = converted(tmp_path, lambda config: config.pop("num_key_value_heads"), widen)
    rows = model.floats("model.layers.2.self_attn.k_proj.weight")
    assert_holds(model[dialect].tensors["blk.2.attn_k.weight"], interleaved(4)(rows))
    # Ollama's converter writes the key only where config.json has the field.
    heads = model[dialect].values.get("llama.attention.head_count_kv")
    assert heads == {"llama.cpp": 4, "ollama": None}[dialect]


@both
def test_tied_output_head(tmp_path, dialect):
    model = converted(tmp_path, lambda config: config.update(tie_word_embeddings=True),
                      lambda tensors: tensors.pop("lm_head.weight"))
    assert "output.weight" not in model[dialect].tensors


@both
def test_rotary_buffers_of_old_checkpoints_are_left_out(tmp_path, dialect):
    model = converted(tmp_path, change_tensors=lambda tensors: tensors.update(
        {f"model.layers.{block}.self_attn.rotary_emb.inv_freq": random_bf16(8) for block in range(3)}))
    assert not [name for name in model[dialect].tensors if "rotary" in name or "inv_freq" in name]


# ---- RoPE -------------------------------------------------------------------------------------------


@both
def test_linear_scaling_is_two_keys(tmp_path, dialect):
    file = converted(tmp_path, lambda config: config.update(rope_scaling={"type": "linear", "factor": 4.0}))[dialect]
    assert file.values["llama.rope.scaling.type"] == "linear"
    assert file.values["llama.rope.scaling.factor"] == 4.0
    assert "rope_freqs.weight" not in file.tensors


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}


def test_yarn_scaling_is_keys_for_llama_cpp_and_refused_for_ollama(tmp_path):
    checkpoint = variant("llama-tiny", tmp_path, lambda config: config.update(rope_scaling=YARN))
    values = Converted(checkpoint, tmp_path)["llama.cpp"].values
    assert values["llama.rope.scaling.type"] == "yarn"
    assert values["llama.rope.scaling.factor"] == 4.0
    assert values["llama.rope.scaling.original_context_length"] == 1024
    refuse(checkpoint, tmp_path / "llama-tiny", 4, "'yarn' in the ollama dialect",
           arguments=("--dialect", "ollama"))


@both
def test_unknown_scaling_is_refused(tmp_path, dialect):
    checkpoint = variant("llama-tiny", tmp_path, lambda config: config.update(
        rope_scaling={"rope_type": "spiral", "factor": 2.0}))
    refuse(checkpoint, tmp_path, 4, "rope scaling of type 'spiral'", arguments=("--dialect", dialect))


@both
def test_llama3_scaling_takes_the_published_defaults(tmp_path, dialect):
    model = converted(tmp_path, lambda config: config.update(rope_scaling={"rope_type": "llama3"}))
    defaults = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192}
    numpy.testing.assert_allclose(model[dialect].tensors["rope_freqs.weight"].floats(),
                                  llama3_factors(defaults, 500000.0, 16), rtol=1e-6)


# ---- Mistral ----------------------------------------------------------------------------------------


def as_mistral(folder):
    return variant("llama-tiny", folder, lambda config: config.update(
        architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=4096))


def test_mistral_is_a_llama_for_llama_cpp(tmp_path):
    convert(variant("llama-tiny", tmp_path), tmp_path / "llama.gguf")
    convert(as_mistral(tmp_path / "mistral"), tmp_path / "mistral.gguf")
    assert sha256(tmp_path / "mistral.gguf") == sha256(tmp_path / "llama.gguf")


def test_mistral_is_not_in_the_ollama_dialect(tmp_path):
    refuse(as_mistral(tmp_path), tmp_path, 4, "MistralForCausalLM in the ollama dialect", "--dialect llama.cpp",
           arguments=("--dialect", "ollama"))


# ---- config.json as transformers 4 and as transformers 5 save it ------------------------------------


def to_version_5(config):
    """Moves rope_theta and rope_scaling into rope_parameters and renames torch_dtype."""
    for section in (config, config.get("text_config", {}), config.get("vision_config", {})):
        if "rope_theta" in section:
            parameters = {"rope_type": "default", **(section.pop("rope_scaling") or {})}
            section["rope_parameters"] = {**parameters, "rope_theta": section.pop("rope_theta")}
        if "torch_dtype" in section:
            section["dtype"] = section.pop("torch_dtype")
    if config["model_type"] == "glm4_moe_lite":
        del config["first_k_dense_replace"]
        config["mlp_layer_types"] = ["dense", "sparse", "sparse"]
    if config["model_type"] == "lfm2":
        del config["full_attn_idxs"]


LAYOUT_CASES = [(case, dialect) for case in ("glm-tiny", "lfm2-tiny", "llama-tiny", "llama4-tiny")
                for dialect in DIALECTS] + [("mllama-tiny", "ollama")]


@pytest.mark.parametrize("case, dialect", LAYOUT_CASES)
def test_both_layouts_of_config_json_give_the_same_file(tmp_path, case, dialect):
    old = variant(case, tmp_path / "old")
    new = variant(case, tmp_path / "new", to_version_5)
    assert "rope_parameters" in (new / "config.json").read_text()
    assert "rope_parameters" not in (old / "config.json").read_text()
    for checkpoint in (old, new):
        convert(checkpoint, checkpoint.parent / "out.gguf", "--dialect", dialect)
    assert sha256(tmp_path / "new" / "out.gguf") == sha256(tmp_path / "old" / "out.gguf")


def test_both_layouts_give_the_same_projector(tmp_path):
    for layout, change in (("old", None), ("new", to_version_5)):
        checkpoint = variant("llama4-tiny", tmp_path / layout, change)
        result = run("convert", checkpoint, tmp_path / f"{layout}.gguf", "--mmproj",
                     tmp_path / f"{layout}-vision.gguf")
        assert result.returncode == 0, result.stderr
    assert sha256(tmp_path / "new-vision.gguf") == sha256(tmp_path / "old-vision.gguf")


@both
def test_rope_parameters_win_over_the_older_fields(tmp_path, dialect):
    file = converted(tmp_path, lambda config: config.update(
        rope_parameters={"rope_type": "default", "rope_theta": 777.0}))[dialect]
    assert file.values["llama.rope.freq_base"] == 777.0
    assert "rope_freqs.weight" not in file.tensors
