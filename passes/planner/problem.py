"""What can be kept of a block, and what it costs to make the rest again: the planner's question.

Time is counted by the ops of the block, which the backward pass goes through from the last to the
first. What it needs at an op and is not kept is made again just then, once, from what is kept, and
lives until the last op whose gradient needs it. So cost and peak follow from the set that is kept
(`Problem.outcome`), and `milp` searches all sets. Values of one key are kept together.

The gradient of some ops needs what has no name: their own result as it is before it is named, or
an internal. These run again in any case.

What is kept may lie in the memory of the host instead, as may what each copy is given: that takes
the time of moving it there and back, as if nothing else ran meanwhile, and on the device the room
of one copy while the backward pass is there.

An op takes its operations by the peak of the device or its bytes by the bandwidth, whichever is
longer. Pointwise ops become part of what reads them: they cost, and take, what they write where
something else reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ...ir.hardware import Hardware
from ..memory.graph import Node, Unit
from ..memory.units import kept_bytes


@dataclass(frozen=True)
class Make:
    """An op that may run again. Values are numbered as in the unit.

    Attributes:
        time: its place in the block.
        seconds: what it takes.
        reads: the values that it reads, those aside that are there in any case.
        forced: whether it runs again in any case, at its own time at the latest.
        live: pairs (time, bytes): what it makes that is alive from when it has run until the
            backward pass is past that time.
    """

    time: int
    seconds: float
    reads: tuple[int, ...]
    forced: bool
    live: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Candidate:
    """What one name keeps.

    Attributes:
        key: by which the plan speaks of it.
        values: what is kept, all of one key.
        bytes: of all of them, in one copy of the block.
        place: the line of the model.
        free: the time past which it is needed no more.
        moving: seconds of moving it to the host and back; 0 where there is no way, or it takes
            longer than running all of the block again.
        given: whether each copy is given it, so that it stays in any case, here or there.
    """

    key: str
    values: tuple[int, ...]
    bytes: int
    place: str
    free: int
    moving: float = 0.0
    given: bool = False


@dataclass(frozen=True)
class Outcome:
    """What follows from a set that is kept.

    Attributes:
        seconds: of second runs, and of moving to the host and back, in one copy.
        saved: bytes kept on the device in one copy, beside what it is given.
        peak: bytes at the worst time: what all copies keep, and what one copy makes in passing.
        again: the ops that run again, by their times.
        read: keys of what is kept that the backward pass reads.
    """

    seconds: float
    saved: int
    peak: int
    again: tuple[int, ...]
    read: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Problem:
    """A block, and what may be kept of it.

    Attributes:
        path: of the block.
        copies: how many there are.
        candidates: what may be kept.
        makes: the ops that may run again, in order.
        maker: the time of the op that makes a value.
        needs: pairs (time, value): what the gradient of the op at that time needs.
        base: pairs (time, bytes): gradients on their way then; the times at which peaks may be.
        stacked: whether what is kept is held until all copies are through, as loops do.
        arguments: bytes that each copy keeps in any case: what it is given.
        everything: bytes that one copy keeps where nothing runs again.
        forward: seconds of one forward run of one copy.
    """

    path: str
    copies: int
    candidates: tuple[Candidate, ...]
    makes: tuple[Make, ...]
    maker: dict[int, int] = field(hash=False)
    needs: tuple[tuple[int, int], ...]
    base: tuple[tuple[int, int], ...]
    stacked: bool = True
    arguments: int = 0
    everything: int = 0
    forward: float = 0.0

    def outcome(self, kept: Iterable[str], moved: Iterable[str] = ()) -> Outcome:
        """What follows when the candidates of these keys are kept, on the device or the host."""
        chosen, away = set(kept), set(moved)
        held = [c for c in self.candidates if c.key in chosen]
        gone = [c for c in self.candidates if c.key in away]
        have = {v for c in (*held, *gone) for v in c.values}
        used: set[int] = set()
        made = {make.time: make for make in self.makes}
        since: dict[int, int] = {}  # op → the time from which what it makes is there again

        def need(time: int, value: int) -> None:
            if value in have:
                used.add(value)
            else:
                run(time, self.maker[value])

        def run(time: int, op: int) -> None:
            if op not in since:
                since[op] = time
                for value in made[op].reads:
                    need(time, value)

        wanted: dict[int, list[int]] = {}
        for time, value in self.needs:
            wanted.setdefault(time, []).append(value)
        forced = {make.time for make in self.makes if make.forced}
        for time in sorted({*wanted, *forced}, reverse=True):
            if time in forced:
                run(time, time)
            for value in wanted.get(time, ()):
                need(time, value)
        peak = 0
        for time, passing in self.base:
            total = passing + sum(self.held(c, time) for c in held)
            total += sum(self.back(c, time) for c in gone)
            for op, start in since.items():
                if start >= time:
                    total += sum(size for until, size in made[op].live if until <= time)
            peak = max(peak, total)
        again = tuple(sorted(since))
        saved = sum(c.bytes for c in held) - sum(c.bytes for c in gone if c.given)
        seconds = sum(made[op].seconds for op in again) + sum(c.moving for c in gone)
        read = frozenset(c.key for c in held if used.intersection(c.values))
        return Outcome(seconds, saved, peak, again, read)

    def held(self, candidate: Candidate, time: int) -> int:
        """The bytes that keeping a candidate takes when the backward pass is at a time."""
        if self.stacked:
            return self.copies * candidate.bytes
        rest = self.copies - 1  # those not yet gone through
        return candidate.bytes * (rest + (candidate.free <= time))

    def back(self, candidate: Candidate, time: int) -> int:
        """The bytes that a candidate on the host takes on the device: those of one copy, while the
        backward pass may read it; less what all take that would be there in any case."""
        here = candidate.bytes * (candidate.free <= time)
        return here - candidate.bytes * self.copies * candidate.given


def problem(unit: Unit, device: Hardware, stacked: bool = True) -> Problem:
    """The question that a unit of the graph poses."""
    return _Asker(unit, device, stacked).problem()


class _Asker:
    def __init__(self, unit: Unit, device: Hardware, stacked: bool):
        self.unit, self.device, self.stacked = unit, device, stacked
        self.nodes = unit.values
        self.readers: dict[int, set[int]] = {}
        self.keepers: dict[int, set[int]] = {}
        for node in self.nodes:
            if node.alias_of is None:
                for operand in node.operands:
                    self.readers.setdefault(self.nodes[operand].root, set()).add(node.first)
            for id in node.keeps:
                self.keepers.setdefault(self.nodes[id].root, set()).add(node.first)
        self.given_back = {self.nodes[r].root for r in unit.results}
        self.results: dict[int, list[Node]] = {}
        for node in self.nodes:
            if self.made(node.id):
                self.results.setdefault(node.first, []).append(node)

    def made(self, id: int) -> bool:
        """Whether a value is what an op makes anew in each copy, and no view."""
        node = self.nodes[id]
        once = node.invariant and self.unit.kind != "entry"
        return node.kind == "value" and node.alias_of is None and not once

    def written(self, id: int) -> bool:
        """Whether a value stands in memory, and is not part of what reads it."""
        node = self.nodes[id]
        if not _fuses(node):
            return True
        users = self.readers.get(id, set()) | self.keepers.get(id, set())
        return any(not _fuses(self.nodes[u]) for u in users) or id in self.given_back

    def problem(self) -> Problem:
        needs, makes = [], {}
        forced = set()
        for node in self.nodes:
            own = {n.id for n in self.nodes if n.first == node.first}
            roots = [self.nodes[i].root for i in node.keeps]
            drawn = node.family == "random"  # its internal is the mask, made of the key alone
            if self.made(node.first) and (
                any(r in own for r in roots) or (node.internals and not drawn)
            ):
                forced.add(node.first)
            needs += [
                (node.first, r) for r in dict.fromkeys(roots) if self.made(r) and r not in own
            ]
        # What may run again: all that is behind what gradients need.
        stack = [*forced, *(self.nodes[v].first for _, v in needs)]
        while stack:
            op = stack.pop()
            if op not in makes:
                makes[op] = self.make(op, op in forced)
                stack += [self.nodes[v].first for v in makes[op].reads]
        ordered = tuple(makes[op] for op in sorted(makes))
        times = sorted({t for t, _ in needs} | forced)
        carried = [self.nodes[self.unit.arguments[a]] for _, a in self.unit.carried]
        return Problem(
            self.unit.path,
            self.unit.copies,
            self.candidates(makes),
            ordered,
            {n.id: op for op in makes for n in self.results[op]},
            tuple(sorted(set(needs))),
            tuple((t, self.passing(t)) for t in times),
            self.stacked,
            sum(n.bytes for n in carried if n.differentiated or n.dtype != "float32"),
            kept_bytes(self.unit),
            sum(self.seconds(op) for op in self.results),
        )

    def make(self, op: int, forced: bool) -> Make:
        first = self.nodes[op]
        reads = dict.fromkeys(self.nodes[o].root for o in first.operands)
        live = []
        for node in self.results[op]:
            used = self.keepers.get(node.id)
            if used and self.written(node.id):
                live.append((min(used), node.bytes))
        if first.internals and first.family != "random":
            live.append((op, sum(size for _, size in first.internals)))
        return Make(
            op, self.seconds(op), tuple(r for r in reads if self.made(r)), forced, tuple(live)
        )

    def seconds(self, op: int) -> float:
        """The time that an op takes on the device."""
        first, device = self.nodes[op], self.device
        dtype = self.nodes[first.operands[0]].dtype if first.operands else first.dtype
        moved = first.traffic
        if _fuses(first):
            moved = sum(n.bytes for n in self.results[op] if self.written(n.id))
        return max(first.flops / device.flops(dtype), moved / device.bandwidth)

    def candidates(self, makes: dict[int, Make]) -> tuple[Candidate, ...]:
        """Values with keys that may run again; a view stands for what it shows if only that has
        none."""
        found: dict[str, list[Node]] = {}
        named = {n.id for n in self.nodes if n.key and n.alias_of is None}
        for node in self.nodes:
            root = self.nodes[node.root]
            if not (node.key and self.made(root.id) and root.first in makes):
                continue
            if node.id == root.id or root.id not in named:
                found.setdefault(node.key, []).append(node)
                named.add(root.id)
        made, link = [], self.device.host_link
        whole = sum(make.seconds for make in makes.values())
        carried = {self.unit.arguments[a] for _, a in self.unit.carried}
        for node in self.nodes:
            if node.id in carried and node.key and node.differentiated and link:
                found[node.key] = [node]
        for key, nodes in found.items():
            roots = tuple(dict.fromkeys(n.root for n in nodes))
            users = [t for r in roots for t in (*self.keepers.get(r, ()), *self.readers.get(r, ()))]
            size = sum(self.nodes[r].bytes for r in roots)
            free = min(users, default=roots[0])
            given = roots[0] in carried
            moving = 2 * size / link if link and self.stacked else 0.0
            if moving > whole and not given:
                moving = 0.0
            made.append(Candidate(key, roots, size, nodes[0].place, free, moving, given))
        return tuple(made)

    def passing(self, time: int) -> int:
        """Bytes of gradients that are on their way when the backward pass is at an op."""
        here = self.nodes[time]
        total = sum(size for _, size in here.internals) if here.family == "random" else 0
        for node in self.nodes:
            if node.differentiated and self.made(node.id) and self.written(node.id):
                readers = self.readers.get(node.id, ())
                last = max((r for r in readers if self.nodes[r].differentiated), default=node.first)
                if node.first <= time <= max(last, node.first):
                    total += node.bytes
        return total


def _fuses(node: Node) -> bool:
    """Whether an op is part of what reads it; where numbers are drawn, their bits are written."""
    return node.fuses and node.family != "random"
