"""GLM-4 MoE Lite checkpoints that differ from the golden ones: what must change, and what must not."""
import numpy
import pytest

from converted import DIALECTS, Converted, assert_holds, bf16, fuse_glm_experts, random_bf16, variant
from sluice_cli import (Gguf, assert_fails, assert_nothing_written, convert, load_tensors, refuse, replace_tensors,
                        run, sha256, source_floats, write_tensors)

both = pytest.mark.parametrize("dialect", DIALECTS)
PREFIX = {"ollama": "glm4moelite", "llama.cpp": "deepseek2"}
EXPERT = "model.layers.{}.mlp.experts.{}.{}_proj.weight"
PARTS = ["gate", "up", "down"]
MTP_LAYER = 3
LAYERS = range(4)  # with the multi-token-prediction layer


def convert_glm(folder, dialect, change_config=None, change_tensors=None, arguments=()):
    """(the converted file, what was printed) of a variant of glm-tiny."""
    return convert_checkpoint(variant("glm-tiny", folder, change_config, change_tensors), dialect, arguments)


def convert_checkpoint(checkpoint, dialect, arguments=()):
    out = checkpoint.parent / "out.gguf"
    result = convert(checkpoint, out, "--dialect", dialect, *arguments)
    return Gguf(out), result.stderr


def assert_same_file_as(checkpoint, dialect, tmp_path):
    """The checkpoint becomes the bytes that the unchanged tensors become."""
    plain = variant("glm-tiny", tmp_path / "plain", change_tensors=lambda tensors: None)
    convert(plain, tmp_path / "plain.gguf", "--dialect", dialect)
    convert(checkpoint, tmp_path / "other.gguf", "--dialect", dialect)
    assert sha256(tmp_path / "other.gguf") == sha256(tmp_path / "plain.gguf")


# ---- kv_b in the layouts that are found -------------------------------------------------------------


@both
def test_kv_b_transposed_gives_the_same_file(tmp_path, dialect):
    def transpose(tensors):
        for block in LAYERS:
            name = f"model.layers.{block}.self_attn.kv_b_proj.weight"
            tensors[name] = bf16(source_floats(tensors, name).T)

    assert_same_file_as(variant("glm-tiny", tmp_path, change_tensors=transpose), dialect, tmp_path)


def test_kv_b_already_split_gives_the_same_file(tmp_path):
    def split(tensors):
        for block in LAYERS:
            attention = f"model.layers.{block}.self_attn."
            by_head = source_floats(tensors, attention + "kv_b_proj.weight").reshape(4, 24 + 32, 32)
            del tensors[attention + "kv_b_proj.weight"]
            tensors[attention + "embed_q.weight"] = bf16(by_head[:, :24].transpose(0, 2, 1))
            tensors[attention + "unembed_out.weight"] = bf16(by_head[:, 24:])

    assert_same_file_as(variant("glm-tiny", tmp_path, change_tensors=split), "ollama", tmp_path)


# Ollama's converter takes a square matrix for a transposed one, which the published ones never are.
@both
def test_kv_b_that_is_square_has_the_published_layout(tmp_path, dialect):
    heads, nope, v_head, rope, rank = 4, 24, 32, 8, 224
    assert heads * (nope + v_head) == rank

    def widen(tensors):
        for block in LAYERS:
            attention = f"model.layers.{block}.self_attn."
            tensors[attention + "kv_a_proj_with_mqa.weight"] = random_bf16(rank + rope, 64, seed=block)
            tensors[attention + "kv_a_layernorm.weight"] = random_bf16(rank, seed=block)
            tensors[attention + "kv_b_proj.weight"] = random_bf16(rank, rank, seed=block)

    checkpoint = variant("glm-tiny", tmp_path, lambda config: config.update(kv_lora_rank=rank), widen)
    square = Converted(checkpoint, tmp_path)
    by_head = square.floats("model.layers.1.self_attn.kv_b_proj.weight").reshape(heads, nope + v_head, rank)
    assert_holds(square[dialect].tensors["blk.1.attn_k_b.weight"], by_head[:, :nope].transpose(0, 2, 1))
    assert_holds(square[dialect].tensors["blk.1.attn_v_b.weight"], by_head[:, nope:])


# ---- Experts ----------------------------------------------------------------------------------------


def with_twelve_experts(folder):
    def widen(tensors):
        for block in (1, 2, MTP_LAYER):
            gate = f"model.layers.{block}.mlp.gate."
            tensors[gate + "weight"] = random_bf16(12, 64, seed=block)
            tensors[gate + "e_score_correction_bias"] = random_bf16(12, seed=block)
            for expert in range(8, 12):
                for part in PARTS:
                    shape = (64, 32) if part == "down" else (32, 64)
                    tensors[EXPERT.format(block, expert, part)] = random_bf16(*shape, seed=100 * block + expert)

    return variant("glm-tiny", folder, lambda config: config.update(n_routed_experts=12), widen)


@both
@pytest.mark.parametrize("part", PARTS)
def test_experts_are_stacked_in_the_order_of_numbers_not_of_texts(tmp_path, dialect, part):
    model = Converted(with_twelve_experts(tmp_path), tmp_path)
    experts = [model.floats(EXPERT.format(1, expert, part)) for expert in range(12)]
    assert_holds(model[dialect].tensors[f"blk.1.ffn_{part}_exps.weight"], numpy.stack(experts))
    assert model[dialect].values[f"{PREFIX[dialect]}.expert_count"] == 12


@both
def test_missing_expert_is_refused(tmp_path, dialect):
    checkpoint = with_twelve_experts(tmp_path)
    tensors = load_tensors(checkpoint)
    del tensors[EXPERT.format(2, 10, "up")]
    replace_tensors(checkpoint, tensors)
    refuse(checkpoint, tmp_path, 3, "model.layers.2.mlp.experts.{xid}.up_proj.weight",
           "expert 10 is missing", "experts 0 to 11", arguments=("--dialect", dialect))


@both
def test_expert_that_is_there_twice_is_refused(tmp_path, dialect):
    checkpoint = variant("glm-tiny", tmp_path, change_tensors=lambda tensors: None)
    name = EXPERT.format(1, 5, "gate")
    write_tensors(checkpoint / "again.safetensors", {name: load_tensors(checkpoint)[name]})
    refuse(checkpoint, tmp_path, 3, f"tensor '{name}'", "the same tensor is in two shards",
           arguments=("--dialect", dialect))


@pytest.mark.parametrize("folder", ["experts", "switch_mlp"])
def test_experts_already_stacked_give_the_same_file(tmp_path, folder):
    def stack(tensors):
        for block in (1, 2, MTP_LAYER):
            for part in PARTS:
                names = [EXPERT.format(block, expert, part) for expert in range(8)]
                stacked = numpy.stack([source_floats(tensors, name) for name in names])
                for name in names:
                    del tensors[name]
                tensors[f"model.layers.{block}.mlp.{folder}.{part}_proj.weight"] = bf16(stacked)

    assert_same_file_as(variant("glm-tiny", tmp_path, change_tensors=stack), "ollama", tmp_path)


@both
def test_experts_of_transformers_5_give_the_same_file(tmp_path, dialect):
    assert_same_file_as(variant("glm-tiny", tmp_path, change_tensors=fuse_glm_experts), dialect, tmp_path)


@both
def test_experts_of_transformers_5_are_split_in_words(tmp_path, dialect):
    checkpoint = variant("glm-tiny", tmp_path, change_tensors=fuse_glm_experts)
    lines = run("plan", checkpoint, "--dialect", dialect).stdout.splitlines()
    for part, words in (("gate", "take 0..31 of axis 1"), ("up", "take 32..63 of axis 1")):
        (line,) = [line for line in lines if line.startswith(f"blk.1.ffn_{part}_exps.weight ")]
        assert line.endswith(f"model.layers.1.mlp.experts.gate_up_proj: {words}")


@pytest.mark.parametrize("name, shape, expected", [("gate_up_proj", (8, 64, 32), "[8, 64, 64]"),
                                                   ("gate_up_proj", (7, 64, 64), "[8, 64, 64]"),
                                                   ("down_proj", (8, 32, 64), "[8, 64, 32]")])
def test_experts_of_transformers_5_of_another_shape_are_refused(tmp_path, name, shape, expected):
    full = f"model.layers.2.mlp.experts.{name}"

    def change(tensors):
        fuse_glm_experts(tensors)
        tensors[full] = random_bf16(*shape)

    checkpoint = variant("glm-tiny", tmp_path, change_tensors=change)
    result = run("convert", checkpoint, tmp_path / "out.gguf")
    assert_fails(result, 3, f"tensor '{full}': the shape does not fit config.json: expected {expected}")
    assert_nothing_written(tmp_path)


@both
def test_biases_of_projections_are_refused(tmp_path, dialect):
    checkpoint = variant("glm-tiny", tmp_path, lambda config: config.update(attention_bias=True))
    refuse(checkpoint, tmp_path, 4, "attention_bias true: readers of this architecture look for no biases",
           arguments=("--dialect", dialect))


@both
def test_expert_groups_are_written_where_there_are_several(tmp_path, dialect):
    file, _ = convert_glm(tmp_path, dialect, lambda config: config.update(n_group=4, topk_group=2))
    assert file.values[f"{PREFIX[dialect]}.expert_group_count"] == 4
    assert file.values[f"{PREFIX[dialect]}.expert_group_used_count"] == 2


@both
@pytest.mark.parametrize("change", [{}, {"norm_topk_prob": False}])
def test_gating_function_is_always_written(tmp_path, dialect, change):
    file, _ = convert_glm(tmp_path, dialect, lambda config: config.update(change))
    assert file.values[f"{PREFIX[dialect]}.expert_gating_func"] == 2
    if dialect == "llama.cpp":
        # After its neighbour in llama.cpp's order; without that one after the neighbour's neighbour.
        keys = list(file.values)
        norm, scale = "deepseek2.expert_weights_norm", "deepseek2.expert_weights_scale"
        before = norm if change.get("norm_topk_prob", True) else scale
        assert keys[keys.index("deepseek2.expert_gating_func") - 1] == before
        assert (norm in keys) is change.get("norm_topk_prob", True)
    else:
        # Ollama writes the flag also where it is false.
        assert file.values["glm4moelite.expert_weights_norm"] is change.get("norm_topk_prob", True)


# ---- Multi-token prediction -------------------------------------------------------------------------


def mtp_names(file):
    return [name for name in file.tensors if name.startswith(f"blk.{MTP_LAYER}.")]


def test_mtp_layer_is_kept_for_llama_cpp(tmp_path):
    file, _ = convert_glm(tmp_path, "llama.cpp")
    source = Converted.golden("glm-tiny", tmp_path)
    assert file.values["deepseek2.block_count"] == MTP_LAYER + 1
    assert file.values["deepseek2.nextn_predict_layers"] == 1
    for old, new in [("eh_proj", "eh_proj"), ("enorm", "enorm"), ("hnorm", "hnorm"),
                     ("embed_tokens", "embed_tokens"), ("shared_head.head", "shared_head_head"),
                     ("shared_head.norm", "shared_head_norm")]:
        assert_holds(file.tensors[f"blk.{MTP_LAYER}.nextn.{new}.weight"],
                     source.floats(f"model.layers.{MTP_LAYER}.{old}.weight"))
    experts = [source.floats(EXPERT.format(MTP_LAYER, expert, "up")) for expert in range(8)]
    assert_holds(file.tensors[f"blk.{MTP_LAYER}.ffn_up_exps.weight"], numpy.stack(experts))


@pytest.mark.parametrize("dialect, change, arguments, why", [
    ("ollama", {}, (), "not part of this dialect"),
    ("llama.cpp", {}, ("--no-mtp",), "--no-mtp"),
    ("llama.cpp", {"num_nextn_predict_layers": 0}, (), "num_nextn_predict_layers is 0"),
    ("llama.cpp", {"num_nextn_predict_layers": None}, (), "num_nextn_predict_layers is 0"),
])
def test_mtp_layer_is_left_out_with_a_note(tmp_path, dialect, change, arguments, why):
    file, messages = convert_glm(tmp_path, dialect, lambda config: config.update(change), arguments=arguments)
    assert mtp_names(file) == []
    assert file.values[f"{PREFIX[dialect]}.block_count"] == MTP_LAYER
    assert f"{PREFIX[dialect]}.nextn_predict_layers" not in file.values
    assert "44 tensors left out: multi-token-prediction layers" in messages
    assert why in messages


def test_mtp_layer_that_only_config_json_has_is_counted_with_a_note(tmp_path):
    def drop(tensors):
        for name in [name for name in tensors if name.startswith(f"model.layers.{MTP_LAYER}.")]:
            del tensors[name]

    file, messages = convert_glm(tmp_path, "llama.cpp", change_tensors=drop)
    assert mtp_names(file) == []
    assert file.values["deepseek2.block_count"] == MTP_LAYER + 1
    assert file.values["deepseek2.nextn_predict_layers"] == 1
    assert "the checkpoint has no such layer" in messages


def test_no_mtp_needs_no_mtp_tensors(tmp_path):
    def drop(tensors):
        for name in [name for name in tensors if name.startswith(f"model.layers.{MTP_LAYER}.")]:
            del tensors[name]

    file, messages = convert_glm(tmp_path, "llama.cpp", change_tensors=drop, arguments=("--no-mtp",))
    assert file.values["deepseek2.block_count"] == MTP_LAYER
    assert "warning" not in messages.replace("0 warnings", "")


# ---- Queries, output head, dense layers -------------------------------------------------------------


@both
def test_queries_without_low_rank(tmp_path, dialect):
    def full_rank(tensors):
        for block in LAYERS:
            attention = f"model.layers.{block}.self_attn."
            for leaf in ("q_a_proj", "q_a_layernorm", "q_b_proj"):
                del tensors[f"{attention}{leaf}.weight"]
            tensors[attention + "q_proj.weight"] = random_bf16(4 * (24 + 8), 64, seed=block)

    checkpoint = variant("glm-tiny", tmp_path, lambda config: config.update(q_lora_rank=None), full_rank)
    model = Converted(checkpoint, tmp_path)
    for block in range(MTP_LAYER):
        # Ollama's converter leaves the source's name, which nothing reads.
        assert_holds(model[dialect].tensors[f"blk.{block}.attn_q.weight"],
                     model.floats(f"model.layers.{block}.self_attn.q_proj.weight"))
    assert not [name for name in model[dialect].tensors if "attn_q_" in name or "q_proj" in name]
    rank = model[dialect].values.get(f"{PREFIX[dialect]}.attention.q_lora_rank")
    assert rank == (0 if dialect == "ollama" else None)


@both
def test_tied_output_head(tmp_path, dialect):
    file, messages = convert_glm(tmp_path, dialect, lambda config: config.update(tie_word_embeddings=True),
                                 lambda tensors: tensors.pop("lm_head.weight"))
    assert "output.weight" not in file.tensors
    assert "token_embd.weight" in file.tensors
    assert "lm_head" not in messages


def test_output_head_beside_tied_embeddings(tmp_path):
    checkpoint = variant("glm-tiny", tmp_path, lambda config: config.update(tie_word_embeddings=True))
    file, messages = convert_checkpoint(checkpoint, "llama.cpp")
    assert "output.weight" not in file.tensors
    assert "1 tensors left out: lm_head.weight: tie_word_embeddings is true" in messages
    convert(checkpoint, tmp_path / "ollama.gguf", "--dialect", "ollama")
    assert "output.weight" in Gguf(tmp_path / "ollama.gguf").tensors


@both
@pytest.mark.parametrize("change", [
    {"mlp_layer_types": ["dense", "sparse", "sparse"]},
    {"first_k_dense_replace": None, "mlp_layer_types": ["dense", "sparse", "sparse"]},
])
def test_leading_dense_blocks_from_either_field(tmp_path, dialect, change):
    file, messages = convert_glm(tmp_path, dialect, lambda config: config.update(change))
    assert file.values[f"{PREFIX[dialect]}.leading_dense_block_count"] == 1
    assert "mlp_layer_types" not in messages


@both
def test_leading_dense_blocks_from_neither_field(tmp_path, dialect):
    file, messages = convert_glm(tmp_path, dialect, lambda config: config.pop("first_k_dense_replace"))
    assert file.values[f"{PREFIX[dialect]}.leading_dense_block_count"] == 1
    assert "taking 1 dense block" in messages


@both
def test_two_leading_dense_blocks(tmp_path, dialect):
    def make_dense(tensors):
        for name in [name for name in tensors if name.startswith("model.layers.1.mlp.")]:
            del tensors[name]
        for part in PARTS:
            tensors[f"model.layers.1.mlp.{part}_proj.weight"] = random_bf16(
                *((64, 160) if part == "down" else (160, 64)), seed=ord(part[0]))

    file, _ = convert_glm(tmp_path, dialect, lambda config: config.update(
        first_k_dense_replace=None, mlp_layer_types=["dense", "dense", "sparse"]), make_dense)
    assert file.values[f"{PREFIX[dialect]}.leading_dense_block_count"] == 2
    assert "blk.1.ffn_up.weight" in file.tensors
    assert "blk.1.ffn_up_exps.weight" not in file.tensors
    assert "blk.2.ffn_up_exps.weight" in file.tensors


# ---- RoPE -------------------------------------------------------------------------------------------


def test_rope_base_of_llama_cpp_defaults_to_that_of_transformers(tmp_path):
    file, messages = convert_glm(tmp_path, "llama.cpp", lambda config: config.pop("rope_theta"))
    assert file.values["deepseek2.rope.freq_base"] == 10000.0
    assert "rope_theta is not given: taking 10000" in messages


def test_yarn_is_keys_for_llama_cpp(tmp_path):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024, "attention_factor": 1.25,
            "beta_fast": 16.0, "beta_slow": 2.0, "mscale_all_dim": 0.5}
    values = convert_glm(tmp_path, "llama.cpp", lambda config: config.update(rope_scaling=yarn))[0].values
    prefix = "deepseek2.rope.scaling."
    assert {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)} == {
        "type": "yarn", "factor": 4.0, "original_context_length": 1024, "yarn_attn_factor": 1.25,
        "yarn_beta_fast": 16.0, "yarn_beta_slow": 2.0, "yarn_log_multiplier": pytest.approx(0.05)}


# Neither dialect of the family has keys or a tensor for these: silence would lose them.
@pytest.mark.parametrize("dialect, kind", [("ollama", "yarn"), ("ollama", "linear"), ("ollama", "llama3"),
                                           ("llama.cpp", "llama3")])
def test_scaling_that_the_dialect_cannot_express_is_refused(tmp_path, dialect, kind):
    checkpoint = variant("glm-tiny", tmp_path, lambda config: config.update(
        rope_scaling={"rope_type": kind, "factor": 4.0}))
    refuse(checkpoint, tmp_path, 4, f"rope scaling of type '{kind}'", arguments=("--dialect", dialect))
