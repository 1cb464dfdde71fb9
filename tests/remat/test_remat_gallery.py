"""Every model of the gallery with bodies that run again: what JAX keeps is what the plan says, and
the gradients are those of the same model without a plan."""

from __future__ import annotations

import jax
import netwright as nw
import numpy as np
import pytest
from netwright.ir.plan import Plan
from residuals import bodies, drawn, emitted, kept, loaded, named, run_again
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


ROUNDED = ("unet",)  # what XLA adds up in another order: the rest is equal to the bit
CONVOLVE = ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_lite0", "unet")
QUICKER = {"xla_cpu_use_fusion_emitters": False}
"""Compiles convolutions in a third of the time; other models round otherwise with it."""


def wide(array):
    return array.astype(np.float64) if array.dtype == np.float32 else array


def gradients(model, plan: Plan, batch, options):
    program = emitted(model, plan)
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(program.init_params, jax.random.key(0))
    params = jax.tree.map(lambda a: 0.3 * rng.normal(size=a.shape), shapes)
    taken = program.init_state.__code__.co_argcount
    state = program.init_state(*[jax.random.key(2)] * taken)
    loss = jax.jit(
        jax.value_and_grad(
            lambda p: program.loss(p, state, batch, jax.random.key(3), True), has_aux=True
        )
    )
    return jax.device_get(loss.lower(params).compile(compiler_options=options)(params))


@pytest.mark.slow
@pytest.mark.parametrize("small", SMALL, ids=lambda s: s.file)
def test_gradients_are_the_same(small):
    """Loss, states, metrics and gradients in float64, with dropout where the model has any."""
    model, options = module(small), QUICKER if small.file in CONVOLVE else {}
    if small.file == "unet":  # two of its levels
        text = (GALLERY / "unet.nw").read_text()
        inner = "(attend = true, inner = Level(inner = Level))"
        assert inner in text
        model = loaded(text.replace(inner, "(attend = true)"), **small.sizes)
    with jax.enable_x64(True):
        batch = {name: wide(array) for name, array in small.batch.items()}
        plain = gradients(model, Plan(), batch, options)
        again = gradients(model, drawn(model, 0.3), batch, options)
    assert all(a.dtype == np.float64 for a in jax.tree.leaves(plain[1]))
    for (path, a), b in zip(jax.tree.leaves_with_path(plain), jax.tree.leaves(again), strict=True):
        where = jax.tree_util.keystr(path)
        if small.file in ROUNDED:
            assert np.abs(a - b).max() <= 1e-12 * np.abs(a).max(), where
        else:
            assert np.array_equal(a, b), where
