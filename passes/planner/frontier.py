"""The frontier of a block: sets worth keeping, from the fewest bytes to the least time.

Of a repeat, copies may also run again in groups, so that only what goes from group to group stays:
each group runs forward once more, and goes backward by any of the other points.

It does not depend on the budget, so that a smaller budget never means less time. Exact searches
give points at budgets that divide the range evenly; the stock policies are in the pool, so that a
plan is never worse than any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from ..memory.graph import Unit
from ..memory.units import Choice
from ..remat import group_sizes
from .milp import Search
from .problem import Problem
from .stock import policies


@dataclass(frozen=True)
class Point:
    """One way to keep values of a block.

    Attributes:
        policy: the stock policy that it is; "" for what a search found.
        choice: what is kept; with the keys None everything, and nothing runs again.
        seconds: of second runs and of moving, in one copy.
        saved: bytes that all copies keep on the device, what they are given included.
        peak: bytes at the worst time in the block: what all copies keep, and one makes in passing.
    """

    policy: str
    choice: Choice
    seconds: float
    saved: int
    peak: int

    @property
    def everything(self) -> bool:
        """Whether nothing runs again."""
        return self.choice.keys is None and not self.choice.group


def point(problem: Problem, choice: Choice, policy: str = "") -> Point:
    """A choice with what follows from it."""
    passing = max((size for _, size in problem.base), default=0)
    if choice.group:
        inner = replace(problem, copies=choice.group)
        each = point(inner, replace(choice, group=0))
        handed = problem.arguments * (problem.copies // choice.group)
        return Point(policy, choice, problem.forward + each.seconds, handed, handed + each.peak)
    if choice.keys is None:
        whole = problem.everything * problem.copies
        return Point(policy, choice, 0.0, whole, whole + passing)
    found = problem.outcome(choice.keys, choice.offloaded)
    given = problem.arguments * problem.copies
    stays = found.saved * problem.copies + given
    return Point(policy, choice, found.seconds, stays, found.peak + given)


def stock(unit: Unit, problem: Problem) -> tuple[Point, ...]:
    """The stock policies as points."""
    every = {**policies(unit, problem), "everything_saveable": Choice()}
    return tuple(point(problem, lean(problem, choice), name) for name, choice in every.items())


def lean(problem: Problem, choice: Choice) -> Choice:
    """A choice without what the backward pass does not read, and JAX so does not keep."""
    if choice.keys is None:
        return choice
    return replace(choice, keys=problem.outcome(choice.keys, choice.offloaded).read)


def frontier(
    unit: Unit, problem: Problem, points: int = 24, limit: float = 10.0
) -> tuple[Point, ...]:
    """The points of the pool that no other beats in time and bytes, the fewest bytes first.

    Args:
        points: how many searches there are at most.
        limit: the seconds that one of them may take.
    """
    pool = list(stock(unit, problem))
    least = min(p.peak for p in pool) - problem.arguments * problem.copies
    seen = {p.choice for p in pool}
    for choice in _found(problem, least, points, limit):
        if choice not in seen:
            seen.add(choice)
            pool.append(point(problem, choice))
    alone = [p.choice for p in undominated(pool) if not p.choice.offloaded]
    if unit.kind == "repeat":
        sizes = group_sizes(problem.copies, unit.kind)
        pool += [point(problem, replace(c, group=size)) for size in sizes for c in alone]
    return undominated(pool)


@lru_cache(64)  # of one block there are several programs, which differ in what is around it
def _found(problem: Problem, least: int, points: int, limit: float) -> tuple[Choice, ...]:
    """What searches find for budgets from the least peak of all policies to that of all kept."""
    search = Search(problem, limit)
    given = [c.key for c in problem.candidates if c.given and c.moving]
    least = min(least, problem.outcome((), given).peak)
    most = problem.outcome(c.key for c in problem.candidates if not c.given).peak
    choices = []
    fits = most + 1  # the peak of what was found last, which is best down to that
    for index in reversed(range(points + 1)):
        room = least + (most - least) * index // points
        if fits <= room:
            continue
        found = search.best(room)
        if found is None:
            continue
        fits = problem.outcome(*found).peak
        choices.append(lean(problem, Choice(*found)))
    return tuple(choices)


def undominated(pool: list[Point]) -> tuple[Point, ...]:
    """Points that no other beats in time, peak and bytes at once."""
    kept: list[Point] = []
    for p in sorted(pool, key=lambda p: (p.seconds, p.peak, p.saved)):
        if not any(q.peak <= p.peak and q.saved <= p.saved for q in kept):
            kept.append(p)
    return tuple(sorted(kept, key=lambda p: p.peak))
