"""What the comparisons with Flax's example models share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from netwright import driver
from netwright.backend.model import ModelWriter
from netwright.ir.plan import Plan, Precision

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STEPS = 100


def program(file: str, entry: str | None = None, dtype: str = "float32", **sizes: Any) -> Any:
    """The functions of the `model.py` that a model makes, at other sizes."""
    loaded = driver.load(EXAMPLES / file, sizes, entry)
    plan = Plan(precision=Precision(dtype))
    text = ModelWriter(driver.compile_module(loaded.module, plan), plan, file).write()
    space: dict[str, Any] = {}
    exec(compile(text, "model.py", "exec"), space)
    return SimpleNamespace(**space)


def shapes(made: Any) -> Any:
    """The tree of a program's parameters, without numbers."""
    return jax.eval_shape(made.init_params, jax.random.key(0))


def scattered(tree: Any, seed: int = 0) -> Any:
    """A tree with a little noise: zeros and ones at the beginning would hide mistakes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: a + 0.1 * rng.normal(size=a.shape).astype(a.dtype), tree)


def close(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    """Demand that two trees are equal, relative to the largest element of each array.

    What is 0 by symmetry (such as the gradient of a bias before a normalisation) is lost in
    rounding, so elements may differ by a hundredth of that of all arrays, too.
    """
    leaves = jax.tree_util.tree_leaves_with_path(theirs)
    largest = max(float(np.abs(leaf).max()) for _, leaf in leaves)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for (path, want), have in zip(leaves, jax.tree.leaves(ours), strict=True):
        scale = max(float(np.abs(want).max()), largest / 100)
        off = float(np.abs(np.asarray(have, np.float64) - np.asarray(want, np.float64)).max())
        assert off <= tolerance * scale, f"{jax.tree_util.keystr(path)}: {off} of {scale}"


def trained(
    loss: Callable[..., Any], params: Any, batches: list[Mapping[str, Any]], state: Any = None
) -> list[float]:
    """The losses of 100 steps of Adam; `loss` gives (value, new state)."""
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, moments, batch):
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params, state, batch)
        updates, moments = optimizer.update(grads, moments)
        return optax.apply_updates(params, updates), state, moments, value

    moments = optimizer.init(params)
    found = []
    for number in range(STEPS):
        batch = jax.tree.map(jnp.asarray, batches[number % len(batches)])
        params, state, moments, value = step(params, state, moments, batch)
        found.append(float(value))
    return found


def follow(ours: list[float], theirs: list[float]) -> None:
    """Demand the same losses at every step, which fall."""
    off = np.abs(np.array(ours) - np.array(theirs)).max()
    assert len(ours) == STEPS and off <= 1e-4, off
    assert np.mean(ours[-10:]) < 0.9 * np.mean(ours[:10])
