"""Orders of axes: what the ops' `order` facets compute with."""

from __future__ import annotations

from collections.abc import Iterable

from .core import Dim, Order, flat


def apart(order: Order, dims: Iterable[Dim]) -> Order:
    """The order with every collapsed axis that holds one of these dims taken apart."""
    touched = set(dims)
    out: list[tuple[Dim, ...]] = []
    for axis in order:
        if len(axis) > 1 and touched.intersection(axis):
            out += [(d,) for d in axis]
        else:
            out.append(axis)
    return tuple(out)


def without(order: Order, dims: Iterable[Dim]) -> Order:
    """The order that is left when these dims, each an axis of its own, are gone."""
    gone = {(d,) for d in dims}
    return tuple(axis for axis in order if axis not in gone)


def squeezed(order: Order) -> Order:
    """The order without its axes of size 1 that stand for no dim."""
    return tuple(axis for axis in order if axis)


def broadcast(orders: tuple[Order, ...]) -> tuple[tuple[Order, ...], Order]:
    """How operands must be arranged so that numpy's broadcasting aligns them by name.

    The operand with the most axes leads; the others follow its order, with axes of size 1 for what
    they lack, but for leading ones. Collapsed axes are taken apart unless every operand has them
    whole or not at all.

    Returns:
        The orders that the operands must have, and the order of the result.
    """
    orders = tuple(squeezed(o) for o in orders)
    broken: set[Dim] = set()
    axes = {axis for order in orders for axis in order}
    dims = [set(flat(o)) for o in orders]
    for axis in axes:
        for order, own in zip(orders, dims, strict=True):
            if own.intersection(axis) and axis not in order:
                broken.update(axis)
    orders = tuple(apart(o, broken) for o in orders)
    lead = max(orders, key=len)
    return tuple(_follow(lead, order) for order in orders), lead


def _follow(lead: Order, order: Order) -> Order:
    wanted = [axis if axis in order else () for axis in lead]
    while wanted and wanted[0] == ():
        wanted.pop(0)
    return tuple(wanted)
