"""What a step takes by a plan that decides all, by the same measures as plans that are searched."""

from __future__ import annotations

from dataclasses import replace

from ...ir.hardware import Hardware
from ...ir.plan import Plan
from ..memory.graph import Graph, Unit, build
from ..memory.model import Training, predict
from ..memory.units import Choice
from .choose import Apply, Planned, margin, room_of
from .frontier import point
from .pool import Option, in_microbatches
from .problem import Problem, problem


def given(
    apply: Apply,
    plan: Plan,
    training: Training,
    device: Hardware,
    budget: int,
    short: int | None = None,
) -> Planned:
    """The plan as it is; the arguments are those of `choose`."""
    module = apply(plan)
    graph = build(module, plan, training.frozen)
    report = predict(module, plan, training, device, graph=graph)
    free = margin(module, device)
    bare, again = (s * plan.microbatches for s in _seconds(graph, device))
    whole = in_microbatches(bare, report, plan, device)
    chosen = Option("", (), again, report.peak)
    fits = report.peak <= room_of(budget, free, short)
    return Planned(plan, report, budget, device, free, fits, whole, whole, chosen, (chosen,), ())


def _seconds(graph: Graph, device: Hardware) -> tuple[float, float]:
    """Of a microbatch without second runs, whose backward pass takes twice the forward one, and of
    the second runs."""
    forward = again = 0.0
    for unit, times in zip(graph.units, graph.times(), strict=True):
        asked = problem(unit, device)
        again += times * point(asked, _choice(unit, asked)).seconds
        inner = [replace(v, flops=0, traffic=0) if v.unit is not None else v for v in unit.values]
        forward += times * problem(replace(unit, values=tuple(inner)), device).forward
    return 3 * forward, again


def _choice(unit: Unit, asked: Problem) -> Choice:
    """What the module says that stays of a unit."""
    if unit.saved is None:
        return Choice(group=unit.group)
    gone = {unit[i].root for i in unit.offloaded}
    here = {unit[i].root for i in unit.saved} - gone
    moved = frozenset(c.key for c in asked.candidates if gone & {*c.values})
    kept = frozenset(c.key for c in asked.candidates if here & {*c.values} and not c.given)
    return Choice(kept, moved, unit.group)
