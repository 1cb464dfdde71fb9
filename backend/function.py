"""What all bodies of one emitted function share: values, sizes, states and metrics so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..ir.core import Dim, Instance, Value, Variant, walk
from ..ir.size import Size
from .naming import fresh, identifier

if TYPE_CHECKING:
    from .model import ModelWriter


class Report(NamedTuple):
    """An entry of the dict of metrics.

    Attributes:
        origins: the metrics of this function, and as `child.` the children, whose metrics it has.
        source: of the entry.
    """

    origins: frozenset[str]
    source: str


class Function:
    """What all bodies of one emitted function share.

    Attributes:
        values: every value, by id.
        known: dims of the inputs whose sizes are not numbers, by their names in the source.
        dims: those of them whose sizes the source asked for, in order.
        child_state: source of the state of a child after its latest call.
        reports: metrics so far.
        line: the line of the model that was noted last.
    """

    def __init__(self, model: ModelWriter, instance: Instance, variant: Variant):
        self.model, self.instance, self.variant = model, instance, variant
        self.values: dict[int, Value] = {v.id: v for v in variant.inputs}
        for op in walk(variant.ops):
            self.values.update((r.id, r) for r in op.results)
            for region in op.regions:
                self.values.update((a.id, a) for a in region.arguments)
        self.known = _shaped(variant)
        model.taken.update(self.known)
        self.dims: dict[str, Dim] = {}
        self.child_state: dict[str, str] = {}
        self.reports: list[Report] = []
        self.line = 0

    def state_of(self, child: str) -> str:
        """Source of the state that a child has by now."""
        return self.child_state.get(child, f'state["{child}"]')

    def dim(self, dim: Dim) -> str:
        """Source of a dim's size."""
        return self.size(dim.size, dim)

    def size(self, size: Size, dim: Dim | None = None) -> str:
        """Source of a size: a constant's name or number, or names bound from the inputs' shapes."""
        if size.is_constant:
            return self.model.constant(dim, size.value)
        known = self.known
        for name, candidate in known.items():
            own = dim is None or dim == candidate or dim not in known.values()
            if candidate.size == size and own:
                self.dims[name] = candidate
                return name
        symbols = {d.size.symbol: n for n, d in known.items() if d.size.symbol is not None}
        if set(size.names) <= set(symbols):
            for name in size.names:
                self.dims[symbols[name]] = known[symbols[name]]
            return str(size.substitute({n: Size.free(symbols[n]) for n in size.names}))
        bound = dict(self.model.module.sizes)
        if set(size.names) <= set(bound):
            return str(size.evaluate(bound))
        raise AssertionError(f"no input of {self.instance.path} tells the size {size}")


def _shaped(variant: Variant) -> dict[str, Dim]:
    """Dims of the inputs whose sizes are not numbers, by their names in the source."""
    found: dict[str, Dim] = {}
    for (dim,) in (axis for v in variant.inputs for axis in v.axes if len(axis) == 1):
        if not dim.size.is_constant and dim not in found.values():
            found[fresh(identifier(dim.name), found)] = dim
    return found
