"""Plans beside what XLA makes of their steps, which are compiled whole."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
from netwright import planning
from netwright.ir.hardware import hardware
from netwright.ir.plan import Decision, Mesh, Plan, decide
from netwright.verifying import measured, verified
from programs import EXAMPLES, SMALL, small_shakespeare

SIZES = {"V": 64, "L": 4, "D": 32, "G": 2, "B": 8, "S": 64}
GROUPS = """
[groups.embedding]
on = "gpt.embed"
name = "sgd"
"""
SHARDED = Mesh(
    (("data", 4), ("model", 2)), (("B", ("data",)),), (("D", ("data",)), ("V", ("model",)))
)
TPU = pytest.mark.skipif(find_spec("libtpu") is None, reason="needs netwright[tpu]")


def gpt2(memory: str = "1GB", precision: str = "f32", **sizes: int) -> planning.Question:
    path = EXAMPLES / "gallery/gpt2.nw"
    return planning.of_model(path, {**SIZES, **sizes}, memory, precision=precision)


@pytest.mark.slow
def test_compiling_holds_the_plan():
    asked = gpt2("9.6MB")
    planned, found = verified(asked)
    assert found.fits and found.peak <= asked.budget
    assert measured(asked, [planned.plan]) == [found.peak]


@pytest.mark.slow
def test_blocks_that_are_unrolled_are_held_to_the_budget():
    asked = gpt2("9.6MB")
    unrolled = replace(asked.plan, roll=(Decision("gpt.body.blocks", "unroll"),))
    planned, found = verified(replace(asked, plan=unrolled))
    assert planned.plan.roll and found.fits and found.peak <= asked.budget


@pytest.mark.slow
def test_plans_for_cpus_are_compiled_as_cpus_schedule():
    """By itself XLA for the CPU takes out the barriers that keep a second run apart."""
    unrolled = (Decision("gpt.body.blocks", "unroll"),)
    again = (Decision("gpt.body.blocks", "recompute"),)
    asked = gpt2("10GB")
    plan = replace(asked.plan, roll=unrolled, remat=again)
    elsewhere = replace(asked, plan=plan, given=True)
    here = replace(elsewhere, device=hardware("cpu"))
    (_, stands_for), (_, itself) = verified(elsewhere), verified(here)
    assert itself.target == "cpu" != stands_for.target
    assert itself.peak > 1.2 * stands_for.peak


@pytest.mark.slow
def test_groups_are_compiled_with_their_own_optimizers(tmp_path):
    """SGD keeps nothing, where AdamW keeps two arrays for each parameter of the embedding."""
    plain = planning.of_folder(small_shakespeare(tmp_path / "plain"), SMALL, "1GB")
    grouped = planning.of_folder(small_shakespeare(tmp_path / "grouped", GROUPS), SMALL, "1GB")
    before, after = (measured(asked, [asked.plan])[0] for asked in (plain, grouped))
    least = 2 * 4 * SMALL["V"] * SMALL["D"]
    assert before - after == pytest.approx(least, rel=0.05)


@TPU
@pytest.mark.slow
@pytest.mark.parametrize("mesh", [Mesh(), SHARDED])
def test_plans_are_compiled_for_tpus(mesh):
    asked = gpt2(B=16, S=128, D=128)
    asked = replace(asked, plan=replace(asked.plan, mesh=mesh))
    _, found = verified(asked, "tpu:v5e")
    assert found.fits and found.peak > 0


@TPU
@pytest.mark.slow
def test_what_is_offloaded_is_not_on_the_tpu():
    """Of what keeping takes, less than half is left: what is on its way of one copy or two."""
    asked = gpt2("1GB", "bf16", L=8, B=16, S=256, D=256)

    def plan(choice: str) -> Plan:
        keys = ("gpt.body.blocks.attn/y.2", "gpt.body.blocks.mlp/return:up")
        kept = (Decision(key, choice) for key in keys)
        return replace(
            asked.plan, remat=decide((), Decision("gpt.body.blocks", "recompute"), *kept)
        )

    without = replace(asked.plan, remat=(Decision("gpt.body.blocks", "recompute"),))
    least, saved, offloaded = measured(asked, [without, plan("save"), plan("offload")], "tpu:v5e")
    assert least < offloaded < (least + saved) / 2
