"""How arrays lie along the mesh, and how many bytes of them are on one device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from ...ir.core import BYTES, Dim, Type, Value
from ...ir.placement import Axes, value_rules
from ...ir.plan import Plan

Spread = dict[Dim, Axes]
"""Dims that are spread, each with its mesh axes."""


class Layouts:
    """Arrays of a module under a plan.

    Attributes:
        sizes: of the free dims.
        mesh: its axes and their sizes.
    """

    def __init__(self, plan: Plan, sizes: Mapping[str, int]):
        self.plan, self.sizes, self.mesh = plan, sizes, dict(plan.mesh.axes)
        self._known: dict[Dim, int] = {}

    def bytes(self, type_: Type, axes: Iterable[str]) -> int:
        """Bytes per device of an array that lies along some axes of the mesh."""
        whole = BYTES[type_.dtype]
        for dim in type_.dims:
            if dim not in self._known:
                self._known[dim] = dim.size.evaluate(self.sizes)
            whole *= self._known[dim]
        return -(-whole // self.parts(axes))

    def parts(self, axes: Iterable[str]) -> int:
        """Over how many devices an array is cut that lies along some axes."""
        return prod(self.mesh[a] for a in set(axes)) if self.mesh else 1

    def ruled(self, path: str, value: Value) -> Spread:
        """How an argument of the entry lies along the mesh."""
        if not self.mesh:
            return {}
        rules = value_rules(self.plan, path, value.label)
        return {d: rules.axes(d) for d in value.type.dims if rules.axes(d)}

    def along(self, type_: Type, *spreads: Spread) -> Spread:
        """How a value lies along the mesh that is made of others: no axis twice."""
        found: Spread = {}
        taken: set[str] = set()
        for dim, axes in (item for spread in spreads for item in spread.items()):
            if dim in type_.dims and dim not in found and not taken.intersection(axes):
                found[dim] = axes
                taken.update(axes)
        return found


def axes_of(*spreads: Spread) -> set[str]:
    """All mesh axes that are in use."""
    return {a for spread in spreads for axes in spread.values() for a in axes}


def as_seen(spread: Spread, dims: Mapping[Dim, Dim] | None) -> Spread:
    """The same across the boundary of a body, where its dims are others."""
    if dims is None:
        return spread
    return {dims[d]: axes for d, axes in spread.items() if d in dims}
