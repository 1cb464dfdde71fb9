"""Chains with skips and unit costs: the planner's question, and the same as Checkmate has it."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import checkmate
from netwright.ir.hardware import Hardware
from netwright.passes.memory.graph import Node, Unit
from netwright.passes.planner.milp import Search
from netwright.passes.planner.problem import Problem, problem

UNITS = Hardware("units", 1, (("float32", 1.0),), 1e12)
Reads = list[tuple[int, ...]]


def drawn(n: int, skips: int, seed: int) -> Reads:
    """What each op reads: the one before it, and some of them another one."""
    rng = random.Random(seed)
    reads: Reads = [()] + [(i - 1,) for i in range(1, n)]
    for _ in range(skips):
        i = rng.randrange(2, n)
        j = rng.randrange(max(0, i - 4), i - 1)
        reads[i] = tuple(sorted({*reads[i], j}))
    return reads


def problem_of(reads: Reads, sizes: list[int]) -> Problem:
    """Op i reads some before it, and its gradient keeps what it reads."""
    nodes = tuple(
        Node(
            i, f"/{i}", "op", "value", "product", operands=r, first=i, bytes=sizes[i], flops=1,
            keeps=r, differentiated=True,
        )
        for i, r in enumerate(reads)
    )  # fmt: skip
    asked = problem(Unit("", "entry", 1, nodes, ()), UNITS, stacked=False)
    # As Checkmate has it, what an op's gradient gives is one node, and freed as one.
    given = [sum(sizes[j] for j in r) for r in reads]
    base = tuple(
        (t, sum(given[k] for k in range(t, len(reads)) if reads[k] and min(reads[k]) <= t))
        for t in range(len(reads))
        if reads[t]
    )
    return replace(asked, base=base)


def whole(reads: Reads, sizes: list[int]) -> tuple[Reads, list[int]]:
    """The graph of a step: behind the loss, which is the last op, one node for each op's gradient,
    the last op's first."""
    n = len(reads)
    back = {k: n + (n - 1 - k) for k in range(1, n)}
    nodes, weights = list(reads), list(sizes)
    for k in range(n - 1, 0, -1):
        after = [back[r] for r in range(k + 1, n) if k in reads[r]]
        nodes.append(tuple(sorted({*reads[k], *after})))
        weights.append(sum(sizes[j] for j in reads[k]))
    return nodes, weights


def most(reads: Reads, sizes: list[int]) -> int:
    """The memory that it takes to keep everything."""
    asked = problem_of(reads, sizes)
    return asked.outcome([c.key for c in asked.candidates]).peak


def planned(reads: Reads, sizes: list[int], budget: int) -> int | None:
    """The cost of a step as the planner has it, within a budget; None where nothing fits."""
    asked = problem_of(reads, sizes)
    sets = Search(asked).best(budget)
    once = 2 * len(reads) - 1
    return None if sets is None else once + round(asked.outcome(*sets).seconds)


def proven(reads: Reads, sizes: list[int], ours: int, budget: int, limit: float) -> int:
    """A cost that no schedule is below; it goes no further than what ours is 2 % above."""
    nodes, weights = whole(reads, sizes)
    enough = math.ceil(ours / 1.02)
    return checkmate.at_least(nodes, [1] * len(nodes), weights, budget, enough, limit)
