"""Checkmate (Jain et al. 2020), as published: the best schedule of a graph within a budget.

Stage t computes node t for the first time. R[t, i]: node i is computed in stage t. S[t, i]: it is
kept from stage t - 1 to stage t. Memory within a stage is that of what is kept, and of what has
been computed and is not freed; a value is freed once nothing in the stage reads it any more and it
is not kept. Nodes are those of the forward pass and of the backward pass, in order.

`best` solves it as it stands, up to some twenty nodes. `at_least` bounds it from below by a program
that has less to decide, up to 64: memory is looked at when a stage begins and when its own node has
been computed, and R, whose least values are whole where S is, need not be.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array


def best(reads, cost, size, budget, base=0, limit=60.0):
    """The least cost of all schedules, and whether that is proven; (None, True) if there is none.

    Args:
        reads: for each node those that it reads, all before it.
        cost, size: of each node.
        budget: of the memory within every stage.
        base: memory that is taken throughout.
    """
    n = len(reads)
    names: dict[tuple, int] = {}

    def var(*name) -> int:
        return names.setdefault(name, len(names))

    for t in range(n):
        for i in range(t + 1):
            var("R", t, i)
            if i < t:
                var("S", t, i)
            var("U", t, i)
            for j in reads[i]:
                var("F", t, j, i)
    rows, low, high = [], [], []

    def add(row, least, most):
        rows.append(row)
        low.append(least)
        high.append(most)

    users = {i: [k for k in range(n) if i in reads[k]] for i in range(n)}
    inf = float("inf")
    for t in range(n):
        add({var("R", t, t): 1}, 1, 1)
        for i in range(t):
            kept = {var("S", t, i): 1}
            before = {var("R", t - 1, i): -1}
            if i < t - 1:
                before[var("S", t - 1, i)] = -1
            add({**kept, **before}, -inf, 0)
        for i in range(t + 1):
            for j in reads[i]:
                row = {var("R", t, i): 1, var("R", t, j): -1}
                if j < t:
                    row[var("S", t, j)] = -1
                add(row, -inf, 0)
        # F[t, j, i]: j is freed after i is computed in stage t.
        for i in range(t + 1):
            for j in reads[i]:
                later = [k for k in users[j] if i < k <= t]
                f = var("F", t, j, i)
                add({f: 1, var("R", t, i): -1}, -inf, 0)
                for k in later:
                    add({f: 1, var("R", t, k): 1}, -inf, 1)
                if t + 1 < n:
                    add({f: 1, var("S", t + 1, j): 1}, -inf, 1)
        # Memory after computing k in stage t.
        first = {var("S", t, i): size[i] for i in range(t)}
        add({var("U", t, 0): 1, **_minus({**first, var("R", t, 0): size[0]})}, base, base)
        for k in range(1, t + 1):
            row = {var("U", t, k): 1, var("U", t, k - 1): -1, var("R", t, k): -size[k]}
            for j in reads[k - 1]:
                row[var("F", t, j, k - 1)] = size[j]
            add(row, 0, 0)
    width = len(names)
    matrix = _sparse(rows, width)
    wanted, whole, top = np.zeros(width), np.ones(width), np.ones(width)
    for name, index in names.items():
        if name[0] == "R":
            wanted[index] = cost[name[2]]
        if name[0] == "U":
            whole[index], top[index] = 0, budget
    found = milp(
        wanted, integrality=whole, bounds=Bounds(0, top),
        constraints=LinearConstraint(matrix, low, high),
        options={"time_limit": limit, "mip_rel_gap": 1e-6},
    )  # fmt: skip
    if found.x is None:
        return None, found.status == 2
    return float(found.fun), found.status == 0


def _minus(row):
    return {k: -v for k, v in row.items()}


def at_least(reads, cost, size, budget, enough, limit=60.0):
    """A cost that no schedule within a budget is below, of whole costs; `enough` if that is proven.

    Args:
        reads: for each node those that it reads, all before it.
        cost, size: of each node.
        budget: of the memory within every stage.
        enough: no more than this is to be proven.
        limit: seconds for it.
    """
    n = len(reads)
    asked = list(range(n))  # the last stage in which something may ask for a node
    for i in reversed(range(n)):
        for j in reads[i]:
            asked[j] = max(asked[j], asked[i])
    names: dict[tuple, int] = {}

    def var(*name) -> int:
        return names.setdefault(name, len(names))

    def kept(t, i, factor=1):  # S, as far as it can be of use
        return {var("S", t, i): factor} if i < t < n and asked[i] >= t else {}

    rows, low, high = [], [], []

    def add(row, least, most):
        rows.append(row)
        low.append(least)
        high.append(most)

    inf = float("inf")
    for t in range(n):
        for i in range(t - 1):  # kept is what was kept or computed in the stage before
            if row := kept(t, i):
                add({**row, **kept(t - 1, i, -1), var("R", t - 1, i): -1}, -inf, 0)
        for i in range(t + 1):
            for j in reads[i]:
                row = {var("R", t, j): 1, **kept(t, j)}
                add({**row, var("R", t, i): -1} if i < t else row, int(i == t), inf)
        first = {k: v for i in range(t) for k, v in kept(t, i, size[i]).items()}
        add(first, -inf, budget)
        through = set(range(t)) - set(reads[t])
        last = {k: v for i in through for k, v in kept(t + 1, i, size[i]).items()}
        add(last, -inf, budget - size[t] - sum(size[j] for j in reads[t]))
    wanted, whole = np.zeros(len(names)), np.zeros(len(names))
    for name, index in names.items():
        if name[0] == "R":
            wanted[index] = cost[name[2]]
        else:
            whole[index] = 1
    once = sum(cost)  # each node in its own stage
    rows.append({i: w for i, w in enumerate(wanted) if w})
    low.append(-inf)
    high.append(enough - once - 0.5)
    found = milp(
        wanted, integrality=whole, bounds=Bounds(0, 1),
        constraints=LinearConstraint(_sparse(rows, len(names)), low, high),
        options={"time_limit": limit},
    )  # fmt: skip
    if found.status == 2:
        return enough
    dual = found.mip_dual_bound
    return once if dual is None else min(enough, once + int(np.ceil(dual - 1e-6)))


def _sparse(rows, width):
    entries = [(r, c, v) for r, row in enumerate(rows) for c, v in row.items()]
    r, c, v = zip(*entries, strict=True)
    return csr_array((v, (r, c)), shape=(len(rows), width))
