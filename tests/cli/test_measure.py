"""`sluice measure`: its errors are those that numpy finds in files that an independent reader decodes."""
import html.parser
import json
import re
import xml.etree.ElementTree

import gguf
import numpy
import pytest

from sluice_cli import (GOLDEN, assert_fails, convert, copy_checkpoint, load_tensors, replace_tensors, run,
                        sha256)

CHECKPOINTS = GOLDEN / "checkpoints"
MODEL = CHECKPOINTS / "llama-q256"
IMATRIX = GOLDEN / "quants" / "recipes" / "llama-q256.imatrix.gguf"
CLOSE = 1e-11  # numpy adds in another order


def measure(source, *arguments):
    """The JSON output."""
    result = run("measure", source, "--json", *arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def types(*names):
    return [word for name in names for word in ("--type", name)]


def decoded(path):
    """{name: values in float64, rows by columns} of a GGUF file, by an independent reader."""
    return {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float64)
            .reshape(-1, int(tensor.shape[0])) for tensor in gguf.GGUFReader(path).tensors}


def importance():
    """{name: weight of each column}."""
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(IMATRIX).tensors}
    return {name.removesuffix(".in_sum2"): sums.reshape(-1) / tensors[name.replace(".in_sum2", ".counts")].item()
            for name, sums in tensors.items() if name.endswith(".in_sum2")}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The model in 16 bits: what its quantized forms are compared with."""
    out = tmp_path_factory.mktemp("source") / "bf16.gguf"
    convert(MODEL, out, "--pre", "llama-bpe")
    return out


def close(got, want):
    assert got == pytest.approx(want, rel=CLOSE, abs=1e-15)


def assert_errors(entry, exact, coded, weights=None):
    """The figures of one tensor, or of several behind each other, are numpy's."""
    error = exact - coded
    close(entry["relative_rmse"], numpy.sqrt((error**2).sum() / (exact**2).sum()))
    assert entry["largest_error"] == numpy.abs(error).max()
    close(entry["cosine"], (exact * coded).sum() / numpy.sqrt((exact**2).sum() * (coded**2).sum()))
    if weights is None:
        assert entry["weighted_relative_rmse"] is None
    else:
        close(entry["weighted_relative_rmse"],
              numpy.sqrt((weights * error**2).sum() / (weights * exact**2).sum()))


# ---- Numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, recipe", [("Q8_0", "Q8_0"), ("Q4_K", "Q4_K_M"), ("IQ4_XS", "IQ4_XS")])
@pytest.mark.parametrize("with_importance", [False, True])
def test_errors_are_those_of_the_converted_file(name, recipe, with_importance, source, tmp_path):
    arguments = ["--imatrix", IMATRIX] if with_importance else []
    convert(MODEL, tmp_path / "q.gguf", "--pre", "llama-bpe", "--type", recipe, "--pure", *arguments)
    exact, coded = decoded(source), decoded(tmp_path / "q.gguf")
    weights = importance() if with_importance else {}
    report = measure(MODEL, *types(name), *arguments)
    assert len(report["tensors"]) == 16
    for tensor in report["tensors"]:
        key = tensor["name"]
        (entry,) = tensor["errors"]
        assert (entry["kind"], entry["type"]) == (name, name)
        assert tensor["elements"] == exact[key].size and tensor["source_type"] == "BF16"
        assert tensor["has_importance"] == (key in weights)
        own = weights.get(key, numpy.ones(exact[key].shape[1])) if with_importance else None
        assert_errors(entry, exact[key], coded[key], own)
    names = [tensor["name"] for tensor in report["tensors"]]
    (total,) = report["totals"]
    flat = [numpy.concatenate([tensors[key].reshape(-1) for key in names]) for tensors in (exact, coded)]
    flat_weights = numpy.concatenate([
        numpy.broadcast_to(weights.get(key, numpy.ones(1)), exact[key].shape).reshape(-1) for key in names])
    assert_errors(total, *flat, flat_weights if with_importance else None)
    bits = {"Q8_0": 8.5, "Q4_K": 4.5, "IQ4_XS": 4.25}[name]
    assert total["bits_per_weight"] == bits and total["tensors"] == 16
    assert total["elements"] == flat[0].size and total["bytes"] == flat[0].size * bits / 8


def test_a_recipe_gives_each_tensor_its_own_type(source, tmp_path):
    convert(MODEL, tmp_path / "q.gguf", "--pre", "llama-bpe", "--type", "Q3_K_M")
    given = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "q.gguf").tensors}
    exact, coded = decoded(source), decoded(tmp_path / "q.gguf")
    report = measure(MODEL, *types("Q3_K_M", "Q6_K"))
    assert [(total["kind"], total["recipe"]) for total in report["totals"]] == [("Q3_K_M", True), ("Q6_K", False)]
    assert len({tensor["errors"][0]["type"] for tensor in report["tensors"]}) > 2
    for tensor in report["tensors"]:
        first, second = tensor["errors"]
        assert (first["type"], second["type"]) == (given[tensor["name"]], "Q6_K")
        assert_errors(first, exact[tensor["name"]], coded[tensor["name"]])


def test_a_gguf_file_is_measured_like_its_checkpoint(source):
    kinds = types("Q4_K", "Q8_0", "IQ4_NL")
    from_file, from_checkpoint = measure(source, *kinds), measure(MODEL, *kinds)
    assert from_file.pop("source") == str(source) and from_checkpoint.pop("source") == str(MODEL)
    assert from_file == from_checkpoint


@pytest.mark.parametrize("io", ["mmap", "read"])
def test_quantized_sources(io, source, tmp_path):
    q8, q4 = tmp_path / "q8.gguf", tmp_path / "q4.gguf"
    assert run("quantize", source, q8, "--type", "Q8_0", "--pure").returncode == 0
    assert run("quantize", q8, q4, "--type", "Q4_0", "--pure", "--allow-requantize").returncode == 0
    exact, coded = decoded(q8), decoded(q4)
    for tensor in measure(q8, *types("Q8_0", "Q4_0"), "--io", io)["tensors"]:
        same, less = tensor["errors"]
        assert tensor["source_type"] == "Q8_0"
        assert (same["relative_rmse"], same["largest_error"], same["cosine"]) == (0, 0, 1)
        assert_errors(less, exact[tensor["name"]], coded[tensor["name"]])


@pytest.mark.parametrize("outtype", ["f32", "bf16"])
def test_errors_are_measured_from_the_type_before_quantization(outtype, tmp_path):
    # A checkpoint in F32, of which BF16 leaves less than F32.
    checkpoint = copy_checkpoint("llama-q256", tmp_path)
    tensors = load_tensors(checkpoint)
    generator = numpy.random.default_rng(3)
    for name, (_, shape, _) in tensors.items():
        tensors[name] = ("F32", shape, generator.normal(size=shape).astype(numpy.float32).tobytes())
    replace_tensors(checkpoint, tensors)
    plain, coded = tmp_path / "plain.gguf", tmp_path / "q.gguf"
    arguments = ("--pre", "llama-bpe", "--outtype", outtype)
    convert(checkpoint, plain, *arguments)
    convert(checkpoint, coded, *arguments, "--type", "Q6_K", "--pure")
    exact, got = decoded(plain), decoded(coded)
    report = measure(checkpoint, "--outtype", outtype, *types("Q6_K", "BF16"))
    for tensor in report["tensors"]:
        assert_errors(tensor["errors"][0], exact[tensor["name"]], got[tensor["name"]])
        assert (tensor["errors"][1]["relative_rmse"] == 0) == (outtype == "bf16")


def test_experts_and_views(tmp_path):
    # Stacks, transposed and split tensors, rows of 32 to 160 elements.
    convert(CHECKPOINTS / "glm-tiny", tmp_path / "a.gguf")
    convert(CHECKPOINTS / "glm-tiny", tmp_path / "q.gguf", "--type", "Q8_0", "--pure")
    exact, coded = decoded(tmp_path / "a.gguf"), decoded(tmp_path / "q.gguf")
    report = measure(CHECKPOINTS / "glm-tiny", *types("Q8_0"))
    names = [tensor["name"] for tensor in report["tensors"]]
    assert any("_exps" in name for name in names) and any("attn_k_b" in name for name in names)
    measured = 0
    for tensor in report["tensors"]:
        (entry,) = tensor["errors"]
        if "why_not" in entry:
            continue
        measured += 1
        assert_errors(entry, exact[tensor["name"]], coded[tensor["name"]])
    assert measured == report["totals"][0]["tensors"] > 20


# ---- What cannot be measured --------------------------------------------------------------------


def test_types_that_a_tensor_cannot_have():
    report = measure(CHECKPOINTS / "glm-tiny", *types("Q8_0", "Q4_K"))
    convertible = {tensor["name"]: tensor for tensor in report["tensors"]}
    for tensor in report["tensors"]:
        row = tensor["shape"][-1]
        q8, q4 = tensor["errors"]
        assert ("why_not" in q8) == (row % 32 != 0) and "why_not" in q4
        assert q4["why_not"] == f"rows of {row} elements do not fill blocks of 256"
    assert report["totals"][1]["tensors"] == report["totals"][1]["elements"] == 0
    assert convertible["output.weight"]["errors"][1]["why_not"]
    text = run("measure", CHECKPOINTS / "glm-tiny", "--type", "Q4_K").stdout
    assert "rows of 64 elements do not fill blocks of 256" in text


def test_types_that_need_importance():
    entries = [tensor["errors"][0] for tensor in measure(MODEL, *types("IQ2_XS"))["tensors"]]
    assert all(entry["why_not"] == "needs importance data" for entry in entries)
    with_data = measure(MODEL, *types("IQ2_XS"), "--imatrix", IMATRIX)["tensors"]
    for tensor in with_data:
        assert ("why_not" in tensor["errors"][0]) == (not tensor["has_importance"])
    assert sum(tensor["has_importance"] for tensor in with_data) > 10


def test_tensors_that_no_recipe_quantizes_are_counted(source):
    report = measure(source, *types("Q8_0"))
    names = {tensor["name"] for tensor in report["tensors"]}
    everything = {tensor.name for tensor in gguf.GGUFReader(source).tensors}
    assert names < everything and report["kept_tensors"] == len(everything - names)
    assert all("norm" in name or name == "rope_freqs.weight" for name in everything - names)


def with_nan(folder):
    checkpoint = copy_checkpoint("llama-q256", folder)
    tensors = load_tensors(checkpoint)
    dtype, shape, raw = tensors["model.layers.1.mlp.up_proj.weight"]
    at = 2 * (3 * shape[1] + 5)
    tensors["model.layers.1.mlp.up_proj.weight"] = (dtype, shape, raw[:at] + b"\xc0\x7f" + raw[at + 2:])
    replace_tensors(checkpoint, tensors)
    return checkpoint


def test_values_that_are_not_finite(tmp_path):
    checkpoint = with_nan(tmp_path)
    result = run("measure", checkpoint, "--type", "Q8_0")
    assert_fails(result, 3, "blk.1.ffn_up.weight", "row 3, column 5", "--nan zero")
    assert result.stdout == ""
    assert measure(checkpoint, *types("Q8_0"), "--nan", "zero")["totals"][0]["relative_rmse"] < 0.01


def test_bad_input(source, tmp_path):
    assert_fails(run("measure", MODEL), 2, "--type")
    assert_fails(run("measure", MODEL, "--type", "Q99"), 2, "Q99")
    assert_fails(run("measure", tmp_path / "no", "--type", "Q8_0"), 3, tmp_path / "no")
    assert_fails(run("measure", MODEL / "config.json", "--type", "Q8_0"), 3, "no GGUF file")
    assert_fails(run("measure", source, "--type", "Q8_0", "--outtype", "f32"), 2, "need a checkpoint")
    assert_fails(run("measure", MODEL, "--type", "Q8_0", "--imatrix", source), 3, source)
    assert_fails(run("measure", CHECKPOINTS / "lfm2-q256", "--type", "Q8_0", "--imatrix", IMATRIX), 3, IMATRIX,
                 "blk.0.ffn_down.weight", "importance data of another size: expected 512 values, got 1024")
    page = tmp_path / "page.html"
    page.write_text("mine")
    assert_fails(run("measure", MODEL, "--type", "Q8_0", "--html", page), 2, "output exists", page)
    assert page.read_text() == "mine"
    for flag in ("--html", "--imatrix"):
        assert_fails(run("measure", MODEL, "--type", "Q8_0", flag, ""), 2, flag, "expected a value")


def test_a_page_that_cannot_be_written_is_noticed_before_the_values_are_read(tmp_path):
    odd = with_nan(tmp_path)
    before = list(tmp_path.iterdir())
    command = ["measure", odd, "--type", "Q8_0", "--html"]
    assert_fails(run(*command, tmp_path / "none" / "page.html"), 5, "there is no folder", "none")
    assert_fails(run(*command, tmp_path / "page.html"), 3, "not finite")
    assert list(tmp_path.iterdir()) == before


# ---- The run ------------------------------------------------------------------------------------


def test_output_does_not_depend_on_threads_memory_or_io():
    arguments = (MODEL, "--json", *types("Q4_K", "Q8_0", "IQ4_XS"), "--imatrix", IMATRIX)
    variants = [("--threads", 1), ("--threads", 2), ("--threads", 7), ("--memory", "8M"), ("--io", "read")]
    assert len({run("measure", *arguments, *variant).stdout for variant in variants}) == 1


def test_progress():
    lines = run("measure", MODEL, "--type", "Q8_0", "--progress", "json").stderr.splitlines()
    last = json.loads(lines[-1])
    assert last["bytes_done"] == last["bytes_total"] > 0


def test_tokenizer_files_are_not_needed(tmp_path):
    checkpoint = copy_checkpoint("llama-q256", tmp_path)
    (checkpoint / "tokenizer.json").unlink()
    assert measure(checkpoint, *types("Q8_0"))["totals"] == measure(MODEL, *types("Q8_0"))["totals"]


# ---- Table and page -----------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--imatrix", IMATRIX)])
def test_table_has_the_numbers_of_the_json(arguments):
    report = measure(MODEL, *types("Q8_0", "Q4_K_M"), *arguments)
    result = run("measure", MODEL, *types("Q8_0", "Q4_K_M"), *arguments)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ("weighted" in result.stdout) == bool(arguments)
    for tensor in report["tensors"]:
        for entry in tensor["errors"]:
            (line,) = [line for line in lines if line[:2] == [tensor["name"], entry["kind"]]]
            assert line[2] == entry["type"]
            assert float(line[3]) == pytest.approx(entry["bits_per_weight"], abs=1e-4)
            assert float(line[4]) == pytest.approx(entry["relative_rmse"], rel=1e-5)
            assert float(line[-2]) == pytest.approx(entry["largest_error"], rel=1e-5)
            assert float(line[-1]) == pytest.approx(entry["cosine"], abs=1e-9)
    assert "total of 16 of 16 matrices" in result.stdout


class Page(html.parser.HTMLParser):
    """Collects the text of table cells and checks that every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.attributes = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *attribute) for attribute in attributes]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, *attribute) for attribute in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def test_page_is_complete_and_loads_nothing(tmp_path):
    page = tmp_path / "page.html"
    kinds = types("Q8_0", "Q4_K", "Q3_K_M", "IQ2_XS")
    result = run("measure", MODEL, *kinds, "--html", page, "--json")
    assert result.returncode == 0, result.stderr
    text, report = page.read_text(), json.loads(result.stdout)
    assert text.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?:|//|<script|<link|<img|<iframe|@import|url\(|\bsrc=|\bhref=", text)
    parsed = Page(text)
    assert not [attribute for attribute in parsed.attributes if attribute[1].startswith("on")]
    for tensor in report["tensors"]:
        assert tensor["name"] in parsed.cells
        for entry in tensor["errors"]:
            assert ("none" if "why_not" in entry else f"{entry['relative_rmse']:.4g}") in parsed.cells
    drawings = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(drawings) == 1 + 7  # totals, and the matrices of a block
    for drawing in drawings:
        points = xml.etree.ElementTree.fromstring(drawing).iter("circle")
        assert sum(1 for _ in points) in (3, 6)  # IQ2_XS has no place without importance data


def test_page_escapes_what_names_hold(tmp_path):
    checkpoint = copy_checkpoint("llama-q256", tmp_path)
    odd = checkpoint.rename(tmp_path / "a<b>&\"c")
    assert run("measure", odd, "--type", "Q8_0", "--html", tmp_path / "page.html").returncode == 0
    text = (tmp_path / "page.html").read_text()
    assert "a&lt;b&gt;&amp;&quot;c" in text and "a<b>" not in text
    before = sha256(tmp_path / "page.html")
    assert run("measure", odd, "--type", "Q8_0", "--html", tmp_path / "page.html", "--force").returncode == 0
    assert sha256(tmp_path / "page.html") == before
