"""By hand, where MLX is installed: mlx_layout.py says what MLX does on the CPU."""
import mlx.core as mx
import numpy

from mlx_layout import TYPES, dequantize, quantize
from sluice_cli import decode, encode


def weights():
    """Random BF16 values as float32; rows of zeros, of equal values and of one sign among them."""
    values = numpy.random.default_rng(0).normal(0, 0.05, (64, 512)).astype(numpy.float32)
    values[0], values[1], values[2], values[3] = 0, 3, -abs(values[2]), values[3] * 1e-6
    return decode("BF16", encode("BF16", values)).reshape(values.shape)


def raw(array):
    return numpy.array(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array).tobytes()


def compare(kind, group):
    mode, bits, _ = TYPES[kind]
    values = weights()
    theirs = mx.quantize(mx.array(values).astype(mx.bfloat16), group_size=group, bits=bits, mode=mode)
    ours = quantize(values, kind, group)
    for (suffix, (_, _, content)), array in zip(ours.items(), theirs):
        assert raw(array) == content, f"{kind} in groups of {group}: {suffix}"
    if mode != "affine":  # MLX rounds affine values to BF16 twice
        decoded = mx.dequantize(*theirs, group_size=group, bits=bits, mode=mode)
        assert (numpy.array(decoded.astype(mx.float32)) == dequantize(ours, kind)).all()


mx.set_default_device(mx.cpu)
for name, (mode_name, _, usual) in TYPES.items():
    for size in (32, 64, 128) if mode_name == "affine" else (usual,):
        compare(name, size)
print("equal, MLX", mx.__version__)
