"""Bodies as they are entered: what is called in place, and what a loop or a call runs by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...ir.core import Dim, Instance, Module, Op, Region, Value, Variant, walk
from ...ir.facts import known_values
from ...ir.signature import callee, carried
from .layouts import Spread


@dataclass(frozen=True)
class Frame:
    """A body that is being inlined.

    Attributes:
        known: its values by id.
        names: for values by id, the nodes that they are.
        mapped: values of which every copy side by side has its own.
        spread: how values lie along the mesh: as they are constrained, and what is between follows
            from what it is made of.
        copies: how many copies lie side by side on one device.
        params: of how many of them there are parameters; steps that are taken together share one.
    """

    instance: Instance
    known: dict[int, Value]
    names: dict[int, int] = field(default_factory=dict)
    mapped: set[int] = field(default_factory=set)
    spread: dict[int, Spread] = field(default_factory=dict)
    copies: int = 1
    params: int = 1


def entering(instance: Instance, variant: Variant, copies: int = 1, params: int = 1) -> Frame:
    """A body about to be inlined: it knows its values, and as yet no nodes of theirs."""
    known = known_values(variant.inputs, variant.ops)
    return Frame(instance, known, copies=copies, params=params)


@dataclass(frozen=True)
class Inside:
    """What a loop or a call runs, as it is seen from around it.

    Attributes:
        along: how often it runs.
        values: its arguments.
        operands: values around it that it reads.
        given: for each argument the value around it, None for the number of a step.
        links: by the position of a result, that of the argument which it becomes.
        dealt: positions of arguments of which each run gets its own.
        results: what it gives, as values inside.
        dims: for dims inside those around it, and `back` the other way; None: the same.
        together: steps that are taken at once.
        called: the instance and the variant, of all but a scan.
    """

    kind: str
    path: str
    along: int
    values: tuple[Value, ...]
    operands: tuple[int, ...]
    given: tuple[int | None, ...]
    links: Mapping[int, int]
    dealt: frozenset[int]
    results: tuple[int, ...]
    ops: tuple[Op, ...]
    dims: Mapping[Dim, Dim] | None = None
    back: Mapping[Dim, Dim] | None = None
    together: int = 1
    called: tuple[Instance, Variant] | None = None


def what_runs(module: Module, sizes: Mapping[str, int], frame: Frame, op: Op) -> Inside:
    """What a loop or a call runs."""
    if op.name == "scan":
        (region,) = op.regions
        around = tuple(i for i in _read_around(region) if i in frame.names)
        operands = (*op.operands, *around)
        along, together = op["along"].size.evaluate(sizes), 1
        if parts := op.get("parts"):
            together = -(-along // parts)
            along = -(-along // together)
        sliced = len(op.operands) - op["carry"]
        return Inside(
            "scan", frame.instance.path, along,
            (*region.arguments, *(frame.known[i] for i in around)),
            operands, (None, *operands),  # the step's number is first
            {j: 1 + sliced + j for j in range(op["carry"])}, frozenset(range(1 + sliced)),
            region.results, region.ops, together=together,
        )  # fmt: skip
    child, variant, dims = callee(module, frame.instance, op)
    repeat = op.name == "repeat"
    return Inside(
        "repeat" if repeat else "call", child.path,
        op["along"].size.evaluate(sizes) if repeat else 1,
        variant.inputs, op.operands, op.operands, carried(op),
        frozenset(op["dealt"] if repeat else ()),
        tuple(r.value for r in variant.results), variant.ops,
        dims, {outer: inner for inner, outer in dims.items()}, called=(child, variant),
    )  # fmt: skip


def _read_around(region: Region) -> tuple[int, ...]:
    """The values that a region reads of the bodies around it."""
    own = {v.id for v in region.arguments}
    found: dict[int, None] = {}
    for op in walk(region.ops):
        own.update(r.id for r in op.results)
        own.update(a.id for r in op.regions for a in r.arguments)
    for op in walk(region.ops):
        reads = (*op.operands, *(i for r in op.regions for i in r.results))
        found.update(dict.fromkeys(i for i in reads if i not in own))
    found.update(dict.fromkeys(i for i in region.results if i not in own))
    return tuple(found)
