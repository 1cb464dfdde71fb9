"""Bodies under construction: what elaboration and rewriting append ops to."""

from __future__ import annotations

from dataclasses import replace

from .core import CONCRETE, Op, Order, Type, Value, attributes
from .diagnostics import Span
from .registry import lookup


def result_types(op: Op, operands: tuple[Type, ...]) -> tuple[Type, ...]:
    """The types that an op gives by its shape rule.

    Where the rule knows no more than that it gives a float or an int, as that of `index`, and the
    op states a concrete one, it is that.
    """
    given = lookup(op.name).types(operands, op)
    if len(given) != len(op.results):
        return given
    return tuple(
        g.with_dtype(r.type.dtype) if r.type.dtype in CONCRETE.get(g.dtype, ()) else g
        for g, r in zip(given, op.results, strict=True)
    )


class Builder:
    """One body, and the regions open inside it. Values are numbered in order of definition."""

    def __init__(self) -> None:
        self._values: dict[int, Value] = {}
        self._defined: dict[int, Op] = {}
        self._bodies: list[list[Op]] = [[]]

    def value(self, id: int) -> Value:
        """A value by its id."""
        return self._values[id]

    def type(self, id: int) -> Type:
        """The type of a value."""
        return self._values[id].type

    def order(self, id: int) -> Order:
        """The order of a value, which it has from layout on."""
        return self._values[id].axes

    def defining(self, id: int) -> Op | None:
        """The op that defines a value; None for an argument."""
        return self._defined.get(id)

    def define(self, value: Value) -> Value:
        """An argument of the body or of a region, with its id assigned."""
        value = replace(value, id=len(self._values))
        self._values[value.id] = value
        return value

    def add(
        self,
        name: str,
        *operands: int,
        label: str = "",
        orders: tuple[Order | None, ...] | None = None,
        span: Span | None = None,
        **attrs: object,
    ) -> int:
        """Append an op of one result, its type inferred; give the id of the result."""
        results = (Value(-1, Type("float"), label),)
        (id,) = self.append(Op(name, operands, results, attributes(**attrs), span=span), orders)
        return id

    def append(self, op: Op, orders: tuple[Order | None, ...] | None = None) -> tuple[int, ...]:
        """Append an op; give the ids of its results.

        Types are inferred where the registry has a shape rule (see `result_types`), else taken from
        `op.results`. Orders are the given ones, else those of `op.results`. Ids of results are
        assigned here.
        """
        definition = lookup(op.name)
        types = [r.type for r in op.results]
        if definition.shape is not None:
            types = list(result_types(op, tuple(self.type(i) for i in op.operands)))
        known = (
            orders
            if orders is not None
            else tuple(r.order for r in op.results) or (None,) * len(types)
        )
        labels = [r.label for r in op.results] or [""] * len(types)
        results = tuple(
            self.define(Value(-1, type_, label, order))
            for type_, label, order in zip(types, labels, known, strict=True)
        )
        op = replace(op, results=results)
        for value in results:
            self._defined[value.id] = op
        self._bodies[-1].append(op)
        return tuple(v.id for v in results)

    @property
    def bodies(self) -> tuple[list[Op], ...]:
        """The bodies that are open, outermost first; what they hold may be read from here."""
        return tuple(self._bodies)

    def open(self) -> None:
        """Begin a region: ops are appended to it until `close`."""
        self._bodies.append([])

    def close(self) -> tuple[Op, ...]:
        """End the innermost region, or the body, and give its ops."""
        return tuple(self._bodies.pop())
