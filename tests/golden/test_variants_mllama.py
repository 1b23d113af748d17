"""MLlama checkpoints that differ from the golden one: gate values, layers, names of transformers 5."""
import numpy
import pytest

from converted import Converted, bf16, variant
from sluice_cli import Gguf, convert, load_tensors, refuse, replace_tensors, sha256

# Below and above the threshold where implementations of tanh change their formula, and saturated.
GATES = [0.0, -0.0, 1e-30, 0.0009765625, -0.3, 0.62109375, 0.62890625, -1.0, 3.5, -8.0, 20.0, 50.0, -300.0]
POSITION = "vision_model.gated_positional_embedding.gate"
TEXT_GATE = "language_model.model.layers.1.cross_attn_attn_gate"
TANH_GATES = {
    "vision_model.pre_tile_positional_embedding.gate": "v.pre_tile_position_embd.gate",
    "vision_model.post_tile_positional_embedding.gate": "v.post_tile_position_embd.gate",
    "vision_model.global_transformer.layers.0.gate_attn": "v.global.blk.0.attn_gate",
    "vision_model.global_transformer.layers.1.gate_ffn": "v.global.blk.1.ffn_gate",
    POSITION: "v.tile_position_embd.gate",
}


@pytest.mark.parametrize("value", GATES)
def test_gates_of_any_size(tmp_path, value):
    gate = bf16(numpy.array([value]))
    checkpoint = variant("mllama-tiny", tmp_path, change_tensors=lambda tensors: tensors.update(
        {name: gate for name in [*TANH_GATES, TEXT_GATE]}))
    model = Converted(checkpoint, tmp_path)
    raw = model.floats(POSITION)[0]
    tensors = model["ollama"].tensors
    want = numpy.tanh(numpy.float64(raw))
    for name in TANH_GATES.values():
        assert tensors[name].type == "F32"
        assert abs(tensors[name].floats()[0] - want) <= 2 * numpy.spacing(numpy.float32(abs(want)))
    assert abs(tensors["v.position_embd.gate"].floats()[0] - (1 - want)) <= 2.0**-23
    assert tensors["blk.1.cross_attn_attn_gate"].floats()[0] == raw


def test_gates_are_f32_also_where_f16_is_asked_for(tmp_path):
    tensors = Converted.golden("mllama-tiny", tmp_path, "--outtype", "f16")["ollama"].tensors
    assert {tensors[name].type for name in TANH_GATES.values()} == {"F32"}


def test_number_of_tiles_gives_the_number_of_aspect_ratios(tmp_path):
    # Tiles of 1x1, 1x2, 2x1 and 1x3, 3x1, and one row for no image.
    ratios, tiles, positions, width = 5 + 1, 3, 5, 32

    def narrow(tensors):
        for side in ("pre", "post"):
            tensors[f"vision_model.{side}_tile_positional_embedding.embedding.weight"] = bf16(
                numpy.ones((ratios, tiles * width)))
        tensors["vision_model.gated_positional_embedding.tile_embedding.weight"] = bf16(
            numpy.ones((ratios, tiles * positions * width)))

    checkpoint = variant("mllama-tiny", tmp_path,
                         lambda config: config["vision_config"].update(max_num_tiles=tiles), narrow)
    file = Converted(checkpoint, tmp_path)["ollama"]
    assert file.tensors["v.tile_position_embd.weight"].shape == (ratios, tiles * positions * width)
    assert file.values["mllama.vision.max_num_tiles"] == tiles


def test_cross_attention_layer_that_does_not_exist_is_refused(tmp_path):
    checkpoint = variant("mllama-tiny", tmp_path,
                         lambda config: config["text_config"].update(cross_attention_layers=[1, 5]))
    refuse(checkpoint, tmp_path, 3, "cross_attention_layers names layer 5, which does not exist")


def test_projector_takes_the_last_and_the_intermediate_layers(tmp_path):
    def change_config(config):
        del config["vision_config"]["vision_output_dim"]
        config["vision_config"]["intermediate_layers_indices"] = [0, 1, 2]

    checkpoint = variant("mllama-tiny", tmp_path, change_config, lambda tensors: tensors.update(
        {"multi_modal_projector.weight": bf16(numpy.ones((64, 4 * 32)))}))
    assert Converted(checkpoint, tmp_path)["ollama"].tensors["mm.0.weight"].shape == (64, 4 * 32)


def renamed_as_transformers_5_saves(name):
    if name == "language_model.lm_head.weight":
        return "lm_head.weight"
    if name.startswith("language_model.model."):
        return "model.language_model." + name.removeprefix("language_model.model.")
    return "model." + name


@pytest.mark.parametrize("case", ["mllama-tiny", "llama4-tiny"])
def test_names_of_transformers_5_give_the_same_file(tmp_path, case):
    checkpoint = variant(case, tmp_path)
    convert(checkpoint, tmp_path / "hub.gguf", "--dialect", "ollama")
    tensors = load_tensors(checkpoint)
    replace_tensors(checkpoint, {renamed_as_transformers_5_saves(name): tensor for name, tensor in tensors.items()})
    convert(checkpoint, tmp_path / "new.gguf", "--dialect", "ollama")
    assert sha256(tmp_path / "new.gguf") == sha256(tmp_path / "hub.gguf")
    assert Gguf(tmp_path / "new.gguf").tensors
