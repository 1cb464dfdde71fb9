"""Whether the trained parameters are finite, and what is said where they are not.

A step looks at loss and gradients, not at what its update makes of the parameters: that would read
all of them once more, each time. Where an update overflows by itself, every later loss shows it.
So the parameters are looked at only when they are saved, and when a run gives up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .state import TrainState, leaves_by_path, split
from .step import Program


class Finite:
    """Calls like a function: finite(state) -> the paths of trained parameters that are not, in
    order. Processes that train together call it alike."""

    def __init__(self, program: Program, frozen: Sequence[str]):
        abstract, _ = split(program.abstract.params, frozen)
        self._names = [".".join(path) for path in leaves_by_path(abstract)]
        placement = program.placement

        def flags(params: Any) -> jax.Array:
            trained, _ = split(params, frozen)
            return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(trained)])

        if placement is None:
            self._flags = jax.jit(flags)
        else:
            self._flags = jax.jit(placement.traced(flags), out_shardings=placement.replicated)

    def __call__(self, state: TrainState) -> list[str]:
        found = jax.device_get(self._flags(state.params))
        return [name for name, good in zip(self._names, found, strict=True) if not good]


def named(paths: Sequence[str]) -> str:
    """The first of some parameters, and how many more they are."""
    more = len(paths) - 1
    return paths[0] + (f" and {more} more" if more else "")
