"""Which inputs of a module are ids, and how many the module knows: what the data must keep to.

An id past the end of a table reads its last entry, and one that is no class costs nothing: neither
fails, and training goes on with what is not there. So the sizes are found here, for the data to be
checked against.

An input is followed as it stands, through calls, loops and what only arranges it, to the ops that
look it up. What is computed from it is another number, and a piece of it may be something else than
the rest. Nothing is found where a model may mean ids
that are none: those that it compares with a number outside, those of a loss that has a mask, or an
`ignore`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from .core import Instance, Module, Op, Value, Variant, walk
from .diagnostics import Span
from .facts import known_values
from .registry import lookup
from .signature import CALLS, callee, carried
from .size import Size

MIRRORED = {
    "equal": "equal", "not_equal": "not_equal", "less": "greater", "greater": "less",
    "less_equal": "greater_equal", "greater_equal": "less_equal",
}  # fmt: skip
"""Comparisons, and what they are with their operands the other way round."""


@dataclass(frozen=True)
class Index:
    """Where ids are looked up.

    Attributes:
        size: how many there are to be found.
        dim: the dim that they are positions of.
        op: the op's name.
        span: its place in the model.
    """

    size: int
    dim: str
    op: str
    span: Span | None


@dataclass(frozen=True)
class _Compared:
    """A comparison of ids with one number, None where that is not known before it runs."""

    op: str
    number: float | None

    def outside(self, size: int) -> bool:
        """Whether it tells numbers apart that are no ids, of so many."""
        if self.number is None or not 0 <= self.number < size:
            return True
        first = self.number == 0 and self.op in ("less", "greater_equal")
        return first or (self.number == size - 1 and self.op in ("greater", "less_equal"))


@dataclass
class _Seen:
    """What becomes of one argument of a body: ops that look it up, comparisons, and the positions
    of the results that it is, in another arrangement perhaps."""

    lookups: list[Op] = field(default_factory=list)
    compared: list[_Compared] = field(default_factory=list)
    results: set[int] = field(default_factory=set)


_Within = Callable[[Instance, Op, int], _Seen]
"""Of an instance, a call in it and the position of an argument: what becomes of that one."""


def indexed(module: Module, sizes: Mapping[str, int]) -> dict[str, Index]:
    """For each input of the entry that holds ids: where the fewest are known.

    Args:
        module: as elaborated.
        sizes: what free sizes are bound to; a dim whose size is not known counts for nothing.
    """

    @cache
    def seen(path: str, index: int, position: int) -> _Seen:
        instance = module.instance(path)
        return _followed(instance, instance.variants[index], position, within)

    def within(instance: Instance, op: Op, position: int) -> _Seen:
        child, _, _ = callee(module, instance, op)
        return seen(child.path, op["variant"], position)

    entry = module.instances[0]
    found = {}
    for position, value in enumerate(entry.variants[0].inputs):
        if value.type.kind != "int":
            continue
        what = seen(entry.path, 0, position)
        known = [index for op in what.lookups if (index := _index(op, sizes)) is not None]
        known = [i for i in known if not any(c.outside(i.size) for c in what.compared)]
        if known:
            found[value.label] = min(known, key=lambda index: index.size)
    return found


def _index(op: Op, sizes: Mapping[str, int]) -> Index | None:
    (dim,) = op["dims"]
    size: Size = dim.size
    if not size.symbols <= sizes.keys():
        return None
    return Index(size.evaluate(sizes), dim.name, op.name, op.span)


def _followed(instance: Instance, variant: Variant, position: int, within: _Within) -> _Seen:
    """What becomes of an argument of a body; `within` says it of one of a call."""
    known = known_values(variant.inputs, variant.ops)
    same = {variant.inputs[position].id}
    ops = list(walk(variant.ops))
    before = 0
    while before != len(same):  # what a loop carries comes round again
        before = len(same)
        for op in ops:
            same.update(_handed_on(instance, op, same, known, within))
    numbers = _numbers(ops)
    seen = _Seen(results={n for n, r in enumerate(variant.results) if r.value in same})
    for op in ops:
        if op.name in CALLS:
            for inner in _inside(instance, op, same, within):
                seen.lookups += inner.lookups
                seen.compared += inner.compared
        elif op.name in MIRRORED:
            seen.compared += _comparisons(op, same, known, numbers)
        elif _looks_up(op, same) and (
            lookup(op.name).family != "loss" or _every_id_counts(op, variant, ops)
        ):
            seen.lookups.append(op)
    return seen


def _handed_on(
    instance: Instance, op: Op, same: set[int], known: Mapping[int, Value], within: _Within
) -> Iterator[int]:
    """The values that an op gives, or that its regions begin with, which are the same numbers."""
    masked = op.name == "multiply" and any(known[i].type.kind == "bool" for i in op.operands)
    if (lookup(op.name).arranges or masked) and same.intersection(op.operands):
        yield op.result.id
    elif op.name in CALLS:
        for inner in _inside(instance, op, same, within):
            yield from (op.results[n].id for n in inner.results)
    elif op.name == "scan":
        (region,), carry = op.regions, op["carry"]
        yield from (
            argument.id
            for operand, argument in zip(op.operands, region.arguments[1:], strict=True)
            if operand in same
        )
        begun = region.arguments[len(region.arguments) - carry :]
        for n, value in enumerate(region.results):
            if value in same:
                yield op.results[n].id
                yield from (argument.id for argument in begun[n : n + 1])
    for region in op.regions if op.name == "if_train" else ():
        yield from (
            r.id for r, value in zip(op.results, region.results, strict=True) if value in same
        )


def _inside(instance: Instance, op: Op, same: set[int], within: _Within) -> list[_Seen]:
    """What becomes of the arguments of a call, those that a copy hands to the next one too."""
    becomes = carried(op)
    positions = [n for n, operand in enumerate(op.operands) if operand in same]
    found: dict[int, _Seen] = {}
    while positions:
        position = positions.pop()
        if position not in found:
            found[position] = within(instance, op, position)
            positions += [becomes[n] for n in found[position].results if n in becomes]
    return list(found.values())


def _looks_up(op: Op, same: set[int]) -> bool:
    ids = lookup(op.name).ids
    return ids is not None and op.operands[ids] in same


def _every_id_counts(op: Op, variant: Variant, ops: list[Op]) -> bool:
    """Whether a loss is plainly added up: what a mask hides may have ids that are none."""
    if op["ignore"] is not None or any(r.value == op.result.id for r in variant.results):
        return False
    readers = [other for other in ops if op.result.id in other.operands]
    return all(r.name in ("mean", "sum") and r.extra("where") is None for r in readers)


def _numbers(ops: list[Op]) -> dict[int, float]:
    """The values that are constants."""
    found: dict[int, float] = {}
    for op in ops:
        if op.name == "const":
            found[op.result.id] = op["value"]
        elif op.name == "negate" and op.operands[0] in found:
            found[op.result.id] = -found[op.operands[0]]
    return found


def _comparisons(
    op: Op, same: set[int], known: Mapping[int, Value], numbers: Mapping[int, float]
) -> Iterator[_Compared]:
    left, right = op.operands
    for ids, other, name in ((left, right, op.name), (right, left, MIRRORED[op.name])):
        if ids in same and not known[other].type.dims:
            yield _Compared(name, numbers.get(other))
