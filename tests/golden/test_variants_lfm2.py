"""LFM2 and LFM2-MoE checkpoints that differ from the golden ones."""
import numpy
import pytest

from converted import DIALECTS, Converted, assert_holds, random_bf16, variant
from sluice_cli import assert_fails, convert, refuse, run

both = pytest.mark.parametrize("dialect", DIALECTS)
EXPERT = "model.layers.{}.feed_forward.experts.{}.{}.weight"


def converted(case, folder, change_config=None, change_tensors=None):
    return Converted(variant(case, folder, change_config, change_tensors), folder)


# ---- The width of the feed-forward blocks -----------------------------------------------------------


def with_width(width):
    def change(tensors):
        for block in range(6):
            for leaf, shape in (("w1", (width, 64)), ("w2", (64, width)), ("w3", (width, 64))):
                tensors[f"model.layers.{block}.feed_forward.{leaf}.weight"] = random_bf16(*shape, seed=block)
    return change


@both
@pytest.mark.parametrize("fields, width", [
    # two thirds, times the multiplier, rounded up to a multiple
    ({"intermediate_size": 240, "block_auto_adjust_ff_dim": True, "block_multiple_of": 32}, 160),
    ({"intermediate_size": 250, "block_auto_adjust_ff_dim": True, "block_multiple_of": 1}, 166),
    ({"intermediate_size": 250, "block_auto_adjust_ff_dim": True, "block_multiple_of": 64}, 192),
    ({"intermediate_size": 240, "block_auto_adjust_ff_dim": True, "block_multiple_of": 8,
      "block_ffn_dim_multiplier": 1.3}, 208),
    ({"intermediate_size": 96, "block_auto_adjust_ff_dim": True, "block_multiple_of": 256}, 256),
    # block_ff_dim is the older name and wins
    ({"intermediate_size": 96, "block_ff_dim": 192, "block_auto_adjust_ff_dim": False}, 192),
    ({"intermediate_size": 96, "block_ff_dim": 240, "block_auto_adjust_ff_dim": True,
      "block_multiple_of": 32}, 160),
    # the fields of transformers' configuration class when config.json has none
    ({"intermediate_size": 96, "block_auto_adjust_ff_dim": None, "block_multiple_of": None,
      "block_ffn_dim_multiplier": None}, 256),
])
def test_feed_forward_length_is_the_width_of_the_tensors(tmp_path, dialect, fields, width):
    model = converted("lfm2-tiny", tmp_path, lambda config: config.update(fields), with_width(width))
    assert model[dialect].values["lfm2.feed_forward_length"] == width
    assert model[dialect].tensors["blk.0.ffn_gate.weight"].shape == (width, 64)


def test_tensors_of_the_raw_width_are_refused_where_it_should_be_adjusted(tmp_path):
    checkpoint = variant("lfm2-tiny", tmp_path, lambda config: config.update(block_auto_adjust_ff_dim=True))
    result = run("convert", checkpoint, tmp_path / "out.gguf")
    assert_fails(result, 3, "feed_forward.w1.weight", "expected [256, 64]", "got [160, 64]")


# ---- Which layers attend ----------------------------------------------------------------------------


@both
def test_layer_types_come_from_full_attn_idxs(tmp_path, dialect):
    # Ollama's converter knows only layer_types and would write 0 key/value heads for all layers.
    model = converted("lfm2-tiny", tmp_path, lambda config: config.pop("layer_types"))
    assert model.config["full_attn_idxs"] == [2, 4]
    assert model[dialect].values["lfm2.attention.head_count_kv"] == [0, 0, 2, 0, 2, 0]


@both
def test_all_layers_attend_where_no_field_says_otherwise(tmp_path, dialect):
    def attend(tensors):
        for block in (0, 1, 3, 5):
            for name in [name for name in tensors if name.startswith(f"model.layers.{block}.conv.")]:
                del tensors[name]
            for leaf in ("q_proj", "k_proj", "v_proj", "out_proj", "q_layernorm", "k_layernorm"):
                tensors[f"model.layers.{block}.self_attn.{leaf}.weight"] = tensors[
                    f"model.layers.2.self_attn.{leaf}.weight"]

    def forget(config):
        del config["layer_types"], config["full_attn_idxs"]

    model = converted("lfm2-tiny", tmp_path, forget, attend)
    assert model[dialect].values["lfm2.attention.head_count_kv"] == [2] * 6


@both
def test_layer_types_win_over_full_attn_idxs(tmp_path, dialect):
    model = converted("lfm2-tiny", tmp_path, lambda config: config.update(full_attn_idxs=[0]))
    assert model[dialect].values["lfm2.attention.head_count_kv"] == [0, 0, 2, 0, 2, 0]


@both
def test_unknown_layer_type_is_refused(tmp_path, dialect):
    checkpoint = variant("lfm2-tiny", tmp_path,
                         lambda config: config["layer_types"].__setitem__(0, "sliding_attention"))
    refuse(checkpoint, tmp_path, 4, "layer type 'sliding_attention'", arguments=("--dialect", dialect))


# ---- Output head, biases, names ---------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", ["lm_head.weight", "model.lm_head.weight"])
def test_output_head_of_its_own(tmp_path, dialect, name):
    model = converted("lfm2-tiny", tmp_path, lambda config: config.update(tie_word_embeddings=False),
                      lambda tensors: tensors.update({name: random_bf16(512, 64)}))
    # Ollama's converter keeps the name lm_head.weight, with which no loader takes the file.
    assert_holds(model[dialect].tensors["output.weight"], model.floats(name))
    assert "lm_head.weight" not in model[dialect].tensors


@both
def test_tied_output_head_by_the_older_field(tmp_path, dialect):
    def retie(config):
        del config["tie_word_embeddings"]
        config["tie_embedding"] = True

    assert "output.weight" not in converted("lfm2-tiny", tmp_path, retie)[dialect].tensors


def add_conv_biases(tensors):
    for block in (0, 1, 3, 5):
        for leaf, width in (("conv", 64), ("in_proj", 192), ("out_proj", 64)):
            tensors[f"model.layers.{block}.conv.{leaf}.bias"] = random_bf16(width, seed=block)


def test_convolution_with_biases(tmp_path):
    model = converted("lfm2-tiny", tmp_path, lambda config: config.update(conv_bias=True), add_conv_biases)
    for leaf in ("conv", "in_proj", "out_proj"):
        bias = model["ollama"].tensors[f"blk.3.shortconv.{leaf}.bias"]
        assert bias.type == "F32"
        assert_holds(bias, model.floats(f"model.layers.3.conv.{leaf}.bias"))
    assert "conv_bias is true, but Ollama does not add" in model.messages["ollama"]


@pytest.mark.parametrize("case", ["lfm2-tiny", "lfm2moe-tiny"])
def test_convolution_with_biases_is_refused_for_llama_cpp(tmp_path, case):
    checkpoint = variant(case, tmp_path, lambda config: config.update(conv_bias=True))
    refuse(checkpoint, tmp_path, 4, "conv_bias true: llama.cpp knows no biases of the convolution")


def test_convolution_lacks_its_biases(tmp_path):
    checkpoint = variant("lfm2-tiny", tmp_path, lambda config: config.update(conv_bias=True))
    result = run("convert", checkpoint, tmp_path / "out.gguf", "--dialect", "ollama")
    assert_fails(result, 3, "tensor 'model.layers.3.conv.in_proj.bias': a required tensor is missing")


@both
def test_biases_of_the_convolution_that_the_config_denies(tmp_path, dialect):
    checkpoint = variant("lfm2-tiny", tmp_path, change_tensors=add_conv_biases)
    result = run("convert", checkpoint, tmp_path / "out.gguf", "--dialect", dialect)
    assert_fails(result, 3, "tensor 'model.layers.0.conv.conv.bias': no rule of this architecture takes it")


@both
def test_class_name_in_capitals(tmp_path, dialect):
    model = converted("lfm2-tiny", tmp_path, lambda config: config.update(architectures=["LFM2ForCausalLM"]))
    assert model[dialect].values["general.architecture"] == "lfm2"


def test_head_dim_of_its_own_is_written_for_llama_cpp(tmp_path):
    with_it = converted("lfm2-tiny", tmp_path / "with", lambda config: config.update(head_dim=16))
    without = converted("lfm2-tiny", tmp_path / "without")
    assert with_it["llama.cpp"].values["lfm2.attention.key_length"] == 16
    assert "lfm2.attention.key_length" not in without["llama.cpp"].values


@both
def test_lfm2_vl_is_refused_by_name(tmp_path, dialect):
    checkpoint = variant("lfm2-tiny", tmp_path,
                         lambda config: config.update(architectures=["Lfm2VlForConditionalGeneration"]))
    refuse(checkpoint, tmp_path, 4, "LFM2-VL is not supported", "Lfm2VlForConditionalGeneration",
           arguments=("--dialect", dialect))


@both
def test_rope_base_defaults_to_that_of_transformers(tmp_path, dialect):
    model = converted("lfm2-tiny", tmp_path, lambda config: config.pop("rope_theta"))
    assert model[dialect].values["lfm2.rope.freq_base"] == 1000000.0


# No reader of this family looks for rope_freqs.weight: silence would lose the factors.
@both
def test_llama3_scaling_is_refused(tmp_path, dialect):
    checkpoint = variant("lfm2-tiny", tmp_path, lambda config: config.update(rope_scaling={"rope_type": "llama3"}))
    refuse(checkpoint, tmp_path, 4, "rope scaling of type 'llama3'", arguments=("--dialect", dialect))


# ---- LFM2-MoE ---------------------------------------------------------------------------------------


def test_moe_is_not_in_the_ollama_dialect(tmp_path):
    refuse(variant("lfm2moe-tiny", tmp_path), tmp_path, 4, "Lfm2MoeForCausalLM in the ollama dialect",
           "--dialect llama.cpp", arguments=("--dialect", "ollama"))


def test_moe_keys_are_the_fields_of_config_json(tmp_path):
    model = Converted.golden("lfm2moe-tiny", tmp_path)
    config = model.config
    heads = config["num_key_value_heads"]
    want = {
        "general.architecture": "lfm2moe",
        "lfm2moe.feed_forward_length": config["intermediate_size"],
        "lfm2moe.expert_feed_forward_length": config["moe_intermediate_size"],
        "lfm2moe.expert_count": config["num_experts"],
        "lfm2moe.expert_used_count": config["num_experts_per_tok"],
        "lfm2moe.leading_dense_block_count": config["num_dense_layers"],
        "lfm2moe.expert_gating_func": 2,
        "lfm2moe.attention.head_count_kv": [heads if kind == "full_attention" else 0
                                            for kind in config["layer_types"]],
        "lfm2moe.rope.freq_base": config["rope_parameters"]["rope_theta"],
    }
    assert {key: model["llama.cpp"].values.get(key) for key in want} == want


def test_moe_experts_are_stacked_in_the_order_of_numbers(tmp_path):
    def widen(tensors):
        for block in (2, 3, 4):
            feed_forward = f"model.layers.{block}.feed_forward."
            tensors[feed_forward + "gate.weight"] = random_bf16(12, 64, seed=block)
            tensors[feed_forward + "expert_bias"] = random_bf16(12, seed=block)
            for expert in range(8, 12):
                for leaf, shape in (("w1", (48, 64)), ("w2", (64, 48)), ("w3", (48, 64))):
                    tensors[EXPERT.format(block, expert, leaf)] = random_bf16(*shape, seed=100 * block + expert)

    model = converted("lfm2moe-tiny", tmp_path, lambda config: config.update(num_experts=12), widen)
    tensors = model["llama.cpp"].tensors
    for leaf, part in (("w1", "gate"), ("w2", "down"), ("w3", "up")):
        experts = [model.floats(EXPERT.format(3, expert, leaf)) for expert in range(12)]
        assert_holds(tensors[f"blk.3.ffn_{part}_exps.weight"], numpy.stack(experts))
    assert_holds(tensors["blk.3.ffn_gate_inp.weight"], model.floats("model.layers.3.feed_forward.gate.weight"))
    assert_holds(tensors["blk.3.exp_probs_b.bias"], model.floats("model.layers.3.feed_forward.expert_bias"))


def drop_expert_biases(tensors):
    for block in (2, 3, 4):
        del tensors[f"model.layers.{block}.feed_forward.expert_bias"]


def test_moe_without_expert_biases_has_zeros_which_llama_cpp_needs(tmp_path):
    model = converted("lfm2moe-tiny", tmp_path, lambda config: config.update(use_expert_bias=False),
                      drop_expert_biases)
    tensors = model["llama.cpp"].tensors
    biases = {name: tensor for name, tensor in tensors.items() if "exp_probs_b" in name}
    assert sorted(biases) == [f"blk.{block}.exp_probs_b.bias" for block in (2, 3, 4)]
    for bias in biases.values():
        assert bias.type == "F32"
        assert_holds(bias, numpy.zeros(8, numpy.float32))


def test_moe_lacks_its_expert_biases(tmp_path):
    checkpoint = variant("lfm2moe-tiny", tmp_path, change_tensors=drop_expert_biases)
    result = run("convert", checkpoint, tmp_path / "out.gguf")
    assert_fails(result, 3, "tensor 'model.layers.2.feed_forward.expert_bias': a required tensor is missing")


def test_moe_expert_biases_that_the_config_denies(tmp_path):
    checkpoint = variant("lfm2moe-tiny", tmp_path, lambda config: config.update(use_expert_bias=False))
    result = run("convert", checkpoint, tmp_path / "out.gguf")
    assert_fails(result, 3, "tensor 'model.layers.2.feed_forward.expert_bias': no rule of this architecture takes it")


def test_moe_missing_expert_is_refused(tmp_path):
    checkpoint = variant("lfm2moe-tiny", tmp_path,
                         change_tensors=lambda tensors: tensors.pop(EXPERT.format(2, 4, "w3")))
    refuse(checkpoint, tmp_path, 3, "model.layers.2.feed_forward.experts.{xid}.w3.weight", "expert 4 is missing")


def test_moe_by_default_is_for_llama_cpp(tmp_path):
    result = run("plan", variant("lfm2moe-tiny", tmp_path))
    assert "LFM2-MoE, llama.cpp dialect" in result.stdout
    assert "0 warnings" in convert(tmp_path / "lfm2moe-tiny", tmp_path / "out.gguf").stderr
