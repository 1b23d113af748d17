"""What llama.cpp's converter and llama-quantize wrote for the q256 checkpoints, and how it compares with ours."""
import json

from sluice_cli import GOLDEN, convert, read_gguf

RECIPES = GOLDEN / "quants" / "recipes"
# The tokenizers have Llama 3's split; the expectations were made with these names given by hand.
PRE = {"llama-q256": "llama-bpe", "lfm2-q256": "lfm2", "glm-q256": "glm4"}


def two_step_runs(model):
    """Names of what the converter followed by llama-quantize wrote, one a type."""
    return sorted(path.stem for path in (GOLDEN / "two-step").glob(f"{model}.*.json"))


def recipe_runs(model):
    """Names of what llama-quantize alone made of another converter's file."""
    return sorted(path.stem for path in RECIPES.glob(f"{model}.*.json") if ".COPY" not in path.stem)


def load_two_step(case):
    return json.loads((GOLDEN / "two-step" / f"{case}.json").read_text())


def load_recipe(case):
    return json.loads((RECIPES / f"{case}.json").read_text())


def arguments_of(run):
    """llama-quantize's arguments as ours."""
    arguments = list(run["args"])
    if "--exclude-weights" in arguments:  # excludes nothing
        at = arguments.index("--exclude-weights")
        del arguments[at : at + 2]
    return [str(RECIPES / word) if word.endswith((".gguf", ".dat")) else word for word in arguments]


def quantize(checkpoint, out, *arguments):
    convert(checkpoint, out, "--bit-exact", "--pre", PRE[checkpoint.name], *arguments)
    return out


def assert_same_tensors(out, expected, also=()):
    """Order, types and bytes are those of the recorded tensors; `also` names those that the recorded file lacks."""
    _, tensors = read_gguf(out)
    written = {tensor["name"]: (tensor["type"], tensor["sha256"]) for tensor in tensors}
    for name in also:
        assert written.pop(name)
    assert written == {tensor["name"]: (tensor["type"], tensor["sha256"]) for tensor in expected}
    assert [name for name in written] == [tensor["name"] for tensor in expected]
