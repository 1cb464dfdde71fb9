"""The state in the checkpoints under tests/fixtures, one for each format that there has been."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def fixture_state(TrainState, scale):
    """A small state with every kind of leaf."""
    params = {
        "w": jnp.arange(12, dtype=jnp.float32).reshape(3, 4) / 7,
        "low": jnp.asarray([1.5, -2.25], jnp.bfloat16),
        "flag": jnp.asarray([True, False]),
        "none": jnp.zeros((0, 3)),
        "a.b": {"c": jnp.int8([-1, 2])},
    }
    opt_state = ({"w": jnp.ones((3, 4))}, jax.random.key(5))
    return TrainState(
        params, opt_state, {}, jnp.uint32([1, 2]), jnp.int32(7), scale.create(None), {}
    )
