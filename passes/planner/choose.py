"""The plan for a budget: what each block keeps, and in how many parts a batch goes.

The pool of plans does not depend on the budget: the points of each block's frontier, where there
are several blocks combined as a multiple-choice knapsack, and the stock policies. The model of
memory (`passes/memory`) tells the peak of each; of those that fit the one with the least time is
taken. So more memory never means more time, and no stock policy that fits is better.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache
from math import log2

from ...ir.core import Module, Op, leading
from ...ir.hardware import Hardware
from ...ir.plan import Decision, Decisions, Plan, decide
from ..memory.graph import Graph, Unit, build
from ..memory.model import MemoryReport, Training, peak, predict
from ..memory.units import Choice, kept_bytes
from ..remat import group_sizes, loop_keys
from .advice import enough
from .blocks import apart
from .frontier import Point, frontier, point, stock
from .milp import solved
from .problem import Problem, problem

MARGIN, WIDE_MARGIN = 0.12, 0.2
"""Of the budget, left free where nothing is compiled; the second where layers have loops inside or
are called one by one, of which the model of memory knows less (`docs/remat.md` says how much)."""

HALVED = 0.05
"""By how much longer a step is taken to be for each time that its microbatches are halved: smaller
products use less of a device. It is an assumption; roofs of operations and bytes do not show it."""

STRIDE = 1.4
"""By how much two numbers of microbatches that are tried differ at least."""

MOST_PARTS = 64

LOSS_PARTS = 16
"""Into how many parts the work on logits is cut, where it is."""

SEARCHES, FEWEST = 24, 6
"""How many points of its frontier are searched for, of a repeat and of what is called once."""

Apply = Callable[[Plan], Module]


@dataclass(frozen=True)
class Block:
    """A block with its question and the ways to answer it.

    Attributes:
        runs: how often a step runs all of its copies, in one microbatch.
    """

    unit: Unit
    problem: Problem
    points: tuple[Point, ...]
    stock: tuple[Point, ...]
    runs: int = 1


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


@dataclass(frozen=True)
class Planned:
    """What was decided, and what it was decided from.

    Attributes:
        plan: with every decision.
        report: of the model of memory for it.
        budget: bytes per device.
        device: what the times are for.
        margin: of the budget, what is left free where nothing is compiled.
        fits: whether the predicted peak, with the margin, is within the budget.
        seconds: of a step without second runs, by the table of hardware.
        chosen: the option that was taken.
        options: all, the least peak first.
        blocks: that were planned.
        advice: what would be enough, where nothing fits.
    """

    plan: Plan
    report: MemoryReport
    budget: int
    device: Hardware
    margin: float
    fits: bool
    seconds: float
    chosen: Option
    options: tuple[Option, ...]
    blocks: tuple[Block, ...]
    advice: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Second runs as a share of the step without any."""
        return self.chosen.again / self.seconds if self.seconds else 0.0


def choose(
    apply: Apply,
    plan: Plan,
    training: Training,
    device: Hardware,
    budget: int,
    batch: int = 0,
    short: int | None = None,
    cuts: Collection[str] = (),
) -> Planned:
    """The best plan within a budget; where there is none, what would be enough.

    Args:
        apply: applies a plan to the module.
        plan: what is decided already; its own decisions on what is kept are not used.
        training: optimizer and the like.
        budget: bytes per device.
        batch: what microbatches must divide; 0 for none but those of the plan.
        short: bytes by which compiled peaks of plans of before are above what was predicted for
            them; None where nothing is compiled, so that a margin is kept instead.
        cuts: keys of values that may be cut into parts (`passes.chunk`).

    Raises:
        InputError: a free size has no value.
    """
    apply = cache(apply)

    def search(plan: Plan) -> Planned:
        return _search(apply, plan, training, device, budget, batch, short, cuts)

    plan = replace(plan, remat=(), groups=())
    best = search(plan)
    if best.fits:
        return best
    share = 1 - best.margin
    found = enough(
        apply, best.plan, training, best.report, max(1, int(budget * share)), batch,
        lambda mesh: search(replace(plan, mesh=mesh)).fits,
    )  # fmt: skip
    wanted = 1.005 * best.report.peak / share  # three digits are said, and not too little
    return replace(best, advice=(*found, f"a budget of {size_text(wanted)}"))


def _search(
    apply: Apply,
    plan: Plan,
    training: Training,
    device: Hardware,
    budget: int,
    batch: int,
    short: int | None,
    cuts: Collection[str],
) -> Planned:
    """The best plan, or the one that takes the least memory where none fits.

    What is tried does not depend on the budget, and what is left out could not be better: no plan
    takes less time than one of as many microbatches that runs nothing again, and that takes no less
    with more of them.
    """
    module = apply(plan)
    states = measures_batches(module)
    rows = batch // plan.mesh.parts(leading(module))  # of one device
    best: Planned | None = None
    for parts in (plan.microbatches, *_more(plan.microbatches, rows)):
        least = None
        for variant in _variants(apply, replace(plan, microbatches=parts), cuts):
            found = _best(apply, variant, training, device, budget, short)
            least = least or found.seconds
            best = _better(best, found) if best else found
            if best.fits and _time(best) <= least:
                return best
        if best and best.fits and states:
            return best  # with more of them, means over a batch would be others
    assert best is not None
    return best


def _variants(apply: Apply, plan: Plan, cuts: Collection[str]) -> Iterable[Plan]:
    """The plan, and it with the work on logits in parts and with the steps of loops again."""
    yield plan
    for groups in _loops(apply(plan), plan):
        yield replace(plan, groups=groups)
    for key in () if plan.loss_chunks else cuts:
        reason = "whole it would take much of the peak; its parts are made again one by one"
        cut = replace(plan, loss_chunks=(Decision(key, LOSS_PARTS, reason),))
        yield cut
        for groups in _loops(apply(cut), cut):
            yield replace(cut, groups=groups)


def margin(module: Module) -> float:
    """What is left free of a budget where nothing is compiled."""
    ops = [op for _, _, op in module.walk()]
    regular = any(op.name == "repeat" for op in ops) and not any(map(_is_loop, ops))
    return MARGIN if regular else WIDE_MARGIN


def _better(a: Planned, b: Planned) -> Planned:
    """The one that fits, or else takes less memory; of two that fit the one with less time."""
    if a.fits != b.fits:
        return a if a.fits else b
    if a.fits:
        return b if _time(b) < _time(a) else a
    return b if b.report.peak < a.report.peak else a


def _loops(module: Module, plan: Plan) -> Iterable[Decisions]:
    """Ways to run the steps of all loops inside of layers again: each by itself, or in groups of
    about the root of their number, of which so many stay as are made again at a time."""
    sizes = {**dict(module.sizes), **dict(plan.sizes)}
    loops = {}
    for instance, _, op in module.walk():
        if _is_loop(op):
            count = op["along"].size.evaluate(sizes)
            found = group_sizes(count, op.name)
            if found:
                loops[loop_keys(instance, op)[0]] = (count, found)
    for root in (True, False) if loops else ():
        made = []
        for key, (count, found) in loops.items():
            size = min(found, key=lambda n: n + count / n) if root else 1
            what = "each step runs again" if size == 1 else f"groups of {size} run again"
            why = f"of {count} steps {what}: only what it is handed stays"
            made.append(Decision(key, size, why))
        yield decide((), *made)


def _is_loop(op: Op) -> bool:
    """Whether it is a loop that a layer has; a loss that is taken in parts is none."""
    return op.name == "scan" and bool(op["carry"]) and not op.get("parts")


def _time(planned: Planned) -> float:
    return planned.seconds + planned.chosen.again


def _more(parts: int, rows: int) -> Iterable[int]:
    """Larger numbers of microbatches that divide what a device has of the batch, some way apart."""
    last = parts
    for number in range(parts * 2, min(rows, MOST_PARTS) + 1, parts):
        if rows % number == 0 and number >= STRIDE * last:
            yield number
            last = number


def _best(
    apply: Apply,
    plan: Plan,
    training: Training,
    device: Hardware,
    budget: int,
    short: int | None,
) -> Planned:
    module = apply(plan)
    measure = _Measure(module, plan, training, device)
    blocks = measure.blocks
    options = worth(_options(blocks, measure))
    free = margin(module)
    room = room_of(budget, free, short)
    fitting = [o for o in options if o.peak <= room]
    chosen = min(fitting, key=lambda o: (o.again, o.peak)) if fitting else options[0]
    made = with_decisions(plan, blocks, chosen)
    report = measure.report(chosen.points)
    seconds = in_microbatches(measure.seconds(), report, plan, device)
    return Planned(
        made, report, budget, device, free, bool(fitting), seconds, chosen, options, blocks
    )


def measures_batches(module: Module) -> bool:
    """Whether layers have states, such as means over a batch, which more microbatches change."""
    return any(variant.writes for instance in module.instances for variant in instance.variants)


def room_of(budget: int, free: float, short: int | None) -> int:
    """Bytes that a predicted peak may take; the arguments are as in `choose` and `Planned`."""
    return int(budget * (1 - free)) if short is None else budget - short


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


def worth(options: Iterable[Option]) -> tuple[Option, ...]:
    """The stock policies, and what no other option beats in memory and time; least memory first."""
    kept: list[Option] = []
    least = float("inf")
    for option in sorted(options, key=lambda o: (o.peak, o.again)):
        if option.name or option.again < least:
            kept.append(option)
        least = min(least, option.again)
    return tuple(kept)


def _blocks(graph: Graph, device: Hardware) -> Iterable[Block]:
    """The blocks, in the order in which they run."""
    runs: dict[str, int] = {}  # a layer may be called twice
    units: dict[str, Unit] = {}
    for node in graph.units[0].values:
        if node.unit is not None and node.first == node.id and node.differentiated:
            unit = graph.units[node.unit]
            if unit.kind in ("repeat", "call"):
                units.setdefault(unit.path, unit)
                runs[unit.path] = runs.get(unit.path, 0) + 1
    for path, unit in units.items():
        asked = problem(unit, device)
        points = frontier(unit, asked, SEARCHES if unit.kind == "repeat" else FEWEST)
        yield Block(unit, asked, points, stock(unit, asked), runs[path])


class _Measure:
    """Blocks, and the peaks and times of options for them."""

    def __init__(self, module: Module, plan: Plan, training: Training, device: Hardware):
        self.module, self.plan, self.training = module, plan, training
        self.device = device
        self.graphs: dict[frozenset[str], Graph] = {}
        plain = self.graph(frozenset())
        self.calls = frozenset(apart(module, plain))
        whole = self.graph(self.calls)
        bare = {u.path for u in whole.units if u.kind == "call" and not kept_bytes(u)}
        self.calls -= bare
        whole = self.graph(self.calls)
        self.blocks = tuple(_blocks(whole, device))
        self.again = sum(
            times * _steps_again(unit, device)
            for unit, times in zip(whole.units, whole.times(), strict=True)
            if unit.kind == "scan"
        )

    def graph(self, calls: frozenset[str]) -> Graph:
        """The graph in which these calls are units."""
        if calls not in self.graphs:
            self.graphs[calls] = build(self.module, self.plan, self.training.frozen, calls)
        return self.graphs[calls]

    def chosen(self, points: tuple[Point, ...]) -> tuple[dict[str, Choice], Graph]:
        """What stays of each unit; a call of which all is kept is a part of what is around it."""
        choices = {b.unit.path: p.choice for b, p in zip(self.blocks, points, strict=True)}
        some = {b.unit.path for b, p in zip(self.blocks, points, strict=True) if not p.everything}
        return choices, self.graph(self.calls & some)

    def report(self, points: tuple[Point, ...]) -> MemoryReport:
        """What a step takes."""
        choices, graph = self.chosen(points)
        return predict(self.module, self.plan, self.training, self.device, choices, graph)

    def option(self, name: str, points: tuple[Point, ...]) -> Option:
        most = peak(self.module, self.plan, self.training, *self.chosen(points))
        again = self.again + sum(
            b.runs * b.unit.copies * p.seconds for b, p in zip(self.blocks, points, strict=True)
        )
        return Option(name, points, again * self.plan.microbatches, most)

    def seconds(self) -> float:
        """Of a step without second runs: the backward pass takes twice the forward one."""
        graph = self.graph(self.calls)
        total = problem(graph.units[0], self.device).forward
        total -= sum(_blocks_as_nodes(graph, self.device))
        total += sum(b.runs * b.unit.copies * b.problem.forward for b in self.blocks)
        return 3 * total * self.plan.microbatches


def _blocks_as_nodes(graph: Graph, device: Hardware) -> Iterable[float]:
    """What blocks count for in the entry, where they are single nodes."""
    for node in graph.units[0].values:
        if node.unit is None or node.first != node.id or not node.differentiated:
            continue
        if graph.units[node.unit].kind != "scan":
            dtype = graph.units[0][node.operands[0]].dtype if node.operands else node.dtype
            yield max(node.flops / device.flops(dtype), node.traffic / device.bandwidth)


def _options(blocks: tuple[Block, ...], measure: _Measure) -> Iterable[Option]:
    seen = set()
    for name, points in (*_stock(blocks), *_combined(blocks)):
        choices = tuple(p.choice for p in points)
        if choices not in seen:
            seen.add(choices)
            yield measure.option(name, points)


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


# Decisions


def with_decisions(plan: Plan, blocks: tuple[Block, ...], option: Option) -> Plan:
    """The plan with an option's decisions, each with its reason and place."""
    made: list[Decision] = []
    groups: list[Decision] = []
    for block, found in zip(blocks, option.points, strict=True):
        if found.choice.group:
            groups.append(_group(block, found))
        if found.choice.keys is not None:
            made += _decisions(block, found)
    return replace(plan, remat=decide((), *made), groups=decide(plan.groups, *groups))


def _group(block: Block, found: Point) -> Decision:
    number = block.unit.copies // found.choice.group
    why = f"{number} times {found.choice.group} copies: what goes from group to group stays, "
    why += f"{size_text(found.saved)}; each group runs forward once more"
    return Decision(block.unit.path, found.choice.group, why)


def _decisions(block: Block, found: Point) -> Iterable[Decision]:
    asked, choice = block.problem, found.choice
    copies = choice.group or asked.copies
    each = point(replace(asked, copies=copies), replace(choice, group=0))
    whole = 3 * asked.forward or 1.0
    how = f"as {found.policy} has it, " if found.policy else ""
    within = "a group of " if choice.group else ""
    yield Decision(
        asked.path,
        "recompute",
        f"{how}{size_text(each.saved)} of {size_text(asked.everything * copies)} stay in "
        f"{within}{copies} {'copy' if copies == 1 else 'copies'}; the rest is made again in "
        f"{each.seconds / whole:.0%} of the block's time",
    )
    kept, gone = choice.keys or frozenset(), choice.offloaded
    for candidate in asked.candidates:
        key, size = candidate.key, size_text(candidate.bytes * copies)
        if key in kept:
            without = asked.outcome(kept - {key}, gone)
            spared = (without.seconds - each.seconds) / whole
            why = f"{size}, spares {spared:.1%} of the block's time"
            yield Decision(key, "save", why, candidate.place)
        elif key in gone:
            why = f"{size}, moved in {candidate.moving / whole:.1%} of the block's time"
            if not candidate.given:
                without = asked.outcome(kept, gone - {key})
                instead = without.seconds - each.seconds + candidate.moving
                why += f", not made again in {instead / whole:.1%}"
            yield Decision(key, "offload", why, candidate.place)


UNITS = ("B", "kB", "MB", "GB", "TB")


def size_text(count: float) -> str:
    """Bytes as people write them: `12.3 GB`, of 1000 MB each."""
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
