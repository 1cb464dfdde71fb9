"""What is used where in a list of ops: what is written in place, and how long a value is needed."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..ir.core import Op, Region, walk

ATOMS = {"param", "state", "const", "size", "rename"}
"""Ops that are written where they are used, however often; they compute nothing."""

BLOCKS = {"repeat", "each", "scan", "if_train", "metric"}
"""Ops that are written as statements of their own."""


class Uses:
    """What is used where.

    Args:
        ops, results: of a body or region.
        bound: values that must have names.
        acts: whether a call does more than give its result.

    Attributes:
        index: which op makes a value.
        users: the ops that read a value, inside their regions too; `len(ops)` for a result.
        inlined: values that are written in the only place where they are used.
        end: where in the source the operands of each op are read: there, or where it is inlined.
        last: where a value is read last.
    """

    def __init__(
        self,
        ops: tuple[Op, ...],
        results: tuple[int, ...],
        bound: Collection[int],
        acts: Callable[[Op], bool],
    ):
        self.index = {r.id: i for i, op in enumerate(ops) for r in op.results}
        self.users: dict[int, list[int]] = {}
        nested: set[int] = set()
        for i, op in enumerate(ops):
            inside = [o for region in op.regions for o in reads(region)]
            nested.update(inside)
            for o in (*op.operands, *inside):
                self.users.setdefault(o, []).append(i)
        for r in results:
            self.users.setdefault(r, []).append(len(ops))
        self.inlined: set[int] = set()
        self.end = [*range(len(ops)), len(ops)]
        for i in range(len(ops) - 1, -1, -1):
            op = ops[i]
            if op.name in ATOMS:
                users = self.users.get(op.result.id, [])
                self.end[i] = max((self.end[u] for u in users), default=i)
                continue
            if op.name in BLOCKS or len(op.results) != 1:
                continue
            users, same = self._readers(ops, op.result.id)
            if (
                len(users) == 1
                and op.result.id not in bound
                and not same & nested
                and (users[0] == len(ops) or not _keeps_away(ops[users[0]], same))
                and not named(op)
                and not (op.name == "call" and acts(op))
            ):
                self.inlined.add(op.result.id)
                self.end[i] = self.end[users[0]]
        self.last = {v: max(self.end[u] for u in us) for v, us in self.users.items()}

    def _readers(self, ops: tuple[Op, ...], value: int) -> tuple[list[int], set[int]]:
        """What reads a value, under another name of its dims too, and the ids that it has then."""
        users, same = [], {value}
        for u in self.users.get(value, []):
            if u < len(ops) and ops[u].name == "rename":
                more, others = self._readers(ops, ops[u].result.id)
                users += more
                same |= others
            else:
                users.append(u)
        return users, same


def _keeps_away(user: Op, values: set[int]) -> bool:
    """Whether what an op reads must not be written in it: in a branch, or anew for each copy."""
    if user.name == "repeat":
        once = {*user["dealt"], *(argument for _, argument in user["carried"])}
        return any(o in values and i not in once for i, o in enumerate(user.operands))
    return user.name in ("metric", "if_train")


def named(op: Op) -> bool:
    """Whether the model gives a name to what an op makes, or the plan does."""
    label = op.result.label
    return op.name == "name" or (bool(label) and ":" not in label and "." not in label)


def reads(region: Region) -> list[int]:
    """Values that a region reads, of those around it and its own."""
    found = list(region.results)
    for op in walk(region.ops):
        found += op.operands
        for inner in op.regions:
            found += inner.results
    return found
