"""A checkpoint beside the files it becomes, for tests that compute what these files should hold."""
import json
import pathlib
import re

import numpy

from sluice_cli import GOLDEN, Gguf, convert, copy_checkpoint, encode, load_tensors, replace_tensors, source_floats

DIALECTS = ["ollama", "llama.cpp"]


class Converted:
    """Config and source tensors of a checkpoint, and by dialect the GGUF file it becomes."""

    def __init__(self, checkpoint, folder, *arguments):
        self.config = json.loads((pathlib.Path(checkpoint) / "config.json").read_text())
        self.text = self.config.get("text_config", self.config)
        self.vision = self.config.get("vision_config", {})
        self.sources = load_tensors(checkpoint)
        self._checkpoint, self._folder, self._arguments = checkpoint, folder, arguments
        self._files = {}
        self.messages = {}  # stderr by dialect

    @classmethod
    def golden(cls, case, folder, *arguments):
        return cls(GOLDEN / "checkpoints" / case, folder, *arguments)

    def __getitem__(self, dialect):
        if dialect not in self._files:
            out = self._folder / f"{dialect}.gguf"
            result = convert(self._checkpoint, out, "--dialect", dialect, *self._arguments)
            self.messages[dialect] = result.stderr
            self._files[dialect] = Gguf(out)
        return self._files[dialect]

    def floats(self, name):
        """A source tensor as a float32 array of its shape."""
        return source_floats(self.sources, name)

    def matches(self, pattern):
        """(name, numbers) of the source tensors whose name is `pattern` with numbers for {}."""
        expression = re.compile(re.escape(pattern).replace(r"\{\}", r"(\d+)"))
        found = [(name, expression.fullmatch(name)) for name in self.sources]
        return [(name, [int(number) for number in match.groups()]) for name, match in found if match]


def variant(case, folder, change_config=None, change_tensors=None):
    """A copy of a golden checkpoint, of the same name, with another config and other tensors."""
    checkpoint = copy_checkpoint(case, folder)
    if change_config:
        path = checkpoint / "config.json"
        config = json.loads(path.read_text())
        change_config(config)
        path.write_text(json.dumps(config))
    if change_tensors:
        tensors = load_tensors(checkpoint)
        change_tensors(tensors)
        replace_tensors(checkpoint, tensors)
    return checkpoint


def text_only_llama4(folder):
    """llama4-tiny without its vision part, as Llama4ForCausalLM has it."""
    def change_config(config):
        text = config["text_config"]
        config.clear()
        config.update(text, architectures=["Llama4ForCausalLM"])

    def change_tensors(tensors):
        for name in list(tensors):
            tensor = tensors.pop(name)
            if name.startswith("language_model."):
                tensors[name.removeprefix("language_model.")] = tensor

    return variant("llama4-tiny", folder, change_config, change_tensors)


def bf16(values):
    """An array as a source tensor: (dtype, shape, bytes)."""
    return "BF16", list(values.shape), encode("BF16", values)


def random_bf16(*shape, seed=0):
    return bf16(numpy.random.default_rng(seed).normal(size=shape))


def fuse_glm_experts(tensors):
    """The experts of glm-tiny as transformers 5 saves them: two stacks, of which the first holds gate, then up."""
    for block in (1, 2, 3):
        experts = f"model.layers.{block}.mlp.experts."

        def stack(part):
            names = [f"{experts}{expert}.{part}_proj.weight" for expert in range(8)]
            return numpy.stack([source_floats({name: tensors.pop(name)}, name) for name in names])

        tensors[experts + "gate_up_proj"] = bf16(numpy.concatenate([stack("gate"), stack("up")], axis=1))
        tensors[experts + "down_proj"] = bf16(stack("down"))


def assert_holds(tensor, values):
    """The tensor has the shape and, rounded once to its type, the values of a float32 array."""
    assert tensor.shape == values.shape
    assert tensor.raw == encode(tensor.type, values)


def assert_renamed(model, dialect, old, new, change=lambda values: values, layers=None):
    """Every source tensor of name `old` is in the file as `new`, value for value after `change`.
    {} in both stands for numbers; `layers` limits the first of them."""
    tensors = model[dialect].tensors
    found = [(name, numbers) for name, numbers in model.matches(old)
             if layers is None or numbers[0] < layers]
    assert found, old
    for name, numbers in found:
        assert name == new.format(*numbers) or name not in tensors
        assert_holds(tensors[new.format(*numbers)], change(model.floats(name)))


def interleaved(heads):
    """The Q/K permutation: rotary halves held side by side in each head become pairs."""
    def change(rows):
        half = len(rows) // heads // 2
        result = numpy.empty_like(rows)
        for head in range(heads):
            first = 2 * half * head
            result[first : first + 2 * half : 2] = rows[first : first + half]
            result[first + 1 : first + 2 * half : 2] = rows[first + half : first + 2 * half]
        return result
    return change


def llama3_factors(rope, theta, dim):
    """rope_freqs.weight by the published formula of Llama 3.1, in binary64."""
    factor, low, high = (rope[key] for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = rope["original_max_position_embeddings"]
    wavelength = 2 * numpy.pi * theta ** (numpy.arange(0, dim, 2) / dim)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        smooth = (original / wavelength - low) / (high - low)
        between = 1 / ((1 - smooth) / factor + smooth)
    return numpy.where(wavelength < original / high, 1.0,
                       numpy.where(wavelength > original / low, factor, between))
