"""What the seed document says of MLlama, one test for each statement.

The expected values come from config.json and the source tensors. Only the ollama dialect knows the
family.
"""
import numpy
import pytest

from converted import Converted, assert_renamed, interleaved, llama3_factors
from sluice_cli import GOLDEN, assert_fails, run

TEXT_LAYER = "language_model.model.layers.{}."
LOCAL_LAYER = "vision_model.transformer.layers.{}."
GLOBAL_LAYER = "vision_model.global_transformer.layers.{}."
ENCODERS = [(LOCAL_LAYER, "v.blk.{}."), (GLOBAL_LAYER, "v.global.blk.{}.")]


@pytest.fixture(scope="module")
def mllama(tmp_path_factory):
    return Converted.golden("mllama-tiny", tmp_path_factory.mktemp("mllama"))


def renamed(mllama, old, new, change=lambda values: values):
    assert_renamed(mllama, "ollama", old, new, change)


def value(mllama, key):
    return mllama["ollama"].values[f"mllama.{key}"]


def assert_tanh(mllama, old, new):
    """Every gate `old` is in the file as `new`: tanh, within 2 units in the last place."""
    found = mllama.matches(old)
    assert found, old
    for name, numbers in found:
        want = numpy.tanh(mllama.floats(name).astype(numpy.float64)).astype(numpy.float32)
        written = mllama["ollama"].tensors[new.format(*numbers)].floats()
        assert written.shape == want.shape == (1,)
        assert abs(written[0] - want[0]) <= 2 * numpy.spacing(abs(want[0]))


# ---- Tensor name mapping ----------------------------------------------------------------------------


@pytest.mark.parametrize("old, new", [
    ("language_model.lm_head.weight", "output.weight"),
    ("language_model.model.embed_tokens.weight", "token_embd.weight"),
    ("language_model.model.norm.weight", "output_norm.weight"),
    (TEXT_LAYER + "input_layernorm.weight", "blk.{}.attn_norm.weight"),
    (TEXT_LAYER + "self_attn.v_proj.weight", "blk.{}.attn_v.weight"),
    (TEXT_LAYER + "self_attn.o_proj.weight", "blk.{}.attn_output.weight"),
    (TEXT_LAYER + "mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"),
    (TEXT_LAYER + "mlp.down_proj.weight", "blk.{}.ffn_down.weight"),
    (TEXT_LAYER + "mlp.up_proj.weight", "blk.{}.ffn_up.weight"),
    (TEXT_LAYER + "post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
])
def test_base_llama_names_are_inherited(mllama, old, new):
    renamed(mllama, old, new)


def test_language_model_is_stripped(mllama):
    assert not [name for name in mllama["ollama"].tensors if "language_model" in name]


def test_gate_attn_is_attn_gate(mllama):
    assert_tanh(mllama, GLOBAL_LAYER + "gate_attn", "v.global.blk.{}.attn_gate")


def test_gate_ffn_is_ffn_gate(mllama):
    assert_tanh(mllama, GLOBAL_LAYER + "gate_ffn", "v.global.blk.{}.ffn_gate")


@pytest.mark.parametrize("leaf", ["v_proj", "o_proj", "q_norm", "k_norm"])
def test_cross_attn_is_written_with_a_low_line(mllama, leaf):
    renamed(mllama, TEXT_LAYER + f"cross_attn.{leaf}.weight", f"blk.{{}}.cross_attn_{leaf}.weight")


def test_vision_model_is_v(mllama):
    gate_in_two = 1
    vision = [name for name in mllama.sources if name.startswith("vision_model.")]
    written = [name for name in mllama["ollama"].tensors if name.startswith("v.")]
    assert len(written) == len(vision) + gate_in_two


def test_class_embedding_is_class_embd(mllama):
    renamed(mllama, "vision_model.class_embedding", "v.class_embd")


def test_patch_embedding_is_patch_embd(mllama):
    renamed(mllama, "vision_model.patch_embedding.weight", "v.patch_embd.weight")


def test_tile_embedding_is_tile_position_embd(mllama):
    renamed(mllama, "vision_model.gated_positional_embedding.tile_embedding.weight",
            "v.tile_position_embd.weight")


def test_gated_positional_embedding_is_position_embd(mllama):
    renamed(mllama, "vision_model.gated_positional_embedding.embedding", "v.position_embd.weight")


@pytest.mark.parametrize("side", ["pre", "post"])
def test_tile_positional_embeddings_are_tile_position_embd(mllama, side):
    # The document's list leaves the level `embedding` of the name out: it goes, too.
    renamed(mllama, f"vision_model.{side}_tile_positional_embedding.embedding.weight",
            f"v.{side}_tile_position_embd.weight")


def test_global_transformer_layers_are_global_blk(mllama):
    blocks = {name.split(".")[3] for name in mllama["ollama"].tensors if name.startswith("v.global.blk.")}
    assert blocks == {str(block) for block in range(mllama.vision["num_global_layers"])}


def test_transformer_layers_are_blk(mllama):
    blocks = {name.split(".")[2] for name in mllama["ollama"].tensors if name.startswith("v.blk.")}
    assert blocks == {str(block) for block in range(mllama.vision["num_hidden_layers"])}


@pytest.mark.parametrize("old, new", ENCODERS)
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_fc1_is_ffn_up(mllama, old, new, kind):
    renamed(mllama, f"{old}mlp.fc1.{kind}", f"{new}ffn_up.{kind}")


@pytest.mark.parametrize("old, new", ENCODERS)
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_fc2_is_ffn_down(mllama, old, new, kind):
    renamed(mllama, f"{old}mlp.fc2.{kind}", f"{new}ffn_down.{kind}")


@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_multi_modal_projector_is_mm_0(mllama, kind):
    renamed(mllama, f"multi_modal_projector.{kind}", f"mm.0.{kind}")


# ---- Hyperparameters --------------------------------------------------------------------------------


def test_metadata_is_under_mllama(mllama):
    assert mllama["ollama"].values["general.architecture"] == "mllama"
    prefixes = {key.split(".")[0] for key in mllama["ollama"].values}
    assert prefixes == {"general", "tokenizer", "mllama"}


@pytest.mark.parametrize("key, field", [
    ("vocab_size", "vocab_size"),
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("rope.freq_base", "rope_theta"),
])
def test_text_parameters_are_inherited_from_llama(mllama, key, field):
    assert value(mllama, key) == mllama.text[field]


def test_rope_factors_are_inherited_from_llama(mllama):
    per_head = mllama.text["hidden_size"] // mllama.text["num_attention_heads"]
    assert value(mllama, "rope.dimension_count") == per_head
    want = llama3_factors(mllama.text["rope_scaling"], mllama.text["rope_theta"], per_head)
    written = mllama["ollama"].tensors["rope_freqs.weight"].floats()
    numpy.testing.assert_allclose(written, want, rtol=1e-6)


def test_cross_attention_layers_are_listed(mllama):
    assert value(mllama, "attention.cross_attention_layers") == mllama.text["cross_attention_layers"]


def test_vision_block_count_counts_local_layers(mllama):
    assert value(mllama, "vision.block_count") == mllama.vision["num_hidden_layers"]


def test_vision_global_block_count(mllama):
    assert value(mllama, "vision.global.block_count") == mllama.vision["num_global_layers"]


def test_vision_intermediate_layers_indices(mllama):
    indices = mllama.vision["intermediate_layers_indices"]
    assert value(mllama, "vision.intermediate_layers_indices") == indices


@pytest.mark.parametrize("key, field", [("embedding_length", "hidden_size"),
                                        ("feed_forward_length", "intermediate_size")])
def test_vision_widths(mllama, key, field):
    assert value(mllama, f"vision.{key}") == mllama.vision[field]


def test_vision_heads_and_epsilon(mllama):
    assert value(mllama, "vision.attention.head_count") == mllama.vision["attention_heads"]
    epsilon = value(mllama, "vision.attention.layer_norm_epsilon")
    assert numpy.float32(epsilon) == numpy.float32(mllama.vision["norm_eps"])


@pytest.mark.parametrize("field", ["image_size", "patch_size", "max_num_tiles", "num_channels"])
def test_vision_image_fields(mllama, field):
    assert value(mllama, f"vision.{field}") == mllama.vision[field]


# ---- Special handling -------------------------------------------------------------------------------


# The document says it of all gates; the converter it describes does it to the vision gates alone.
@pytest.mark.parametrize("old, new", [
    (GLOBAL_LAYER + "gate_attn", "v.global.blk.{}.attn_gate"),
    (GLOBAL_LAYER + "gate_ffn", "v.global.blk.{}.ffn_gate"),
    ("vision_model.pre_tile_positional_embedding.gate", "v.pre_tile_position_embd.gate"),
    ("vision_model.post_tile_positional_embedding.gate", "v.post_tile_position_embd.gate"),
])
def test_vision_gates_go_through_tanh(mllama, old, new):
    assert_tanh(mllama, old, new)


@pytest.mark.parametrize("leaf", ["cross_attn_attn_gate", "cross_attn_mlp_gate"])
def test_text_gates_stay_as_they_are(mllama, leaf):
    renamed(mllama, TEXT_LAYER + leaf, f"blk.{{}}.{leaf}")


def test_position_embd_gate_is_1_minus_tanh(mllama):
    raw = mllama.floats("vision_model.gated_positional_embedding.gate").astype(numpy.float64)
    written = mllama["ollama"].tensors["v.position_embd.gate"].floats()
    numpy.testing.assert_allclose(written, 1 - numpy.tanh(raw), rtol=0, atol=2.0**-23)


def test_position_embd_gate_is_also_the_tile_gate_with_plain_tanh(mllama):
    assert_tanh(mllama, "vision_model.gated_positional_embedding.gate", "v.tile_position_embd.gate")


@pytest.mark.parametrize("old, new", ENCODERS)
@pytest.mark.parametrize("part", ["q", "k"])
def test_vision_q_and_k_are_permuted_by_the_vision_heads(mllama, old, new, part):
    renamed(mllama, f"{old}self_attn.{part}_proj.weight", f"{new}attn_{part}.weight",
            interleaved(mllama.vision["attention_heads"]))


@pytest.mark.parametrize("old, new", ENCODERS)
@pytest.mark.parametrize("part, leaf", [("v", "attn_v"), ("o", "attn_output")])
def test_vision_v_and_o_are_not_permuted(mllama, old, new, part, leaf):
    renamed(mllama, f"{old}self_attn.{part}_proj.weight", f"{new}{leaf}.weight")


@pytest.mark.parametrize("part, heads", [("q", "num_attention_heads"), ("k", "num_key_value_heads")])
def test_text_q_and_k_are_permuted_by_the_text_heads(mllama, part, heads):
    permuted = interleaved(mllama.text[heads])
    renamed(mllama, TEXT_LAYER + f"self_attn.{part}_proj.weight", f"blk.{{}}.attn_{part}.weight", permuted)
    renamed(mllama, TEXT_LAYER + f"cross_attn.{part}_proj.weight", f"blk.{{}}.cross_attn_{part}_proj.weight",
            permuted)


def test_cross_attention_layers_have_no_self_attention(mllama):
    names = mllama["ollama"].tensors
    for block in range(mllama.text["num_hidden_layers"]):
        is_cross = block in mllama.text["cross_attention_layers"]
        assert (f"blk.{block}.cross_attn_q_proj.weight" in names) is is_cross
        assert (f"blk.{block}.attn_q.weight" in names) is not is_cross


def test_text_and_vision_are_in_one_file(mllama):
    generated, gate_in_two = 1, 1
    assert len(mllama["ollama"].tensors) == len(mllama.sources) + gate_in_two + generated


def test_llama_cpp_does_not_know_the_family(tmp_path):
    result = run("convert", GOLDEN / "checkpoints" / "mllama-tiny", tmp_path / "out.gguf",
                 "--dialect", "llama.cpp")
    assert_fails(result, 4, "MllamaForConditionalGeneration in the llama.cpp dialect", "--dialect ollama")
