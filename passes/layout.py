"""Layout: gives every value an order of axes, and puts explicit nodes where an order must change.

Declared arrays keep the order in which they were written. Every other value gets the order that
its op gives naturally, so that few nodes are needed. Before a product of two, neighbouring dims
that only one operand has are collapsed into one axis: a matrix product over `[(B, S), D]` has a
gradient that XLA computes without copying, one over `[B, S, D]` has not. Collapsed axes travel
along through ops that do not touch them. Under a mesh they are collapsed only where all but the
first are unsharded, since XLA would otherwise gather the whole value: an axis that is split begins
a run of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.core import Axis, Dim, Instance, Module, Op, Order, axes, flat
from ..ir.order import apart, squeezed
from ..ir.placement import spread, value_placement
from ..ir.plan import Plan
from ..ir.registry import lookup
from ..ir.rewrite import Scope, rewrite
from ..ir.signature import callee, carried
from .manager import Pass

id_of = id  # `id` names values everywhere else here


@dataclass
class Layout(Pass):
    """Gives every value an order of axes.

    Attributes:
        collapse: whether free dims are collapsed before products.
    """

    name: ClassVar[str] = "layout"
    produces: ClassVar[tuple[str, ...]] = ("ordered",)

    collapse: bool = True

    def run(self, module: Module, plan: Plan) -> Module:
        return lay_out(module, self.collapse, plan)


def lay_out(module: Module, collapse: bool = True, plan: Plan | None = None) -> Module:
    """The module with an order for every value.

    Args:
        collapse: whether free dims are collapsed before products.
        plan: tells which dims are spread over a mesh; without it none is.
    """
    module = _carried_alike(module)
    layout = _Layout(collapse, plan or Plan())
    done = rewrite(
        module,
        layout.visit,
        result=lambda scope, r, id: layout.arrange(scope, id, axes(r.order)),
        write=lambda scope, name, id: layout.arrange(scope, id, axes(_state(scope, name))),
        init=lambda scope, ids: (layout.arrange(scope, ids[0], axes(scope.variable.order)),),
    )
    return replace(done, facts=(*done.facts, "ordered"))


def _carried_alike(module: Module) -> Module:
    """The module with every result that a copy hands to the next one ordered as what it becomes."""
    wanted: dict[tuple[str, int, int], tuple[Dim, ...]] = {}
    for instance, _, op in module.walk():
        if op.name == "repeat":
            child, variant, _ = callee(module, instance, op)
            for result, argument in carried(op).items():
                order = flat(variant.inputs[argument].order or ())
                wanted[child.path, child.variants.index(variant), result] = order

    def changed(instance: Instance) -> Instance:
        variants = []
        for index, variant in enumerate(instance.variants):
            results = tuple(
                replace(r, order=wanted.get((instance.path, index, position), r.order))
                for position, r in enumerate(variant.results)
            )
            variants.append(replace(variant, results=results))
        return replace(instance, variants=tuple(variants))

    return replace(module, instances=tuple(map(changed, module.instances))) if wanted else module


def _state(scope: Scope, name: str) -> tuple[Dim, ...]:
    return next(s.order for s in scope.instance.states if s.name == name)


class _Layout:
    def __init__(self, collapse: bool, plan: Plan):
        self.collapse, self.plan = collapse, plan
        # (body, value, order) → the value arranged so; the body is kept, lest its id be used again.
        self._made: dict[tuple[int, int, Order], tuple[list, int]] = {}

    def arrange(self, scope: Scope, id: int, wanted: Order) -> int:
        """The value in the wanted order, by as few nodes as it takes, each made once."""
        if scope.order(id) == wanted:
            return id
        for body in scope.bodies:
            found = self._made.get((id_of(body), id, wanted))
            if found is not None and found[0] is body:
                return found[1]
        made = id
        for name, order in _path(scope.order(id), wanted):
            made = scope.add(name, made, orders=(order,))
        body = scope.bodies[-1]
        self._made[(id_of(body), id, wanted)] = (body, made)
        return made

    def visit(self, scope: Scope, op: Op) -> tuple[int, ...] | None:
        special = getattr(self, f"_{op.name}", None)
        if special is not None:
            return special(scope, op)
        definition = lookup(op.name)
        orders = tuple(scope.order(i) for i in op.operands)
        if definition.order is None:
            if op.operands and op.results:
                raise AssertionError(f"{op.name} has no order rule")
            given = [r.order for r in op.results]
            dims = [r.order or axes(r.type.dims) for r in op.results]
            return scope.append(op, tuple(g or d for g, d in zip(given, dims, strict=True)))
        if op.name == "dot" and len(op.operands) == 2 and self.collapse:
            orders = self._collapsed(scope, op, orders)
        wanted, results = definition.order(op, orders)
        operands = tuple(
            self.arrange(scope, i, w) for i, w in zip(op.operands, wanted, strict=True)
        )
        return scope.append(replace(op, operands=operands), results)

    def _collapsed(self, scope: Scope, op: Op, orders: tuple[Order, ...]) -> tuple[Order, ...]:
        """Orders of a product's operands with runs of free dims collapsed."""
        out = []
        for index, (id, order) in enumerate(zip(op.operands, orders, strict=True)):
            other = set(flat(orders[1 - index]))
            if _is_param(scope, id):
                out.append(order)
                continue
            placement = value_placement(self.plan, scope.instance.path, scope.value(id))
            split = {d for d, _ in placement}
            free = lambda axis, o=other: not o.intersection(axis)  # noqa: E731
            out.append(_runs(squeezed(order), free, split))
        return tuple(out)

    def _constrain(self, scope: Scope, op: Op) -> tuple[int, ...]:
        """A constraint in terms of axes; those with a spread dim behind another come apart."""
        (id,) = op.operands
        placement = op["placement"]
        split = {d for d, _ in placement}
        order = scope.order(id)
        order = apart(order, [d for axis in order for d in axis[1:] if d in split])
        op = replace(op, operands=(self.arrange(scope, id, order),))
        return scope.append(op.with_attrs(spec=spread(order, placement)), (order,))

    # Structure: orders at boundaries are those that were declared.

    def _call(self, scope: Scope, op: Op) -> tuple[int, ...]:
        _, variant, outer = callee(scope.module, scope.instance, op)
        operands = []
        for index, (id, value) in enumerate(zip(op.operands, variant.inputs, strict=True)):
            wanted = axes(tuple(outer[d] for d in flat(value.axes)))
            if index in op.get("dealt", ()):
                wanted = ((op["along"],), *wanted)
            operands.append(self.arrange(scope, id, wanted))
        results = []
        for index, result in enumerate(variant.results):
            order = axes(tuple(outer[d] for d in result.order))
            if op.name != "call" and index not in carried(op):
                order = ((op["along"],), *order)
            results.append(order)
        return scope.append(replace(op, operands=tuple(operands)), tuple(results))

    _repeat = _each = _call

    def _param(self, scope: Scope, op: Op) -> tuple[int, ...]:
        """What is declared stands in memory as it was written."""
        declared = scope.instance.params if op.name == "param" else scope.instance.states
        order = op.result.order
        if not op["child"]:
            order = axes(next(v.order for v in declared if v.name == op["name"]))
        return scope.append(op, (order,))

    _state = _param

    def _if_train(self, scope: Scope, op: Op) -> tuple[int, ...]:
        orders: list[Order] = []

        def plain(ids: tuple[int, ...]) -> tuple[int, ...]:
            # The first branch decides; the second follows. Collapsed axes end here.
            if not orders:
                orders.extend(axes(flat(scope.order(i))) for i in ids)
            return tuple(self.arrange(scope, i, o) for i, o in zip(ids, orders, strict=True))

        regions = tuple(scope.inside(r, self.visit, finish=plain) for r in op.regions)
        return scope.append(replace(op, regions=regions), tuple(orders))

    def _scan(self, scope: Scope, op: Op) -> tuple[int, ...]:
        along, carry = op["along"], op["carry"]
        inputs = len(op.operands) - carry
        operands: list[int] = []
        inner: list[Order] = [()]
        for index, id in enumerate(op.operands):
            order = axes(flat(scope.order(id)))
            if index < inputs:
                order = ((along,), *(a for a in order if a != (along,)))
                inner.append(order[1:])
            else:
                inner.append(order)
            operands.append(self.arrange(scope, id, order))
        (region,) = op.regions
        arguments = [replace(a, order=o) for a, o in zip(region.arguments, inner, strict=True)]
        last = inner[1 + inputs :]

        def finish(ids: tuple[int, ...]) -> tuple[int, ...]:
            ends = [self.arrange(scope, i, o) for i, o in zip(ids, last, strict=False)]
            emits = [self.arrange(scope, i, axes(flat(scope.order(i)))) for i in ids[carry:]]
            return (*ends, *emits)

        region = scope.inside(region, self.visit, arguments, finish)
        emits = tuple(((along,), *scope.order(i)) for i in region.results[carry:])
        op = replace(op, operands=tuple(operands), regions=(region,))
        return scope.append(op, (*last, *emits))


def _is_param(scope: Scope, id: int) -> bool:
    """Whether a value is a parameter, maybe cast."""
    made = scope.defining(id)
    while made is not None and made.name == "cast":
        made = scope.defining(made.operands[0])
    return made is not None and made.name == "param"


def _runs(order: Order, free: Callable[[Axis], bool], split: set[Dim]) -> Order:
    """The order with every run of two or more neighbouring free axes collapsed into one.

    An axis that is split over a mesh begins a run of its own.
    """
    out: list[Axis] = []
    run: list[Axis] = []
    for axis in (*order, None):
        if axis is not None and free(axis) and not (run and split.intersection(axis)):
            run.append(axis)
            continue
        if run:
            out.append(tuple(d for a in run for d in a))
            run = []
        if axis is not None and free(axis):
            run.append(axis)
        elif axis is not None:
            out.append(axis)
    return tuple(out)


def _path(before: Order, after: Order) -> list[tuple[str, Order]]:
    """The nodes that lead from one order to another, with the order that each gives."""
    path: list[tuple[str, Order]] = []
    current = before

    def go(name: str, order: Order) -> None:
        nonlocal current
        if order != current:
            path.append((name, order))
            current = order

    kept = set(after)
    go(
        "uncollapse",
        tuple(a for axis in current for a in ([axis] if axis in kept else _apart(axis))),
    )
    go("squeeze_axes", squeezed(current))
    go("transpose", _permuted(current, squeezed(after)))
    go("collapse", squeezed(after))
    go("align", after)
    return path


def _apart(axis: Axis) -> list[Axis]:
    return [(d,) for d in axis] if len(axis) > 1 else [axis]


def _permuted(current: Order, after: Order) -> Order:
    """The axes of `current` in the order in which `after` has them, those to be collapsed apart."""
    wanted: list[Axis] = []
    for axis in after:
        wanted += [axis] if axis in current else [(d,) for d in axis]
    return tuple(wanted)
