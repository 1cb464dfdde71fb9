"""The model of memory: state against optax, the peak against XLA, and what must hold of reports."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
import netwright as nw
import optax
import pytest
from netwright.driver import pipeline
from netwright.ir.hardware import hardware
from netwright.ir.optimizers import OPTIMIZERS
from netwright.ir.plan import Plan
from netwright.passes.memory.model import Training, predict
from netwright.passes.memory.optimizer import state_bytes
from programs import EXAMPLES, SMALL

SHAPES = [(256, 512), (3, 200, 300), (7,), (3, 7), (), (130, 2, 140)]
OPTIONS = [
    *((name, {}) for name in sorted(OPTIMIZERS)),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "accumulator_dtype": "bfloat16"}),
    ("rmsprop", {"momentum": 0.9, "centered": True}),
    ("adam", {"mu_dtype": "bfloat16"}),
    ("lion", {"mu_dtype": "bfloat16"}),
    ("adafactor", {"momentum": 0.9}),
    ("adafactor", {"factored": False}),
    ("adafactor", {"min_dim_size_to_factor": 3}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda o: str(o))
def test_optimizer_state_is_what_optax_keeps(name, options):
    for shape in SHAPES:
        param = {"a": jax.ShapeDtypeStruct(shape, jnp.float32)}
        state = jax.eval_shape(getattr(optax, name)(1e-3, **options).init, param)
        held = sum(prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        counters = 8  # a step's number, and what optimizers keep for all parameters together
        assert held - counters <= state_bytes(name, options, shape) <= held, shape


def report(training=Training(), **changes):  # noqa: B008
    plan = replace(Plan(sizes=(("B", 8), ("S", 16))), **changes)
    loaded = nw.load(EXAMPLES / "shakespeare" / "model.nw", **SMALL)
    return predict(pipeline().run(loaded.module, plan), plan, training, hardware("v5e"))


def test_a_report():
    found = report()
    parts = dict(found.components)
    assert found.peak == sum(parts.values()) == max(m.bytes for m in found.timeline)
    assert parts["optimizer"] == 2 * parts["parameters"]
    assert found.seconds > 0 and found.recomputed == 0
    assert sum(k.bytes for k in found.kept) <= parts["kept"]
    names = {m.name for m in found.timeline}
    assert {"gpt/x: forward", "∂gpt/x: backward", "update"} <= names


def test_what_the_recipe_changes():
    plain = report()
    parts = dict(plain.components)
    assert report(Training("sgd")).peak == plain.peak - parts["optimizer"]
    assert report(Training(ema=True)).peak == plain.peak + parts["parameters"]
    frozen = report(Training(frozen=("gpt.blocks",)))
    assert dict(frozen.components)["optimizer"] < parts["optimizer"]


def test_microbatches_take_less_for_values_and_one_more_tree_of_gradients():
    plain, cut = dict(report().components), dict(report(microbatches=4).components)
    assert 3 * cut["kept"] < plain["kept"]
    assert cut["sums of gradients"] == plain["parameters"]


def test_keeping_less_recomputes_more():
    plan = Plan(sizes=(("B", 8), ("S", 16)))
    loaded = nw.load(EXAMPLES / "shakespeare" / "model.nw", **SMALL)
    module = pipeline().run(loaded.module, plan)
    every = predict(module, plan)
    nothing = predict(module, plan, saved={"gpt.blocks": ()})
    some = predict(module, plan, saved={"gpt.blocks": ["gpt.blocks.mlp/return:dot"]})
    assert nothing.peak < some.peak < every.peak
    assert nothing.recomputed > some.recomputed > every.recomputed == 0
    assert {k.key for k in some.kept} == {"gpt.blocks/x", "gpt.blocks.mlp/return:dot"}
