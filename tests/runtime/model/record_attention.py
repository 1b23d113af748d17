"""Writes tests/golden/attention: one attention layer of glm-tiny by the NumPy reference.

usage: record_attention.py   (with tests/support on PYTHONPATH and SLUICE set to anything)
"""
import numpy

from glm_reference import Reference
from sluice_cli import GOLDEN

LAYER, TOKENS = 1, 12


def attention_case():
    """(inputs [T, H], outputs [T, H]) of the layer, the inputs normed as in the model."""
    outputs = []
    inputs = numpy.random.default_rng(11).normal(0, 1, (TOKENS, 64)).astype(numpy.float32)
    for form in ("naive", "absorbed"):
        model = Reference(GOLDEN / "checkpoints" / "glm-tiny", form=form)
        outputs.append(model.attention(LAYER, inputs.astype(numpy.float64)))
    assert numpy.abs(outputs[0] - outputs[1]).max() < 1e-12
    return inputs, outputs[0].astype(numpy.float32)


if __name__ == "__main__":
    for name, values in zip(("inputs", "outputs"), attention_case()):
        values.tofile(GOLDEN / "attention" / f"{name}.f32")
