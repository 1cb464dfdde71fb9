"""Optimizers that are handed over in Python, and that the settings of a recipe reach a program."""

from __future__ import annotations

import shutil

import jax
import netwright as nw
import numpy as np
import optax
import pytest
from netwright.runtime.state import leaves_by_path
from programs import EXAMPLES


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "mlp"
    shutil.copytree(EXAMPLES / "mlp", folder)
    text = (folder / "recipe.toml").read_text()
    more = '[train]\nfreeze = "mlp.b1"\nema = 0.9\nmicrobatches = 2\n'
    (folder / "recipe.toml").write_text(text.replace("[train]\n", more))
    return nw.load(folder)


def stepped(compiled):
    """The state before and after a step, and its metrics."""
    state = compiled.init(0)
    start = jax.device_get(state)
    state, metrics = compiled.step(state, compiled.put_batch(compiled.data.batch(0)))
    return start, jax.device_get(state), metrics


def test_the_settings_of_the_recipe_hold(model):
    _, state, metrics = stepped(model.compile())
    assert set(state.ema["mlp"]) == {"w1", "w2", "b2"}
    assert not any("b1" in path for path in leaves_by_path(state.opt_state))
    assert np.isclose(metrics["learning_rate"][0], 3e-3)


def test_a_transformation_takes_the_place_of_the_recipe_s(model):
    compiled = model.compile(optimizer=optax.sgd(0.5))
    start, state, metrics = stepped(compiled)
    assert not jax.tree.leaves(start.opt_state) and "learning_rate" not in metrics
    batch = compiled.data.batch(0)
    gradients, _ = jax.grad(compiled.model.loss, has_aux=True)(
        start.params, {}, batch, jax.random.key(0), True
    )
    for name, rate in (("w1", 0.5), ("b1", 0.0), ("w2", 0.5)):
        moved = state.params["mlp"][name] - start.params["mlp"][name]
        expected = -rate * gradients["mlp"][name]
        np.testing.assert_allclose(moved, expected, rtol=1e-3, atol=1e-6)


def test_a_function_gets_the_paths_of_what_is_trained(model):
    seen = []

    def choose(paths):
        seen.extend(paths)
        parts = {"w1": optax.set_to_zero(), "w2": optax.adam(1e-2), "b2": optax.sgd(0.1)}
        return optax.partition(parts, {"mlp": {name: name for name in parts}})

    start, state, _ = stepped(model.compile(optimizer=choose))
    np.testing.assert_array_equal(state.params["mlp"]["w1"], start.params["mlp"]["w1"])
    assert not np.array_equal(state.params["mlp"]["w2"], start.params["mlp"]["w2"])
    assert sorted(seen) == ["mlp.b2", "mlp.w1", "mlp.w2"]


def test_what_is_none_is_refused(model):
    for wrong in ("adam", lambda paths: "adam"):
        with pytest.raises(TypeError, match="must be a gradient transformation of optax"):
            model.compile(optimizer=wrong)
