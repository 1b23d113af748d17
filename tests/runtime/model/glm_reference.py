"""GLM-4 MoE Lite in NumPy, written for clarity: what the runtime is compared with.

Names of shapes: T new tokens, S all tokens, A heads, rk latent width, dn and dr elements of a head's
query without and with position, dq = dn + dr, dv width of a value. Weights are [out, in].

`mistakes` turns single lines into plausible errors, so that tests can show that they would notice.
"""
import json
import math
import pathlib

import numpy

from sluice_cli import load_tensors, source_floats


class Settings:
    """config.json in either spelling, with the defaults of transformers."""

    def __init__(self, config, latent_eps):
        self.hidden = config["hidden_size"]
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.q_rank = config.get("q_lora_rank")
        self.rk = config["kv_lora_rank"]
        self.dn, self.dr = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
        self.dv = config["v_head_dim"]
        self.experts, self.used = config["n_routed_experts"], config["num_experts_per_tok"]
        self.shared = config.get("n_shared_experts", 1)
        self.groups, self.used_groups = config.get("n_group", 1), config.get("topk_group", 1)
        self.norm_topk = config.get("norm_topk_prob", True)
        self.scale = config.get("routed_scaling_factor", 1.8)
        self.eps, self.latent_eps = config.get("rms_norm_eps", 1e-5), latent_eps
        types = config.get("mlp_layer_types")
        if types is None:
            dense = config.get("first_k_dense_replace", 1)
            types = ["dense" if i < dense else "sparse" for i in range(self.layers)]
        self.sparse = [kind == "sparse" for kind in types]
        self.rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
        self.rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
        self.rope.setdefault("rope_type", self.rope.get("type", "default"))
        self.rope.setdefault("original_max_position_embeddings", config["max_position_embeddings"])


def mscale(factor, weight):
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def rope_frequencies(rope, width):
    """(radians a position of each pair, multiplier of cosine and sine)."""
    theta, factor = rope["rope_theta"], rope.get("factor", 1.0)
    exponents = numpy.arange(0, width, 2, dtype=numpy.float32) / numpy.float32(width)
    plain = (1.0 / theta**exponents).astype(numpy.float32)
    if rope["rope_type"] == "default":
        return plain, 1.0
    if rope["rope_type"] == "linear":
        return plain / numpy.float32(factor), 1.0
    assert rope["rope_type"] == "yarn"

    def edge(turns):
        context = rope["original_max_position_embeddings"]
        return width * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = edge(rope.get("beta_fast", 32)), edge(rope.get("beta_slow", 1))
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    high += 0.001 if low == high else 0
    ramp = numpy.clip((numpy.arange(width // 2, dtype=numpy.float32) - low) / (high - low), 0, 1)
    frequencies = (plain * (1 - ramp) + plain / factor * ramp).astype(numpy.float32)
    if rope.get("attention_factor") is not None:
        return frequencies, rope["attention_factor"]
    one, all_dim = rope.get("mscale"), rope.get("mscale_all_dim")
    if one and all_dim:
        return frequencies, mscale(factor, one) / mscale(factor, all_dim)
    return frequencies, mscale(factor, 1.0)


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def softmax(x):
    e = numpy.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rms_norm(x, weight, eps):
    return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def to_bf16(x):
    bits = x.astype(numpy.float32).view(numpy.uint32).astype(numpy.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return rounded.astype(numpy.uint32).view(numpy.float32).astype(x.dtype)


class Reference:
    """One sequence of tokens. `form` is "naive" or "absorbed"."""

    def __init__(self, folder, latent_eps=1e-6, form="naive", dtype=numpy.float64, mistakes=()):
        folder = pathlib.Path(folder)
        self.s = Settings(json.loads((folder / "config.json").read_text()), latent_eps)
        tensors = load_tensors(folder)
        self.w = {name: source_floats(tensors, name).astype(dtype) for name in tensors}
        self.form, self.dtype, self.mistakes = form, dtype, set(mistakes)
        if "all norms 1e-6" in mistakes:
            self.s.eps = 1e-6
        if "theta 1e4" in mistakes:
            self.s.rope["rope_theta"] = 1e4
        self.length = 0
        self.cache = [numpy.zeros((0, self.s.rk + self.s.dr), dtype)] * self.s.layers

    def rotate(self, x, start):
        """x [..., T, dr]; the first row is at position `start`."""
        frequencies, multiplier = rope_frequencies(self.s.rope, self.s.dr)
        positions = numpy.arange(start, start + x.shape[-2], dtype=numpy.float32)
        angles = positions[:, None] * frequencies[None, :]
        cos = (numpy.cos(angles) * numpy.float32(multiplier)).astype(self.dtype)
        sin = (numpy.sin(angles) * numpy.float32(multiplier)).astype(self.dtype)
        first, second = slice(0, None, 2), slice(1, None, 2)
        if "half-split RoPE" in self.mistakes:
            first, second = slice(0, self.s.dr // 2), slice(self.s.dr // 2, None)
        y = numpy.empty_like(x)
        y[..., first] = x[..., first] * cos - x[..., second] * sin
        y[..., second] = x[..., second] * cos + x[..., first] * sin
        return y

    def saw(self, name, rows):
        """What the weight `name` is multiplied with; [A, T, in] for the halves of kv_b_proj in the
        absorbed form, else [T, in]. For tests that listen."""

    def linear(self, name, x):
        self.saw(name, x)
        return x @ self.w[name + ".weight"].T

    def score_scale(self):
        s = self.s
        width = s.rk + s.dr if "scale of the cache row" in self.mistakes else s.dn + s.dr
        scale = width**-0.5
        if s.rope["rope_type"] != "default" and s.rope.get("mscale_all_dim"):
            scale *= mscale(s.rope["factor"], s.rope["mscale_all_dim"]) ** 2
        return scale

    def attention(self, layer, x):
        """x [T, H], normed -> [T, H]; appends to the cache."""
        s, p, new = self.s, f"model.layers.{layer}.self_attn.", x.shape[0]
        past = self.cache[layer].shape[0]
        start = 0 if "positions of a chunk from 0" in self.mistakes else past
        if s.q_rank is None:
            q = self.linear(p + "q_proj", x)
        else:
            q = self.linear(p + "q_a_proj", x)
            q = self.linear(p + "q_b_proj",
                            rms_norm(q, self.w[p + "q_a_layernorm.weight"], s.latent_eps))
        q = q.reshape(new, s.heads, s.dn + s.dr).transpose(1, 0, 2)  # [A, T, dq]
        q_nope, q_rope = q[..., : s.dn], self.rotate(q[..., s.dn :], start)
        kv = self.linear(p + "kv_a_proj_with_mqa", x)
        latent = rms_norm(kv[:, : s.rk], self.w[p + "kv_a_layernorm.weight"], s.latent_eps)
        row = numpy.concatenate([latent, self.rotate(kv[:, s.rk :], start)], 1)
        self.cache[layer] = numpy.concatenate([self.cache[layer], row])
        latents, k_rope = self.cache[layer][:, : s.rk], self.cache[layer][:, s.rk :]
        b = self.w[p + "kv_b_proj.weight"].reshape(s.heads, s.dn + s.dv, s.rk)
        w_k, w_v = b[:, : s.dn], b[:, s.dn :]  # [A, dn, rk], [A, dv, rk]
        if self.form == "naive":
            keys, values = latents @ w_k.transpose(0, 2, 1), latents @ w_v.transpose(0, 2, 1)
            scores = q_nope @ keys.transpose(0, 2, 1) + q_rope @ k_rope.T
        else:
            scores = numpy.concatenate([q_nope @ w_k, q_rope], -1) @ self.cache[layer].T
        visible = numpy.arange(past + new)[None, :] <= past + numpy.arange(new)[:, None]
        weights = softmax(numpy.where(visible, scores * self.score_scale(), -numpy.inf))
        if self.form == "naive":
            out = weights @ values
        else:
            self.saw(p + "embed_q", q_nope)
            self.saw(p + "unembed_out", weights @ latents)
            out = weights @ latents @ w_v.transpose(0, 2, 1)
        return self.linear(p + "o_proj", out.transpose(1, 0, 2).reshape(new, s.heads * s.dv))

    def mlp(self, prefix, x):
        gate, up = self.linear(prefix + "gate_proj", x), self.linear(prefix + "up_proj", x)
        if "gate and up swapped" in self.mistakes:
            gate, up = up, gate
        return self.linear(prefix + "down_proj", gate * sigmoid(gate) * up)

    def keep_best_groups(self, choice):
        s = self.s
        grouped = choice.reshape(len(choice), s.groups, -1)
        taken = 1 if "best one of a group" in self.mistakes else 2
        scores = numpy.sort(grouped, -1)[..., -taken:].sum(-1)
        best = numpy.argsort(-scores, -1, kind="stable")[:, : s.used_groups]
        keep = numpy.zeros(scores.shape, bool)
        numpy.put_along_axis(keep, best, True, -1)
        masked = 0.0 if "masked groups 0" in self.mistakes else -numpy.inf
        return numpy.where(keep[..., None], grouped, masked).reshape(choice.shape)

    def route(self, layer, x):
        """(experts [T, K], ascending; weights [T, K])."""
        s, p = self.s, f"model.layers.{layer}.mlp.gate."
        bf16 = "BF16 router" in self.mistakes
        self.saw(p[:-1], x)
        logits = to_bf16(to_bf16(x) @ self.w[p + "weight"].T) if bf16 else x @ self.w[p + "weight"].T
        score = to_bf16(sigmoid(logits)) if bf16 else sigmoid(logits)
        bias = self.w[p + "e_score_correction_bias"]
        choice = score if "no correction bias" in self.mistakes else score + bias
        if s.groups > 1 and "no group selection" not in self.mistakes:
            choice = self.keep_best_groups(choice)
        experts = numpy.sort(numpy.argsort(-choice, -1, kind="stable")[:, : s.used], -1)
        source = score + bias if "bias in the weight" in self.mistakes else score
        weights = numpy.take_along_axis(source, experts, -1)
        if s.norm_topk and "no normalisation" not in self.mistakes:
            weights = weights / (weights.sum(-1, keepdims=True) + 1e-20)
        return experts, weights * (1.0 if "no routed scale" in self.mistakes else s.scale)

    def feed_forward(self, layer, x):
        p = f"model.layers.{layer}.mlp."
        if not self.s.sparse[layer]:
            return self.mlp(p, x)
        experts, weights = self.route(layer, x)
        y = numpy.zeros_like(x)
        for expert in range(self.s.experts):
            token, slot = numpy.nonzero(experts == expert)
            if token.size:
                y[token] += self.mlp(f"{p}experts.{expert}.", x[token]) * weights[token, slot, None]
        if self.s.shared and "no shared expert" not in self.mistakes:
            y += self.mlp(p + "shared_experts.", x)
        return y

    def forward(self, tokens):
        """Appends tokens; gives their logits [T, V]."""
        s = self.s
        h = self.w["model.embed_tokens.weight"][numpy.asarray(tokens)]
        for layer in range(s.layers):
            p = f"model.layers.{layer}."
            h = h + self.attention(layer, rms_norm(h, self.w[p + "input_layernorm.weight"], s.eps))
            x = rms_norm(h, self.w[p + "post_attention_layernorm.weight"], s.eps)
            h = h + self.feed_forward(layer, x)
        self.length += len(tokens)
        h = rms_norm(h, self.w["model.norm.weight"], s.eps)
        return h @ self.w.get("lm_head.weight", self.w["model.embed_tokens.weight"]).T


def reference_logits(folder, tokens, chunk=None, **options):
    """Logits [T, V] of the tokens, fed `chunk` at a time."""
    model = Reference(folder, **options)
    chunk = chunk or len(tokens)
    return numpy.concatenate([model.forward(tokens[i : i + chunk])
                              for i in range(0, len(tokens), chunk)])
