"""What gradients flow through, and what each op's gradient keeps.

That follows from the registry, op by op, as `jax.grad` would keep it: a value and its reshape are
two, since JAX does not know that they are one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...ir.registry import keeps, lookup
from .drafts import Body, Draft
from .layouts import Layouts, axes_of
from .units import Node, Unit, shared, stays


def finished(bodies: list[Body], layouts: Layouts) -> tuple[Unit, ...]:
    """The units of drafts, the entry first, for a gradient of all that the entry gives."""
    entry = bodies[0]
    _reach(bodies, entry, {i: True for i in range(len(entry.results))})
    units = [_unit(body, layouts) for body in bodies]
    for index in reversed(range(len(units))):  # inner loops come after those around them
        units[index] = _with_loops(units[index], units)
    return tuple(units)


def _reach(bodies: list[Body], body: Body, results: dict[int, bool]) -> list[bool]:
    """Mark what the gradient flows through; which arguments it reaches."""
    results = dict(results)
    nodes = body.nodes
    while True:
        for position, wanted in results.items():
            if wanted:
                draft = nodes[body.results[position]]
                draft.reached = draft.tangent
        for draft in reversed(nodes):
            node = draft.node
            if node.unit is not None and node.first == node.id:
                group = [d for d in nodes[node.id :] if d.node.first == node.id]
                if any(d.reached for d in group):
                    inner = bodies[node.unit]
                    flags = {i: d.reached for i, d in enumerate(group)}
                    arguments = _reach(bodies, inner, flags)[-len(node.operands) :]
                    for id, flag in zip(node.operands, arguments, strict=True):
                        nodes[id].reached |= flag and nodes[id].tangent
            elif draft.reached and node.unit is None:
                for id in node.operands:
                    nodes[id].reached |= nodes[id].tangent
        reached = [nodes[i].reached for i in body.arguments]
        more = [r for r, a in body.carried if reached[a] and not results.get(r)]
        if not more:
            return reached
        results |= dict.fromkeys(more, True)


def _unit(body: Body, layouts: Layouts) -> Unit:
    values = tuple(_settled(body, draft, layouts) for draft in body.nodes)
    names = {
        d.node.id: d.op["name"] for d in body.nodes if d.op is not None and d.op.name == "name"
    }
    stays = lambda wanted: tuple(i for i, n in names.items() if n in wanted)  # noqa: E731
    saved = None if body.keeps is None else stays((*body.keeps, *body.offloads))
    return Unit(
        body.path,
        body.kind,
        body.copies,
        values,
        body.results,
        body.arguments,
        body.carried,
        body.dealt,
        saved,
        stays(body.offloads),
        body.group,
    )


def _settled(body: Body, draft: Draft, layouts: Layouts) -> Node:
    node = draft.node
    flows: dict[str, Any] = {"differentiated": draft.reached, "invariant": not draft.varies}
    last = node.id + max(1, len(draft.op.results)) if draft.op is not None else 0
    group = body.nodes[node.id : last] if node.first == node.id else []
    if draft.op is None or not any(d.reached for d in group):
        return replace(node, **flows)
    wants = tuple(body.nodes[i].tangent for i in node.operands)
    kept: dict[int, None] = {}
    internals, hoisted = [], 0
    mask = draft.op.extra("where")
    still = mask is not None and not body.nodes[node.operands[mask]].varies
    for keep in keeps(draft.op, draft.types, wants):
        if keep.what == "internal":
            assert keep.type is not None
            spread = layouts.along(keep.type, draft.spread)
            size = layouts.bytes(keep.type, axes_of(spread)) * draft.copies
            if still and keep.type.dtype == "bool":
                hoisted += size
            else:
                internals.append((keep.type.dtype, size))
        else:
            id = node.operands[keep.index] if keep.what == "operand" else node.id + keep.index
            if body.nodes[id].node.kind != "const":
                kept[id] = None
    products = sum(wants) if lookup(draft.op.name).precision == "product" else 0
    return replace(
        node,
        **flows,
        keeps=tuple(kept),
        internals=tuple(internals),
        hoisted=hoisted,
        products=products,
    )


def _with_loops(unit: Unit, units: list[Unit]) -> Unit:
    """The unit, with the costs of the loops in it, and what their gradients keep."""
    values = list(unit.values)
    for node in unit.values:
        if node.unit is None or node.first != node.id:
            continue
        inner = units[node.unit]
        group = [v.id for v in unit.values if v.first == node.id]
        kept: dict[int, None] = {}
        internals: dict[str, int] = {}
        if any(unit.values[i].differentiated for i in group):
            outer = dict(zip(inner.arguments[-len(node.operands) :], node.operands, strict=False))
            moved = {inner.arguments[a] for _, a in inner.carried}
            common = shared(inner) if inner.saved is None and not inner.group else ()
            for id, dtype, size in (*stays(inner), *common):
                if id in outer and id not in moved:
                    kept[outer[id]] = None  # sliced again, not stacked
                else:
                    internals[dtype] = internals.get(dtype, 0) + size
        values[node.id] = replace(
            node,
            flops=inner.copies * sum(v.flops for v in inner.values),
            traffic=inner.copies * sum(v.traffic for v in inner.values),
            keeps=tuple(kept),
            internals=tuple(internals.items()),
        )
    return replace(unit, values=tuple(values))
