"""Plans of layers that are called once, of loops inside of layers, and of copies in groups."""

from __future__ import annotations

from dataclasses import replace

import netwright as nw
import pytest
from netwright import driver, planning
from netwright.compiled import peaks
from netwright.ir.hardware import hardware
from netwright.ir.plan import Decision, Plan
from netwright.passes.memory.graph import build
from netwright.passes.memory.model import predict
from netwright.passes.planner.blocks import apart
from netwright.passes.planner.choose import margin
from netwright.verifying import job, verified
from programs import EXAMPLES

GALLERY = EXAMPLES / "gallery"
MODELS = {
    "resnet50": {"B": 32},
    "lstm_lm": {"H": 64, "L": 3, "V": 100, "B": 4, "S": 256},
    "gru_seq2seq": {"V": 64, "W": 64, "E": 32, "H": 32, "B": 8, "S": 64, "T": 64},
}
"""Models with layers that no repeat runs."""


def test_the_blocks_of_a_model():
    module = nw.load(GALLERY / "resnet50.nw").module
    plan = Plan(sizes=(("B", 2),))
    module = driver.compile_module(module, plan)
    found = apart(module, build(module, plan))
    assert {f"net.stage{n}.first" for n in range(1, 5)} < set(found)
    assert not any("rest" in path for path in found)
    graph = build(module, plan, apart=found)
    assert {u.path for u in graph.units if u.kind == "call"} == set(found)
    # What is apart is what was inlined, and takes as much.
    assert sum(u.copies * len(u.values) for u in graph.units) > 0
    whole = build(module, plan)
    flops = lambda g: sum(  # noqa: E731
        t * sum(v.flops for v in u.values if v.unit is None)
        for u, t in zip(g.units, g.times(), strict=True)
    )
    assert flops(graph) == flops(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_budget_below_keeping_everything_has_a_plan(name):
    """It says what to keep of calls and loops too, and the program is made by it."""
    asked = planning.of_model(GALLERY / f"{name}.nw", MODELS[name], "80GB")
    plain = driver.compile_module(asked.module, asked.plan)
    everything = predict(plain, asked.plan, asked.training).peak
    planned = replace(
        asked, budget=int(0.9 * everything / (1 - margin(plain, asked.device))), batch=0
    ).answer()
    assert planned.fits and planned.chosen.again > 0
    assert planned.chosen.peak == planned.report.peak
    assert planned.report.peak <= 0.9 * everything
    done = driver.compile_module(asked.module, planned.plan)
    said = predict(done, planned.plan, asked.training).peak  # the same of the module as emitted
    assert said == pytest.approx(planned.report.peak, rel=0.02)


@pytest.mark.parametrize(
    ("name", "sizes", "accelerator", "cpu"),
    [
        ("gpt2", {"L": 2, "D": 32, "G": 2, "V": 64, "B": 2, "S": 16}, 0.12, 0.12),
        ("lstm_lm", MODELS["lstm_lm"], 0.2, 0.5),
    ],
)
def test_more_stays_free_where_less_is_known(name, sizes, accelerator, cpu):
    """Loops that layers have of their own, and on CPUs how XLA schedules these."""
    asked = planning.of_model(GALLERY / f"{name}.nw", sizes, "80GB")
    module = driver.compile_module(asked.module, asked.plan)
    assert [margin(module, hardware(d)) for d in ("h100", "cpu")] == [accelerator, cpu]


@pytest.mark.slow
def test_steps_of_a_loop_in_groups_are_verified():
    asked = planning.of_model(GALLERY / "lstm_lm.nw", MODELS["lstm_lm"], "12MB")
    planned, found = verified(replace(asked, batch=0))
    assert found.fits and any("/" in d.key for d in planned.plan.groups)


@pytest.mark.slow
def test_groups_let_the_peak_of_a_deep_narrow_model_fall():
    """Where what the copies are given is the most, by XLA's own account."""
    sizes = {"L": 64, "D": 32, "F": 32, "M": 16, "Y": 128, "X": 128, "B": 32, "Classes": 10}
    asked = planning.of_model(GALLERY / "mixer.nw", sizes, "1GB")
    again = replace(asked.plan, remat=(Decision("mixer.blocks", "recompute"),))
    groups = replace(again, groups=(Decision("mixer.blocks", 8),))
    alone, grouped = peaks([job(asked, again), job(asked, groups)])
    assert grouped < 0.7 * alone
