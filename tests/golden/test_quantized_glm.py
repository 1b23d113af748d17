"""`plan --type` of glm-q256, of which the repository has all but the data: order, types and shapes of every tensor are
those that llama-quantize wrote. `compare_recipes.py` compares the bytes."""
import json
import shutil
import struct

import pytest

from recorded_runs import PRE, arguments_of, load_recipe, load_two_step, recipe_runs, two_step_runs
from sluice_cli import GOLDEN, run

MODEL = "glm-q256"
TWO_STEP = two_step_runs(MODEL)
RECIPE_RUNS = recipe_runs(MODEL)


def write_without_data(header, path):
    """A safetensors file of full length whose data is a hole."""
    tensors = json.loads(header[8:])
    assert struct.unpack("<Q", header[:8]) == (len(header) - 8,)
    data_bytes = max(entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__")
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + data_bytes)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("headers") / MODEL
    shutil.copytree(GOLDEN / "headers" / MODEL, folder)
    header = folder / "model.safetensors.header"
    write_without_data(header.read_bytes(), folder / "model.safetensors")
    header.unlink()
    return folder


def assert_planned(checkpoint, recorded, *arguments):
    result = run("plan", checkpoint, "--json", "--pre", PRE[MODEL], *arguments)
    assert result.returncode == 0, result.stderr
    planned = json.loads(result.stdout)["files"][0]["tensors"]
    # The two recordings have shapes under different names, both fastest dimension first.
    expected = [(tensor["name"], tensor["type"], (tensor.get("ne") or tensor["shape"])[::-1])
                for tensor in recorded["tensors"]]
    assert [(tensor["name"], tensor["type"], tensor["shape"]) for tensor in planned] == expected


def test_there_are_expectations():
    assert len(TWO_STEP) == 13 and len(RECIPE_RUNS) == 39


@pytest.mark.parametrize("case", TWO_STEP)
def test_plan_has_the_tensors_of_the_two_steps(case, checkpoint):
    assert_planned(checkpoint, load_two_step(case), "--type", case.split(".")[1])


@pytest.mark.parametrize("case", RECIPE_RUNS)
def test_plan_has_the_tensors_of_llama_quantize(case, checkpoint):
    recorded = load_recipe(case)
    assert_planned(checkpoint, recorded, "--type", recorded["ftype"], *arguments_of(recorded))
