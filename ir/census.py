"""What a module holds and does: parameters, states, bytes and operations, by path."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

from .core import Dim, Module, join
from .flops import Flops, flops
from .size import Size

_NONE = Size.of(0)


@dataclass(frozen=True)
class Row:
    """An instance, a parameter or a state. Counts are those of all its copies together.

    Attributes:
        path: the authored path.
        kind: `instance`, `param` or `state`.
        layer: the layer of an instance.
        copies: the dims that copies are stacked along, outermost first.
        repeats: the last of them, if it is this instance that is repeated.
        dims: the dims of one copy of a parameter or state, as stored behind those of copies.
        elements: of a parameter or state; of an instance, those of all parameters inside it.
        bytes: what these take; floats that have no dtype yet count as float32.
        flops: of an instance and what it uses, in one forward pass.
    """

    path: str
    kind: str
    layer: str = ""
    copies: tuple[Dim, ...] = ()
    repeats: Dim | None = None
    dims: tuple[Dim, ...] = ()
    elements: Size = _NONE
    bytes: Size = _NONE
    flops: Flops = field(default_factory=Flops)


@dataclass(frozen=True)
class Census:
    """What a module holds and does.

    Attributes:
        module: of which this is.
        rows: each instance, then its parameters and states, then what it uses. The first is the
            entry, and so the total of parameters.
        states: elements of all states.
        state_bytes: what these take.
    """

    module: Module
    rows: tuple[Row, ...]
    states: Size
    state_bytes: Size

    @property
    def parameters(self) -> Size:
        """Elements of all parameters."""
        return self.rows[0].elements


def census(module: Module) -> Census:
    """Count what a module holds and does."""
    own = flops(module)
    rows: list[Row] = []

    def visit(path: str, outer: tuple[Dim, ...], along: Dim | None) -> Row:
        copies = outer if along is None else (*outer, along)
        instance = module.instance(path)
        times = prod((dim.size for dim in copies), start=Size.of(1))
        whole = Row(path, "instance", instance.layer, copies, along, flops=own[path])
        at = len(rows)
        rows.append(whole)
        for kind, variables in (("param", instance.params), ("state", instance.states)):
            for variable in variables:
                name = join(path, variable.name)
                elements, bytes = variable.type.elements() * times, variable.type.bytes() * times
                rows.append(Row(name, kind, "", copies, None, variable.order, elements, bytes))
                if kind == "param":
                    whole = replace(
                        whole, elements=whole.elements + elements, bytes=whole.bytes + bytes
                    )
        for child in instance.children:
            part = visit(join(path, child.name), copies, child.along)
            whole = replace(
                whole,
                elements=whole.elements + part.elements,
                bytes=whole.bytes + part.bytes,
                flops=whole.flops + part.flops,
            )
        rows[at] = whole
        return whole

    visit(module.instances[0].path, (), None)
    states = [row for row in rows if row.kind == "state"]
    elements = sum((row.elements for row in states), _NONE)
    return Census(module, tuple(rows), elements, sum((r.bytes for r in states), _NONE))
