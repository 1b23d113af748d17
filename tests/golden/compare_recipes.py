"""Compares every tensor of conversions of glm-q256, which is too large for the repository, with the recorded runs.

    SLUICE=build/release/cli/sluice PYTHONPATH=tests/support python tests/golden/compare_recipes.py FOLDER/glm-q256
"""
import pathlib
import sys
import tempfile

from recorded_runs import (arguments_of, assert_same_tensors, load_recipe, load_two_step, quantize, recipe_runs,
                           two_step_runs)


def main():
    checkpoint = pathlib.Path(sys.argv[1]).resolve()
    model = checkpoint.name
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.gguf"
        for case in two_step_runs(model):
            quantize(checkpoint, out, "--force", "--type", case.split(".")[1])
            assert_same_tensors(out, load_two_step(case)["tensors"])
            print("two steps:", case)
        for case in recipe_runs(model):
            run = load_recipe(case)
            quantize(checkpoint, out, "--force", "--type", run["ftype"], *arguments_of(run))
            assert_same_tensors(out, run["tensors"])
            print("llama-quantize:", case)
    print(f"{len(two_step_runs(model))} + {len(recipe_runs(model))} runs: every tensor is equal")


if __name__ == "__main__":
    main()
