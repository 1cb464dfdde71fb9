"""Every model of the gallery with bodies that run again: what JAX keeps is what the plan says, and
the gradients are those of the same model without a plan."""

from __future__ import annotations

from dataclasses import replace

import jax
import netwright as nw
import numpy as np
import pytest
from netwright import planning
from netwright.ir.plan import Plan
from netwright.passes.planner.decisions import with_decisions
from netwright.passes.remat import recomputed
from residuals import bodies, drawn, emitted, kept, loaded, named, run_again
from test_gallery import GALLERY, SMALL, quick  # noqa: F401  (compiles without optimizing)

QUICK = ("gpt2",)
LOOPS = ("lstm_lm", "gru_seq2seq")  # what is drawn for their bodies may be read by linear ops alone
MODELS = [
    pytest.param(s, id=s.file, marks=[pytest.mark.slow] * (s.file not in QUICK)) for s in SMALL
]


def module(small):
    return nw.load(GALLERY / f"{small.file}.nw", **small.sizes).module


def wanted(plan: Plan, path: str) -> frozenset[str]:
    """The names of what a plan keeps in one body, on the device or on the host."""
    inside = (d.key for d in plan.remat if d.choice in ("save", "offload"))
    return frozenset(
        k[len(path) + 1 :].replace("/", ".")
        for k in inside
        if k.startswith((f"{path}.", f"{path}/"))
    )


def sizes_of(model, small) -> dict[str, int]:
    """What the free dims are in the batch."""
    shapes = ((v, small.batch[v.label].shape) for v in model.instances[0].variants[0].inputs)
    pairs = ((d, n) for v, shape in shapes for (d,), n in zip(v.axes, shape, strict=True))
    return {str(d.size): n for d, n in pairs if not d.size.is_constant}


@pytest.mark.parametrize("small", MODELS)
def test_keeps_what_the_plan_says(small):
    """Beside its arguments, the gradient of a body keeps named values and nothing else: those of a
    plan that was drawn which the backward pass reads. It does not read what only linear ops do."""
    model = module(small)
    again = bodies(model)
    plan = drawn(model, 0.3)
    names: dict[frozenset, set[str]] = {}
    for eqn in run_again(emitted(model, plan), small.batch):
        saved, others = kept(eqn)
        assert saved <= named(eqn) and not others, others
        names.setdefault(frozenset(named(eqn)), set()).update(saved)
    assert set(names) == {wanted(plan, p) for p in again}
    assert small.file in LOOPS or any(names.values())


@pytest.mark.parametrize("small", MODELS)
def test_keeps_what_is_planned(small):
    """What JAX keeps of the planner's own plans is what they say: no more, and no less."""
    model = module(small)
    sizes = {**small.sizes, **sizes_of(model, small)}
    asked = planning.of_model(GALLERY / f"{small.file}.nw", sizes)
    planned = replace(asked, budget=1 << 40, batch=0).answer()
    options = [o for o in planned.options if not any(p.choice.group for p in o.points)]
    count = 0
    for option in options[:: -(-len(options) // 3)]:
        plan = with_decisions(asked.plan, planned.blocks, option)
        again = recomputed(plan)
        count += len(again)
        found = set()
        for eqn in run_again(emitted(asked.module, plan), small.batch):
            saved, others = kept(eqn)
            assert saved == named(eqn) and not others, (saved ^ named(eqn), others)
            found.add(frozenset(saved))
        assert found == {wanted(plan, p) for p in again}
    assert count


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
