"""What the seed document says of Llama 4, one test for each statement.

The expected values come from config.json and the source tensors. The document describes the ollama
dialect, whose one file holds text and vision; statements about the text also hold for llama.cpp.
"""
import numpy
import pytest

from converted import (DIALECTS, Converted, assert_holds, assert_renamed, llama3_factors, random_bf16,
                       variant)

both = pytest.mark.parametrize("dialect", DIALECTS)
TEXT_LAYER = "language_model.model.layers.{}."
VISION_LAYER = "vision_model.model.layers.{}."
PARTS = ["gate", "up", "down"]


@pytest.fixture(scope="module")
def llama4(tmp_path_factory):
    return Converted.golden("llama4-tiny", tmp_path_factory.mktemp("llama4"))


@pytest.fixture(scope="module")
def interleaved(tmp_path_factory):
    """The same with a mixture of experts in every second layer only, as Maverick has it."""
    def change_config(config):
        config["text_config"].update(interleave_moe_layer_step=2, moe_layers=[1, 3])

    def change_tensors(tensors):
        for block in (0, 2):
            prefix = TEXT_LAYER.format(block) + "feed_forward."
            for name in [name for name in tensors if name.startswith(prefix)]:
                del tensors[name]
            for part, shape in (("gate", (128, 64)), ("up", (128, 64)), ("down", (64, 128))):
                tensors[f"{prefix}{part}_proj.weight"] = random_bf16(*shape, seed=ord(part[0]) + block)

    folder = tmp_path_factory.mktemp("interleaved")
    return Converted(variant("llama4-tiny", folder, change_config, change_tensors), folder)


def value(model, key):
    return model["ollama"].values[f"llama4.{key}"]


# ---- Tensor name mapping ----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("old, new", [
    ("language_model.lm_head.weight", "output.weight"),
    ("language_model.model.embed_tokens.weight", "token_embd.weight"),
    ("language_model.model.norm.weight", "output_norm.weight"),
    (TEXT_LAYER + "input_layernorm.weight", "blk.{}.attn_norm.weight"),
    (TEXT_LAYER + "self_attn.q_proj.weight", "blk.{}.attn_q.weight"),
    (TEXT_LAYER + "self_attn.k_proj.weight", "blk.{}.attn_k.weight"),
    (TEXT_LAYER + "self_attn.v_proj.weight", "blk.{}.attn_v.weight"),
    (TEXT_LAYER + "self_attn.o_proj.weight", "blk.{}.attn_output.weight"),
    (TEXT_LAYER + "post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
])
def test_base_llama_names_are_inherited(llama4, dialect, old, new):
    assert_renamed(llama4, dialect, old, new)


@both
def test_language_model_is_stripped(llama4, dialect):
    assert not [name for name in llama4[dialect].tensors if "language_model" in name]


def test_vision_model_is_v(llama4):
    vision = [name for name in llama4.sources if name.startswith("vision_model.")]
    written = [name for name in llama4["ollama"].tensors if name.startswith("v.")]
    assert len(vision) == len(written)
    assert_renamed(llama4, "ollama", "vision_model.class_embedding", "v.class_embedding")


def test_multi_modal_projector_is_mm(llama4):
    assert_renamed(llama4, "ollama", "multi_modal_projector.linear_1.weight", "mm.linear_1.weight")


@both
@pytest.mark.parametrize("part", PARTS)
def test_feed_forward_projections_are_ffn(interleaved, dialect, part):
    assert_renamed(interleaved, dialect, TEXT_LAYER + f"feed_forward.{part}_proj.weight",
                   f"blk.{{}}.ffn_{part}.weight")


@both
@pytest.mark.parametrize("part", PARTS)
def test_shared_expert_projections_are_shexp(llama4, dialect, part):
    assert_renamed(llama4, dialect, TEXT_LAYER + f"feed_forward.shared_expert.{part}_proj.weight",
                   f"blk.{{}}.ffn_{part}_shexp.weight")


@both
def test_experts_down_proj_is_down_exps(llama4, dialect):
    assert_renamed(llama4, dialect, TEXT_LAYER + "feed_forward.experts.down_proj",
                   "blk.{}.ffn_down_exps.weight", lambda values: values.transpose(0, 2, 1))


@both
def test_experts_gate_up_proj_is_gate_up_exps_of_which_the_file_has_only_the_halves(llama4, dialect):
    tensors = llama4[dialect].tensors
    for block in range(llama4.text["num_hidden_layers"]):
        assert f"blk.{block}.ffn_gate_exps.weight" in tensors
        assert f"blk.{block}.ffn_up_exps.weight" in tensors
    assert not [name for name in tensors if "gate_up" in name]


@both
def test_router_is_gate_inp(llama4, dialect):
    assert_renamed(llama4, dialect, TEXT_LAYER + "feed_forward.router.weight",
                   "blk.{}.ffn_gate_inp.weight")


def test_patch_embedding_linear_is_patch_embedding(llama4):
    assert_renamed(llama4, "ollama", "vision_model.patch_embedding.linear.weight", "v.patch_embedding.weight")


# ---- Hyperparameters --------------------------------------------------------------------------------


def test_metadata_is_under_llama4(llama4):
    assert llama4["ollama"].values["general.architecture"] == "llama4"
    # The base is `llama.`, rewritten: nothing of it is left.
    prefixes = {key.split(".")[0] for key in llama4["ollama"].values}
    assert prefixes == {"general", "tokenizer", "llama4"}


@pytest.mark.parametrize("key, field", [
    ("vocab_size", "vocab_size"),
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.head_dim", "head_dim"),
    ("attention.key_length", "head_dim"),
    ("attention.value_length", "head_dim"),
    ("rope.freq_base", "rope_theta"),
])
def test_base_llama_parameters_are_inherited(llama4, key, field):
    assert value(llama4, key) == llama4.text[field]


def test_base_llama_rope_parameters_are_inherited(llama4):
    per_head = llama4.text["hidden_size"] // llama4.text["num_attention_heads"]
    assert value(llama4, "rope.dimension_count") == per_head
    epsilon = numpy.float32(llama4.text["rms_norm_eps"])
    assert numpy.float32(value(llama4, "attention.layer_norm_rms_epsilon")) == epsilon
    want = llama3_factors(llama4.text["rope_scaling"], llama4.text["rope_theta"], per_head)
    for dialect in DIALECTS:
        written = llama4[dialect].tensors["rope_freqs.weight"].floats()
        numpy.testing.assert_allclose(written, want, rtol=1e-6)


@both
def test_feed_forward_length_is_the_dense_intermediate_size(llama4, dialect):
    assert llama4[dialect].values["llama4.feed_forward_length"] == llama4.text["intermediate_size_mlp"]


@both
def test_expert_feed_forward_length_is_the_expert_intermediate_size(llama4, dialect):
    values = llama4[dialect].values
    assert values["llama4.expert_feed_forward_length"] == llama4.text["intermediate_size"]
    assert values["llama4.expert_feed_forward_length"] != values["llama4.feed_forward_length"]


@both
def test_expert_count_is_the_number_of_local_experts(llama4, dialect):
    assert llama4[dialect].values["llama4.expert_count"] == llama4.text["num_local_experts"]


@both
def test_expert_used_count_is_experts_per_token(llama4, dialect):
    assert llama4[dialect].values["llama4.expert_used_count"] == llama4.text["num_experts_per_tok"]


@both
def test_interleave_moe_layer_step(llama4, interleaved, dialect):
    assert llama4[dialect].values["llama4.interleave_moe_layer_step"] == 1
    assert interleaved[dialect].values["llama4.interleave_moe_layer_step"] == 2


@pytest.mark.parametrize("flag", [True, False])
def test_use_qk_norm(tmp_path, flag):
    checkpoint = variant("llama4-tiny", tmp_path, lambda config: config["text_config"].update(use_qk_norm=flag))
    assert value(Converted(checkpoint, tmp_path), "use_qk_norm") is flag


def test_attention_chunk_size(llama4):
    assert value(llama4, "attention.chunk_size") == llama4.text["attention_chunk_size"]


@pytest.mark.parametrize("key, field", [("block_count", "num_hidden_layers"),
                                        ("embedding_length", "hidden_size"),
                                        ("feed_forward_length", "intermediate_size")])
def test_vision_sizes(llama4, key, field):
    assert value(llama4, f"vision.{key}") == llama4.vision[field]


@pytest.mark.parametrize("key, field", [("attention.head_count", "num_attention_heads"),
                                        ("image_size", "image_size"), ("patch_size", "patch_size")])
def test_vision_heads_image_and_patch(llama4, key, field):
    assert value(llama4, f"vision.{key}") == llama4.vision[field]


@pytest.mark.parametrize("key, field", [("rope.freq_base", "rope_theta"), ("layer_norm_epsilon", "norm_eps")])
def test_vision_rope_base_and_epsilon(llama4, key, field):
    assert numpy.float32(value(llama4, f"vision.{key}")) == numpy.float32(llama4.vision[field])


def test_vision_pixel_shuffle_ratio(llama4):
    assert value(llama4, "vision.pixel_shuffle_ratio") == llama4.vision["pixel_shuffle_ratio"]


# ---- Special handling -------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("part, half", [("gate", 0), ("up", 1)])
def test_gate_up_is_halved_along_the_last_dimension_and_transposed(llama4, dialect, part, half):
    experts, hidden = llama4.text["num_local_experts"], llama4.text["hidden_size"]
    width = llama4.text["intermediate_size"]
    for name, (block,) in llama4.matches(TEXT_LAYER + "feed_forward.experts.gate_up_proj"):
        fused = llama4.floats(name)
        assert fused.shape == (experts, hidden, 2 * width)
        want = fused[:, :, half * width : (half + 1) * width].transpose(0, 2, 1)
        assert want.shape == (experts, width, hidden)
        assert_holds(llama4[dialect].tensors[f"blk.{block}.ffn_{part}_exps.weight"], want)


@both
def test_down_is_transposed(llama4, dialect):
    experts, hidden = llama4.text["num_local_experts"], llama4.text["hidden_size"]
    width = llama4.text["intermediate_size"]
    for name, (block,) in llama4.matches(TEXT_LAYER + "feed_forward.experts.down_proj"):
        assert llama4.floats(name).shape == (experts, width, hidden)
        assert llama4[dialect].tensors[f"blk.{block}.ffn_down_exps.weight"].shape == (experts, hidden, width)


@pytest.mark.parametrize("old, new", [
    ("vision_model.positional_embedding_vlm", "v.positional_embedding_vlm"),
    ("vision_model.layernorm_pre.weight", "v.layernorm_pre.weight"),
    ("vision_model.layernorm_pre.bias", "v.layernorm_pre.bias"),
    ("vision_model.layernorm_post.weight", "v.layernorm_post.weight"),
    ("vision_model.layernorm_post.bias", "v.layernorm_post.bias"),
    ("vision_model.vision_adapter.mlp.fc1.weight", "v.vision_adapter.mlp.fc1.weight"),
    ("vision_model.vision_adapter.mlp.fc2.weight", "v.vision_adapter.mlp.fc2.weight"),
    *[(f"{VISION_LAYER}{old}.{kind}", f"v.blk.{{}}.{new}.{kind}")
      for kind in ("weight", "bias")
      for old, new in [("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"),
                       ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"),
                       ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
                       ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")]],
])
def test_vision_tensors_pass_through(llama4, old, new):
    assert_renamed(llama4, "ollama", old, new)


@both
@pytest.mark.parametrize("part", ["q", "k"])
def test_text_q_and_k_are_not_permuted(llama4, dialect, part):
    for name, (block,) in llama4.matches(TEXT_LAYER + f"self_attn.{part}_proj.weight"):
        assert_holds(llama4[dialect].tensors[f"blk.{block}.attn_{part}.weight"], llama4.floats(name))


def test_text_and_vision_are_in_one_file(llama4):
    names = llama4["ollama"].tensors
    generated = {"rope_freqs.weight"}
    split_in_two = len(llama4.matches(TEXT_LAYER + "feed_forward.experts.gate_up_proj"))
    assert len(set(names) - generated) == len(llama4.sources) + split_in_two
    # llama.cpp reads them from two files, so its dialect leaves the vision part out.
    assert not [name for name in llama4["llama.cpp"].tensors if name.startswith(("v.", "mm."))]
