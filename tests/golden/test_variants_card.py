"""general.*: what README.md, config.json, generation_config.json and the folder's name say of the model.

The `gguf` package holds the code by which llama.cpp's converter fills these keys: it tells what to
expect.
"""
import os

import gguf
import pytest
from gguf.metadata import Metadata

from converted import DIALECTS, variant
from sluice_cli import Gguf, convert, edit_json, load_tensors

both = pytest.mark.parametrize("dialect", DIALECTS)

# Set by the converter from other sources, or from the tensors.
NOT_FROM_THE_CARD = {"general.architecture", "general.type", "general.file_type",
                     "general.quantization_version"}

PUBLISHED = """---
language:
- en
- de
license: other
license_name: lfm1.0
license_link: LICENSE
library_name: transformers
pipeline_tag: text-generation
tags:
- liquid
- edge
base_model: LiquidAI/LFM2-1.2B-Base
datasets:
- HuggingFaceFW/fineweb
- allenai/dolma-v1.7
---
# Text that is not metadata
name: not this
"""
LLAMA_CPP_NAMES = """---
name: A model
author: Somebody
version: '1.5'
organization: Some people
description: Does what it says
license: apache-2.0
---
"""
PREFIXED_NAMES = """---
model_name: A prefixed model
model_creator: A creator
model_version: v2
model_organization: An organization
model_description: A description
languages: en
tags: one
---
"""
SEVERAL_BASES = """---
base_model:
- meta-llama/Llama-3.1-8B-Instruct
- mistralai/Mistral-7B-v0.3
- lonely-model
- https://example.org/some/model
dataset: some/data
---
"""
NAMED_PARTS = """---
finetune: Chat
basename: Tiny
size_label: 115K
url: https://example.org/model
doi: 10.1000/182
uuid: f81d4fae-7dec-11d0-a765-00a0c91e6bf6
repo_url: https://example.org/repository
---
"""
PREFIXED_PARTS = """---
model_finetune: Instruct
model_type: llama
model_size_label: 0.1M
model_url: https://example.org/model
model_doi: 10.1000/182
model_uuid: f81d4fae
model_repo_url: https://example.org/repository
---
"""
ADDRESSES = """---
base_model:
- https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct
- http://huggingface.co/org/model-v2
- https://huggingface.co/org/model/tree/main
- https://huggingface.co/org
- https://huggingface.co/
- ssh://git@example.org/model
- ftp://example.org/model
- ./local/model
datasets:
- https://huggingface.co/datasets/fineweb
- https://huggingface.co/datasets/org/data
---
"""
DESCRIBED = """---
base_models:
- name: Base
  author: Somebody
  version: '1.0'
  organization: Some people
  description: The one before
  url: https://example.org/base
  doi: 10.1000/182
  uuid: f81d4fae
  repo_url: https://example.org/repository
- repo_url: https://example.org/second
- org/third
dataset_sources:
- name: Data
  license: mit
---
"""
TWO_SPELLINGS = """---
base_models: org/not-this
base_model: org/this
dataset: org/not-this
datasets: []
---
"""
LICENSES = """---
license:
- mit
- apache-2.0
language:
- no
---
"""
NO_CARD = "# A model\n\nname: not a card\n"


def expected_keys(checkpoint, model_name=None):
    """general.* as llama.cpp's converter writes it, in order."""
    elements = 0
    for _, shape, _ in load_tensors(checkpoint).values():
        count = 1
        for extent in shape:
            count *= extent
        elements += count
    writer = gguf.GGUFWriter(None, "llama")
    Metadata.load(None, checkpoint, model_name, elements).set_gguf_meta_model(writer)
    return {key: value.value for key, value in writer.kv_data[0].items() if key not in NOT_FROM_THE_CARD}


def written_keys(checkpoint, *arguments):
    convert(checkpoint, checkpoint.parent / "out.gguf", "--force", *arguments)
    values = Gguf(checkpoint.parent / "out.gguf").values
    return {key: value for key, value in values.items()
            if key.startswith("general.") and key not in NOT_FROM_THE_CARD}


def assert_as_expected(checkpoint, *arguments, model_name=None):
    written, want = written_keys(checkpoint, *arguments), expected_keys(checkpoint, model_name)
    if "general.size_label" not in want:
        del written["general.size_label"]  # made from the tensors
    assert written == want
    assert list(written) == list(want)
    return written


@pytest.mark.parametrize("card", [
    pytest.param(globals()[name], id=name.lower())
    for name in ("PUBLISHED", "LLAMA_CPP_NAMES", "PREFIXED_NAMES", "SEVERAL_BASES", "NAMED_PARTS",
                 "PREFIXED_PARTS", "ADDRESSES", "DESCRIBED", "TWO_SPELLINGS", "LICENSES", "NO_CARD")])
def test_front_matter_of_the_card(tmp_path, card):
    checkpoint = variant("llama-tiny", tmp_path)
    (checkpoint / "README.md").write_text(card)
    assert_as_expected(checkpoint)


def test_published_card_says_what_it_says(tmp_path):
    checkpoint = variant("llama-tiny", tmp_path)
    (checkpoint / "README.md").write_text(PUBLISHED)
    values = written_keys(checkpoint)
    assert values["general.license"] == "other"
    assert values["general.license.name"] == "lfm1.0"
    assert values["general.license.link"] == "LICENSE"
    assert values["general.base_model.count"] == 1
    assert values["general.base_model.0.name"] == "LFM2 1.2B Base"
    assert values["general.base_model.0.organization"] == "LiquidAI"
    assert values["general.base_model.0.repo_url"] == "https://huggingface.co/LiquidAI/LFM2-1.2B-Base"
    assert values["general.dataset.count"] == 2
    assert values["general.tags"] == ["liquid", "edge", "text-generation"]
    assert values["general.languages"] == ["en", "de"]


@pytest.mark.parametrize("card, what", [
    (b"---\nname: [unclosed\n---\n", "the front matter is not valid YAML"),
    (b"---\nauthor: Andr\xe9\n---\n", "the front matter is not UTF-8"),
])
def test_card_that_cannot_be_read_is_a_warning(tmp_path, card, what):
    checkpoint = variant("llama4-tiny", tmp_path)
    (checkpoint / "README.md").write_bytes(card)
    result = convert(checkpoint, tmp_path / "out.gguf", "--mmproj", tmp_path / "mmproj.gguf")
    assert result.stderr.count(f"warning: {checkpoint / 'README.md'}: {what}") == 1


def test_card_that_is_no_file_is_a_warning(tmp_path):
    checkpoint = variant("llama-tiny", tmp_path)
    (checkpoint / "README.md").mkdir()
    result = convert(checkpoint, tmp_path / "out.gguf")
    assert f"warning: {checkpoint / 'README.md'}: " in result.stderr


def test_ollama_writes_nothing_of_the_card(tmp_path):
    checkpoint = variant("llama-tiny", tmp_path)
    (checkpoint / "README.md").write_text(PUBLISHED)
    assert written_keys(checkpoint, "--dialect", "ollama") == {}


@pytest.mark.parametrize("folder", [
    "Llama-3.2-1B-Instruct", "my_model", "GLM-4.7-Flash", "LFM2-8B-A1B", "Mixtral-8x7B-v0.1",
    "tiny-llama-115K-chat", "bloom-7b1", "phi-3-mini-4k-instruct", "A model", "v2-3",
])
def test_name_of_the_folder(tmp_path, folder):
    checkpoint = variant("llama-tiny", tmp_path).rename(tmp_path / folder)
    assert_as_expected(checkpoint)


def test_folder_whose_name_is_not_utf_8_names_no_model(tmp_path):
    variant("llama-tiny", tmp_path).rename(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    out = tmp_path / "out.gguf"
    result = convert(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"), out)
    assert "warning: the folder's name is not UTF-8" in result.stderr
    assert "general.name" not in Gguf(out).values


@pytest.mark.parametrize("folder", ["mod\u00e8le-de-langue", "\u6a21\u578b-7B"])
def test_name_beyond_ascii(tmp_path, folder):
    assert_as_expected(variant("llama-tiny", tmp_path).rename(tmp_path / folder))


# Patterns that are matched with recursion would need a stack as deep as the text is long.
@pytest.mark.parametrize("name", ["1" + ".1" * 2**20, "q4" + "_a" * 2**20, "a-" + "1" * 2**20 + "B",
                                  "2" + "b" * 2**20])
def test_enormous_name_in_config_json(tmp_path, name):
    checkpoint = variant("llama-tiny", tmp_path, lambda config: config.update(_name_or_path=name))
    assert len(written_keys(checkpoint)["general.name"]) == len(name)


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.2-1B", "llama-tiny", "/home/someone/llama", "./llama", ""])
def test_name_in_config_json(tmp_path, name):
    checkpoint = variant("llama-tiny", tmp_path, lambda config: config.update(_name_or_path=name))
    if name:
        assert_as_expected(checkpoint)
    else:  # Nobody means an empty name; llama.cpp's converter writes it.
        assert written_keys(checkpoint)["general.name"] == "Llama Tiny"


def test_model_name_wins(tmp_path):
    checkpoint = variant("llama-tiny", tmp_path, lambda config: config.update(_name_or_path="org/other"))
    (checkpoint / "README.md").write_text(LLAMA_CPP_NAMES)
    written = assert_as_expected(checkpoint, "--model-name", "My Own-name", model_name="My Own-name")
    assert written["general.name"] == "My Own-name"
    assert written["general.author"] == "Somebody"


@both
def test_model_name_is_general_name(tmp_path, dialect):
    checkpoint = variant("lfm2-tiny", tmp_path)
    assert written_keys(checkpoint, "--dialect", dialect, "--model-name", "Mine")["general.name"] == "Mine"


def test_sampling_of_generation_config(tmp_path):
    checkpoint = variant("llama-tiny", tmp_path)
    edit_json(checkpoint / "generation_config.json", lambda content: content.update(
        temperature=0.75, top_p=0.5, top_k=40, min_p=0.125, do_sample=True))
    written = assert_as_expected(checkpoint)
    assert written["general.sampling.temp"] == 0.75
    assert written["general.sampling.top_k"] == 40


def test_llama_cpps_name_of_the_repetition_penalty_wins(tmp_path):
    checkpoint = variant("llama-tiny", tmp_path)
    edit_json(checkpoint / "generation_config.json", lambda content: content.update(
        repetition_penalty=1.5, penalty_repeat=1.25, mirostat=2))
    assert assert_as_expected(checkpoint)["general.sampling.penalty_repeat"] == 1.25


@pytest.mark.parametrize("field, value", [("top_k", 2**40), ("top_k", 2.5), ("top_k", "many"), ("top_p", "0.5"),
                                          ("top_p", 1e300), ("temperature", [1]), ("sequence", 7)])
def test_sampling_value_that_is_unusable_is_left_out_with_a_warning(tmp_path, field, value):
    checkpoint = variant("llama-tiny", tmp_path)
    edit_json(checkpoint / "generation_config.json", lambda content: content.update({field: value}))
    result = convert(checkpoint, tmp_path / "out.gguf")
    assert f"warning: generation_config.json: '{field}' is unusable and left out: " in result.stderr
    assert not [key for key in Gguf(tmp_path / "out.gguf").values if key.startswith("general.sampling")]


def test_sampling_by_the_names_of_transformers_and_of_llama_cpp(tmp_path):
    checkpoint = variant("llama-tiny", tmp_path)
    edit_json(checkpoint / "generation_config.json", lambda content: content.update(
        repetition_penalty=1.5, sequence="top_k;top_p"))
    written = written_keys(checkpoint)
    assert written["general.sampling.penalty_repeat"] == 1.5
    assert written["general.sampling.sequence"] == "top_k;top_p"
