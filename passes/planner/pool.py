"""The pool: ways to keep values of all blocks of a program, with the peak and the time of each.

It does not depend on a budget. In it are the points of each block's frontier, where there are
several blocks combined as a multiple-choice knapsack, and the stock policies; the model of memory
(`passes/memory`) tells the peak of each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from math import log2

from ...ir.core import Module
from ...ir.hardware import Hardware
from ...ir.plan import Plan
from ..memory.graph import Graph, Graphs, Unit
from ..memory.model import MemoryReport, Training, peak, predict
from ..memory.units import Choice, kept_bytes
from .blocks import apart
from .frontier import Point, frontier, stock
from .milp import solved
from .problem import Problem, problem

HALVED = 0.05
"""By how much longer a step is taken to be for each time that its microbatches are halved: smaller
products use less of a device. It is an assumption; roofs of operations and bytes do not show it."""

SEARCHES, FEWEST = 24, 6
"""How many points of its frontier are searched for, of a repeat and of what is called once."""


@dataclass(frozen=True)
class Block:
    """A block with its question, and the ways to answer it once these are looked for.

    Attributes:
        runs: how often a step runs all of its copies, in one microbatch.
    """

    unit: Unit
    problem: Problem
    runs: int = 1
    points: tuple[Point, ...] = ()
    stock: tuple[Point, ...] = ()

    def answered(self) -> Block:
        """With the points of its frontier, and the stock policies."""
        searches = SEARCHES if self.unit.kind == "repeat" else FEWEST
        points = frontier(self.unit, self.problem, searches)
        return replace(self, points=points, stock=stock(self.unit, self.problem))


@dataclass(frozen=True)
class Option:
    """A way for all blocks together.

    Attributes:
        name: of the stock policy; "" for what the search found.
        points: one for each block.
        again: seconds of second runs in a step.
        peak: bytes per device, as predicted.
    """

    name: str
    points: tuple[Point, ...]
    again: float
    peak: int


class Pool:
    """Blocks of a program, and ways to keep values of them all, with peaks and times.

    Attributes:
        module: the program, as the plan has it.
        again: seconds of second runs of the steps of loops, that all ways have, in a step.
        seconds: of a step without any second runs.
        floor: bytes that a step takes whatever is kept: those of the update.
    """

    def __init__(self, module: Module, plan: Plan, training: Training, device: Hardware):
        self.module, self.plan, self.training = module, plan, training
        self.device = device
        self.graphs = Graphs(module, plan, training.frozen)
        plain = self.graph(frozenset())
        self.calls = frozenset(apart(module, plain))
        whole = self.graph(self.calls)
        bare = {u.path for u in whole.units if u.kind == "call" and not kept_bytes(u)}
        self.calls -= bare
        whole = self.graph(self.calls)
        self.asked = tuple(_asked(whole, device))
        self.again = plan.microbatches * sum(
            times * _steps_again(unit, device)
            for unit, times in zip(whole.units, whole.times(), strict=True)
            if unit.kind == "scan"
        )
        everything = {asked.unit.path: Choice() for asked in self.asked}
        report = predict(module, plan, training, device, everything, plain)
        self.floor = report.timeline[-1].bytes
        self.seconds = in_microbatches(self._seconds(whole), report, plan, device)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks, each with what was found for it."""
        return tuple(asked.answered() for asked in self.asked)

    def graph(self, calls: frozenset[str]) -> Graph:
        """The graph in which these calls are units."""
        return self.graphs.graph(calls)

    def chosen(self, points: tuple[Point, ...]) -> tuple[dict[str, Choice], Graph]:
        """What stays of each unit; a call of which all is kept is a part of what is around it."""
        choices = {b.unit.path: p.choice for b, p in zip(self.blocks, points, strict=True)}
        some = {b.unit.path for b, p in zip(self.blocks, points, strict=True) if not p.everything}
        return choices, self.graph(self.calls & some)

    def report(self, points: tuple[Point, ...]) -> MemoryReport:
        """What a step takes."""
        choices, graph = self.chosen(points)
        return predict(self.module, self.plan, self.training, self.device, choices, graph)

    def options(self) -> Iterable[Option]:
        """All ways, each once."""
        seen = set()
        for name, points in (*_stock(self.blocks), *_combined(self.blocks)):
            choices = tuple(p.choice for p in points)
            if choices not in seen:
                seen.add(choices)
                yield self._option(name, points)

    def _option(self, name: str, points: tuple[Point, ...]) -> Option:
        most = peak(self.module, self.plan, self.training, *self.chosen(points))
        again = sum(
            b.runs * b.unit.copies * p.seconds for b, p in zip(self.blocks, points, strict=True)
        )
        return Option(name, points, self.again + again * self.plan.microbatches, most)

    def _seconds(self, graph: Graph) -> float:
        """Of all microbatches by themselves: the backward pass takes twice the forward one."""
        total = problem(graph.units[0], self.device).forward
        total -= sum(_blocks_as_nodes(graph, self.device))
        total += sum(a.runs * a.unit.copies * a.problem.forward for a in self.asked)
        return 3 * total * self.plan.microbatches


def worth(options: Iterable[Option]) -> tuple[Option, ...]:
    """The stock policies, and what no other option beats in memory and time; least memory first."""
    kept: list[Option] = []
    least = float("inf")
    for option in sorted(options, key=lambda o: (o.peak, o.again)):
        if option.name or option.again < least:
            kept.append(option)
        least = min(least, option.again)
    return tuple(kept)


def in_microbatches(seconds: float, report: MemoryReport, plan: Plan, device: Hardware) -> float:
    """Seconds of a step, of what all its microbatches take by themselves: each adds its gradients
    to the sums, of which two are read and one is written, and uses less of the device."""
    sums = dict(report.components).get("sums of gradients", 0)
    seconds += 3 * sums * plan.microbatches / device.bandwidth
    return seconds * (1 + HALVED * log2(plan.microbatches))


def _steps_again(unit: Unit, device: Hardware) -> float:
    """Seconds of second runs of one step of a loop, as the plan has it already."""
    if unit.saved is None and not unit.group:
        return 0.0
    asked = problem(unit, device)
    return asked.forward if unit.group else asked.outcome(()).seconds


def _asked(graph: Graph, device: Hardware) -> Iterable[Block]:
    """The blocks, in the order in which they run, before anything is found for them."""
    runs: dict[str, int] = {}  # a layer may be called twice
    units: dict[str, Unit] = {}
    for node in graph.units[0].values:
        if node.unit is not None and node.first == node.id and node.differentiated:
            unit = graph.units[node.unit]
            if unit.kind in ("repeat", "call"):
                units.setdefault(unit.path, unit)
                runs[unit.path] = runs.get(unit.path, 0) + 1
    for path, unit in units.items():
        yield Block(unit, problem(unit, device), runs[path])


def _blocks_as_nodes(graph: Graph, device: Hardware) -> Iterable[float]:
    """What blocks count for in the entry, where they are single nodes."""
    for node in graph.units[0].values:
        if node.unit is None or node.first != node.id or not node.differentiated:
            continue
        if graph.units[node.unit].kind != "scan":
            dtype = graph.units[0][node.operands[0]].dtype if node.operands else node.dtype
            yield max(node.flops / device.flops(dtype), node.traffic / device.bandwidth)


def _stock(blocks: tuple[Block, ...]) -> Iterable[tuple[str, tuple[Point, ...]]]:
    for index, first in enumerate(blocks[0].stock if blocks else ()):
        yield first.policy, tuple(b.stock[index] for b in blocks)
    if not blocks:
        yield "everything_saveable", ()


def _combined(blocks: tuple[Block, ...]) -> Iterable[tuple[str, tuple[Point, ...]]]:
    """One point of each block, for bytes that divide the range evenly."""
    if len(blocks) == 1:
        for found in blocks[0].points:
            yield found.policy, (found,)
    if len(blocks) < 2:
        return
    least = sum(min(p.saved for p in b.points) for b in blocks)
    most = sum(max(p.saved for p in b.points) for b in blocks)
    for index in range(25):
        points = knapsack(blocks, least + (most - least) * index // 24)
        if points is not None:
            yield "", points


def knapsack(blocks: tuple[Block, ...], room: int) -> tuple[Point, ...] | None:
    """One point of each block, with the least time of all whose kept bytes fit together."""
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint

    every = [(i, b, p) for i, b in enumerate(blocks) for p in b.points]
    seconds = np.array([b.runs * b.unit.copies * p.seconds for _, b, p in every])
    size = np.array([float(p.saved) for _, _, p in every])
    one = np.array([[float(i == k) for i, _, _ in every] for k in range(len(blocks))])
    scale = max(seconds.max(), 1e-30)
    found = solved(
        seconds / scale,
        integrality=np.ones(len(every)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one, 1, 1),
            LinearConstraint(size[None] / max(room, 1), -np.inf, 1 + 1e-9),
        ],
    )
    if found.x is None:
        return None
    return tuple(p for (_, _, p), x in zip(every, found.x, strict=True) if x > 0.5)
