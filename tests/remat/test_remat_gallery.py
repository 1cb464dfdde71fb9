"""Every model of the gallery with bodies that run again: what JAX keeps is what the plan says, and
the gradients are those of the same model without a plan."""

from __future__ import annotations

import jax
import netwright as nw
import numpy as np
import pytest
from netwright.ir.plan import Plan
from residuals import bodies, drawn, emitted, kept, named, run_again
from test_gallery import GALLERY, SMALL, quick  # noqa: F401  (compiles without optimizing)

QUICK = ("gpt2",)
LOOPS = ("lstm_lm", "gru_seq2seq")  # their bodies have loops, which hide names from JAX's account
MODELS = [
    pytest.param(s, id=s.file, marks=[pytest.mark.slow] * (s.file not in QUICK)) for s in SMALL
]


def module(small):
    return nw.load(GALLERY / f"{small.file}.nw", **small.sizes).module


def wanted(plan: Plan, path: str) -> set[str]:
    """The names of what a plan keeps in one body."""
    inside = (d.key for d in plan.remat if d.choice == "save")
    keys = [k for k in inside if k.startswith((f"{path}.", f"{path}/"))]
    return {k[len(path) + 1 :].replace("/", ".") for k in keys}


@pytest.mark.parametrize("small", MODELS)
def test_keeps_what_the_plan_says(small):
    """Beside its arguments, the gradient of a body keeps named values and nothing else: those of
    the plan that it reads. It does not read what only linear ops do."""
    model = module(small)
    plan = drawn(model, 0.3)
    names: dict[frozenset, set[str]] = {}
    for eqn in run_again(emitted(model, plan), small.batch):
        saved, others = kept(eqn)
        assert saved <= named(eqn)
        assert not others or small.file in LOOPS, others
        names.setdefault(frozenset(named(eqn)), set()).update(saved)
    found = sorted(map(sorted, names))
    assert found == sorted(map(sorted, {frozenset(wanted(plan, p)) for p in bodies(model)}))
    assert small.file in LOOPS or any(names.values())


def gradients(model, plan: Plan, batch):
    program = emitted(model, plan)
    params = jax.jit(program.init_params)(jax.random.key(1))
    taken = program.init_state.__code__.co_argcount
    state = program.init_state(*[jax.random.key(2)] * taken)
    loss = jax.jit(
        jax.value_and_grad(
            lambda p: program.loss(p, state, batch, jax.random.key(3), True), has_aux=True
        )
    )
    return jax.device_get(loss(params))


@pytest.mark.slow
@pytest.mark.parametrize("small", SMALL, ids=lambda s: s.file)
def test_gradients_are_the_same(small):
    """Loss, states, metrics and gradients, with dropout where the model has any."""
    model = module(small)
    plain = gradients(model, Plan(), small.batch)
    again = gradients(model, drawn(model, 0.3), small.batch)
    (value, _), _ = plain
    floor = 0.1 * abs(value)  # below it, float32 rounds by what it adds up, not by the result
    for (path, a), b in zip(jax.tree.leaves_with_path(plain), jax.tree.leaves(again), strict=True):
        scale = max(np.abs(a).max(), floor)
        assert np.abs(a - b).max() <= 1e-6 * scale, jax.tree_util.keystr(path)
