"""`sluice verify`: files that are the conversion, and every way in which they are not."""
import json

import pytest

from sluice_cli import GOLDEN, Gguf, assert_fails, convert, copy_checkpoint, edit_json, run

LLAMA = GOLDEN / "checkpoints" / "llama-tiny"
GLM = GOLDEN / "checkpoints" / "glm-tiny"


def verify(checkpoint, model, *arguments):
    """The differences; text, JSON and the exit code must agree."""
    as_json = run("verify", checkpoint, model, "--json", *arguments)
    as_text = run("verify", checkpoint, model, *arguments)
    content = json.loads(as_json.stdout)
    differences, lines = content["differences"], as_text.stdout.splitlines()
    assert content["equal"] == (not differences)
    assert as_json.returncode == as_text.returncode == (1 if differences else 0)
    if differences:
        assert len(lines) == len(differences)
    else:
        expected = f"{content['keys']} key-values, {content['tensors']} tensors"
        assert len(lines) == 1 and lines[0].startswith(f"{model}: equal: {expected}, ")
    for line, difference in zip(lines, differences):
        assert all(difference[field] in line for field in ("file", "tensor", "what", "actual"))
    return differences


def change_byte(path, offset):
    """(old, new) as the program shows them."""
    content = bytearray(path.read_bytes())
    old = content[offset]
    content[offset] ^= 0x40
    path.write_bytes(content)
    return f"{old:#04x}", f"{old ^ 0x40:#04x}"


@pytest.fixture
def model(tmp_path):
    convert(LLAMA, tmp_path / "model.gguf")
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("case, arguments", [
    ("llama-tiny", []),
    ("lfm2-tiny", ["--dialect", "ollama"]),
    ("lfm2moe-tiny", ["--outtype", "f32"]),
    ("glm-tiny", ["--dialect", "ollama"]),
    ("glm-tiny-v5", ["--no-mtp", "--model-name", "x", "--set", "x.y=u32:1"]),
    ("mllama-tiny", []),
    ("llama-q256", ["--type", "Q4_K_M"]),
    ("llama-q256", ["--type", "Q8_0", "--pure", "--leave-output-tensor"]),
])
def test_what_convert_writes(case, arguments, tmp_path):
    checkpoint = GOLDEN / "checkpoints" / case
    convert(checkpoint, tmp_path / "model.gguf", *arguments)
    for more in ([], ["--threads", 3, "--memory", "8M", "--io", "read"]):
        assert verify(checkpoint, tmp_path / "model.gguf", *arguments, *more) == []


def test_reports_what_was_compared(model):
    file = Gguf(model)
    report = json.loads(run("verify", LLAMA, model, "--json").stdout)
    assert report == {"format": 1, "equal": True, "keys": len(file.values),
                      "tensors": len(file.tensors), "differences": [],
                      "bytes": sum(len(tensor.raw) for tensor in file.tensors.values())}


def test_two_files(tmp_path):
    checkpoint = GOLDEN / "checkpoints" / "llama4-tiny"
    text, vision = tmp_path / "text.gguf", tmp_path / "vision.gguf"
    convert(checkpoint, text, "--mmproj", vision)
    assert verify(checkpoint, text, "--mmproj", vision) == []
    tensors = Gguf(vision).tensors
    name = list(tensors)[-1]
    change_byte(vision, tensors[name].offset)
    (difference,) = verify(checkpoint, text, "--mmproj", vision)
    assert (difference["file"], difference["tensor"]) == (str(vision), name)


def test_split_models(tmp_path):
    convert(LLAMA, tmp_path / "model.gguf", "--max-shard-size", "100K")
    shards = sorted(tmp_path.glob("model-*.gguf"))
    assert len(shards) > 2
    assert verify(LLAMA, shards[0]) == []
    tensors = Gguf(shards[1]).tensors
    change_byte(shards[1], tensors[list(tensors)[0]].offset + 5)
    (difference,) = verify(LLAMA, shards[0])
    assert (difference["file"], difference["tensor"]) == (str(shards[1]), list(tensors)[0])


def test_changed_bytes_are_named_by_tensor_and_offset(model):
    tensors = Gguf(model).tensors
    first, last = list(tensors)[1], list(tensors)[-1]
    middle = tensors[first].offset + len(tensors[first].raw) // 2
    old, new = change_byte(model, middle)
    change_byte(model, middle + 7)
    end = tensors[last].offset + len(tensors[last].raw) - 1
    last_old, last_new = change_byte(model, end)
    size = len(tensors[first].raw)
    assert verify(LLAMA, model) == [
        {"file": str(model), "tensor": first, "offset": middle,
         "what": f"2 of {size} bytes differ, the first", "expected": old, "actual": new},
        {"file": str(model), "tensor": last, "offset": end,
         "what": f"1 of {len(tensors[last].raw)} bytes differ, the first", "expected": last_old,
         "actual": last_new}]


def test_a_changed_checkpoint_is_noticed(model, tmp_path):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    shard = next(checkpoint.glob("*.safetensors"))
    change_byte(shard, shard.stat().st_size - 1)
    # The copy has another folder, but the same name.
    (difference,) = verify(checkpoint, model)
    assert "1 of" in difference["what"]


def test_key_values(model):
    for setting in ("general.name=str:other", "llama.block_count=u32:7", "x.y=bool:true"):
        assert run("edit", model, "--set", setting).returncode == 0
    differences = verify(LLAMA, model)
    assert [entry["what"] for entry in differences] == [
        "key 'general.name'", "key 'llama.block_count'", "key 'x.y'"]
    assert differences[0]["actual"] == "str other"
    assert differences[1]["expected"].startswith("u32 ")
    assert (differences[2]["expected"], differences[2]["actual"]) == ("none", "bool true")
    (difference,) = verify(LLAMA, model, "--set", "general.name=str:other", "--set",
                           "llama.block_count=u32:7", "--set", "z.y=u8:1")[1:]
    assert (difference["what"], difference["expected"]) == ("key 'x.y'", "none")


def test_long_values_that_differ_far_behind(tmp_path):
    checkpoint = copy_checkpoint("llama-tiny", tmp_path)
    template = tmp_path / "template.jinja"
    template.write_text("x" * 500 + "1")
    convert(checkpoint, tmp_path / "model.gguf", "--chat-template", template)
    template.write_text("x" * 500 + "2")
    (difference,) = verify(checkpoint, tmp_path / "model.gguf", "--chat-template", template)
    assert difference["what"] == "key 'tokenizer.chat_template', further on than shown"


def test_order_of_keys(tmp_path):
    settings = ["--set", "x.a=u8:1", "--set", "x.b=u8:2"]
    convert(LLAMA, tmp_path / "model.gguf", *settings)
    (difference,) = verify(LLAMA, tmp_path / "model.gguf", *settings[2:], *settings[:2])
    assert difference["what"] == "order of the keys"
    assert {difference["expected"], difference["actual"]} == {"x.a", "x.b"}


def test_types_shapes_and_missing_tensors(tmp_path, model):
    differences = verify(LLAMA, model, "--outtype", "f32")
    assert {"type and shape", "key 'general.file_type'"} == {entry["what"] for entry in differences}
    changed = next(entry for entry in differences if entry["tensor"] == "output.weight")
    assert changed["expected"].startswith("F32 [") and changed["actual"].startswith("BF16 [")
    convert(GLM, tmp_path / "glm.gguf")
    without = [entry for entry in verify(GLM, tmp_path / "glm.gguf", "--no-mtp") if entry["tensor"]]
    assert without and all(entry["expected"] == "none" for entry in without)
    convert(GLM, tmp_path / "glm.gguf", "--no-mtp", "--force")
    with_mtp = [entry for entry in verify(GLM, tmp_path / "glm.gguf") if entry["tensor"]]
    assert [entry["tensor"] for entry in with_mtp] == [entry["tensor"] for entry in without]
    assert all(entry["actual"] == "none" for entry in with_mtp)


def test_bad_input(tmp_path, model):
    assert_fails(run("verify", LLAMA, tmp_path / "none.gguf"), 3, "none.gguf")
    assert_fails(run("verify", tmp_path / "none", model), 3, "none")
    assert_fails(run("verify", LLAMA, LLAMA / "config.json"), 3, "config.json")
    model.write_bytes(model.read_bytes()[:-64])
    assert_fails(run("verify", LLAMA, model), 3, model)


def test_flags(model):
    for arguments in (("--tokens", "1"), ("--text", "x"), ("--max-diff", "1"), ("--force",),
                      ("--logits", "--tokens", "1", "--text", "x"),
                      ("--logits", "--min-agreement", "2"), ("--logits", "--max-diff", "-1")):
        assert run("verify", LLAMA, model, *arguments).returncode == 2, arguments
