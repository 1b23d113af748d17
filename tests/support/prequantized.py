"""Checkpoints whose weights are quantized already, and the values that they stand for.

Each scheme makes random codes and scales for a weight of some shape and says, by an independent
computation with NumPy, which float32 values they are. `quantized(...)` gives two checkpoints: one
with the packed tensors and one with the values in plain F32.
"""
import numpy

from converted import variant
from sluice_cli import decode, encode, edit_json

E2M1 = numpy.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], numpy.float32)
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # which of 8 neighbours the k-th nibble of a word holds
FINITE_E4M3 = numpy.array([byte for byte in range(256) if byte & 0x7F != 0x7F], numpy.uint8)


def random_scales(generator, shape, dtype):
    """(tensor, float32 values) of positive scales."""
    raw = encode(dtype, generator.uniform(1e-3, 2e-2, shape))
    return (dtype, list(shape), raw), decode(dtype, raw).reshape(shape)


def nibbles(codes):
    """Two codes in a byte, the first in the low half."""
    return (codes[..., ::2] | codes[..., 1::2] << 4).astype(numpy.uint8)


def words(codes, axis, bits=4, order=None):
    """Codes along `axis` in little-endian words of 32 bits."""
    per_word = 32 // bits
    codes = numpy.moveaxis(codes.astype(numpy.uint64), axis, -1)
    missing = -codes.shape[-1] % per_word
    codes = numpy.concatenate([codes, numpy.zeros((*codes.shape[:-1], missing), numpy.uint64)], -1)
    groups = codes.reshape(*codes.shape[:-1], -1, per_word)
    packed = numpy.zeros(groups.shape[:-1], numpy.uint64)
    for k, lane in enumerate(order or range(per_word)):
        packed |= groups[..., lane] << numpy.uint64(k * bits)
    return numpy.moveaxis(packed, -1, axis).astype(numpy.uint32)


def tensor(dtype, array):
    return dtype, list(array.shape), numpy.ascontiguousarray(array).tobytes()


def spread(scales, shape, block):
    """A scale for each element from one for each block."""
    for axis, size in enumerate(block):
        scales = numpy.repeat(scales, size, axis)
    return scales[tuple(slice(0, extent) for extent in shape)]


class Fp8Blocks:
    """DeepSeek's FP8: E4M3 codes, a scale for each block."""

    def __init__(self, block=(32, 48), dtype="F32", suffix="_scale_inv", method="fp8"):
        self.block, self.dtype, self.suffix, self.method = block, dtype, suffix, method

    def config(self):
        if self.method == "fp8":
            return {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": list(self.block)}
        return compressed({"num_bits": 8, "type": "float", "strategy": "block",
                           "block_structure": list(self.block)}, "float-quantized")

    def pack(self, name, shape, generator):
        codes = generator.choice(FINITE_E4M3, shape)
        grid = [*shape[:-2], *(-(-extent // size) for extent, size in zip(shape[-2:], self.block))]
        scales, values = random_scales(generator, grid, self.dtype)
        spread_values = spread(values, shape, [1] * (len(shape) - 2) + list(self.block))
        floats = decode("F8_E4M3", codes.tobytes()).reshape(shape)
        return {name: tensor("F8_E4M3", codes), name + self.suffix: scales}, floats * spread_values


class Scaled:
    """Codes of 8 bits with a scale for the tensor or for each row."""

    def __init__(self, scale_shape, dtype="F8_E4M3", scale_dtype="F32", config=None):
        self.scale_shape, self.dtype, self.scale_dtype, self._config = scale_shape, dtype, scale_dtype, config

    def config(self):
        kind = {"I8": "int"}.get(self.dtype, "float")
        return self._config or compressed({"num_bits": 8, "type": kind, "strategy": "channel"},
                                          f"{kind}-quantized")

    def pack(self, name, shape, generator):
        if self.dtype == "F8_E4M3":
            codes = generator.choice(FINITE_E4M3, shape)
            floats = decode("F8_E4M3", codes.tobytes()).reshape(shape)
        else:
            codes = generator.integers(-128, 128, shape, numpy.int8)
            floats = codes.astype(numpy.float32)
        scales, values = random_scales(generator, self.scale_shape(shape), self.scale_dtype)
        while values.ndim < len(shape):
            values = values[..., None]
        return {name: tensor(self.dtype, codes), name + "_scale": scales}, floats * values


class Mxfp4:
    """4-bit floats with an exponent for 32 of them: in gpt-oss's blocks or as compressed-tensors has them."""

    def __init__(self, blocks=False):
        self.blocks = blocks

    def config(self):
        if self.blocks:
            return {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
        return compressed({"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32},
                          "mxfp4-pack-quantized")

    def pack(self, name, shape, generator):
        codes = generator.integers(0, 16, shape)
        exponents = generator.integers(100, 130, [*shape[:-1], shape[-1] // 32], numpy.uint8)
        values = E2M1[codes] * numpy.repeat(numpy.float32(2) ** (exponents.astype(numpy.float32) - 127), 32, -1)
        packed = nibbles(codes)
        if self.blocks:
            packed = packed.reshape(*shape[:-1], shape[-1] // 32, 16)
            return {name + "_blocks": tensor("U8", packed), name + "_scales": tensor("U8", exponents)}, values
        return {name + "_packed": tensor("U8", packed), name + "_scale": tensor("U8", exponents)}, values


class Nvfp4:
    """4-bit floats, an E4M3 scale for 16 of them and one for all: of ModelOpt or compressed-tensors."""

    def __init__(self, model_opt):
        self.model_opt = model_opt

    def config(self):
        if self.model_opt:
            return {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}
        return compressed({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
                          "nvfp4-pack-quantized")

    def pack(self, name, shape, generator):
        codes = generator.integers(0, 16, shape)
        scales = generator.integers(1, 0x7F, [*shape[:-1], shape[-1] // 16], numpy.uint8)
        scale_values = decode("F8_E4M3", scales.tobytes()).reshape(scales.shape)
        whole = numpy.float32(generator.uniform(1e-3, 1e-2))
        if not self.model_opt:
            whole = numpy.float32(1) / whole
        scaled = scale_values * whole if self.model_opt else scale_values / whole
        values = E2M1[codes] * numpy.repeat(scaled.astype(numpy.float32), 16, -1)
        codes_name, whole_name = (name, "_scale_2") if self.model_opt else (name + "_packed", "_global_scale")
        whole_shape = numpy.array(whole if self.model_opt else [whole], numpy.float32)
        parts = {codes_name: tensor("U8", nibbles(codes)), name + "_scale": tensor("F8_E4M3", scales),
                 name + whole_name: tensor("F32", whole_shape)}
        module = name.removesuffix(".weight")
        parts[module + (".input_scale" if self.model_opt else ".input_global_scale")] = tensor(
            "F32", numpy.ones(1, numpy.float32))
        return parts, values


class Packed:
    """compressed-tensors' integers in words along the rows."""

    def __init__(self, bits=4, group=16, symmetric=True, order=False, dtype="BF16"):
        self.bits, self.group, self.symmetric, self.order, self.dtype = bits, group, symmetric, order, dtype

    def config(self):
        return compressed({"num_bits": self.bits, "type": "int", "symmetric": self.symmetric,
                           "strategy": "group" if self.group else "channel", "group_size": self.group,
                           "actorder": "group" if self.order else None}, "pack-quantized")

    def pack(self, name, shape, generator):
        rows, columns = shape
        groups = -(-columns // self.group) if self.group else 1
        codes = generator.integers(0, 2 ** self.bits, shape)
        scales, values = random_scales(generator, (rows, groups), self.dtype)
        zeros = generator.integers(0, 2 ** self.bits, (rows, groups)) if not self.symmetric else numpy.full(
            (rows, groups), 2 ** (self.bits - 1))
        group_of = numpy.arange(columns) // (self.group or columns)
        parts = {name + "_packed": tensor("I32", words(codes, 1, self.bits)), name + "_scale": scales,
                 name + "_shape": tensor("I64", numpy.array(shape, numpy.int64))}
        if not self.symmetric:
            parts[name + "_zero_point"] = tensor("I32", words(zeros, 0, self.bits))
        if self.order:
            generator.shuffle(group_of)
            parts[name + "_g_idx"] = tensor("I32", group_of.astype(numpy.int32))
        return parts, (codes - zeros[:, group_of]).astype(numpy.float32) * values[:, group_of]


class Gptq:
    def __init__(self, bits=4, group=16, order=False, version=1, with_list=True):
        self.bits, self.group, self.order, self.version, self.with_list = bits, group, order, version, with_list

    def config(self):
        config = {"quant_method": "gptq", "bits": self.bits, "group_size": self.group or -1, "desc_act": self.order,
                  "sym": False, "lm_head": False}
        return {**config, "checkpoint_format": "gptq_v2"} if self.version == 2 else config

    def pack(self, name, shape, generator):
        outputs, inputs = shape
        groups = inputs // self.group if self.group else 1
        codes = generator.integers(0, 2 ** self.bits, (inputs, outputs))
        stored = generator.integers(0, 2 ** self.bits, (groups, outputs))
        zeros = stored + 1 if self.version == 1 else stored
        scales, values = random_scales(generator, (groups, outputs), "F16")
        group_of = numpy.arange(inputs) // (self.group or inputs)
        if self.order:
            generator.shuffle(group_of)
        base = name.removesuffix("weight")
        parts = {base + "qweight": tensor("I32", words(codes, 0, self.bits)),
                 base + "qzeros": tensor("I32", words(stored, 1, self.bits)), base + "scales": scales}
        if self.with_list:
            parts[base + "g_idx"] = tensor("I32", group_of.astype(numpy.int32))
        return parts, ((codes - zeros[group_of]).astype(numpy.float32) * values[group_of]).T


class Awq:
    def __init__(self, group=16):
        self.group = group

    def config(self):
        return {"quant_method": "awq", "bits": 4, "group_size": self.group, "zero_point": True, "version": "gemm",
                "modules_to_not_convert": None}

    def pack(self, name, shape, generator):
        outputs, inputs = shape
        groups = inputs // self.group
        codes = generator.integers(0, 16, (inputs, outputs))
        zeros = generator.integers(0, 16, (groups, outputs))
        scales, values = random_scales(generator, (groups, outputs), "F16")
        group_of = numpy.arange(inputs) // self.group
        base = name.removesuffix("weight")
        parts = {base + "qweight": tensor("I32", words(codes, 1, order=AWQ_ORDER)),
                 base + "qzeros": tensor("I32", words(zeros, 1, order=AWQ_ORDER)), base + "scales": scales}
        return parts, ((codes - zeros[group_of]).astype(numpy.float32) * values[group_of]).T


def compressed(weights, style):
    return {"quant_method": "compressed-tensors", "format": style, "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}


def is_linear(name, shape):
    """Whether such schemes quantize a weight: projections, but no router, embedding or convolution."""
    return (len(shape) == 2 and name.endswith(".weight") and not name.endswith("mlp.gate.weight")
            and not any(word in name for word in ("embed", "lm_head", "router", "norm", "conv.conv", "vision")))


def quantized(case, folder, scheme, chosen=is_linear, seed=1, change=lambda tensors: None):
    """(packed checkpoint, the same in plain F32); `change` comes before both."""
    generator = numpy.random.default_rng(seed)
    values = {}

    def pack(tensors):
        change(tensors)
        for name in [name for name, (_, shape, _) in tensors.items() if chosen(name, shape)]:
            parts, values[name] = scheme.pack(name, tuple(tensors.pop(name)[1]), generator)
            tensors.update(parts)

    def unpack(tensors):
        change(tensors)
        for name, floats in values.items():
            assert floats.dtype == numpy.float32
            tensors[name] = tensor("F32", floats)

    for kind in ("packed", "plain"):
        (folder / kind).mkdir()
    packed = variant(case, folder / "packed", change_tensors=pack)
    edit_json(packed / "config.json", lambda config: config.update(quantization_config=scheme.config()))
    assert values
    return packed, variant(case, folder / "plain", change_tensors=unpack)
