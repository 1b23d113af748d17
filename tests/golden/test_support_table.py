"""docs/support.md and `sluice plan` say the same about every family and dialect."""
import json

import pytest

from converted import DIALECTS, text_only_llama4
from sluice_cli import GOLDEN, assert_fails, copy_checkpoint, edit_json, run

CHECKPOINTS = sorted(path for path in (GOLDEN / "checkpoints").iterdir() if path.is_dir())
DOCUMENT = GOLDEN.parent.parent / "docs" / "support.md"


def rows_of_the_document():
    """{(family, dialect): (architecture, loaded by)}; the projector's dialect is `llama.cpp, --mmproj`."""
    table = DOCUMENT.read_text().split("| family | dialect |")[1].split("\n\n")[0].split("\n")[2:]
    cells = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in table]
    rows = {(family, dialect): (architecture, loaded_by) for family, dialect, architecture, loaded_by in cells}
    assert len(rows) == len(table)
    return rows


def files_of_the_plan(checkpoint, *arguments):
    """(family, dialect, file) of what would be written; nothing where the plan is refused as such."""
    result = run("plan", checkpoint, "--json", *arguments)
    if result.returncode != 0:
        assert result.returncode in (2, 4), result.stderr
        return []
    plan = json.loads(result.stdout)
    return [(plan["family"], plan["dialect"], file) for file in plan["files"]]


def test_rows_are_what_the_plans_say(tmp_path):
    rows = {}
    for checkpoint in [*CHECKPOINTS, text_only_llama4(tmp_path)]:
        for dialect in DIALECTS:
            for mmproj in ([], ["--mmproj"]):
                for family, name, file in files_of_the_plan(checkpoint, "--dialect", dialect, *mmproj):
                    if file["role"] == "projector":
                        name += ", --mmproj"
                    architecture = file["key_values"]["general.architecture"]["value"]
                    rows[family, name] = (architecture, file["loaded_by"])
    assert rows == rows_of_the_document()


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.name)
def test_default_dialect_is_llama_cpp_where_it_loads_the_family(checkpoint):
    (family, dialect, _), = files_of_the_plan(checkpoint)
    knows = (family, "llama.cpp") in rows_of_the_document()
    assert dialect == ("llama.cpp" if knows else "ollama")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_plan_prints_the_row_of_its_file(dialect):
    result = run("plan", GOLDEN / "checkpoints" / "glm-tiny", "--dialect", dialect)
    architecture, loaded_by = rows_of_the_document()["GLM-4 MoE Lite", dialect]
    assert f"\nloaded by: {loaded_by}\n" in result.stdout
    assert f"str  {architecture}\n" in result.stdout


def test_refused_family_is_named(tmp_path):
    checkpoint = copy_checkpoint("lfm2-tiny", tmp_path)
    edit_json(checkpoint / "config.json",
              lambda config: config.update(architectures=["Lfm2VlForConditionalGeneration"]))
    assert_fails(run("convert", checkpoint, tmp_path / "out.gguf"), 4, "Lfm2VlForConditionalGeneration")
    assert "Refused by name: LFM2-VL (`Lfm2VlForConditionalGeneration`)." in DOCUMENT.read_text()
