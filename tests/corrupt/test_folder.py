"""Checkpoint folders whose files do not belong together: missing, twice, outside, not listed."""
import json
import os

import pytest

from sluice_cli import (Gguf, assert_fails, assert_nothing_written, convert, copy_checkpoint, edit_json,
                        load_tensors, refuse, run, sha256, write_tensors)

INDEX = "model.safetensors.index.json"
FIRST = "model-00001-of-00003.safetensors"
LAST = "model-00003-of-00003.safetensors"


@pytest.fixture
def sharded(tmp_path):
    return copy_checkpoint("glm-tiny-v5", tmp_path)


@pytest.fixture
def single(tmp_path):
    return copy_checkpoint("llama-tiny", tmp_path)


def rename_shard(checkpoint, old, new):
    """Lets the index name `new` for every tensor of shard `old`."""
    edit_json(checkpoint / INDEX, lambda index: index["weight_map"].update(
        {tensor: new for tensor, shard in index["weight_map"].items() if shard == old}))


# ---- The folder ---------------------------------------------------------------------------------


def test_folder_missing(tmp_path):
    refuse(tmp_path / "nowhere", tmp_path, 3, tmp_path / "nowhere", "not a checkpoint folder")


def test_folder_is_a_file(single, tmp_path):
    refuse(single / "config.json", tmp_path, 3, single / "config.json", "not a checkpoint folder",
           "config.json and *.safetensors")


def test_folder_empty(tmp_path):
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", tmp_path, 3, tmp_path / "empty", "no weights", "*.safetensors")


def test_folder_without_config(single, tmp_path):
    (single / "config.json").unlink()
    refuse(single, tmp_path, 3, single / "config.json", "No such file", "holds config.json")


def test_folder_without_weights(single, tmp_path):
    (single / "model.safetensors").unlink()
    refuse(single, tmp_path, 3, single, "no weights", "*.safetensors")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth"])
def test_folder_with_pytorch_weights_only(single, tmp_path, name):
    (single / "model.safetensors").rename(single / name)
    refuse(single, tmp_path, 4, single, "PyTorch", "save_pretrained")


# ---- Shards and the index ------------------------------------------------------------------------


def test_same_tensor_in_two_shards(single, tmp_path):
    tensors = load_tensors(single)
    write_tensors(single / "more.safetensors", {"model.norm.weight": tensors["model.norm.weight"]})
    refuse(single, tmp_path, 3, single / "more.safetensors", "tensor 'model.norm.weight'",
           "in two shards", f"also in {single / 'model.safetensors'}")


def test_same_tensor_in_two_shards_of_an_index(sharded, tmp_path):
    tensors = load_tensors(sharded)
    last = {name: tensors[name] for name, shard
            in json.loads((sharded / INDEX).read_text())["weight_map"].items() if shard == LAST}
    write_tensors(sharded / LAST, last | {"lm_head.weight": tensors["lm_head.weight"]})
    result = run("convert", sharded, tmp_path / "out.gguf")
    assert_fails(result, 3, sharded / LAST, "tensor 'lm_head.weight'", "in two shards")
    assert_nothing_written(tmp_path)


def test_index_names_a_missing_shard(sharded, tmp_path):
    (sharded / LAST).unlink()
    refuse(sharded, tmp_path, 3, sharded / LAST, "missing", "download")


def test_all_missing_shards_are_named(sharded, tmp_path):
    (sharded / FIRST).unlink()
    (sharded / LAST).unlink()
    result = run("convert", sharded, tmp_path / "out.gguf")
    assert_fails(result, 3, sharded / FIRST, sharded / LAST)


@pytest.mark.parametrize("path", ["../{0}", "sub/../../{0}", "..", "./../{0}"])
def test_index_names_a_path_with_dot_dot(sharded, tmp_path, path):
    os.link(sharded / LAST, tmp_path / LAST)  # what it points to exists and is a good shard
    (sharded / "sub").mkdir()
    rename_shard(sharded, LAST, path.format(LAST))
    refuse(sharded, tmp_path, 3, sharded / INDEX, "outside the checkpoint folder",
           f"got {path.format(LAST)}")


def test_index_names_an_absolute_path(sharded, tmp_path):
    rename_shard(sharded, LAST, str(sharded / LAST))
    refuse(sharded, tmp_path, 3, sharded / INDEX, "outside the checkpoint folder", f"got {sharded / LAST}")


def test_index_names_an_empty_path(sharded, tmp_path):
    rename_shard(sharded, LAST, "")
    refuse(sharded, tmp_path, 3, sharded / INDEX, "outside the checkpoint folder")


def test_index_names_a_symlink_out_of_the_folder(sharded, tmp_path):
    (sharded / LAST).rename(tmp_path / "elsewhere.safetensors")
    (sharded / LAST).symlink_to(tmp_path / "elsewhere.safetensors")
    refuse(sharded, tmp_path, 3, sharded / INDEX, "outside the checkpoint folder",
           f"got {tmp_path / 'elsewhere.safetensors'}")


def test_index_names_a_file_in_a_symlinked_folder(sharded, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (sharded / LAST).rename(tmp_path / "elsewhere" / LAST)
    (sharded / "sub").symlink_to(tmp_path / "elsewhere")
    rename_shard(sharded, LAST, f"sub/{LAST}")
    refuse(sharded, tmp_path, 3, sharded / INDEX, "outside the checkpoint folder")


def test_symlink_that_points_nowhere(sharded, tmp_path):
    (sharded / LAST).unlink()
    (sharded / LAST).symlink_to(tmp_path / "nowhere.safetensors")
    refuse(sharded, tmp_path, 3, sharded / LAST, "missing")


def test_symlink_inside_the_folder_is_followed(sharded, tmp_path):
    (sharded / LAST).rename(sharded / "blob")
    (sharded / LAST).symlink_to("blob")
    convert(sharded, tmp_path / "out.gguf")


def test_symlinks_of_a_hugging_face_cache_are_followed(sharded, tmp_path):
    snapshot, blobs = tmp_path / "models--m" / "snapshots" / "1234", tmp_path / "models--m" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in sharded.iterdir():
        path.rename(blobs / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    convert(snapshot, tmp_path / "out.gguf")


def test_index_lists_a_tensor_that_its_shard_lacks(sharded, tmp_path):
    edit_json(sharded / INDEX, lambda index: index["weight_map"].update({"model.extra": FIRST}))
    refuse(sharded, tmp_path, 3, sharded / FIRST, "tensor 'model.extra'", "lacks", "different downloads")


def test_index_lists_a_tensor_in_another_shard(sharded, tmp_path):
    edit_json(sharded / INDEX, lambda index: index["weight_map"].update({"lm_head.weight": LAST}))
    result = run("convert", sharded, tmp_path / "out.gguf")
    assert_fails(result, 3, sharded / FIRST, "tensor 'lm_head.weight'", f"expected {LAST}")
    assert_nothing_written(tmp_path)


def test_shard_has_a_tensor_that_the_index_does_not_list(sharded, tmp_path):
    edit_json(sharded / INDEX, lambda index: index["weight_map"].pop("lm_head.weight"))
    refuse(sharded, tmp_path, 3, sharded / FIRST, "tensor 'lm_head.weight'", "does not list",
           "expected an entry in the index", "stale")


@pytest.mark.parametrize("content, words", [
    ("{", ["not valid JSON"]),
    ("[]", ["weight_map is missing"]),
    ('{"weight_map": []}', ["weight_map is missing"]),
    ('{"weight_map": {}}', ["weight_map is empty"]),
    ('{"weight_map": {"lm_head.weight": 7}}', ["tensor 'lm_head.weight'", "no string", "an integer"]),
    ('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', ["'weight_map.a'", "twice"]),
])
def test_index_broken(sharded, tmp_path, content, words):
    (sharded / INDEX).write_text(content)
    refuse(sharded, tmp_path, 3, sharded / INDEX, *words)


def test_shard_that_the_index_does_not_name_is_left_out_with_a_warning(sharded, tmp_path):
    convert(sharded, tmp_path / "without.gguf")
    write_tensors(sharded / "stale.safetensors", {"model.stale": ("F32", [1], bytes(4))})
    result = convert(sharded, tmp_path / "with.gguf")
    assert "warning: stale.safetensors" in result.stderr
    assert sha256(tmp_path / "with.gguf") == sha256(tmp_path / "without.gguf")


def test_shards_without_an_index_are_all_read_in_name_order(sharded, tmp_path):
    convert(sharded, tmp_path / "with.gguf")
    (sharded / INDEX).unlink()
    convert(sharded, tmp_path / "without.gguf")
    assert sha256(tmp_path / "with.gguf") == sha256(tmp_path / "without.gguf")
    # The llama.cpp dialect keeps the order of the shards: other names, another order.
    (sharded / FIRST).rename(sharded / "z.safetensors")
    convert(sharded, tmp_path / "renamed.gguf")
    assert list(Gguf(tmp_path / "renamed.gguf").tensors) != list(Gguf(tmp_path / "with.gguf").tensors)
