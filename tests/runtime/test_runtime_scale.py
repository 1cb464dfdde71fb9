"""Accumulation, skipped steps and loss scaling."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netwright.runtime import RunError, Settings, scale
from netwright.runtime.state import leaves_by_path
from netwright.runtime.step import build


def regression(low=jnp.float32, factor=1.0):
    """A masked regression by an MLP that computes in `low`; its loss is a mean times `factor`."""

    def init_params(key):
        one, two = jax.random.split(key)
        return {
            "w": 0.5 * jax.random.normal(one, (3, 8)),
            "v": 0.5 * jax.random.normal(two, (8,)),
        }

    def loss(params, state, batch, key, train):
        hidden = jnp.tanh(batch["x"].astype(low) @ params["w"].astype(low))
        error = hidden @ params["v"].astype(low) - batch["y"].astype(low)
        squares = jnp.square(error) * batch["live"].astype(low)
        total = factor * jnp.sum(squares.astype(params["w"].dtype))
        count = jnp.sum(batch["live"]).astype(params["w"].dtype)
        state = {"seen": state["seen"] + count} if train else state
        return total / jnp.maximum(count, 1), (state, {"loss": (total, count)})

    return SimpleNamespace(
        init_params=init_params, init_state=lambda: {"seen": jnp.zeros(())}, loss=loss
    )


def batch_of(seed, rows=8):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    live = rng.random(rows) < 0.7
    live[:2] = [True, False]  # parts with unequal counts
    return {"x": x, "y": np.sin(x.sum(1)), "live": live}


def run(program, batches, seed=0):
    state, rows = program.init(seed), []
    for batch in batches:
        state, metrics = program.step(state, program.put_batch(batch))
        rows.append(jax.device_get(metrics))
    return jax.device_get(state), rows


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture
def wide_numbers():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("loss_scale", [None, 64.0])
def test_microbatches_add_up_to_the_batch(wide_numbers, parts, loss_scale):
    model, optimizer = regression(jnp.float64), optax.adam(1e-2)
    batches = [batch_of(seed) for seed in range(5)]
    whole, expected = run(build(model, optimizer), batches)
    program = build(model, optimizer, None, Settings(parts, loss_scale))
    found, rows = run(program, batches)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), found.params, whole.params
    )
    assert found.model_state["seen"] == whole.model_state["seen"]
    for row, other in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row["loss"], other["loss"], rtol=1e-12)
        np.testing.assert_allclose(row["gradient_norm"], other["gradient_norm"], rtol=1e-6)


@pytest.mark.parametrize("loss_scale", [None, 64.0])
@pytest.mark.parametrize("optimizer", [optax.adam(1e-2), optax.contrib.momo(1e-2)])
def test_a_batch_in_which_nothing_counts(wide_numbers, optimizer, loss_scale):
    """Its loss and gradients are 0, however it is cut, and the optimizer is told no NaN."""
    batches = [batch_of(seed) for seed in range(3)]
    batches[1]["live"][:] = False
    model = regression(jnp.float64)
    (whole, _), (cut, rows) = (
        run(build(model, optimizer, None, Settings(parts, loss_scale)), batches) for parts in (1, 4)
    )
    for part in ("params", "opt_state", "scale"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9),
            getattr(cut, part),
            getattr(whole, part),
        )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((whole, cut)))
    assert [float(row["skipped"][0]) for row in rows] == [0, 0, 0]


def test_an_optimizer_that_estimates_nothing_from_no_gradients(wide_numbers):
    """Prodigy divides 0 by 0 then: that step is skipped, and the others are as without it."""
    batches = [batch_of(seed) for seed in range(3)]
    nothing = {**batches[0], "live": np.zeros(8, bool)}
    program = build(regression(), optax.contrib.prodigy())
    expected, _ = run(program, batches)
    found, rows = run(program, [nothing, *batches])
    assert [float(row["skipped"][0]) for row in rows] == [1, 0, 0, 0]
    equal((found.params, found.opt_state), (expected.params, expected.opt_state))


def test_a_batch_that_cannot_be_cut():
    program = build(regression(), optax.sgd(0.1), None, Settings(3))
    with pytest.raises(RunError, match="8 examples cannot be cut into 3 microbatches"):
        program.step(program.init(0), program.put_batch(batch_of(0)))


def test_small_gradients_of_float16_need_a_scale():
    batches = [batch_of(seed, rows=64) for seed in range(60)]
    optimizer = optax.sgd(1e6)  # takes the factor out of the step again
    model = regression(jnp.float16, 1e-7)
    start = jax.device_get(build(model, optimizer).init(0))
    reference, rows = run(build(regression(jnp.float32, 1e-7), optimizer), batches)
    low, _ = run(build(model, optimizer), batches)
    equal(low.params, start.params)
    found, scaled = run(build(model, optimizer, None, Settings(loss_scale="dynamic")), batches)
    assert rows[-1]["loss"][0] < 0.7 * rows[0]["loss"][0]
    last = [np.mean([r["loss"][0] for r in kept[-10:]]) for kept in (rows, scaled)]
    np.testing.assert_allclose(last[1], last[0], rtol=0.05)
    assert not np.array_equal(found.params["w"], start.params["w"])
    assert not np.array_equal(reference.params["w"], start.params["w"])


def test_a_poisoned_step_leaves_no_trace():
    clean = [batch_of(seed) for seed in range(6)]
    poison = batch_of(9)
    poison["x"][3, 1], poison["live"][3] = np.inf, True
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.linear_schedule(0.1, 0.0, 10))
    )
    for loss_scale in (None, "dynamic"):
        program = build(regression(), optimizer, None, Settings(loss_scale=loss_scale))
        expected, _ = run(program, clean)
        found, rows = run(program, [*clean[:3], poison, *clean[3:]])
        assert [float(r["skipped"][0]) for r in rows] == [0, 0, 0, 1, 0, 0, 0]
        assert rows[3]["loss"] == (0, 0) == rows[3]["gradient_norm"]
        rtol = 0 if loss_scale is None else 1e-6  # powers of two divide exactly, or nearly so
        for part in ("params", "opt_state", "model_state"):
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol),  # noqa: B023
                getattr(found, part),
                getattr(expected, part),
            )
        assert found.step == 7 and expected.step == 6
        value = {None: 1.0, "dynamic": 2.0**14}[loss_scale]
        assert found.scale.value == value


def test_a_state_that_alone_goes_bad_stays_as_it_was():
    """Running averages of float16 overflow where loss and gradients do not."""

    def loss(params, state, batch, key, train):
        total, aux = inner.loss(params, {"seen": jnp.zeros(())}, batch, key, train)
        spread = jnp.mean(jnp.square(batch["x"].astype(jnp.float16)))
        return total, ({"spread": 0.9 * state["spread"] + spread, "most": state["most"]}, aux[1])

    inner = regression()
    state = {"spread": jnp.float16(0), "most": jnp.float16(-jnp.inf)}  # as it begins, it may stay
    model = SimpleNamespace(init_params=inner.init_params, init_state=lambda: state, loss=loss)
    clean, far = [batch_of(seed) for seed in range(4)], batch_of(9)
    far["x"] *= 300  # its square is past 65,504; tanh takes it
    program = build(model, optax.adam(1e-2), None, Settings(ema=0.9))
    expected, _ = run(program, clean)
    found, rows = run(program, [*clean[:2], far, *clean[2:]])
    assert [float(r["skipped"][0]) for r in rows] == [0, 0, 1, 0, 0]
    assert np.isfinite(found.model_state["spread"]) and found.model_state["most"] == -np.inf
    equal(found._replace(step=0), expected._replace(step=0))


def test_clipped_updates_do_not_depend_on_the_scale():
    optimizer = optax.chain(optax.clip_by_global_norm(0.01), optax.sgd(0.1))
    batches = [batch_of(seed) for seed in range(4)]
    one, _ = run(build(regression(), optimizer, None, Settings(loss_scale=1.0)), batches)
    other, _ = run(build(regression(), optimizer, None, Settings(loss_scale=2.0**15)), batches)
    equal(one.params, other.params)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4500)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_scale_goes_as_ten_lines_say(runs):
    value, good, expected = 2.0**15, 0, []
    for finite, times in runs:
        for _ in range(times if finite else min(times, 30)):
            good = good + 1 if finite else 0
            if not finite:
                value = max(value / 2, 1.0)
            elif good == 2000:
                value, good = min(value * 2, 2.0**24), 0
            expected.append(value)
    flags = [f for f, times in runs for _ in range(times if f else min(times, 30))]
    flags += [True] * (-len(flags) % 2048)  # few shapes, few compilations
    _, found = TRAJECTORY(scale.create("dynamic"), jnp.asarray(flags, bool))
    np.testing.assert_array_equal(found[: len(expected)], np.float32(expected))


@jax.jit
def TRAJECTORY(start, flags):
    def one(state, finite):
        state = scale.update(state, finite, "dynamic")
        return state, state.value

    return jax.lax.scan(one, start, flags)


def test_other_modes():
    for mode, value in ((None, 1.0), (8.0, 8.0)):
        state = scale.create(mode)
        assert float(state.value) == value
        equal(scale.update(state, jnp.asarray(False), mode), state)
    for wrong in ("on", 0.0, -1, float("inf"), True):
        with pytest.raises(RunError, match="loss_scale"):
            scale.create(wrong)


def test_what_is_frozen_stays_and_the_rest_goes_on():
    optimizer = optax.adam(1e-2)
    batches = [batch_of(seed) for seed in range(4)]
    program = build(regression(), optimizer, None, Settings(2, frozen=("w",)))
    start = jax.device_get(program.init(0))
    end, _ = run(program, batches)
    equal(end.params["w"], start.params["w"])
    assert not np.array_equal(end.params["v"], start.params["v"])
    assert {path[-1] for path in leaves_by_path(end.opt_state)} == {"count", "v"}

    inner = regression()
    inner.loss = lambda params, *rest: regression().loss({**start.params, **params}, *rest)
    inner.init_params = lambda key: {"v": jnp.array(start.params["v"])}
    alone, _ = run(build(inner, optimizer, None, Settings(2)), batches)
    np.testing.assert_allclose(end.params["v"], alone.params["v"], rtol=1e-6)

    for frozen, wrong in ((("w", "u"), "under u"), (("w", "v"), "left to be trained")):
        with pytest.raises(RunError, match=wrong):
            build(regression(), optimizer, None, Settings(frozen=frozen))


def test_the_average_is_what_is_evaluated():
    batches = [batch_of(seed) for seed in range(5)]
    batches[3]["x"][0, 0], batches[3]["live"][0] = np.nan, True  # skipped
    program = build(regression(), optax.sgd(0.1), None, Settings(ema=0.9, frozen=("w",)))
    state = program.init(0)
    expected = np.array(state.params["v"])
    for index, batch in enumerate(batches):
        state, _ = program.step(state, program.put_batch(batch))
        if index != 3:
            expected = 0.9 * expected + 0.1 * np.array(state.params["v"])
    np.testing.assert_allclose(state.ema["v"], expected, rtol=1e-6)
    found = program.evaluate(state, program.put_batch(batch_of(7)))["loss"]
    params = {**state.params, "v": expected}
    _, (_, metrics) = regression().loss(params, {"seen": jnp.zeros(())}, batch_of(7), None, False)
    np.testing.assert_allclose(found, metrics["loss"], rtol=1e-5)
