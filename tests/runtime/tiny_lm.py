"""A byte language model as small as can be, standing in for an emitted model.py.

Causal (each position sees a running mean of those up to it), with dropout, and with a state that
is updated as BatchNorm's is.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

V, D, RATE = 128, 16, 0.1


def init_params(key):
    embed, hidden, out = jax.random.split(key, 3)
    return {
        "embed": 0.1 * jax.random.normal(embed, (V, D)),
        "mlp": {
            "w": 0.1 * jax.random.normal(hidden, (D, D)),
            "out": 0.1 * jax.random.normal(out, (D, V)),
        },
    }


def init_state():
    return {"norm": {"average": jnp.zeros(D)}}


def forward(params, state, tokens, key, train):
    x = params["embed"][tokens]
    x = jnp.cumsum(x, axis=1) / jnp.arange(1, tokens.shape[1] + 1)[:, None]
    if train:
        average = x.mean((0, 1))
        state = {"norm": {"average": 0.9 * state["norm"]["average"] + 0.1 * average}}
        x = x * jax.random.bernoulli(key, 1 - RATE, x.shape) / (1 - RATE)
    else:
        average = state["norm"]["average"]
    x = jnp.tanh((x - average) @ params["mlp"]["w"])
    return x @ params["mlp"]["out"], state


def predict(params, state, batch):
    return forward(params, state, batch["tokens"], None, False)[0]


def loss(params, state, batch, key, train):
    logits, state = forward(params, state, batch["tokens"], key, train)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["targets"][..., None], -1)
    count = jnp.float32(picked.size)
    right = (logits.argmax(-1) == batch["targets"]).sum().astype(jnp.float32)
    total = -picked.sum()
    return total / count, (state, {"loss": (total, count), "accuracy": (right, count)})
