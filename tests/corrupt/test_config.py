"""A config.json that lacks something, has something of the wrong type, or counts absurdly."""
import json

import numpy
import pytest
from gguf import GGUFReader

from sluice_cli import (assert_fails, assert_nothing_written, convert, copy_checkpoint, edit_json, load_tensors,
                        refuse, replace_tensors, run)

# The fields that a family cannot do without and that have no default in transformers.
REQUIRED = {
    "llama-tiny": ["hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings",
                   "num_attention_heads", "intermediate_size"],
    "glm-tiny": ["hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads", "intermediate_size",
                 "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "n_routed_experts",
                 "num_experts_per_tok", "moe_intermediate_size"],
    "lfm2-tiny": ["hidden_size", "num_hidden_layers", "intermediate_size"],
    "lfm2moe-tiny": ["num_experts", "moe_intermediate_size"],
    "llama4-tiny": ["text_config.hidden_size", "text_config.num_local_experts",
                    "text_config.intermediate_size", "vision_config.hidden_size",
                    "vision_config.image_size", "vision_config.patch_size",
                    "vision_config.vision_output_dim"],
    "mllama-tiny": ["text_config.num_hidden_layers", "vision_config.num_global_layers",
                    "vision_config.max_num_tiles", "vision_config.image_size"],
}
REQUIRED_ROWS = [(case, field) for case, fields in REQUIRED.items() for field in fields]


def change_field(checkpoint, dotted, change):
    *sections, name = dotted.split(".")

    def apply(config):
        for section in sections:
            config = config[section]
        change(config, name)

    edit_json(checkpoint / "config.json", apply)


def set_field(checkpoint, dotted, value):
    change_field(checkpoint, dotted, lambda section, name: section.update({name: value}))


@pytest.fixture
def llama(tmp_path):
    return copy_checkpoint("llama-tiny", tmp_path)


@pytest.fixture
def glm(tmp_path):
    return copy_checkpoint("glm-tiny", tmp_path)


# ---- Missing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case, field", REQUIRED_ROWS)
def test_required_field_missing(case, field, tmp_path):
    checkpoint = copy_checkpoint(case, tmp_path)
    change_field(checkpoint, field, lambda section, name: section.pop(name))
    name = field.removeprefix("text_config.")
    refuse(checkpoint, tmp_path, 3, checkpoint / "config.json", f"'{name}'", "is missing")


def test_required_field_null(llama, tmp_path):
    set_field(llama, "hidden_size", None)
    refuse(llama, tmp_path, 3, llama / "config.json", "field 'hidden_size' or 'n_embd' is missing")


def test_all_missing_and_unusable_fields_are_named_at_once(glm, tmp_path):
    change_field(glm, "hidden_size", lambda config, name: config.pop(name))
    change_field(glm, "kv_lora_rank", lambda config, name: config.pop(name))
    set_field(glm, "n_routed_experts", "eight")
    result = run("convert", glm, tmp_path / "out.gguf")
    assert_fails(result, 3, "'hidden_size'", "'kv_lora_rank'", "'n_routed_experts'")
    assert len(result.stderr.strip().split("\n")) == 3
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("value", [None, [], "LlamaForCausalLM", {}, [7], [None]])
def test_architectures_names_no_class(llama, tmp_path, value):
    set_field(llama, "architectures", value)
    refuse(llama, tmp_path, 3, llama / "config.json", "architectures", "LlamaForCausalLM")


# ---- Wrong types --------------------------------------------------------------------------------


@pytest.mark.parametrize("field, value, expected, actual", [
    ("hidden_size", "64", "an integer from 1", "a string"),
    ("hidden_size", 64.5, "an integer from 1", "a fraction"),
    ("hidden_size", [64], "an integer from 1", "an array"),
    ("hidden_size", {"size": 64}, "an integer from 1", "an object"),
    ("hidden_size", True, "an integer from 1", "a boolean"),
    ("hidden_size", 0, "an integer from 1", "0"),
    ("hidden_size", -64, "an integer from 1", "-64"),
    ("num_key_value_heads", "two", "an integer from 1", "a string"),
    ("rms_norm_eps", "1e-6", "a number", "a string"),
    ("rms_norm_eps", 1e300, "a number that fits", "1e"),
    ("rope_theta", [500000.0], "a number", "an array"),
    ("tie_word_embeddings", "false", "true or false", "a string"),
    ("tie_word_embeddings", 0, "true or false", "an integer"),
    ("hidden_act", 7, "a string", "an integer"),
    ("hidden_size", "x" + "\N{SNOWMAN}" * 30, "an integer from 1", "a string (\"x" + "\N{SNOWMAN}" * 19 + "...)"),
])
def test_field_of_the_wrong_type(llama, tmp_path, field, value, expected, actual):
    set_field(llama, field, value)
    refuse(llama, tmp_path, 3, llama / "config.json", f"field '{field}' is unusable", f"expected {expected}",
           f"got {actual}" if isinstance(value, (str, list, dict)) else actual)


@pytest.mark.parametrize("case, field, value, expected", [
    ("lfm2-tiny", "layer_types", "conv", "a list of strings"),
    ("lfm2-tiny", "layer_types", ["conv", 1], "a list of strings"),
    ("mllama-tiny", "text_config.cross_attention_layers", 3, "a list of integers"),
    ("mllama-tiny", "text_config.cross_attention_layers", [1.5], "a list of integers"),
])
def test_list_of_the_wrong_type(case, field, value, expected, tmp_path):
    checkpoint = copy_checkpoint(case, tmp_path)
    set_field(checkpoint, field, value)
    refuse(checkpoint, tmp_path, 3, f"field '{field.split('.')[-1]}' is unusable", f"expected {expected}")


@pytest.mark.parametrize("value", [[1e300, 0.5, 0.5], [0.5, -1e39, 0.5], [0.5, "0.5"], [True], 0.5])
def test_list_of_numbers_that_binary32_cannot_hold(value, tmp_path):
    checkpoint = copy_checkpoint("llama4-tiny", tmp_path)
    edit_json(checkpoint / "preprocessor_config.json", lambda config: config.update(image_mean=value))
    refuse(checkpoint, tmp_path, 3, "field 'image_mean' is unusable", "a list of numbers that fit")


@pytest.mark.parametrize("value", [-1, 0, 1e30])
def test_width_that_no_multiplier_gives(value, tmp_path):
    checkpoint = copy_checkpoint("lfm2-tiny", tmp_path)
    edit_json(checkpoint / "config.json", lambda config: config.update(
        block_auto_adjust_ff_dim=True, block_ffn_dim_multiplier=value))
    refuse(checkpoint, tmp_path, 3, "block_ffn_dim_multiplier is out of range")


@pytest.mark.parametrize("value", ["a string", 7, [1]])
def test_nested_config_of_the_wrong_type(value, tmp_path):
    checkpoint = copy_checkpoint("llama4-tiny", tmp_path)
    set_field(checkpoint, "text_config", value)
    result = run("convert", checkpoint, tmp_path / "out.gguf")
    assert_fails(result, 3, checkpoint / "config.json", "'hidden_size'")


@pytest.mark.parametrize("case, field", [
    ("llama-tiny", "rope_scaling"), ("llama-tiny-v5", "rope_parameters"), ("glm-tiny", "rope_scaling"),
    ("lfm2-tiny", "rope_scaling"), ("lfm2moe-tiny", "rope_parameters"),
    ("llama4-tiny", "text_config.rope_scaling"), ("mllama-tiny", "text_config.rope_scaling"),
])
@pytest.mark.parametrize("value, actual", [("x", "a string"), (8.0, "8.0"), ([], "an array"), (True, "a boolean")])
def test_rope_scaling_is_no_object(case, field, value, actual, tmp_path):
    checkpoint = copy_checkpoint(case, tmp_path)
    set_field(checkpoint, field, value)
    refuse(checkpoint, tmp_path, 3, checkpoint / "config.json",
           f"field '{field.split('.')[-1]}' is unusable", "expected an object", actual)


def test_rope_scaling_may_be_null(llama, tmp_path):
    set_field(llama, "rope_scaling", None)
    convert(llama, tmp_path / "out.gguf")


# ---- Numbers that computed values cannot bear ---------------------------------------------------


@pytest.mark.parametrize("case, field", [
    ("llama-tiny", "rope_theta"), ("llama-tiny", "rms_norm_eps"), ("llama-tiny", "rope_scaling.factor"),
    ("llama-tiny", "rope_scaling.low_freq_factor"), ("llama-tiny", "rope_scaling.high_freq_factor"),
    ("llama-tiny-v5", "rope_parameters.rope_theta"), ("glm-tiny", "rope_theta"), ("lfm2-tiny", "norm_eps"),
    ("llama4-tiny", "text_config.rope_theta"), ("llama4-tiny", "vision_config.norm_eps"),
    ("llama4-tiny", "vision_config.rope_theta"), ("mllama-tiny", "vision_config.norm_eps"),
])
@pytest.mark.parametrize("value", ["0", "0.0", "-1.5", "1e-60", "1e60"])
def test_number_that_must_be_above_0(case, field, value, tmp_path):
    checkpoint = copy_checkpoint(case, tmp_path)
    set_field(checkpoint, field, "THE VALUE")
    config = checkpoint / "config.json"
    config.write_text(config.read_text().replace('"THE VALUE"', value))
    refuse(checkpoint, tmp_path, 3, config, f"field '{field.removeprefix('text_config.')}' is unusable",
           "expected a number", value.replace("e", "e+").replace("+-", "-") if "e" in value else value)


@pytest.mark.parametrize("case", ["llama-tiny", "llama4-tiny", "mllama-tiny"])
def test_rope_factors_are_finite_where_both_boundaries_meet_a_wavelength(case, tmp_path):
    # A wavelength of 2 pi, that of the first frequency, is both boundaries.
    checkpoint = copy_checkpoint(case, tmp_path)
    both = float(numpy.float32(1024) / numpy.float32(2 * numpy.pi))

    def change(config):
        config.get("text_config", config)["rope_scaling"].update(low_freq_factor=both, high_freq_factor=both)

    edit_json(checkpoint / "config.json", change)
    convert(checkpoint, tmp_path / "out.gguf")
    factors = [tensor for tensor in GGUFReader(tmp_path / "out.gguf").tensors if tensor.name == "rope_freqs.weight"]
    assert numpy.isfinite(factors[0].data).all()


# ---- Not JSON -----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{", b"hidden_size: 64", b'{"hidden_size": 64,}', b'{"a": NaN}',
                                     b"\xff\xfe{}", b"\x00", b'{"a":' * 5000])
def test_config_not_json(llama, tmp_path, content):
    (llama / "config.json").write_bytes(content)
    refuse(llama, tmp_path, 3, llama / "config.json", "not valid JSON")


@pytest.mark.parametrize("content", ["[]", "7", '"text"', "null"])
def test_config_no_object(llama, tmp_path, content):
    (llama / "config.json").write_text(content)
    refuse(llama, tmp_path, 3, llama / "config.json")


def test_config_is_a_folder(llama, tmp_path):
    (llama / "config.json").unlink()
    (llama / "config.json").mkdir()
    refuse(llama, tmp_path, 3, llama / "config.json", "not a regular file", "a folder")


@pytest.mark.parametrize("name", ["generation_config.json", "preprocessor_config.json", "tokenizer_config.json"])
def test_other_json_file_broken(llama, tmp_path, name):
    (llama / name).write_text("{")
    refuse(llama, tmp_path, 3, llama / name, "not valid JSON")


# ---- Absurd counts ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["llama-tiny", "glm-tiny", "lfm2-tiny", "lfm2moe-tiny"])
def test_a_million_million_layers(case, tmp_path):
    checkpoint = copy_checkpoint(case, tmp_path)
    set_field(checkpoint, "num_hidden_layers", 10**12)
    refuse(checkpoint, tmp_path, 3, checkpoint / "config.json", "'num_hidden_layers'", "to 4294967295",
           10**12)


@pytest.mark.parametrize("case", ["llama-tiny", "lfm2-tiny", "lfm2moe-tiny"])
@pytest.mark.parametrize("layers", [100_000, 4_294_967_295])
def test_more_layers_than_the_checkpoint_could_have(case, layers, tmp_path):
    # Small enough for the field, far too many to loop over or to allocate for.
    checkpoint = copy_checkpoint(case, tmp_path)
    set_field(checkpoint, "num_hidden_layers", layers)
    change_field(checkpoint, "layer_types", lambda config, name: config.pop(name, None))
    refuse(checkpoint, tmp_path, 3)


@pytest.mark.parametrize("case, field, value", [
    ("glm-tiny", "num_hidden_layers", 4_294_967_295),
    ("glm-tiny", "num_nextn_predict_layers", 4_294_967_295),
    ("glm-tiny", "first_k_dense_replace", 4_294_967_295),
    ("glm-tiny", "n_routed_experts", 4_294_967_295),
    ("glm-tiny", "num_attention_heads", 4_294_967_295),
    ("glm-tiny", "n_shared_experts", 4_294_967_295),
    ("glm-tiny", "vocab_size", 4_294_967_295),
    ("llama-tiny", "num_key_value_heads", 4_294_967_295),
    ("llama-tiny", "head_dim", 4_294_967_295),
    ("llama-tiny", "vocab_size", 4_294_967_295),
    ("lfm2-tiny", "conv_L_cache", 4_294_967_295),
    ("lfm2moe-tiny", "num_experts", 4_294_967_295),
    ("mllama-tiny", "vision_config.max_num_tiles", 4_294_967_295),
    ("mllama-tiny", "vision_config.num_hidden_layers", 4_294_967_295),
    ("mllama-tiny", "vision_config.image_size", 4_294_967_295),
    ("llama4-tiny", "text_config.num_local_experts", 4_294_967_295),
])
def test_largest_count_that_fits_a_field(case, field, value, tmp_path):
    checkpoint = copy_checkpoint(case, tmp_path)
    set_field(checkpoint, field, value)
    result = run("convert", checkpoint, tmp_path / "out.gguf")
    assert_fails(result, 3)
    assert_nothing_written(tmp_path)


def test_largest_image_size_in_a_projector_that_is_asked_for(tmp_path):
    checkpoint = copy_checkpoint("llama4-tiny", tmp_path)
    set_field(checkpoint, "vision_config.image_size", 4_294_967_295)
    refuse(checkpoint, tmp_path, 3, "tensor 'vision_model.positional_embedding_vlm'", "got [17, 32]",
           arguments=("--dialect", "ollama"))


def test_product_of_counts_overflows(glm, tmp_path):
    for field in ("num_attention_heads", "qk_nope_head_dim", "v_head_dim"):
        set_field(glm, field, 4_294_967_295)
    result = run("convert", glm, tmp_path / "out.gguf")
    assert_fails(result, 3, "kv_b_proj.weight")
    assert_nothing_written(tmp_path)


# ---- Facts that contradict each other -----------------------------------------------------------


@pytest.mark.parametrize("case, field, value, words", [
    ("lfm2-tiny", "layer_types", ["conv"] * 5, ["layer_types", "one entry for each layer"]),
    ("lfm2-tiny", "layer_types", ["conv"] * 7, ["layer_types", "one entry for each layer"]),
    ("glm-tiny-v5", "mlp_layer_types", ["dense", "sparse"], ["mlp_layer_types", "one entry for each layer"]),
    ("glm-tiny", "n_group", 3, ["n_group", "n_routed_experts"]),
    ("glm-tiny", "n_group", 8, ["n_group", "n_routed_experts"]),
    ("mllama-tiny", "text_config.cross_attention_layers", [1, 5], ["cross_attention_layers", "layer 5"]),
    ("mllama-tiny", "text_config.cross_attention_layers", [-1], ["cross_attention_layers", "layer -1"]),
    ("llama4-tiny", "vision_config.pixel_shuffle_ratio", 0, ["pixel_shuffle_ratio"]),
    ("llama4-tiny", "vision_config.pixel_shuffle_ratio", -0.5, ["pixel_shuffle_ratio"]),
    ("llama-tiny", "rope_scaling", {"rope_type": "linear"}, ["linear", "factor"]),
    ("glm-tiny", "num_experts_per_tok", 9, ["'num_experts_per_tok'", "at most the 8 experts", "got 9"]),
    ("lfm2moe-tiny", "num_experts_per_tok", 9, ["'num_experts_per_tok'", "at most the 8 experts", "got 9"]),
    ("llama4-tiny", "text_config.num_experts_per_tok", 5, ["'num_experts_per_tok'", "got 5"]),
    ("mllama-tiny", "vision_config.intermediate_layers_indices", [0, 3],
     ["intermediate_layers_indices", "layer 3"]),
    ("mllama-tiny", "vision_config.intermediate_layers_indices", [-1, 2],
     ["intermediate_layers_indices", "layer -1"]),
    ("mllama-tiny", "vision_config.supported_aspect_ratios", [[1, 1], [1, 2, 3]],
     ["'vision_config.supported_aspect_ratios'", "a list of pairs", "[1,2,3]"]),
    ("mllama-tiny", "vision_config.supported_aspect_ratios", "1x1", ["a list of pairs", "a string"]),
    ("mllama-tiny", "vision_config.supported_aspect_ratios", [1, 2], ["a list of pairs", "an array"]),
    ("mllama-tiny", "vision_config.supported_aspect_ratios", [[0, 1]], ["a list of pairs", "an array"]),
])
def test_fields_that_contradict_each_other(case, field, value, words, tmp_path):
    checkpoint = copy_checkpoint(case, tmp_path)
    set_field(checkpoint, field, value)
    refuse(checkpoint, tmp_path, 3, checkpoint / "config.json", *words)


@pytest.mark.parametrize("case, field, value, words", [
    ("llama-tiny", "hidden_act", "gelu", ["hidden_act", "'gelu'", "'silu'"]),
    ("llama-tiny", "partial_rotary_factor", 0.5, ["partial_rotary_factor"]),
    ("llama-tiny", "rope_scaling", {"rope_type": "longrope", "factor": 2.0}, ["longrope"]),
    ("glm-tiny", "rope_interleave", False, ["rope_interleave"]),
    ("lfm2-tiny", "layer_types", ["conv"] * 5 + ["sliding"], ["'sliding'", "'full_attention'"]),
    ("llama4-tiny", "text_config.moe_layers", [0, 2], ["moe_layers", "interleave_moe_layer_step"]),
    ("llama4-tiny", "vision_config.hidden_act", "quick_gelu", ["'quick_gelu'", "'gelu'"]),
])
def test_valid_config_that_no_reader_can_express(case, field, value, words, tmp_path):
    checkpoint = copy_checkpoint(case, tmp_path)
    set_field(checkpoint, field, value)
    refuse(checkpoint, tmp_path, 4, checkpoint / "config.json", *words)


@pytest.mark.parametrize("field, value", [("norm_topk_prob", False), ("routed_scaling_factor", 2.5)])
def test_fact_that_no_reader_of_lfm2moe_looks_for(field, value, tmp_path):
    checkpoint = copy_checkpoint("lfm2moe-tiny", tmp_path)
    set_field(checkpoint, field, value)
    result = convert(checkpoint, tmp_path / "out.gguf")
    assert field in result.stderr and "logits will differ" in result.stderr


# ---- Multi-token-prediction layers --------------------------------------------------------------


def test_some_of_the_prediction_layers_are_missing(glm, tmp_path):
    set_field(glm, "num_nextn_predict_layers", 2)
    assert_fails(run("convert", glm, tmp_path / "out.gguf"), 3,
                 "'model.layers.4.eh_proj.weight': a required tensor is missing",
                 "'model.layers.4.self_attn.o_proj.weight'", "'model.layers.4.mlp.shared_experts.up_proj.weight'")
    assert_nothing_written(tmp_path)


def test_all_prediction_layers_are_missing(glm, tmp_path):
    set_field(glm, "num_nextn_predict_layers", 2)
    replace_tensors(glm, {name: tensor for name, tensor in load_tensors(glm).items()
                          if not name.startswith("model.layers.3.")})
    result = convert(glm, tmp_path / "out.gguf")
    assert "num_nextn_predict_layers is not 0 but the checkpoint has no such layer" in result.stderr


# ---- Keys that stand twice ------------------------------------------------------------------------


def add_to_object(path, opening, text):
    """Puts `text` behind the brace of the first object that begins with `opening`."""
    content = path.read_text()
    assert opening in content
    path.write_text(content.replace(opening, opening + text, 1))


@pytest.mark.parametrize("case, name, opening, text, key", [
    ("llama-tiny", "config.json", "{", '"hidden_size": 32,', "hidden_size"),
    # The same value, and another spelling of the same text.
    ("llama-tiny", "config.json", "{", '"hidden\\u005fsize": 64,', "hidden_size"),
    ("llama4-tiny", "config.json", '"text_config": {', '"head_dim": 8,', "text_config.head_dim"),
    ("llama-tiny", "generation_config.json", "{", '"eos_token_id": 1,', "eos_token_id"),
    ("llama4-tiny", "preprocessor_config.json", "{", '"image_mean": [0, 0, 0],', "image_mean"),
    ("llama-tiny", "tokenizer_config.json", "{", '"chat_template": "x",', "chat_template"),
    ("llama-tiny", "tokenizer.json", "{", '"added_tokens": [],', "added_tokens"),
    ("glm-tiny", "model.safetensors.index.json", "{", '"weight_map": {},', "weight_map"),
])
def test_key_twice_is_refused(case, name, opening, text, key, tmp_path):
    checkpoint = copy_checkpoint(case, tmp_path)
    add_to_object(checkpoint / name, opening, text)
    refuse(checkpoint, tmp_path, 3, f"{checkpoint / name}: the key '{key}' stands twice")


# ---- Architectures ------------------------------------------------------------------------------


def test_unknown_architecture_is_refused_with_the_list_of_known_ones(llama, tmp_path):
    set_field(llama, "architectures", ["MambaForCausalLM"])
    refuse(llama, tmp_path, 4, llama / "config.json", "unknown architecture", "got MambaForCausalLM",
           "Glm4MoeLiteForCausalLM", "Llama4ForConditionalGeneration", "Llama4ForCausalLM",
           "MllamaForConditionalGeneration", "Lfm2ForCausalLM", "Lfm2MoeForCausalLM", "LlamaForCausalLM",
           "MistralForCausalLM")


def test_lfm2_vl_is_refused_by_name(llama, tmp_path):
    set_field(llama, "architectures", ["Lfm2VlForConditionalGeneration"])
    refuse(llama, tmp_path, 4, llama / "config.json", "LFM2-VL is not supported")


@pytest.mark.parametrize("case, dialect, other", [("mllama-tiny", "llama.cpp", "ollama"),
                                                  ("lfm2moe-tiny", "ollama", "llama.cpp")])
def test_dialect_that_cannot_hold_the_family(case, dialect, other, tmp_path):
    checkpoint = copy_checkpoint(case, tmp_path)
    refuse(checkpoint, tmp_path, 4, f"in the {dialect} dialect", f"--dialect {other}",
           arguments=("--dialect", dialect))


@pytest.mark.parametrize("architecture", ["MistralForCausalLM"])
def test_llama_architecture_that_ollama_does_not_read(llama, tmp_path, architecture):
    set_field(llama, "architectures", [architecture])
    refuse(llama, tmp_path, 4, architecture, "--dialect llama.cpp", arguments=("--dialect", "ollama"))


def test_text_only_llama4_is_refused_in_the_ollama_dialect(tmp_path):
    checkpoint = copy_checkpoint("llama4-tiny", tmp_path)
    set_field(checkpoint, "architectures", ["Llama4ForCausalLM"])
    refuse(checkpoint, tmp_path, 4, "Llama4ForCausalLM", "--dialect llama.cpp",
           arguments=("--dialect", "ollama"))


def test_config_is_not_mistaken_for_the_weights(llama, tmp_path):
    # Everything is fine but the shapes: config.json of one model beside the weights of another.
    (llama / "config.json").write_text(
        (copy_checkpoint("llama-q256", tmp_path) / "config.json").read_text())
    result = run("convert", llama, tmp_path / "out.gguf")
    assert_fails(result, 3, "the shape does not fit config.json", "expected [512, 512]", "got [512, 64]")
    assert_nothing_written(tmp_path)
    assert json.loads((llama / "config.json").read_text())["hidden_size"] == 512
