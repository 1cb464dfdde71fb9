"""The exact search: which values of a block are kept, so that second runs take the least time.

Two binaries for each candidate say that it is kept, and that it is moved to the host. One number
for each op and time says that it has run again when the backward pass, which goes from the last
time to the first, is there: it never falls on that way, and is at least 1 where a result is needed
and not kept, so that it is whole wherever the binaries are. All else is linear:

    minimise  sum seconds[op] * again[op, first] + sum moving(v) moved(v)
    so that   again[maker(v), t] + kept(v) + moved(v) >= 1              for each need (t, v)
              again[maker(v), t] + kept(v) + moved(v) >= again[op, t]   for each v that op reads
              again[op, t] >= again[op, next t]
              base[t] + sum held(v, t) kept(v) + sum back(v, t) moved(v)
                      + sum live[op, t] again[op, t] <= budget

The same as Checkmate (Jain et al. 2020) with every value made at most twice, and stages only where
the backward pass needs something. A second search keeps the least that costs no more.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from .problem import Problem

SLACK = 1e-6
"""Of the least time, by which the second search may exceed it."""


def solved(wanted: Any, **program: Any) -> Any:
    """What `scipy.optimize.milp` gives. HiGHS prints remarks of its own, which belong to nobody."""
    from scipy.optimize import milp

    sys.stdout.flush()
    shown = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            return milp(wanted, **program)
        finally:
            os.dup2(shown, 1)
            os.close(shown)


Sets = tuple[frozenset[str], frozenset[str]]
"""The keys that are kept on the device, and on the host."""


class Search:
    """The program of one problem, to be solved for one budget after the other."""

    def __init__(self, problem: Problem, limit: float = 20.0):
        """`limit` is the seconds that one search may take."""
        self.problem, self.limit = problem, limit

    def best(self, budget: int) -> Sets | None:
        """The keys to keep, and those to keep on the host; None where no sets fit.

        Args:
            budget: bytes at the peak: what all copies keep, and what one makes in passing.
        """
        room = budget
        for _ in range(3):  # the solver's own tolerance may let it exceed by a little
            found = self._fewest(room)
            if found is None:
                return None
            over = self.problem.outcome(*found).peak - budget
            if over <= 0:
                return found
            room = min(room, budget) - over - budget // 10**6
        return None

    def _fewest(self, budget: int) -> Sets | None:
        """The least time, and of what takes that the fewest bytes."""
        first = self._solve(budget, None)
        if first is None:
            return None
        found, seconds = first
        second = self._solve(budget, seconds * (1 + SLACK) + 1e-15)
        return found if second is None else second[0]

    @cached_property
    def _program(self) -> _Program:
        return _Program(self.problem)

    def _solve(self, budget: int, most: float | None) -> tuple[Sets, float] | None:
        """The least time; or the fewest bytes, with at most a given time."""
        from scipy.optimize import Bounds, LinearConstraint

        program = self._program
        if not self.problem.candidates:
            fits = self.problem.outcome(()).peak <= budget
            return ((frozenset(), frozenset()), 0.0) if fits else None
        unit = max(budget, 1)
        constraints = [LinearConstraint(program.order, 0, float("inf"))] if program.rows else []
        constraints.append(LinearConstraint(program.cover, program.least, float("inf")))
        constraints.append(
            LinearConstraint(program.memory / unit, -float("inf"), 1 - program.base / unit)
        )
        scale = max(program.seconds.max(), 1e-30)
        wanted = program.seconds / scale
        if most is not None:
            constraints.append(LinearConstraint(wanted[None], -float("inf"), most / scale))
            wanted = program.bytes / max(program.bytes.max(), 1)
        found = solved(
            wanted,
            integrality=program.whole,
            bounds=Bounds(0, program.most),
            constraints=constraints,
            options={"time_limit": self.limit, "mip_rel_gap": 1e-7},
        )
        if found.x is None:
            return None
        every = self.problem.candidates
        kept, moved = (
            frozenset(c.key for c, x in zip(every, found.x[start:], strict=False) if x > 0.5)
            for start in (0, len(every))
        )
        return (kept, moved), self.problem.outcome(kept, moved).seconds


@dataclass
class _Matrix:
    """Rows of a sparse matrix under construction."""

    width: int

    def __post_init__(self) -> None:
        self.rows: list[dict[int, float]] = []

    def add(self, row: dict[int, float]) -> None:
        self.rows.append(row)

    def sparse(self) -> Any:
        import numpy as np
        from scipy.sparse import csr_array

        entries = [(i, j, x) for i, row in enumerate(self.rows) for j, x in row.items()]
        rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
        exact = np.array(values, float)  # there are integers of more than 64 bits
        return csr_array((exact, (rows, columns)), shape=(len(self.rows), self.width))


class _Program:
    """The matrices of a problem.

    Attributes:
        order: rows that are at least 0.
        cover, least: rows, and what each is at least.
        memory, base: for each time the bytes of what is chosen, and those that are there anyway.
        seconds, bytes: by variable, what to minimise.
        whole: by variable, whether it is binary.
        most: by variable, its bound.
    """

    def __init__(self, problem: Problem):
        import numpy as np

        count = len(problem.candidates)
        keys = {v: i for i, c in enumerate(problem.candidates) for v in c.values}
        makes = {make.time: make for make in problem.makes}
        times = [t for t, _ in problem.base]
        lowest, highest = _when(problem)
        columns: dict[tuple[int, int], int] = {}
        for op in makes:
            for t in times:
                if op in lowest and lowest[op] <= t <= highest[op]:
                    columns[op, t] = 2 * count + len(columns)
        width = 2 * count + len(columns)
        order, cover, memory = _Matrix(width), _Matrix(width), _Matrix(width)
        least: list[float] = []

        def covered(value: int, time: int, row: dict[int, float], need: float) -> None:
            row[columns[problem.maker[value], time]] = 1.0
            if value in keys:
                row[keys[value]] = row[count + keys[value]] = 1.0
            cover.add(row)
            least.append(need)

        for time, value in problem.needs:
            covered(value, time, {}, 1.0)
        for op, make in makes.items():
            if make.forced:
                cover.add({columns[op, op]: 1.0})
                least.append(1.0)
        for (op, time), column in columns.items():
            for value in makes[op].reads:
                covered(value, time, {column: -1.0}, 0.0)
        for op in makes:
            mine = [t for t in times if (op, t) in columns]
            for earlier, later in pairwise(mine):
                order.add({columns[op, earlier]: 1.0, columns[op, later]: -1.0})
        seconds, size = np.zeros(width), np.zeros(width)
        for op, make in makes.items():
            if op in lowest:
                seconds[columns[op, lowest[op]]] = make.seconds
        most = np.ones(width)
        for i, candidate in enumerate(problem.candidates):
            size[i] = candidate.bytes
            size[count + i] = -candidate.bytes * candidate.given
            seconds[count + i] = candidate.moving
            most[i] = not candidate.given
            most[count + i] = candidate.moving > 0
        for time in times:
            row: dict[int, float] = {}
            for i, candidate in enumerate(problem.candidates):
                row[i] = problem.held(candidate, time)
                row[count + i] = problem.back(candidate, time)
            for op, make in makes.items():
                alive = sum(b for until, b in make.live if until <= time)
                if alive and (op, time) in columns:
                    row[columns[op, time]] = alive
                elif alive and op in lowest and time < lowest[op]:
                    row[columns[op, lowest[op]]] = alive
            memory.add(row)
        self.order, self.rows = order.sparse(), len(order.rows)
        self.cover, self.least = cover.sparse(), np.array(least)
        self.memory = memory.sparse()
        self.base = np.array([b for _, b in problem.base], float)
        self.seconds, self.bytes = seconds, size
        self.whole, self.most = np.array([1] * 2 * count + [0] * len(columns)), most


def _when(problem: Problem) -> tuple[dict[int, int], dict[int, int]]:
    """The first and the last time at which an op may have to run again, as nothing is kept."""
    lowest: dict[int, int] = {}
    highest: dict[int, int] = {}

    def at(op: int, low: int, high: int) -> None:
        lowest[op] = min(lowest.get(op, low), low)
        highest[op] = max(highest.get(op, high), high)

    for time, value in problem.needs:
        at(problem.maker[value], time, time)
    for make in problem.makes:
        if make.forced:
            at(make.time, make.time, make.time)
    for make in reversed(problem.makes):  # readers come after what they read
        if make.time in lowest:
            for value in make.reads:
                at(problem.maker[value], lowest[make.time], highest[make.time])
    return lowest, highest
