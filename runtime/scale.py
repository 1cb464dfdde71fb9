"""Loss scaling: keeps small gradients of float16 above its smallest numbers.

The loss is multiplied by a scale before differentiation, and the gradients are divided by it after.
Where they overflow, the step is skipped and the scale is halved; after `INTERVAL` applied steps
without overflow it is doubled (Micikevicius et al., *Mixed precision training*, 2018, section 3.2).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .errors import RunError

INITIAL, LEAST, MOST = 2.0**15, 1.0, 2.0**24
INTERVAL = 2000  # applied steps

Mode = str | float | None
"""How losses are scaled: "dynamic", by a number that never changes, or (None) not at all."""


class LossScale(NamedTuple):
    """The scale of the next step.

    value:   float32[]
    applied: int32[], steps applied since the scale last changed
    """

    value: jax.Array
    applied: jax.Array


def create(mode: Mode) -> LossScale:
    """The scale of step 0. RunError if `mode` is none."""
    fixed = isinstance(mode, int | float) and not isinstance(mode, bool) and 0 < mode < jnp.inf
    if mode is not None and mode != "dynamic" and not fixed:
        raise RunError(f'loss_scale = {mode!r}: it must be "dynamic", a number over 0, or None.')
    first = INITIAL if mode == "dynamic" else 1.0 if mode is None else float(mode)
    return LossScale(jnp.float32(first), jnp.int32(0))


def update(scale: LossScale, finite: jax.Array, mode: Mode) -> LossScale:
    """The scale after a step whose gradients were `finite` (bool[]) or not."""
    if mode != "dynamic":
        return scale
    applied = jnp.where(finite, scale.applied + 1, 0)
    grown = jnp.where(applied >= INTERVAL, 2 * scale.value, scale.value)
    value = jnp.clip(jnp.where(finite, grown, scale.value / 2), LEAST, MOST)
    return LossScale(value, jnp.where(applied >= INTERVAL, 0, applied))
