"""The page of what `netwright plan` has found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..driver import compile_module
from ..passes.memory.graph import Unit, build
from ..passes.planner.blocks import apart
from ..planned import own_statistics, time_text
from .facts import Point, facts
from .page import page

if TYPE_CHECKING:
    from ..ir.core import Module
    from ..passes.planner.choose import Planned
    from ..planning import Question
    from ..verifying import Verified


def report(question: Question, planned: Planned, verified: Verified | None = None) -> str:
    """The page, as HTML."""
    plan = planned.plan
    sizes = ", ".join(f"{name} = {size}" for name, size in plan.sizes)
    optimizer = ", ".join(name for name, _ in question.training.functions(""))
    devices = f"{plan.mesh.size()} × " if plan.mesh.size() > 1 else ""
    module = compile_module(question.module, plan)
    found = facts(
        module,
        plan,
        planned.report,
        title=question.module.name,
        setting=f"{question.loaded.path.name} on {devices}{planned.device.name}: {sizes};"
        f" {plan.precision.policy}, {optimizer}",
        figures=_figures(question, planned, verified),
        budget=planned.budget,
        points=_points(planned),
        blocks=_blocks(question, planned, module),
    )
    return page(found)


def _blocks(question: Question, planned: Planned, module: Module) -> Sequence[Unit]:
    """The blocks that were planned; of a plan that was given, what would have been."""
    if planned.blocks:
        return [block.unit for block in planned.blocks]
    calls = frozenset(apart(module, planned.report.graph))
    return build(module, planned.plan, question.training.frozen, calls).units


def _figures(
    question: Question, planned: Planned, verified: Verified | None
) -> list[tuple[str, str, bool]]:
    from ..passes.planner.decisions import size_text

    peak, budget = planned.report.peak, planned.budget
    over = not planned.fits
    rows = [
        ("peak on each device", size_text(peak), over),
        (f"of {size_text(budget)}", f"{peak / budget:.0%}", over),
        ("longer than without second runs", f"{planned.share:.1%}", False),
        ("a step takes about", time_text(planned.total), False),
    ]
    if planned.seconds > planned.shortest:
        rows.insert(3, ("longer than with memory for everything", f"{planned.longer:.1%}", False))
    parts = planned.plan.microbatches
    if parts > 1:
        what = f"microbatches of {question.batch // parts}"
        if own_statistics(question, planned.plan):
            what += ", with BatchNorm's statistics of one each"
        rows.append((what, str(parts), False))
    if verified is not None:
        rows.append(("compiled to see", size_text(verified.peak), not verified.fits))
    return rows


def _points(planned: Planned) -> list[Point]:
    return [
        Point(
            option.name,
            option.peak,
            option.again / planned.seconds if planned.seconds else 0.0,
            stock=bool(option.name) and option is not planned.chosen,
            chosen=option is planned.chosen,
        )
        for option in planned.options
    ]
