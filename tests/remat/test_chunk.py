"""Losses taken in parts: the same numbers, with logits that are never whole."""

from __future__ import annotations

from dataclasses import replace

import jax
import netwright as nw
import numpy as np
import pytest
from netwright import driver, planning
from netwright.compiled import peaks
from netwright.ir.core import walk
from netwright.ir.diagnostics import InputError
from netwright.ir.plan import Decision, Mesh, Plan, Precision
from netwright.ir.text import parse, show
from netwright.passes.chunk import chunkable
from netwright.passes.manager import Pipeline
from netwright.verifying import job
from programs import EXAMPLES
from residuals import emitted, loaded

GALLERY = EXAMPLES / "gallery"
LLAMA = {"V": 32, "L": 2, "D": 16, "F": 24, "K": 8}
BATCH = {
    "tokens": np.arange(22, dtype=np.int32).reshape(2, 11),
    "targets": np.arange(1, 23, dtype=np.int32).reshape(2, 11),
}


def cut(parts: int, key: str = "/logits", **more) -> Plan:
    return Plan(loss_chunks=(Decision(key, parts),), **more)


def simplified(module):
    line = driver.pipeline()
    return Pipeline(line.passes[:1]).run(module, Plan())


def llama():
    return nw.load(EXAMPLES / "shakespeare", **LLAMA).module


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("gpt2", ("/logits",)),
        ("llama3", ("/return:llama",)),
        ("gemma", ("/return:gemma",)),
        ("vae", ()),
    ],
)
def test_what_can_be_cut(file, keys):
    assert chunkable(simplified(nw.load(GALLERY / f"{file}.nw").module), Plan()) == keys


def test_no_value_has_the_classes_and_the_whole_sequence():
    module = driver.compile_module(llama(), cut(4))
    assert parse(show(module)) == module
    (variant,) = module.instances[0].variants
    for op in walk(variant.ops):
        for value in op.results:
            assert not {"S", "V"} <= {d.name for d in value.type.dims}
    (loop,) = (op for op in variant.ops if op.name == "scan")
    assert loop["parts"] == 4 and loop["along"].name == "S"
    assert {"/logits"} <= {f"/{r.label}" for o in loop.regions[0].ops for r in o.results}


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts", [pytest.param(2, marks=pytest.mark.slow), 4, pytest.param(16, marks=pytest.mark.slow)]
)
def test_the_same_numbers(parts):
    """Loss, metrics and gradients, where the parts divide the sequence and where they do not."""
    model = llama()
    whole, pieces = emitted(model, Plan()), emitted(model, cut(parts))
    assert "lax.map(" in pieces.SOURCE and "lax.map(" not in whole.SOURCE
    params = jax.jit(whole.init_params)(jax.random.key(0))

    def run(program):
        step = jax.value_and_grad(
            lambda p: program.loss(p, {}, BATCH, jax.random.key(1), True), has_aux=True
        )
        return jax.device_get(jax.jit(step)(params))

    for a, b in zip(jax.tree.leaves(run(whole)), jax.tree.leaves(run(pieces)), strict=True):
        assert np.abs(a - b).max() <= 1e-6 * max(np.abs(a).max(), 1e-6)
    predicted = jax.jit(pieces.predict)(params, {}, {"tokens": BATCH["tokens"]})
    assert predicted.shape == (2, 11, 32)


def test_along_a_dim_that_is_not_spread():
    mesh = Mesh((("data", 2),), (("S", ("data",)),), ())
    module = driver.compile_module(llama(), cut(2, mesh=mesh, precision=Precision("bfloat16")))
    (loop,) = (op for op in module.instances[0].variants[0].ops if op.name == "scan")
    assert loop["along"].name == "B"


READ = """
dims:
    B, S
    D = 4, V = 5

model Net(x: [B, S, D]) -> [B, S, V]:
    param w: [D, V] = normal(0.1)
    return dot[D](x, w)

loss fit(x: [B, S, D], y: int[B, S]):
    use net = Net
    logits = net(x)
    metric size = mean[B, S, V](square(logits))
    return mean[B, S](cross_entropy[V](logits, y))
"""


def test_what_is_read_whole_is_refused():
    module = loaded(READ)
    assert chunkable(simplified(module), Plan()) == ()
    with pytest.raises(InputError, match=r"mean .*does not carry"):
        driver.compile_module(module, cut(2))
    with pytest.raises(InputError, match="only values of the loss itself"):
        driver.compile_module(module, cut(2, "net/return:dot"))
    assert chunkable(
        simplified(loaded(READ.replace("mean[B, S, V](square(logits))", "0.0"))), Plan()
    )


@pytest.mark.slow
def test_the_plan_cuts_the_logits_and_the_peak_falls():
    """A small version of `benchmarks/logits.py`."""
    sizes = {"L": 2, "D": 32, "G": 2, "V": 4000, "Ctx": 64, "drop": 0.0, "B": 8, "S": 64}
    asked = planning.of_model(GALLERY / "gpt2.nw", sizes, "16MB", optimizer="adam")
    planned = replace(asked, batch=0).answer()  # in one piece
    assert planned.fits and [d.key for d in planned.plan.loss_chunks] == ["/logits"]
    whole, parts = peaks([job(asked, plan) for plan in (asked.plan, planned.plan)])
    assert parts <= 0.6 * whole and parts <= asked.budget
    assert planned.report.peak == pytest.approx(parts, rel=0.1)
