"""The frontier of a block: sets worth keeping, from the fewest bytes to the least time.

It does not depend on the budget, so that a smaller budget never means less time. Exact searches
give points at budgets that divide the range evenly; the stock policies are in the pool, so that a
plan is never worse than any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..memory.graph import Unit
from .milp import Search
from .problem import Problem
from .stock import policies


@dataclass(frozen=True)
class Point:
    """One way to keep values of a block.

    Attributes:
        policy: the stock policy that it is; "" for what a search found.
        keys: what is kept; None: everything, and nothing runs again.
        seconds: of second runs, in one copy.
        saved: bytes kept in one copy, what it is given included.
        peak: bytes at the worst time in the block: what all copies keep, and one makes in passing.
    """

    policy: str
    keys: frozenset[str] | None
    seconds: float
    saved: int
    peak: int


def point(problem: Problem, keys: frozenset[str], policy: str = "") -> Point:
    """A set with what follows from it."""
    found = problem.outcome(keys)
    given = problem.arguments * problem.copies
    return Point(policy, keys, found.seconds, found.saved + problem.arguments, found.peak + given)


def everything(problem: Problem) -> Point:
    """No second run."""
    whole = problem.everything * problem.copies
    passing = max((size for _, size in problem.base), default=0)
    return Point("everything_saveable", None, 0.0, problem.everything, whole + passing)


def stock(unit: Unit, problem: Problem) -> tuple[Point, ...]:
    """The stock policies as points."""
    found = [point(problem, keys, name) for name, keys in policies(unit, problem).items()]
    return (*found, everything(problem))


def frontier(
    unit: Unit, problem: Problem, points: int = 24, limit: float = 10.0
) -> tuple[Point, ...]:
    """The points of the pool that no other beats in time and bytes, the fewest bytes first.

    Args:
        points: how many searches there are at most.
        limit: the seconds that one of them may take.
    """
    pool = list(stock(unit, problem))
    search = Search(problem, limit)
    least = min(p.peak for p in pool) - problem.arguments * problem.copies
    most = problem.outcome(c.key for c in problem.candidates).peak
    seen = {p.keys for p in pool}
    for index in range(points + 1):
        keys = search.best(least + (most - least) * index // points)
        if keys is not None and keys not in seen:
            seen.add(keys)
            pool.append(point(problem, keys))
    return undominated(pool)


def undominated(pool: list[Point]) -> tuple[Point, ...]:
    """Points that no other beats in time, peak and bytes at once."""
    kept: list[Point] = []
    for p in sorted(pool, key=lambda p: (p.seconds, p.peak, p.saved)):
        if not any(q.peak <= p.peak and q.saved <= p.saved for q in kept):
            kept.append(p)
    return tuple(sorted(kept, key=lambda p: p.peak))
