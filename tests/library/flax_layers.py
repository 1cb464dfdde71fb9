"""Flax's layers as functions of our parameters."""

from __future__ import annotations

from flax import linen as nn


def dense(params, x):
    """Flax's dense layer, for the parameters of a Linear."""
    module = nn.Dense(params["kernel"].shape[1], use_bias="bias" in params)
    return module.apply({"params": params}, x)


def layer_norm(params, x, eps=1e-6):
    """Flax's layer normalisation."""
    module = nn.LayerNorm(
        eps, use_bias="bias" in params, use_scale="scale" in params, use_fast_variance=False
    )
    return module.apply({"params": params}, x)


def rms_norm(params, x, eps=1e-6):
    """Flax's RMS normalisation."""
    return nn.RMSNorm(eps, use_scale="scale" in params).apply({"params": params}, x)


def multi_head(params, x, memory, mask=None):
    """Flax's attention, for an Attention in which each head has keys of its own (R = 1).

    Args:
        mask: [B, S, T], which key a query may see; each must see one.
    """
    heads, size = params["key"].shape[1:]
    module = nn.MultiHeadDotProductAttention(
        heads,
        qkv_features=heads * size,
        out_features=x.shape[-1],
        use_bias="out_bias" in params,
        normalize_qk="query_norm" in params,
    )
    mask = None if mask is None else mask[:, None]
    return module.apply({"params": _heads(params)}, x, memory, mask=mask)


def _heads(params):
    """The parameters of an Attention as Flax holds them: without the dim R."""
    tree = {}
    for name in ("query", "key", "value", "out"):
        tree[name] = {"kernel": params[name]}
        if f"{name}_bias" in params:
            tree[name]["bias"] = params[f"{name}_bias"]
    tree["query"]["kernel"] = tree["query"]["kernel"].squeeze(2)
    tree["out"]["kernel"] = tree["out"]["kernel"].squeeze(1)
    if "query_bias" in params:
        tree["query"]["bias"] = params["query_bias"].squeeze(1)
    if "query_norm" in params:
        tree |= {f"{name}_ln": params[f"{name}_norm"] for name in ("query", "key")}
    return tree
