"""Bodies that run again for the gradient: what the pass makes of a plan, and what is written."""

from __future__ import annotations

import functools
import re

import jax
import netwright as nw
import numpy as np
import pytest
from netwright import driver
from netwright.ir.core import walk
from netwright.ir.diagnostics import InputError
from netwright.ir.plan import Decision, Plan, decide
from netwright.ir.text import parse, show
from programs import EXAMPLES
from residuals import emitted, kept, loaded, run_again
from test_gallery import quick  # noqa: F401  (compiles without optimizing)

SIZES = {"V": 32, "L": 3, "D": 16, "F": 24, "K": 8}
BATCH = {
    "tokens": np.arange(12, dtype=np.int32).reshape(2, 6),
    "targets": np.arange(1, 13, dtype=np.int32).reshape(2, 6),
}

MODEL = """
dims:
    B, S
    D = 8, E = 8, N = 3, L = 4

layer Norm[D](x: [..., D]) -> [..., D]:
    state average: [D] = zeros()
    if train:
        m = mean[...](x)
        average <- 0.9 * average + 0.1 * m
    else:
        m = average
    y = x - m
    metric size = mean[..., D](square(y))
    return y

layer Half[D](x: [..., D]) -> [..., D]:
    dims: E = D
    param w: [D, E] = normal(0.5)
    use norm = Norm
    h = sin(rename[E -> D](dot[D](norm(x), w)))
    return dropout(h * x, rate = 0.2)

layer Cell[S, D](x: [..., S, D]) -> [..., S, D]:
    dims: E = D
    param w: [E, D] = normal(0.5)
    ys = scan[S](x = x) carry (h = zeros[..., D]()):
        z = dot[E](rename[D -> E](h), w) + x
        h = sin(z)
        emit h
    return ys

layer Block[S, D](x: [..., S, D]) -> x: [..., S, D], mid: [..., S, D]:
    use half = Half
    use cell = Cell
    mid = half(x)
    x = x + half(mid) * cell(x)
    return x, mid

layer Side[D](x: [..., D]) -> [..., D]:
    dims: E = D
    param w: [D, E] = normal(0.5)
    return sin(rename[E -> D](dot[D](x, w)))

model Net(x: [B, S, D]) -> [B, S, D]:
    use blocks = repeat[L] Block
    use sides = each[N] Side
    y, mids = blocks(x)
    return sum[N](sides(y)) + mean[L](mids)

loss fit(x: [B, S, D]):
    use net = Net
    return mean[B, S, D](square(net(x) - 1))
"""


def llama(**sizes):
    return nw.load(EXAMPLES / "shakespeare", **{**SIZES, **sizes}).module


def plan(*decisions: tuple[str, str], **more) -> Plan:
    return Plan(remat=decide((), *(Decision(*d) for d in decisions)), **more)


BLOCKS = (("gpt.blocks", "recompute"), ("gpt.blocks.attn/q", "save"))


@pytest.mark.parametrize("key", ["gpt.blocks.attn/q", "gpt.blocks.attn/x", "gpt.blocks/x"])
def test_everyone_reads_the_named_value(key):
    path, _, label = key.partition("/")
    module = driver.compile_module(llama(), plan(BLOCKS[0], (key, "save")))
    (variant,) = module.instance(path).variants
    (name,) = (op for op in walk(variant.ops) if op.name == "name")
    assert name["name"] == key.removeprefix("gpt.blocks").lstrip("./").replace("/", ".")
    (raw,) = name.operands
    assert [op for op in walk(variant.ops) if raw in op.operands] == [name]
    assert name.result.label in (label, "")  # an argument keeps its own
    assert parse(show(module)) == module


def test_without_decisions_nothing_changes():
    module = llama()
    assert emitted(module, Plan()).SOURCE == emitted(module, plan(("gpt.blocks", "save"))).SOURCE


def test_what_is_decided_for_an_instance_holds_inside():
    model, q = llama(), ("gpt.blocks.attn/q", "recompute")
    program = emitted(model, plan(BLOCKS[0], ("gpt.blocks.attn", "save"), q))
    (eqn,) = run_again(program, BATCH)
    names, others = kept(eqn)
    assert not others and "attn.k" in names and "attn.q" not in names
    assert all(n.startswith("attn.") for n in names)


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (("", "recompute"), "the loss as a whole cannot be computed twice"),
        (("gpt.blocks.attn/q", "recompute"), 'put "gpt.blocks.attn": "recompute" beside it'),
        (("gpt.norm", "offload"), "it is in no body that is recomputed"),
        (("gpt.blocks/x:norm1", "maybe"), None),
    ],
)
def test_a_decision_without_effect_is_refused(decision, message):
    if message is None:
        with pytest.raises(InputError, match="one of save, recompute, offload"):
            Plan.from_json('{"format": 1, "remat": {"gpt.norm": "maybe"}}')
        return
    with pytest.raises(InputError, match=re.escape(message)):
        driver.compile_module(llama(), plan(decision))


def test_what_is_simplified_away_cannot_be_kept():
    text = "dims:\n    B\n    D = 4\n\nlayer F[D](x: [..., D]) -> [..., D]:\n    a = sin(x)\n"
    text += "    b = sin(x)\n    return a * b\n\nmodel M(x: [B, D]) -> [B, D]:\n    use f = F\n"
    text += "    return f(x)\n\nloss fit(x: [B, D]):\n    use m = M\n    return mean[B, D](m(x))\n"
    module = loaded(text)
    with pytest.raises(InputError, match="once the model is simplified"):
        driver.compile_module(module, plan(("m.f", "recompute"), ("m.f/b", "save")))
    (eqn,) = run_again(
        emitted(module, plan(("m.f", "recompute"), ("m.f/a", "save"))),
        {"x": np.ones((2, 4), np.float32)},
    )
    assert kept(eqn)[0] == {"a"}


def gradients(program, batch):
    params = jax.jit(program.init_params)(jax.random.key(1))
    taken = program.init_state.__code__.co_argcount
    state = program.init_state(*[jax.random.key(2)] * taken)
    step = jax.value_and_grad(
        lambda p: program.loss(p, state, batch, jax.random.key(3), True), has_aux=True
    )
    return jax.device_get(jax.jit(step)(params))


def same(a, b) -> bool:
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.abs(x - y).max() <= 1e-6 * (np.abs(x).max() or 1) for x, y in leaves)


NET = {
    "repeat": (("net.blocks", "recompute"), ("net.blocks/mid", "save")),
    "call": (("net.blocks.half", "recompute"), ("net.blocks.half/h", "save")),
    "nested": (
        ("net.blocks", "recompute"), ("net.blocks.half", "recompute"),
        ("net.blocks.half/h", "save"), ("net.blocks.cell", "save"),
    ),
    "loop": (("net.blocks.cell", "recompute"), ("net.blocks.cell/z", "save")),
    "each": (("net.sides", "recompute"), ("net.sides/return:rename", "save")),
    "whole": (("net", "recompute"), ("net.blocks.half", "save"), ("net.sides", "offload")),
    "offload": (("net.blocks", "recompute"), ("net.blocks/x", "offload")),
}  # fmt: skip


@functools.cache
def net():
    """The model above, and a batch for it."""
    module = loaded(MODEL)
    batch = {"x": np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)}
    return module, batch


@functools.cache
def plain(roll):
    """The gradients without a plan for what is kept."""
    module, batch = net()
    rolled = decide((), Decision("net.blocks", roll))
    return gradients(emitted(module, Plan(roll=rolled)), batch)


FAST = (("nested", "scan"),)


@pytest.mark.parametrize(
    ("case", "roll"),
    [
        pytest.param(c, r, marks=[pytest.mark.slow] * ((c, r) not in FAST))
        for c in NET
        for r in ("scan", "unroll")
    ],
)
def test_gradients_are_the_same(case, roll):
    """States, metrics, dropout, several results, shared weights, copies, loops, nesting."""
    module, batch = net()
    rolled = decide((), Decision("net.blocks", roll))
    program = emitted(module, plan(*NET[case], roll=rolled))
    assert "jax.checkpoint(" in program.SOURCE
    assert same(plain(roll), gradients(program, batch))


GROUPS = {
    "copies": ({"net.blocks": 2}, ()),
    "copies that keep some": ({"net.blocks": 2}, NET["repeat"]),
    "steps": ({"net.blocks.cell/ys": 2}, ()),
    "each step": ({"net.blocks.cell/ys": 1}, NET["repeat"]),
    "copies and steps": ({"net.blocks": 2, "net.blocks.cell/ys": 2}, NET["nested"]),
}


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] * (c != "copies and steps")) for c in GROUPS]
)
def test_gradients_of_groups_are_the_same(case):
    """Copies of a layer with states, metrics, dropout and stacked results, and steps of a loop."""
    module, batch = net()
    sizes, kept = GROUPS[case]
    groups = decide((), *(Decision(key, size) for key, size in sizes.items()))
    program = emitted(module, plan(*kept, groups=groups))
    assert "in_groups(" in program.SOURCE or case == "each step"
    assert same(plain("scan"), gradients(program, batch))


@pytest.mark.parametrize(
    ("key", "size", "message"),
    [
        ("net.blocks", 3, "sizes that divide them evenly: 2"),
        ("net.blocks/x", 2, "it is no loop"),
    ],
)
def test_groups_that_cannot_be_are_refused(key, size, message):
    groups = decide((), Decision(key, size))
    with pytest.raises(InputError, match=message):
        driver.compile_module(net()[0], Plan(groups=groups))


def test_one_name_of_a_shared_instance_keeps_both_calls():
    module, batch = net()
    decisions = plan(("net.blocks", "recompute"), ("net.blocks.half/h", "save"))
    (eqn,) = run_again(emitted(module, decisions), batch)
    jaxpr = str(eqn.params["jaxpr"])
    assert jaxpr.count("name[name=half.h]") == 2
    assert kept(eqn)[0] == {"half.h"}
