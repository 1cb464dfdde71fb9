"""The pure functions of training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_lm
from netwright.runtime import data
from netwright.runtime.evaluate import Evaluator
from netwright.runtime.metrics import combine, finish
from netwright.runtime.state import TrainState, create, leaves_by_path, rebuild, step_key
from netwright.runtime.step import build
from runtime_helpers import adam


def batch(rows=4, length=6, seed=0):
    tokens = np.random.default_rng(seed).integers(0, 128, (rows, length + 1)).astype(np.int32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:]}


def test_a_step_is_what_one_would_write_by_hand():
    optimizer = optax.sgd(1.0)  # Adam would make much of the last bits
    program = build(tiny_lm, optimizer)
    state = program.init(7)
    by_hand = create(tiny_lm, optimizer, 7)
    key = step_key(by_hand)
    gradients, (model_state, metrics) = jax.grad(tiny_lm.loss, has_aux=True)(
        by_hand.params, by_hand.model_state, batch(), key, True
    )
    updates, _ = optimizer.update(gradients, by_hand.opt_state, by_hand.params)
    expected = optax.apply_updates(by_hand.params, updates)
    state, found = program.step(state, program.put_batch(batch()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.params, expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.model_state, model_state
    )
    norm = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(gradients)))
    assert np.isclose(found["gradient_norm"][0], norm, rtol=1e-5)
    assert np.isclose(found["loss"][0], metrics["loss"][0], rtol=1e-5)
    assert int(state.step) == 1


def test_the_old_state_is_donated():
    program = build(tiny_lm, adam())
    state = program.init(0)
    program.step(state, program.put_batch(batch()))
    assert state.params["embed"].is_deleted()


def test_each_step_has_a_key_of_its_own_and_the_state_decides_it():
    state = create(tiny_lm, adam(), 0)
    later = state._replace(step=state.step + 1)
    first, second = (jax.random.key_data(step_key(s)).tolist() for s in (state, later))
    assert first != second
    assert jax.random.key_data(step_key(state)).tolist() == first


def test_evaluation_leaves_the_state_alone_and_needs_no_key():
    program = build(tiny_lm, adam())
    state = program.init(0)
    before = jax.tree.map(np.array, state)
    program.evaluate(state, program.put_batch(batch()))
    jax.tree.map(np.testing.assert_array_equal, state, before)


def test_predict_takes_any_batch_and_length():
    program = build(tiny_lm, adam())
    state = program.init(0)
    for rows, length in [(1, 3), (5, 2)]:
        logits = program.predict(state, {"tokens": np.zeros((rows, length), np.int32)})
        assert logits.shape == (rows, length, 128)


def test_evaluation_of_everything_equals_numpy(text):
    """Over batches of different sizes the mean is that of all tokens, not of the batches."""
    source = data.Text(text, length=16, batch=50, held_out=0.1)
    program = build(tiny_lm, adam())
    state = program.init(0)
    batches = list(source.held_out())
    assert len(batches) == 3 and len(batches[-1]["tokens"]) < 50
    losses = []
    for part in batches:
        logits = np.asarray(program.predict(state, {"tokens": part["tokens"]}), np.float64)
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
        losses.append(-np.take_along_axis(logits, part["targets"][..., None], -1).ravel())
    found = Evaluator(program)(state, batches)
    assert np.isclose(found["loss"], np.concatenate(losses).mean(), rtol=1e-6)


def test_evaluation_of_nothing_is_none():
    program = build(tiny_lm, adam())
    assert Evaluator(program)(program.init(0), []) is None


def test_metrics_combine_by_sum_and_count():
    a, b = {"loss": (2.0, 1.0)}, {"loss": (1.0, 3.0), "accuracy": (1.0, 2.0)}
    assert finish(combine(a, b)) == {"loss": 0.75, "accuracy": 0.5}
    assert np.isnan(finish({"loss": (0.0, 0.0)})["loss"])


def test_leaves_are_known_by_path_and_no_class():
    state = create(tiny_lm, adam(), 0)
    paths = set(leaves_by_path(state))
    assert {("params", "mlp", "w"), ("model_state", "norm", "average"), ("rng",)} <= paths
    assert ("opt_state", "1", "0", "mu", "mlp", "w") in paths
    doubled = rebuild(state, {path: 2 * leaf for path, leaf in leaves_by_path(state).items()})
    assert isinstance(doubled, TrainState)
    assert jnp.array_equal(doubled.params["embed"], 2 * state.params["embed"])


def injected(rate, **groups):
    """Adam whose state says its learning rate; with groups, a factor for each, by part of path."""

    @optax.inject_hyperparams
    def adam(learning_rate):
        return optax.adam(learning_rate)

    if not groups:
        return optax.chain(optax.clip_by_global_norm(1.0), adam(rate))
    made = {name: adam(lambda step, f=f: f * rate(step)) for name, f in groups.items()}

    def group(params):
        def of(path, _):
            return next((name for name in groups if name in (k.key for k in path)), "default")

        return jax.tree.map_with_path(of, params)

    return optax.partition({**made, "default": adam(rate)}, group)


def test_the_learning_rate_is_told_and_waits_where_a_step_is_skipped():
    rate = optax.linear_schedule(1.0, 0.0, 10)
    for optimizer, names in (
        (injected(rate), {"": 1}),
        (injected(rate, mlp=0.5), {"": 1, ".mlp": 0.5}),
    ):
        program = build(tiny_lm, optimizer)
        state, expected = program.init(0), [0, 1, 1, 2]
        for index, applied in enumerate(expected):
            if index == 2:  # a parameter that is not finite, for one step
                kept = np.array(state.params["embed"])
                broken = {**state.params, "embed": state.params["embed"] * np.nan}
                state = state._replace(params=broken)
            state, metrics = program.step(state, program.put_batch(batch()))
            if index == 2:
                state = state._replace(params={**state.params, "embed": kept})
            assert int(metrics["skipped"][0]) == (index == 2)
            found = {n[13:]: float(v / c) for n, (v, c) in metrics.items() if "_rate" in n}
            assert found == {name: factor * float(rate(applied)) for name, factor in names.items()}


def test_an_optimizer_may_ask_for_the_loss():
    program = build(tiny_lm, optax.polyak_sgd(max_learning_rate=0.5))
    state, losses = program.init(0), []
    for _ in range(5):
        state, metrics = program.step(state, program.put_batch(batch()))
        losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_schedule_free_parameters_are_evaluated_where_they_are_averaged():
    free = optax.contrib.schedule_free_sgd(0.5)
    for optimizer in (
        optax.chain(optax.clip_by_global_norm(1.0), free),
        optax.partition({"a": free, "b": optax.sgd(0.1)}, {"embed": "a", "mlp": "b"}),
    ):
        program = build(tiny_lm, optimizer)
        state = program.init(0)
        for seed in range(3):
            state, _ = program.step(state, program.put_batch(batch(seed=seed)))
        z = leaves_by_path(optax.tree.get(state.opt_state, "z"))
        expected = rebuild(
            state.params,
            {
                path: (y - 0.1 * z[path]) / 0.9 if path in z else y
                for path, y in leaves_by_path(state.params).items()
            },
        )
        key = jax.random.key(0)
        _, (_, metrics) = tiny_lm.loss(expected, state.model_state, batch(), key, False)
        found = program.evaluate(state, program.put_batch(batch()))["loss"]
        np.testing.assert_allclose(found, metrics["loss"], rtol=1e-5)
        assert not np.array_equal(expected["embed"], state.params["embed"])
