"""Which parameters are matrices: operands of products only, by the dims that are summed there."""

from __future__ import annotations

from collections.abc import Iterator

from .core import Module, Op, join

Axes = tuple[tuple[int, ...], tuple[int, ...]]
"""The axes of a parameter that its products sum over, and the others, counted from the last."""


def matrices(module: Module) -> dict[str, Axes]:
    """For each parameter that is a matrix, by path, its axes that are summed and the others.

    A matrix is an operand of products of two, and of nothing else, in each of which the same of its
    dims are summed and some are left: `wo: [G, R, K, D]` in `dot[G, R, K](x, wo)` takes G × R × K
    to D. Copies of a repeat, whose axis comes first, are matrices apart.
    """
    found: dict[str, set[Axes | None]] = {}
    for instance in module.instances:
        orders = {p.name: p.order for p in instance.params}
        for variant in instance.variants:
            ops = list(_all(variant.ops))
            read = {op.results[0].id: op for op in ops if op.name == "param"}
            kept = {r.value for r in variant.results} | {value for _, value in variant.writes}
            for value, op in read.items():
                path = join(instance.path, join(op["child"], op["name"]))
                axes = found.setdefault(path, set())
                if op["child"] or value in kept:
                    axes.add(None)
                    continue
                order = orders[op["name"]]
                for use in ops:
                    if value in use.operands:
                        axes.add(_axes(use, order))
    agreed = {path: next(iter(some)) for path, some in found.items() if len(some) == 1}
    return {path: axes for path, axes in agreed.items() if axes is not None}


def _axes(use: Op, order: tuple) -> Axes | None:
    if use.name != "dot" or len(use.operands) != 2:
        return None
    axes = range(-len(order), 0)
    summed = tuple(axis for axis in axes if order[axis] in use["dims"])
    left = tuple(axis for axis in axes if axis not in summed)
    return (summed, left) if summed and left else None


def _all(ops: tuple[Op, ...]) -> Iterator[Op]:
    for op in ops:
        yield op
        for region in op.regions:
            yield from _all(region.ops)
