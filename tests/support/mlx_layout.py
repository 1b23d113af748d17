"""The quantized layouts of MLX in NumPy, written from their description: what codes, scales and biases
must be, and what they mean."""
import numpy

from sluice_cli import decode, encode

E2M1 = numpy.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], numpy.float32)
E4M3 = decode("F8_E4M3", bytes(range(256)))
# type -> (mode, bits, group); the group of integers can be chosen
TYPES = {"int4": ("affine", 4, 64), "int8": ("affine", 8, 64), "nvfp4": ("nvfp4", 4, 16),
         "mxfp4": ("mxfp4", 4, 32), "mxfp8": ("mxfp8", 8, 32)}
F = numpy.float32


def nearest(table, values):
    """Index of the nearest entry of an ascending table, of equally near ones the even index."""
    right = numpy.clip(numpy.searchsorted(table, values), 1, len(table) - 1)
    low, high = table[right - 1].astype(float), table[right].astype(float)
    below, above = values - low, high - values
    take_high = (above < below) | ((above == below) & (right % 2 == 0))
    return numpy.where(take_high, right, right - 1)


def to_e4m3(values):
    code = nearest(E4M3[:127], numpy.abs(values))
    return (code | numpy.where(numpy.signbit(values), 0x80, 0)).astype(numpy.uint8)


def to_e2m1(values):
    """Of equally near values the smaller one; there is no -0."""
    borders = numpy.array([.25, .75, 1.25, 1.75, 2.5, 3.5, 5], F)
    code = (numpy.abs(values)[..., None] > borders).sum(-1)
    return numpy.where((code > 0) & (values < 0), code | 8, code).astype(numpy.uint8)


def pack(codes, bits):
    """Codes [..., in] as bytes of little-endian words of 32 bits."""
    if bits == 8:
        return codes.astype(numpy.uint8).tobytes()
    return (codes[..., ::2] | codes[..., 1::2] << 4).astype(numpy.uint8).tobytes()


def affine(values, bits):
    """(codes, scales, biases) of groups [..., group] in float32."""
    steps = F(2**bits - 1)
    low, high = values.min(-1), values.max(-1)
    from_low = numpy.abs(low) > numpy.abs(high)
    scale = numpy.maximum((high - low) / steps, F(1e-7))
    scale = numpy.where(from_low, scale, -scale)
    edge = numpy.where(from_low, low, high)
    zero = numpy.rint(edge / scale)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        scale = numpy.where(zero == 0, scale, edge / zero)
    bias = numpy.where(zero == 0, F(0), edge)
    codes = numpy.clip(numpy.rint((values - bias[..., None]) / scale[..., None]), 0, steps)
    return codes.astype(numpy.uint8), scale.astype(F), bias.astype(F)


def small_floats(values, mode):
    """(codes, bytes of scales) of groups [..., group] in float32."""
    largest = numpy.abs(values).max(-1)
    if mode == "nvfp4":
        stored = to_e4m3(largest / F(6))
        scale = E4M3[stored]
    else:
        wanted = largest / F(6 if mode == "mxfp4" else 448)
        mantissa, exponent = numpy.frexp(wanted)
        exponent = numpy.where(mantissa == .5, exponent - 1, exponent)
        exponent = numpy.where(wanted == 0, 0, numpy.maximum(exponent, -127))
        stored = (exponent + 127).astype(numpy.uint8)
        scale = numpy.ldexp(F(1), exponent.astype(int))
    with numpy.errstate(divide="ignore", invalid="ignore"):
        scaled = numpy.where(scale[..., None] == 0, F(0), values / scale[..., None]).astype(F)
    return (to_e4m3 if mode == "mxfp8" else to_e2m1)(scaled), stored


def quantize(values, kind, group=None, scale_dtype="BF16", suffixes=(".weight", ".scales", ".biases")):
    """{suffix: (dtype, shape, bytes)} of a matrix or a stack."""
    mode, bits, usual = TYPES[kind]
    group = group if mode == "affine" and group else usual
    rows, columns = values.shape[:-1], values.shape[-1]
    groups = numpy.ascontiguousarray(values, F).reshape(*rows, columns // group, group)
    scale_shape = [*rows, columns // group]
    code_shape = [*rows, columns * bits // 32]
    if mode == "affine":
        codes, scales, biases = affine(groups, bits)
        parts = [("U32", code_shape, pack(codes, bits)),
                 (scale_dtype, scale_shape, encode(scale_dtype, scales)),
                 (scale_dtype, scale_shape, encode(scale_dtype, biases))]
    else:
        codes, scales = small_floats(groups, mode)
        parts = [("U32", code_shape, pack(codes, bits)), ("U8", scale_shape, scales.tobytes())]
    return dict(zip(suffixes, parts))


def dequantize(parts, kind, group=None, factor=1):
    """The float32 values of what quantize() gives, with its own names of parts."""
    mode, bits, usual = TYPES[kind]
    group = group if mode == "affine" and group else usual
    shape, raw = parts[".weight"][1:]
    codes = numpy.frombuffer(raw, numpy.uint8)
    if bits == 4:
        codes = numpy.stack([codes & 15, codes >> 4], -1)
    codes = codes.reshape(*shape[:-1], -1, group)
    scale_dtype, scale_shape, scale_raw = parts[".scales"]
    if mode == "affine":
        scales = decode(scale_dtype, scale_raw).reshape(scale_shape)[..., None]
        biases = decode(*[parts[".biases"][i] for i in (0, 2)]).reshape(scale_shape)[..., None]
        values = scales * codes.astype(F) + biases
    else:
        stored = numpy.frombuffer(scale_raw, numpy.uint8).reshape(scale_shape)[..., None]
        scales = E4M3[stored] if mode == "nvfp4" else numpy.ldexp(F(1), stored.astype(int) - 127)
        values = (E4M3 if bits == 8 else E2M1)[codes] * (scales * F(factor))
    return values.reshape(*shape[:-1], -1).astype(F)
