"""A classifier of 8×8 pictures, standing in for an emitted model.py that was written for a mesh.

The hidden width is split over "model", the batch over "data"; its state is a running mean.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

H, C = 16, 10

PARAM_SPECS = {
    "hidden": {"w": P(None, "model"), "bias": P("model")},
    "out": {"w": P("model", None)},
}
STATE_SPECS = {"mean": P(None)}
BATCH_SPECS = {"image": P("data", None, None), "label": P("data")}


def init_params(key):
    hidden, out = jax.random.split(key)
    return {
        "hidden": {"w": 0.2 * jax.random.normal(hidden, (64, H)), "bias": jnp.zeros(H)},
        "out": {"w": 0.2 * jax.random.normal(out, (H, C))},
    }


def init_state():
    return {"mean": jnp.zeros(64)}


def forward(params, state, image, train):
    x = image.reshape(-1, 64)
    if train:
        state = {"mean": 0.9 * state["mean"] + 0.1 * x.mean(0)}
    x = (x - state["mean"]) @ params["hidden"]["w"] + params["hidden"]["bias"]
    x = jax.lax.with_sharding_constraint(jax.nn.relu(x), P("data", "model"))
    return x @ params["out"]["w"], state


def predict(params, state, batch):
    return forward(params, state, batch["image"], False)[0]


def loss(params, state, batch, key, train):
    logits, state = forward(params, state, batch["image"], train)
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["label"][:, None], -1)
    count = jnp.float32(losses.size)
    right = (logits.argmax(-1) == batch["label"]).sum().astype(jnp.float32)
    return losses.sum() / count, (
        state,
        {"loss": (losses.sum(), count), "accuracy": (right, count)},
    )
