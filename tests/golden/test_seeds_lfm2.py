"""What the seed document says of LFM2, one test for each statement.

The expected values come from config.json and the source tensors. The document describes the ollama
dialect; where a statement also holds for llama.cpp, the test runs for both.
"""
import numpy
import pytest

from converted import DIALECTS, Converted, assert_renamed, variant

both = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture(scope="module")
def lfm2(tmp_path_factory):
    return Converted.golden("lfm2-tiny", tmp_path_factory.mktemp("lfm2"))


def renamed(lfm2, dialect, old, new, change=lambda values: values):
    assert_renamed(lfm2, dialect, f"model.layers.{{}}.{old}", f"blk.{{}}.{new}", change)


# ---- Tensor name mapping ----------------------------------------------------------------------------


@both
def test_embed_tokens_is_token_embd(lfm2, dialect):
    assert_renamed(lfm2, dialect, "model.embed_tokens.weight", "token_embd.weight")


def test_embedding_norm_is_output_norm(lfm2):
    assert_renamed(lfm2, "ollama", "model.embedding_norm.weight", "output_norm.weight")
    # llama.cpp has another name for it.
    assert_renamed(lfm2, "llama.cpp", "model.embedding_norm.weight", "token_embd_norm.weight")


@both
def test_layers_are_blk(lfm2, dialect):
    names = lfm2[dialect].tensors
    assert not [name for name in names if "layers" in name or name.startswith("model.")]
    blocks = {int(name.split(".")[1]) for name in names if name.startswith("blk.")}
    assert blocks == set(range(lfm2.config["num_hidden_layers"]))


@both
def test_operator_norm_is_attn_norm(lfm2, dialect):
    renamed(lfm2, dialect, "operator_norm.weight", "attn_norm.weight")


@both
@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_attention_projections_are_attn(lfm2, dialect, part):
    renamed(lfm2, dialect, f"self_attn.{part}_proj.weight", f"attn_{part}.weight")


@both
def test_attention_out_proj_is_attn_output(lfm2, dialect):
    renamed(lfm2, dialect, "self_attn.out_proj.weight", "attn_output.weight")


@both
@pytest.mark.parametrize("part", ["q", "k"])
def test_attention_layernorms_are_attn_norms(lfm2, dialect, part):
    renamed(lfm2, dialect, f"self_attn.{part}_layernorm.weight", f"attn_{part}_norm.weight")


@both
def test_conv_is_shortconv_conv(lfm2, dialect):
    renamed(lfm2, dialect, "conv.conv.weight", "shortconv.conv.weight", lambda values: values[:, 0, :])


@both
def test_conv_in_proj_is_shortconv_in_proj(lfm2, dialect):
    renamed(lfm2, dialect, "conv.in_proj.weight", "shortconv.in_proj.weight")


@both
def test_conv_out_proj_is_shortconv_out_proj(lfm2, dialect):
    renamed(lfm2, dialect, "conv.out_proj.weight", "shortconv.out_proj.weight")


@both
@pytest.mark.parametrize("old, new", [("w1", "ffn_gate"), ("w2", "ffn_down"), ("w3", "ffn_up")])
def test_w1_w2_w3_are_gate_down_up(lfm2, dialect, old, new):
    renamed(lfm2, dialect, f"feed_forward.{old}.weight", f"{new}.weight")


# ---- Hyperparameters --------------------------------------------------------------------------------


@both
def test_metadata_is_under_lfm2(lfm2, dialect):
    assert lfm2[dialect].values["general.architecture"] == "lfm2"
    assert {key.split(".")[0] for key in lfm2[dialect].values} == {"general", "tokenizer", "lfm2"}


@both
@pytest.mark.parametrize("key, field", [
    ("vocab_size", "vocab_size"),
    ("block_count", "num_hidden_layers"),
    ("embedding_length", "hidden_size"),
    ("context_length", "max_position_embeddings"),
    ("attention.head_count", "num_attention_heads"),
    ("rope.freq_base", "rope_theta"),
    ("shortconv.l_cache", "conv_L_cache"),
])
def test_key_is_the_field_of_config_json(lfm2, dialect, key, field):
    assert lfm2[dialect].values[f"lfm2.{key}"] == lfm2.config[field]


@both
def test_feed_forward_length_is_the_intermediate_size(lfm2, dialect):
    assert lfm2[dialect].values["lfm2.feed_forward_length"] == lfm2.config["intermediate_size"]


# The document's converter writes the raw field also where block_auto_adjust_ff_dim makes the blocks
# narrower, and then no loader takes the file. We write the width that ffn_gate has.
@both
def test_feed_forward_length_is_the_real_width_where_it_is_adjusted(tmp_path, dialect):
    checkpoint = variant("lfm2-tiny", tmp_path, lambda config: config.update(
        intermediate_size=240, block_auto_adjust_ff_dim=True, block_multiple_of=32))
    adjusted = Converted(checkpoint, tmp_path)
    width = len(adjusted.floats("model.layers.0.feed_forward.w1.weight"))
    assert width == 160
    assert adjusted[dialect].values["lfm2.feed_forward_length"] == width


@both
def test_head_count_kv_is_one_number_for_each_layer(lfm2, dialect):
    heads = lfm2.config["num_key_value_heads"]
    want = [heads if kind == "full_attention" else 0 for kind in lfm2.config["layer_types"]]
    assert 0 in want and heads in want
    assert lfm2[dialect].values["lfm2.attention.head_count_kv"] == want


@pytest.mark.parametrize("key", ["key_length", "value_length"])
def test_key_and_value_length_are_hidden_size_over_heads(lfm2, key):
    want = lfm2.config["hidden_size"] // lfm2.config["num_attention_heads"]
    assert lfm2["ollama"].values[f"lfm2.attention.{key}"] == want


@both
def test_layer_norm_rms_epsilon_is_norm_eps(lfm2, dialect):
    epsilon = lfm2[dialect].values["lfm2.attention.layer_norm_rms_epsilon"]
    assert numpy.float32(epsilon) == numpy.float32(lfm2.config["norm_eps"])


# ---- Special handling -------------------------------------------------------------------------------


def test_layer_types_become_an_array_of_uint32(lfm2):
    assert lfm2["ollama"].types["lfm2.attention.head_count_kv"] == "array of uint32"
    # llama.cpp's converter writes the same numbers signed.
    assert lfm2["llama.cpp"].types["lfm2.attention.head_count_kv"] == "array of int32"


@both
def test_layers_have_the_operator_that_layer_types_names(lfm2, dialect):
    names = lfm2[dialect].tensors
    for block, kind in enumerate(lfm2.config["layer_types"]):
        assert (f"blk.{block}.attn_q.weight" in names) is (kind == "full_attention")
        assert (f"blk.{block}.shortconv.conv.weight" in names) is (kind != "full_attention")


@both
def test_conv_weights_are_squeezed_to_two_dimensions(lfm2, dialect):
    for name, (block,) in lfm2.matches("model.layers.{}.conv.conv.weight"):
        channels, one, taps = lfm2.floats(name).shape
        assert one == 1
        assert lfm2[dialect].tensors[f"blk.{block}.shortconv.conv.weight"].shape == (channels, taps)
