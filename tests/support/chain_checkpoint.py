"""Checkpoints of GLM-4 MoE Lite that say what a test wants, on every machine."""
import json

import numpy

from sluice_cli import copy_checkpoint, edit_json, encode, load_tensors, replace_tensors

SILENT = ("o_proj.weight", "down_proj.weight")  # what the layers add to the residual stream


def chain_checkpoint(folder, chain, context=4096):
    """A model that after each token of `chain` (texts of tokens) says the next one, for ever after
    the same token the same. Each token may stand at one place only, except at the end."""
    checkpoint = copy_checkpoint("glm-tiny", folder)
    ids = tokens_by_text(checkpoint)
    tensors = load_tensors(checkpoint)
    for name, (dtype, shape, raw) in tensors.items():
        if name.endswith(SILENT):
            tensors[name] = (dtype, shape, bytes(len(raw)))
        elif name.endswith("norm.weight"):
            tensors[name] = (dtype, shape, encode(dtype, numpy.ones(shape)))
    shape = tensors["lm_head.weight"][1]
    embedding, head = numpy.zeros(shape), numpy.zeros(shape)
    for feature, (token, successor) in enumerate(zip(chain, chain[1:])):
        embedding[ids[token], feature] = 1
        head[ids[successor], feature] = 10
    tensors["model.embed_tokens.weight"] = ("BF16", shape, encode("BF16", embedding))
    tensors["lm_head.weight"] = ("BF16", shape, encode("BF16", head))
    replace_tensors(checkpoint, tensors)
    edit_json(checkpoint / "config.json", lambda config: config.update(max_position_embeddings=context))
    return checkpoint


def tokens_by_text(checkpoint):
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    ids = dict(tokenizer["model"]["vocab"])
    ids.update({token["content"]: token["id"] for token in tokenizer["added_tokens"]})
    return ids
