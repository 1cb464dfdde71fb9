"""Numbers, or other sizes, in the place of free sizes, everywhere in a module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .claim import substitute as substitute_claim
from .core import (
    Child,
    Dim,
    Instance,
    Module,
    Op,
    Order,
    Region,
    Result,
    Type,
    Value,
    Variable,
    Variant,
)
from .size import Size


def substitute(module: Module, sizes: Mapping[str, int]) -> Module:
    """The module with free sizes replaced in dims, attributes and claims, and `sizes` recorded.

    Claims are only substituted, not judged, and no fact is added: that is the check pass's.

    Raises:
        SizeError: a size has no value for these.
    """
    values = {name: sizes[name] for name in module.free if name in sizes}
    if not values:
        return module
    claims = tuple(replace(c, claim=substitute_claim(c.claim, values)) for c in module.claims)
    known = {**dict(module.sizes), **values}
    return replace(
        module,
        instances=tuple(_Substitution(values, i).instance(i) for i in module.instances),
        claims=claims,
        sizes=tuple((name, known[name]) for name in module.free if name in known),
    )


class _Substitution:
    """One instance; each of its dims is replaced once."""

    def __init__(self, values: Mapping[str, int], instance: Instance):
        self.values = values
        self.table = {d: replace(d, size=d.size.substitute(values)) for d in instance.dims}

    def dim(self, dim: Dim) -> Dim:
        found = self.table.get(dim)
        return replace(dim, size=dim.size.substitute(self.values)) if found is None else found

    def dims(self, dims: tuple[Dim, ...]) -> tuple[Dim, ...]:
        return tuple(map(self.dim, dims))

    def type(self, type_: Type) -> Type:
        return Type(type_.dtype, self.dims(type_.dims))

    def value(self, value: Value) -> Value:
        order: Order | None = value.order and tuple(map(self.dims, value.order))
        return replace(value, type=self.type(value.type), order=order)

    def attribute(self, value: object) -> object:
        if isinstance(value, Dim):
            return self.dim(value)
        if isinstance(value, Size):
            return value.substitute(self.values)
        if isinstance(value, tuple):
            return tuple(map(self.attribute, value))
        return value

    def op(self, op: Op) -> Op:
        return replace(
            op,
            results=tuple(map(self.value, op.results)),
            attrs=tuple((name, self.attribute(value)) for name, value in op.attrs),
            regions=tuple(map(self.region, op.regions)),
        )

    def region(self, region: Region) -> Region:
        return Region(
            tuple(map(self.value, region.arguments)),
            tuple(map(self.op, region.ops)),
            region.results,
        )

    def variable(self, v: Variable) -> Variable:
        return replace(
            v, type=self.type(v.type), order=self.dims(v.order), init=self.region(v.init)
        )

    def child(self, child: Child) -> Child:
        return replace(child, along=None if child.along is None else self.dim(child.along))

    def result(self, result: Result) -> Result:
        return replace(result, order=self.dims(result.order))

    def variant(self, v: Variant) -> Variant:
        return replace(
            v,
            inputs=tuple(map(self.value, v.inputs)),
            ops=tuple(map(self.op, v.ops)),
            results=tuple(map(self.result, v.results)),
        )

    def instance(self, of: Instance) -> Instance:
        return replace(
            of,
            dims=self.dims(of.dims),
            params=tuple(map(self.variable, of.params)),
            states=tuple(map(self.variable, of.states)),
            children=tuple(map(self.child, of.children)),
            variants=tuple(map(self.variant, of.variants)),
        )
