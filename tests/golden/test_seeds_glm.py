"""What the seed document says of GLM-4 MoE Lite, one test for each statement.

The expected values come from config.json and the source tensors. The document describes the ollama
dialect; where a statement also holds for llama.cpp, the test runs for both.
"""
import numpy
import pytest

from converted import DIALECTS, Converted, assert_holds, assert_renamed, bf16, variant

both = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture(scope="module")
def glm(tmp_path_factory):
    return Converted.golden("glm-tiny", tmp_path_factory.mktemp("glm"))


def renamed(glm, dialect, old, new):
    assert_renamed(glm, dialect, f"model.layers.{{}}.{old}", f"blk.{{}}.{new}",
                   layers=glm.config["num_hidden_layers"])


def value(glm, key):
    return glm["ollama"].values[f"glm4moelite.{key}"]


# ---- Tensor name mapping ----------------------------------------------------------------------------


@both
def test_lm_head_is_output(glm, dialect):
    assert_renamed(glm, dialect, "lm_head.weight", "output.weight")


@both
def test_embed_tokens_is_token_embd(glm, dialect):
    assert_renamed(glm, dialect, "model.embed_tokens.weight", "token_embd.weight")


@both
def test_norm_is_output_norm(glm, dialect):
    assert_renamed(glm, dialect, "model.norm.weight", "output_norm.weight")


def test_layers_are_blk(glm):
    names = glm["ollama"].tensors
    assert not [name for name in names if "layers" in name or name.startswith("model.")]
    blocks = {int(name.split(".")[1]) for name in names if name.startswith("blk.")}
    assert blocks == set(range(glm.config["num_hidden_layers"]))


@both
def test_kv_a_proj_with_mqa_is_attn_kv_a_mqa(glm, dialect):
    renamed(glm, dialect, "self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight")


@both
def test_kv_a_layernorm_is_attn_kv_a_norm(glm, dialect):
    renamed(glm, dialect, "self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight")


@both
def test_kv_b_proj_is_attn_kv_b_of_which_the_file_has_only_the_parts(glm, dialect):
    tensors = glm[dialect].tensors
    for block in range(glm.config["num_hidden_layers"]):
        assert f"blk.{block}.attn_k_b.weight" in tensors
        assert f"blk.{block}.attn_v_b.weight" in tensors
    assert not [name for name in tensors if "kv_b" in name]


@both
def test_q_a_proj_is_attn_q_a(glm, dialect):
    renamed(glm, dialect, "self_attn.q_a_proj.weight", "attn_q_a.weight")


@both
def test_q_a_layernorm_is_attn_q_a_norm(glm, dialect):
    renamed(glm, dialect, "self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight")


@both
def test_q_b_proj_is_attn_q_b(glm, dialect):
    renamed(glm, dialect, "self_attn.q_b_proj.weight", "attn_q_b.weight")


@both
def test_o_proj_is_attn_output(glm, dialect):
    renamed(glm, dialect, "self_attn.o_proj.weight", "attn_output.weight")


@both
@pytest.mark.parametrize("part", ["down", "gate", "up"])
def test_shared_experts_are_shexp(glm, dialect, part):
    renamed(glm, dialect, f"mlp.shared_experts.{part}_proj.weight", f"ffn_{part}_shexp.weight")


@both
def test_e_score_correction_bias_is_exp_probs_b(glm, dialect):
    renamed(glm, dialect, "mlp.gate.e_score_correction_bias", "exp_probs_b.bias")


@both
def test_mlp_gate_is_ffn_gate_inp(glm, dialect):
    renamed(glm, dialect, "mlp.gate.weight", "ffn_gate_inp.weight")


# ---- Hyperparameters --------------------------------------------------------------------------------


def test_metadata_is_under_glm4moelite(glm):
    assert glm["ollama"].values["general.architecture"] == "glm4moelite"
    prefixes = {key.split(".")[0] for key in glm["ollama"].values}
    assert prefixes == {"general", "tokenizer", "glm4moelite"}


def test_key_length_is_nope_plus_rope(glm):
    want = glm.config["qk_nope_head_dim"] + glm.config["qk_rope_head_dim"]
    assert value(glm, "attention.key_length") == want
    # llama.cpp reads it under the other name: its plain lengths are those of absorbed attention.
    assert glm["llama.cpp"].values["deepseek2.attention.key_length_mla"] == want


@both
def test_kv_lora_rank(glm, dialect):
    values = glm[dialect].values
    key = f"{values['general.architecture']}.attention.kv_lora_rank"
    assert values[key] == glm.config["kv_lora_rank"]


@both
def test_q_lora_rank(glm, dialect):
    values = glm[dialect].values
    key = f"{values['general.architecture']}.attention.q_lora_rank"
    assert values[key] == glm.config["q_lora_rank"]


def test_value_length_is_the_v_head_dimension(glm):
    assert value(glm, "attention.value_length") == glm.config["v_head_dim"]
    assert glm["llama.cpp"].values["deepseek2.attention.value_length_mla"] == glm.config["v_head_dim"]


def test_key_length_mla_is_kv_lora_rank_plus_rope(glm):
    want = glm.config["kv_lora_rank"] + glm.config["qk_rope_head_dim"]
    assert value(glm, "attention.key_length_mla") == want
    assert glm["llama.cpp"].values["deepseek2.attention.key_length"] == want


def test_value_length_mla_is_kv_lora_rank(glm):
    assert value(glm, "attention.value_length_mla") == glm.config["kv_lora_rank"]
    assert glm["llama.cpp"].values["deepseek2.attention.value_length"] == glm.config["kv_lora_rank"]


@both
def test_expert_gating_func_is_2_sigmoid(glm, dialect):
    values = glm[dialect].values
    assert values[f"{values['general.architecture']}.expert_gating_func"] == 2


@both
def test_rope_dimension_count_is_qk_rope_head_dim(glm, dialect):
    values = glm[dialect].values
    key = f"{values['general.architecture']}.rope.dimension_count"
    assert values[key] == glm.config["qk_rope_head_dim"]


def test_rope_freq_base_defaults_to_1000000(tmp_path):
    silent = Converted(variant("glm-tiny", tmp_path, lambda config: config.pop("rope_theta")), tmp_path)
    assert value(silent, "rope.freq_base") == 1000000.0
    assert "rope_theta is not given" in silent.messages["ollama"]


# The default is only a default: Ollama's converter takes it also where rope_parameters has a base.
@pytest.mark.parametrize("fields", [{"rope_theta": 50000.0},
                                    {"rope_theta": None, "rope_parameters": {"rope_theta": 50000.0}}])
def test_rope_freq_base_is_rope_theta(tmp_path, fields):
    given = Converted(variant("glm-tiny", tmp_path, lambda config: config.update(fields)), tmp_path)
    assert value(given, "rope.freq_base") == 50000.0
    assert "rope_theta" not in given.messages["ollama"]


# ---- MLA: splitting kv_b ----------------------------------------------------------------------------


def split(config, kv_b):
    """([n_head, kv_lora, nope], [n_head, v_head, kv_lora]) of [n_head * (nope + v_head), kv_lora]."""
    heads, nope, rank = (config[key] for key in ("num_attention_heads", "qk_nope_head_dim", "kv_lora_rank"))
    by_head = kv_b.reshape(heads, nope + config["v_head_dim"], rank)
    return by_head[:, :nope, :].transpose(0, 2, 1), by_head[:, nope:, :]


def kv_b_of(glm):
    return [(numbers[0], glm.floats(name))
            for name, numbers in glm.matches("model.layers.{}.self_attn.kv_b_proj.weight")
            if numbers[0] < glm.config["num_hidden_layers"]]


@both
def test_kv_b_is_split_into_k_b_and_v_b(glm, dialect):
    config = glm.config
    for block, _ in kv_b_of(glm):
        k_b = glm[dialect].tensors[f"blk.{block}.attn_k_b.weight"]
        v_b = glm[dialect].tensors[f"blk.{block}.attn_v_b.weight"]
        assert k_b.shape == (config["num_attention_heads"], config["kv_lora_rank"], config["qk_nope_head_dim"])
        assert v_b.shape == (config["num_attention_heads"], config["v_head_dim"], config["kv_lora_rank"])


@both
def test_k_b_is_the_first_nope_rows_of_each_head_transposed(glm, dialect):
    for block, kv_b in kv_b_of(glm):
        assert_holds(glm[dialect].tensors[f"blk.{block}.attn_k_b.weight"], split(glm.config, kv_b)[0])


@both
def test_v_b_is_the_remaining_rows_of_each_head_in_their_layout(glm, dialect):
    for block, kv_b in kv_b_of(glm):
        assert_holds(glm[dialect].tensors[f"blk.{block}.attn_v_b.weight"], split(glm.config, kv_b)[1])


@both
def test_layout_is_detected_by_the_dimension_that_is_kv_lora_rank(glm, tmp_path, dialect):
    def transpose(tensors):
        for block in range(4):
            name = f"model.layers.{block}.self_attn.kv_b_proj.weight"
            tensors[name] = bf16(glm.floats(name).T)

    transposed = Converted(variant("glm-tiny", tmp_path, change_tensors=transpose), tmp_path)[dialect]
    for block, _ in kv_b_of(glm):
        for part in (f"blk.{block}.attn_k_b.weight", f"blk.{block}.attn_v_b.weight"):
            assert transposed.tensors[part].shape == glm[dialect].tensors[part].shape
            assert transposed.tensors[part].raw == glm[dialect].tensors[part].raw


# ---- Experts, multi-token prediction, tokenizer -----------------------------------------------------


@both
@pytest.mark.parametrize("part", ["gate", "up", "down"])
def test_experts_are_merged_into_one_tensor(glm, dialect, part):
    for block in range(glm.config["first_k_dense_replace"], glm.config["num_hidden_layers"]):
        experts = [glm.floats(f"model.layers.{block}.mlp.experts.{expert}.{part}_proj.weight")
                   for expert in range(glm.config["n_routed_experts"])]
        assert_holds(glm[dialect].tensors[f"blk.{block}.ffn_{part}_exps.weight"], numpy.stack(experts))


def test_layers_beyond_num_hidden_layers_are_left_out(glm):
    layers = glm.config["num_hidden_layers"]
    beyond = [name for name in glm.sources if name.startswith(f"model.layers.{layers}.")]
    assert beyond
    assert value(glm, "block_count") == layers
    assert not [name for name in glm["ollama"].tensors if name.startswith(f"blk.{layers}.")]
    assert f"{len(beyond)} tensors left out: multi-token-prediction" in glm.messages["ollama"]
    # llama.cpp knows these layers, so its dialect keeps them.
    assert f"blk.{layers}.nextn.eh_proj.weight" in glm["llama.cpp"].tensors


@both
def test_pre_tokenizer_is_glm4(glm, dialect):
    assert glm[dialect].values["tokenizer.ggml.pre"] == "glm4"
